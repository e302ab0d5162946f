// Going back with real trees: what a component's data has of owner, modes, times, links, holes, pipes and attributes comes back, or it is said before.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
  chownSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { differenceOf, type DataTrees } from "../../slot/data-trees.ts";
import { layoutOf, type Layout } from "../../slot/layout.ts";
import { makeComponent } from "../../slot/install.ts";
import { prepareSnapshot, restoreSnapshot, takeSnapshot } from "../../slot/snapshot.ts";
import { nodeTrees, systemTrees } from "./data-trees.ts";
import { systemDisk } from "./disk.ts";

const root = mkdtempSync(join(tmpdir(), "upkeep-data-"));
after(() => rmSync(root, { recursive: true }));
const isRoot = process.getuid?.() === 0;
const hasCp = systemTrees().unseen === null;
const LIMIT = 1024 ** 3;
const skipUnless = (found: boolean, reason: string): { skip: string | false } => ({
  skip: found ? false : reason,
});

let count = 0;
async function component(): Promise<Layout> {
  const layout = layoutOf(join(root, `c${count++}`));
  await makeComponent(systemDisk, layout);
  return layout;
}

/** What every way of copying has to keep. */
function fill(data: string): void {
  mkdirSync(join(data, "deep/er"), { recursive: true });
  writeFileSync(join(data, "deep/db"), "before");
  chmodSync(join(data, "deep/db"), 0o666);
  linkSync(join(data, "deep/db"), join(data, "same"));
  writeFileSync(Buffer.concat([Buffer.from(`${data}/Gr`), Buffer.of(0xfc)]), "raw");
  symlinkSync("deep/db", join(data, "link"));
  symlinkSync("nowhere", join(data, "dangling"));
  const sparse = openSync(join(data, "sparse"), "w");
  writeSync(sparse, "end", 8 * 1024 * 1024);
  ftruncateSync(sparse, 16 * 1024 * 1024);
  closeSync(sparse);
  writeFileSync(join(data, "tool"), "#!/bin/sh");
  if (isRoot) {
    chownSync(join(data, "deep"), 1234, 2345);
    chownSync(join(data, "tool"), 1234, 0);
  }
  chmodSync(join(data, "tool"), 0o6755);
  chmodSync(join(data, "deep"), 0o1777);
  chmodSync(join(data, "deep/er"), 0o2770);
  utimesSync(join(data, "tool"), 1, 1_234_567_890.123456);
  lutimesSync(join(data, "link"), 1, 1_000_000_000);
  utimesSync(join(data, "deep"), 1, 1_111_111_111.5);
  utimesSync(data, 1, 1_222_222_222.25);
}

function spoil(data: string): void {
  writeFileSync(join(data, "deep/db"), "after the update");
  rmSync(join(data, "tool"));
  mkdirSync(join(data, "new"));
  chmodSync(data, 0o700);
}

async function goBack(layout: Layout, trees: DataTrees): Promise<void> {
  const before = await trees.survey(layout.data);
  const outlook = await prepareSnapshot(systemDisk, trees, layout, "a", LIMIT);
  assert.equal(outlook.kind, "ready");
  assert.deepEqual(readdirSync(layout.snapshots), [], "only looked");
  assert.notEqual(await takeSnapshot(systemDisk, trees, layout, "a", LIMIT), null);
  spoil(layout.data);
  await restoreSnapshot(systemDisk, layout, "a");
  const now = await trees.survey(layout.data);
  assert.equal(differenceOf(before, now, "all"), null);
  assert.equal(differenceOf(now, before, "all"), null);
  assert.deepEqual(readdirSync(layout.folder).sort(), ["data", "slots", "snapshots"]);
  // As if the note of it had been lost.
  await restoreSnapshot(systemDisk, layout, "a");
  assert.equal(differenceOf(before, await trees.survey(layout.data), "all"), null);
}

