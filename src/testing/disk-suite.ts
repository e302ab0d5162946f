// The compliance suites of the Disk and FileStore ports: what every disk and every store must do, in memory and for real.

import assert from "node:assert/strict";
import { it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import {
  DiskError,
  exists,
  makeDirectories,
  removeTree,
  writeAtomic,
  type Disk,
  type DiskErrorCode,
  type FileStore,
} from "../core/disk.ts";

const code = (expected: DiskErrorCode) => (error: unknown) =>
  error instanceof DiskError && error.code === expected;
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

type Place<D> = { readonly disk: D; readonly folder: string; readonly clean: () => Promise<void> };

function onPlaces<D>(make: () => Promise<Place<D>>) {
  return (name: string, body: (disk: D, folder: string) => Promise<void>): void => {
    void it(name, async () => {
      const { disk, folder, clean } = await make();
      try {
        await body(disk, folder);
      } finally {
        await clean();
      }
    });
  };
}

/** Registers tests; `make` returns a store and an empty folder of its own on it. */
export function testFileStore(make: () => Promise<Place<FileStore>>): void {
  const on = onPlaces(make);

  on("reads what was written, at any position", async (disk, folder) => {
    const file = await disk.open(`${folder}/a`, "create");
    await file.write(0, toUtf8("hello"));
    await file.write(7, toUtf8("x"));
    assert.deepEqual(await file.read(4, 10), Uint8Array.of(0x6f, 0, 0, 0x78));
    await file.truncate(2);
    await file.sync();
    await file.close();
    assert.equal(text(await disk.read(`${folder}/a`, 2)), "he");
    assert.deepEqual(await disk.list(folder), ["a"]);
  });

  on("refuses to read more than the limit", async (disk, folder) => {
    await writeAtomic(disk, `${folder}/a`, toUtf8("hello"));
    await assert.rejects(disk.read(`${folder}/a`, 4), code("disk/io"));
  });

  on("names what is missing, full of something, or of another kind", async (disk, folder) => {
    await assert.rejects(disk.stat(`${folder}/no`), code("disk/missing"));
    await assert.rejects(disk.open(`${folder}/no`, "read"), code("disk/missing"));
    await assert.rejects(disk.rename(`${folder}/no`, `${folder}/b`), code("disk/missing"));
    await disk.makeDirectory(`${folder}/d`);
    await writeAtomic(disk, `${folder}/d/f`, toUtf8("f"));
    await assert.rejects(disk.removeDirectory(`${folder}/d`), code("disk/not-empty"));
    await assert.rejects(disk.list(`${folder}/d/f`), code("disk/wrong-kind"));
    assert.equal(await exists(disk, `${folder}/d/f`), true);
  });

  on("refuses to create what exists", async (disk, folder) => {
    const file = await disk.open(`${folder}/a`, "create", 0o600);
    await file.close();
    await assert.rejects(disk.open(`${folder}/a`, "create"), code("disk/exists"));
    await disk.makeDirectory(`${folder}/d`);
    await assert.rejects(disk.makeDirectory(`${folder}/d`), code("disk/exists"));
    await assert.rejects(disk.open(`${folder}/d`, "write"), code("disk/wrong-kind"));
    await assert.rejects(disk.open(`${folder}/no/a`, "create"), code("disk/missing"));
    assert.equal((await disk.stat(`${folder}/a`)).mode, 0o600);
  });

  on("writes over what is there, across the seams of earlier writes", async (disk, folder) => {
    const expected = new Uint8Array(64);
    const file = await disk.open(`${folder}/a`, "write");
    let step = 7;
    for (let i = 0; i < 40; i++) {
      step = (step * 31 + 11) % 97;
      const [at, length] = [step % 50, 1 + (step % 14)];
      expected.fill(i + 1, at, at + length);
      await file.write(at, new Uint8Array(length).fill(i + 1));
      if (i % 3 === 0) await file.sync();
      if (i % 7 === 0)
        assert.deepEqual(
          await file.read(0, 20),
          expected.slice(0, Math.min(20, (await disk.stat(`${folder}/a`)).size)),
        );
    }
    await file.close();
    const found = await disk.read(`${folder}/a`, 64);
    assert.deepEqual(found, expected.slice(0, found.length));
    assert.ok(expected.slice(found.length).every((byte) => byte === 0));
  });

  on("replaces a file as a whole, also by a shorter one, and shows it at once", async (disk, folder) => {
    for (const content of ["first", "the second is longer", "3"]) {
      await writeAtomic(disk, `${folder}/a`, toUtf8(content), 0o600);
      assert.equal(text(await disk.read(`${folder}/a`, 100)), content);
      assert.equal((await disk.stat(`${folder}/a`)).size, content.length);
    }
    assert.deepEqual(await disk.list(folder), ["a"]);
    const open = await disk.open(`${folder}/b`, "write");
    await open.write(0, toUtf8("not synced"));
    assert.equal(text(await disk.read(`${folder}/b`, 100)), "not synced");
    assert.equal((await disk.stat(`${folder}/b`)).size, 10);
    await disk.rename(`${folder}/b`, `${folder}/a`);
    await open.close();
    assert.equal(text(await disk.read(`${folder}/a`, 100)), "not synced");
    await disk.removeFile(`${folder}/a`);
    assert.deepEqual(await disk.list(folder), []);
  });

  on("moves a folder with everything below it", async (disk, folder) => {
    await makeDirectories(disk, `${folder}/old/deep`);
    await writeAtomic(disk, `${folder}/old/deep/a`, toUtf8("a"));
    await writeAtomic(disk, `${folder}/older`, toUtf8("stays"));
    await disk.rename(`${folder}/old`, `${folder}/new`);
    assert.deepEqual(await disk.list(folder), ["new", "older"]);
    assert.equal(text(await disk.read(`${folder}/new/deep/a`, 1)), "a");
    await assert.rejects(disk.list(`${folder}/old`), code("disk/missing"));
    await removeTree(disk, `${folder}/new`);
    assert.deepEqual(await disk.list(folder), ["older"]);
  });
}

/** Registers tests; `make` returns a disk and an empty folder of its own on it. */
export function testDisk(make: () => Promise<Place<Disk>>): void {
  testFileStore(make);
  const on = onPlaces(make);

  on("gives another stamp to what was changed, and the same to what was only read", async (disk, folder) => {
    const path = `${folder}/stamped`;
    const stampAfter = async (change: () => Promise<void>): Promise<string> => {
      // Times of files are coarse: two changes in one tick of the system look like one.
      await new Promise((resolve) => setTimeout(resolve, 20));
      await change();
      return (await disk.stat(path)).stamp;
    };
    const write = (content: string) => async (): Promise<void> => {
      const file = await disk.open(path, "write");
      await file.write(0, toUtf8(content));
      await file.close();
    };
    const stamps = [
      await stampAfter(write("hello")),
      await stampAfter(write("jello")),
      await stampAfter(() => disk.chmod(path, 0o444)),
      await stampAfter(async () => {
        await disk.removeFile(path);
        await write("jello")();
      }),
    ];
    assert.equal(new Set(stamps).size, stamps.length, stamps.join());
    assert.equal(await stampAfter(async () => void (await disk.read(path, 10))), stamps.at(-1));
    assert.equal(await stampAfter(async () => void (await disk.list(folder))), stamps.at(-1));
  });

  on("refuses to create what exists, also behind a link", async (disk, folder) => {
    await disk.link(`${folder}/l`, "nowhere");
    await assert.rejects(disk.open(`${folder}/l`, "create"), code("disk/exists"));
    await assert.rejects(disk.link(`${folder}/l`, "elsewhere"), code("disk/exists"));
    await disk.makeDirectory(`${folder}/d`);
    await assert.rejects(disk.makeDirectory(`${folder}/d`), code("disk/exists"));
  });

  on("never follows a link in the last place", async (disk, folder) => {
    await writeAtomic(disk, `${folder}/a`, toUtf8("a"));
    await disk.link(`${folder}/l`, "a");
    await assert.rejects(disk.read(`${folder}/l`, 10), code("disk/wrong-kind"));
    await assert.rejects(disk.open(`${folder}/l`, "write"), code("disk/wrong-kind"));
    assert.equal((await disk.stat(`${folder}/l`)).kind, "link");
    assert.equal(await disk.readLink(`${folder}/l`), "a");
  });

  on("follows links to folders on the way", async (disk, folder) => {
    await makeDirectories(disk, `${folder}/slots/1`);
    await writeAtomic(disk, `${folder}/slots/1/a`, toUtf8("one"));
    await disk.link(`${folder}/current`, "slots/1");
    assert.equal(text(await disk.read(`${folder}/current/a`, 10)), "one");
    assert.deepEqual(await disk.list(`${folder}/current`), ["a"]);
  });

  on("replaces a link by renaming another over it", async (disk, folder) => {
    await disk.link(`${folder}/current`, "slots/1");
    await disk.link(`${folder}/next`, "slots/2");
    await disk.rename(`${folder}/next`, `${folder}/current`);
    assert.equal(await disk.readLink(`${folder}/current`), "slots/2");
    assert.deepEqual(await disk.list(folder), ["current"]);
  });

  on("removes a tree without following its links", async (disk, folder) => {
    await makeDirectories(disk, `${folder}/keep`);
    await writeAtomic(disk, `${folder}/keep/a`, toUtf8("a"));
    await makeDirectories(disk, `${folder}/gone/deep`);
    await disk.link(`${folder}/gone/deep/l`, "../../keep");
    await removeTree(disk, `${folder}/gone`);
    assert.deepEqual(await disk.list(folder), ["keep"]);
    assert.deepEqual(await disk.list(`${folder}/keep`), ["a"]);
  });

  on("holds, lists and removes names that are not UTF-8, byte for byte", async (disk, folder) => {
    if (process.platform === "win32") return;
    const names = ["Gr\udcfc", "Gr\udcfd", "Gr\ufffd", "Grü"];
    const deep = `${folder}/d\udcff`;
    await disk.makeDirectory(deep);
    for (const name of names) await writeAtomic(disk, `${deep}/${name}`, toUtf8(name.toWellFormed()));
    await disk.link(`${deep}/l`, "to\udc80");
    assert.deepEqual(await disk.list(deep), [...names, "l"].sort());
    assert.equal(await disk.readLink(`${deep}/l`), "to\udc80");
    assert.equal((await disk.stat(`${deep}/Gr\udcfc`)).kind, "file");
    await disk.chmod(`${deep}/Gr\udcfc`, 0o600);
    assert.equal((await disk.stat(`${deep}/Gr\udcfc`)).mode, 0o600);
    await disk.rename(`${deep}/Gr\udcfc`, `${deep}/Gr\udcfe`);
    await disk.syncDirectory(deep);
    assert.ok((await disk.free(deep)) > 0);
    assert.equal(text(await disk.read(`${deep}/Gr\udcfd`, 100)), "Gr\ufffd");
    await assert.rejects(disk.read(`${deep}/\udcfc`, 1), code("disk/missing"));
    await removeTree(disk, deep);
    assert.deepEqual(await disk.list(folder), []);
  });

  on("keeps permission bits", async (disk, folder) => {
    await writeAtomic(disk, `${folder}/a`, toUtf8("a"), 0o600);
    assert.equal((await disk.stat(`${folder}/a`)).mode, 0o600);
    await disk.chmod(`${folder}/a`, 0o555);
    assert.equal((await disk.stat(`${folder}/a`)).mode, 0o555);
    await disk.syncDirectory(folder);
    assert.ok((await disk.free(folder)) > 0);
  });
}
