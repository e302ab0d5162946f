// Compound files that were built to mislead a reader, and large ones that need every table of the format.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { testStorage, testStream, tinyMsi } from "../../testing/tiny-windows-files.ts";
import { ArtifactError } from "../errors.ts";
import { writeRewrite } from "../rewrite.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { readCompound, type Storage } from "./compound.ts";
import { writeCompound } from "./compound-write.ts";
import { readInstaller, readStream } from "./installer.ts";

async function write(root: Storage, majorVersion: 3 | 4 = 3): Promise<Uint8Array> {
  const sink = new MemorySink();
  await writeRewrite(
    bytesSource(new Uint8Array(0)),
    writeCompound({ majorVersion, root, unowned: [] }),
    sink,
  );
  return sink.bytes;
}

const refused = (bytes: Uint8Array, message: RegExp): Promise<void> =>
  assert.rejects(readCompound(bytesSource(bytes)), (error: unknown) => {
    assert.ok(error instanceof ArtifactError, String(error));
    assert.equal(error.code, "artifact/malformed");
    assert.match(error.message, message);
    return true;
  });

/** A version 3 file with one large and one small stream; places of its parts are where the writer lays them. */
async function sample(): Promise<{ bytes: Uint8Array; view: DataView; fat: number; directory: number }> {
  const bytes = await write(
    testStorage("Root Entry", [
      testStream("Large", new Uint8Array(5000)),
      testStream("Tiny", new Uint8Array(100)),
    ]),
  );
  const view = new DataView(bytes.buffer);
  const sector = (at: number): number => (view.getUint32(at, true) + 1) * 512;
  return { bytes, view, fat: sector(76), directory: sector(48) };
}

describe("reading compound files", () => {
  it("gives back what was written, small and large, version 3 and 4", async () => {
    for (const version of [3, 4] as const) {
      const contents = [0, 1, 63, 64, 65, 4095, 4096, 4097, 100_000].map((size) =>
        new Uint8Array(size).fill(size & 255),
      );
      const names = contents.map((content) => `stream ${content.length}`);
      const root = testStorage(
        "Root Entry",
        contents.map((content, i) => testStream(names[i]!, content)),
      );
      const source = bytesSource(await write(root, version));
      const read = await readCompound(source);
      for (const [i, content] of contents.entries()) {
        const found = read.root.children.find(
          (child) => Buffer.from(child.name).toString("utf16le") === names[i],
        );
        assert.ok(found?.kind === "stream");
        assert.deepEqual(await readStream(source, found), content);
      }
    }
  });

  it("reads files whose allocation table needs a list of its own", async () => {
    const large = new Uint8Array(16 * 1024 * 1024);
    large[large.length - 1] = 7;
    const bytes = await write(testStorage("Root Entry", [testStream("Large", large)]));
    assert.ok(new DataView(bytes.buffer).getUint32(72, true) > 1, "two sectors of that list at least");
    const source = bytesSource(bytes);
    const [stream] = (await readCompound(source)).root.children;
    assert.ok(stream?.kind === "stream" && stream.pieces.length === 1);
    assert.deepEqual(await readStream(source, stream), large);
  });

  it("has a directory that other readers can search", async () => {
    const names = Array.from({ length: 100 }, (_, i) => `n${i}`);
    const bytes = await write(
      testStorage(
        "Root Entry",
        names.map((name) => testStream(name, new Uint8Array(1))),
      ),
    );
    const view = new DataView(bytes.buffer);
    const directory = (view.getUint32(48, true) + 1) * 512;
    const name = (id: number): string => {
      const at = directory + 128 * id;
      return Buffer.from(bytes.subarray(at, at + view.getUint16(at + 64, true) - 2)).toString("utf16le");
    };
    const before = (a: string, b: string): boolean =>
      a.length < b.length || (a.length === b.length && a.toUpperCase() < b.toUpperCase());
    const blackHeights = new Set<number>();
    const walk = (
      id: number,
      low: string | null,
      high: string | null,
      black: number,
      redAbove: boolean,
    ): number => {
      if (id === 0xffff_ffff) {
        blackHeights.add(black);
        return 0;
      }
      const at = directory + 128 * id;
      const red = bytes[at + 67] === 0;
      assert.ok(!(red && redAbove), "no red entry under a red one");
      assert.ok((low === null || before(low, name(id))) && (high === null || before(name(id), high)));
      const next = black + (red ? 0 : 1);
      return (
        1 +
        walk(view.getUint32(at + 68, true), low, name(id), next, red) +
        walk(view.getUint32(at + 72, true), name(id), high, next, red)
      );
    };
    assert.equal(walk(view.getUint32(directory + 76, true), null, null, 0, false), 100);
    assert.equal(blackHeights.size, 1, "every path has as many black entries");
  });

  it("refuses a chain that runs in a circle", async () => {
    const { bytes, view, fat } = await sample();
    view.setUint32(fat + 4, 0, true);
    await refused(bytes, /sector 0 belongs to/);
  });

  it("refuses a sector that two streams share", async () => {
    const { bytes, view, directory } = await sample();
    // The root's stream of small streams is made to begin where the large stream does.
    view.setUint32(directory + 116, 0, true);
    await refused(bytes, /belongs to/);
  });

  it("refuses a directory that points to an entry twice, or to itself", async () => {
    for (const place of [68, 72, 76]) {
      const { bytes, view, directory } = await sample();
      view.setUint32(directory + 128 + place, 1, true);
      view.setUint32(directory + 128 + 72, 1, true);
      await refused(bytes, /points to entry 1 wrongly or twice/);
    }
  });

  it("refuses two entries of one name", async () => {
    const root = testStorage("Root Entry", [
      testStream("Same", new Uint8Array(1)),
      testStream("sAME", new Uint8Array(2)),
    ]);
    await refused(await write(root), /two entries of the same name/);
  });

  it("refuses sizes and places outside of the file before it takes memory for them", async () => {
    const rows = [
      [120, 0x7fff_ffff, /claims 2147483647 bytes/],
      [120, 6000, /claims 6000 bytes and has 10 sectors/],
      [116, 0x0fff_ffff, /which the file does not have/],
      [116, 0xffff_ffff, /which the file does not have/],
    ] as const;
    for (const [place, value, message] of rows) {
      const { bytes, view, directory } = await sample();
      const large = [1, 2].find((id) => view.getUint32(directory + 128 * id + 120, true) === 5000)!;
      view.setUint32(directory + 128 * large + place, value, true);
      await refused(bytes, message);
    }
    for (const place of [44, 48, 60, 76]) {
      const { bytes, view } = await sample();
      view.setUint32(place, 0x00ff_ffff, true);
      await refused(bytes, /malformed/);
    }
  });

  it("refuses storages nested without end", async () => {
    let inner = testStorage("s", []);
    for (let i = 0; i < 20; i++) inner = testStorage("s", [inner]);
    await refused(await write(testStorage("Root Entry", [inner])), /nested more than 16 deep/);
  });

  it("tells installer packages from other compound files", async () => {
    const document = await write(testStorage("Root Entry", [testStream("WordDocument", new Uint8Array(9))]));
    await assert.rejects(readInstaller(bytesSource(document)), { code: "artifact/unsupported" });
    await readInstaller(bytesSource(await tinyMsi()));
  });

  it("refuses a package whose signature was removed and its metadata digest left", async () => {
    const bytes = await tinyMsi(3, [testStream("\u0005MsiDigitalSignatureEx", new Uint8Array(32))]);
    await assert.rejects(readInstaller(bytesSource(bytes)), {
      code: "artifact/malformed",
      message: /removed/,
    });
  });
});