for (const [name, trees, able] of [
  ["by the cp of coreutils", systemTrees(), hasCp],
  ["by Node alone", nodeTrees, process.platform !== "win32"],
] as const) {
  describe(`data that is copied ${name}`, skipUnless(able, "this system has no coreutils"), () => {
    it("comes back with owner, modes, times, hard links, holes and names that are not UTF-8, under any umask", async () => {
      const layout = await component();
      fill(layout.data);
      const umask = process.umask(0o077);
      try {
        await goBack(layout, trees);
      } finally {
        process.umask(umask);
      }
      assert.equal(readFileSync(join(layout.data, "same"), "utf8"), "before");
      assert.equal(lstatSync(join(layout.data, "same")).ino, lstatSync(join(layout.data, "deep/db")).ino);
      assert.ok(lstatSync(join(layout.data, "sparse")).blocks * 512 < 1024 * 1024, "its holes are holes");
      assert.equal(
        readFileSync(join(layout.data, "sparse"))
          .subarray(8 * 1024 * 1024, 8 * 1024 * 1024 + 3)
          .toString(),
        "end",
      );
      if (isRoot) assert.equal(lstatSync(join(layout.data, "tool")).uid, 1234);
      assert.equal(lstatSync(join(layout.data, "tool")).mode & 0o7777, 0o6755);
    });

    it("is counted by what it takes on the disk: holes and further names are no bytes", async () => {
      const layout = await component();
      fill(layout.data);
      const bytes = await takeSnapshot(systemDisk, trees, layout, "a", LIMIT);
      assert.ok(bytes !== null && bytes < 100_000, String(bytes));
    });

    it("is refused beforehand where another volume is mounted, or the folder is a link", async () => {
      const layout = await component();
      mkdirSync(join(layout.folder, "elsewhere"));
      writeFileSync(join(layout.folder, "elsewhere/db"), "x");
      rmSync(layout.data, { recursive: true });
      symlinkSync("elsewhere", layout.data);
      await assert.rejects(prepareSnapshot(systemDisk, trees, layout, "a", LIMIT), {
        code: "slot/data-not-kept",
        message: /it is no folder/,
      });
    });

    it("is copied although entries come and go while a program writes", async () => {
      const layout = await component();
      fill(layout.data);
      const busy = setInterval(() => {
        writeFileSync(join(layout.data, "journal"), String(count++));
        rmSync(join(layout.data, "journal"));
      }, 1);
      try {
        assert.equal((await prepareSnapshot(systemDisk, trees, layout, "a", LIMIT)).kind, "ready");
      } finally {
        clearInterval(busy);
      }
    });
  });
}

describe("special files in data", () => {
  const socketAt = async (path: string): Promise<() => void> => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return () => server.close();
  };

  it("come back with coreutils", skipUnless(hasCp, "this system has no coreutils"), async () => {
    const layout = await component();
    fill(layout.data);
    spawnSync("mkfifo", ["-m", "640", join(layout.data, "pipe")]);
    const close = await socketAt(join(layout.data, "socket"));
    await goBack(layout, systemTrees());
    assert.equal(lstatSync(join(layout.data, "pipe")).isFIFO(), true);
    assert.equal(lstatSync(join(layout.data, "socket")).isSocket(), true);
    close();
  });

  it(
    "are refused beforehand without",
    skipUnless(process.platform !== "win32", "Windows has none"),
    async () => {
      const layout = await component();
      spawnSync("mkfifo", [join(layout.data, "pipe")]);
      await assert.rejects(prepareSnapshot(systemDisk, nodeTrees, layout, "a", LIMIT), {
        code: "slot/data-not-kept",
        message: /is a pipe/,
      });
      assert.deepEqual(readdirSync(layout.snapshots), []);
    },
  );
});

describe("extended attributes and access lists of data", () => {
  const have = (program: string): boolean => spawnSync(program, ["--version"]).status === 0;
  const tools = have("setfattr") && have("setfacl");

  it(
    "come back with coreutils",
    skipUnless(hasCp && tools, "setfattr or setfacl is not installed"),
    async (test) => {
      const layout = await component();
      fill(layout.data);
      const path = join(layout.data, "deep/db");
      const set = spawnSync("setfattr", ["-n", "user.who", "-v", "me", path]);
      if (set.status !== 0) return test.skip("this file system has no extended attributes");
      spawnSync("setfacl", ["-m", "u:1234:rwx", path]);
      spawnSync("setfacl", ["-d", "-m", "u:1234:rwx", join(layout.data, "deep")]);
      const told = (): string =>
        spawnSync("getfattr", ["-d", path], { encoding: "utf8" }).stdout +
        spawnSync("getfacl", ["-R", layout.data], { encoding: "utf8" }).stdout;
      const before = told();
      assert.match(before, /user\.who="me"[\s\S]*default:user:1234:rwx/);
      await goBack(layout, systemTrees());
      assert.equal(told(), before);
    },
  );

  it("are said to be unseen without coreutils", () => {
    assert.match(nodeTrees.unseen!, /Extended attributes and access lists/);
    assert.equal(existsSync("/usr/bin/stdbuf") || existsSync("/bin/stdbuf"), hasCp);
  });
});

describe("owners that cannot be given", () => {
  it(
    "are refused before anything is stopped, by name",
    skipUnless(isRoot && hasCp, "only root can make a file of another owner"),
    async () => {
      const layout = await component();
      fill(layout.data);
      // A way of copying that loses the owner without a word, as any does that runs without the right to give files away.
      const lossy: DataTrees = {
        ...systemTrees(),
        outline: async (from, to) => void spawnSync("cp", ["-a", "--no-preserve=ownership", from, to]),
      };
      await assert.rejects(prepareSnapshot(systemDisk, lossy, layout, "a", LIMIT), {
        code: "slot/data-not-kept",
        message: /"deep".*its owner 1234:2345 became 0:0/,
      });
    },
  );
});
