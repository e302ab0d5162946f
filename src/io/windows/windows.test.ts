// What can be said about the Windows side without Windows: layouts, numbers, names, and the checks that stand in for modes and flags.

import assert from "node:assert/strict";
import { constants } from "node:fs";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { parentOf, writeAtomic } from "../../core/disk.ts";
import { FIRST_STATUS, nextStatus } from "../../process/service-status.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { advapi, layouts } from "./_advapi.ts";
import { socketPath } from "../keys/key-process.ts";
import { openPlain } from "../system/open-plain.ts";
import { privateHint } from "../system/platform.ts";
import { withAccessLists } from "./disk.ts";
import { controlOf, statusNumbers } from "./service-manager.ts";

const koffi = await import("koffi").then(
  (module) => module.default,
  () => null,
);
const folder = mkdtempSync(join(tmpdir(), "upkeep-windows-"));
after(() => rmSync(folder, { recursive: true, force: true }));

describe("what the Service Control Manager is told", () => {
  it("has the sizes and places of winsvc.h", koffi === null ? { skip: "koffi is not installed" } : {}, () => {
    const types = layouts(koffi!);
    const size = (name: keyof typeof types): number => koffi!.sizeof(types[name]);
    // The same numbers are asserted by a C compiler with the headers of mingw-w64; see docs/operate/windows.md.
    assert.deepEqual(
      [
        size("status"),
        size("entry"),
        size("text"),
        size("number"),
        size("action"),
        size("failure"),
        size("attributes"),
      ],
      [28, 16, 8, 4, 8, 40, 24],
    );
    assert.deepEqual(
      ["reset", "rebootMessage", "command", "count", "actions"].map((name) =>
        koffi!.offsetof(types.failure, name),
      ),
      [0, 8, 16, 24, 32],
    );
    assert.deepEqual(
      ["length", "descriptor", "inherit"].map((name) => koffi!.offsetof(types.attributes, name)),
      [0, 8, 16],
    );
  });

  it("is a status in numbers: own process, state, what is accepted, error, check point, hint", () => {
    assert.deepEqual([...statusNumbers(FIRST_STATUS)], [0x10, 2, 0, 0, 0, 1, 20_000]);
    const [running] = nextStatus(FIRST_STATUS, { kind: "ready" });
    assert.deepEqual([...statusNumbers(running)], [0x10, 4, 0x1 | 0x4 | 0x8 | 0x100, 0, 0, 0, 0]);
    const [failed] = nextStatus(running, { kind: "ended", exit: 3 });
    assert.deepEqual([...statusNumbers(failed)], [0x10, 1, 0, 1066, 3, 0, 0]);
  });

  it("knows stop, shutdown and preshutdown as one, and no control that it was not made for", () => {
    assert.deepEqual([1, 5, 0xf].map(controlOf), ["stop", "stop", "stop"]);
    assert.deepEqual([6, 4].map(controlOf), ["reload", "interrogate"]);
    // Pause, continue, session change, a user's own.
    assert.deepEqual([2, 3, 0xe, 128, -1].map(controlOf), [
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });

  it(
    "cannot be told elsewhere",
    process.platform === "win32" ? { skip: "this is Windows" } : {},
    async () => {
      await assert.rejects(advapi(), { code: "process/no-services" });
    },
  );
});

describe("files where the system has no modes", () => {
  const disk = new MemoryDisk();
  const secret = new Set<string>();
  let canKeep = true;
  const windows = withAccessLists(disk, {
    isPrivateFile: async (path) => secret.has(path),
    keepPrivate: async (path) => {
      if (canKeep) secret.add(path);
      return canKeep;
    },
  });

  it("are shown as private only if their access list says so", async () => {
    await writeAtomic(disk, "/open", toUtf8("x"), 0o600);
    assert.equal((await windows.stat("/open")).mode & 0o077, 0o066);
    secret.add("/open");
    assert.equal((await windows.stat("/open")).mode & 0o077, 0);
  });

  it("are made private before anything is written, if that is asked for", async () => {
    const file = await windows.open("/key", "create", 0o600);
    assert.ok(secret.has("/key"));
    await file.close();
    await (await windows.open("/public", "create", 0o644)).close();
    assert.ok(!secret.has("/public"));
    await windows.makeDirectory("/keys", 0o700);
    assert.ok(secret.has("/keys"));
  });

  it("are not made at all where they cannot be kept private", async () => {
    canKeep = false;
    await assert.rejects(windows.open("/key-2", "create", 0o600), { code: "disk/io" });
    await assert.rejects(disk.stat("/key-2"), { code: "disk/missing" });
    await assert.rejects(writeAtomic(windows, "/key-3", toUtf8("secret"), 0o600), { code: "disk/io" });
    assert.equal((await disk.read("/key-3.tmp", 100)).length, 0);
    canKeep = true;
  });
});

describe("files where the system has no flag against links", () => {
  const [file, link] = [join(folder, "file"), join(folder, "link")];
  writeFileSync(file, "x");
  symlinkSync(file, link);
  const open = async (path: string, flags: number): Promise<string> => {
    const handle = await openPlain(path, flags, 0o600, false);
    await handle.close();
    return "opened";
  };

  it("are opened, and made", async () => {
    assert.equal(await open(file, constants.O_RDONLY), "opened");
    assert.equal(await open(join(folder, "new"), constants.O_RDWR | constants.O_CREAT), "opened");
  });

  it("are refused when a link is in their place, also one that leads nowhere", async () => {
    await assert.rejects(open(link, constants.O_RDONLY), { code: "ELOOP" });
    const dangling = join(folder, "dangling");
    symlinkSync(join(folder, "nothing"), dangling);
    await assert.rejects(open(dangling, constants.O_RDWR | constants.O_CREAT), { code: "ELOOP" });
  });
});

describe("names of Windows", () => {
  it("have the parents that they have there", () => {
    assert.deepEqual(
      ["C:\\a\\b", "C:/a/b", "C:\\a/b", "C:\\a", "C:/", "C:\\", "/a/b", "/a", "/"].map(parentOf),
      ["C:\\a", "C:/a", "C:\\a", "C:\\", "C:/", "C:\\", "/a", "/", "/"],
    );
  });

  it("of a key's pipe hold what cannot be guessed of its folder", () => {
    assert.equal(
      socketPath("C:\\run\\upkeep-signer-Xy12Zq", "log", "win32"),
      "\\\\.\\pipe\\upkeep-signer-Xy12Zq-log",
    );
    assert.equal(socketPath("/run/x", "log", "linux"), "/run/x/log.sock");
  });

  it("stand in the hint that makes a file private", () => {
    assert.match(privateHint("C:\\a b", "win32"), /^icacls "C:\\a b" \/inheritance:r /);
    assert.equal(privateHint("/a", "linux"), "chmod 600 /a");
  });
});
