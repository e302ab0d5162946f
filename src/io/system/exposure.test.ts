// Folders of keys and records: private when they are made or taken over, refused when others could change them.

import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { makePrivateDirectory } from "../../core/disk.ts";
import { systemDisk } from "./disk.ts";
import { refuseExposed } from "./exposure.ts";

const root = mkdtempSync(join(tmpdir(), "upkeep-exposure-"));
after(() => rmSync(root, { recursive: true }));
const skip = process.platform === "win32" ? "Windows has access lists instead" : false;
const mode = (at: string): number => lstatSync(at).mode & 0o7777;
let count = 0;

function folder(its: number): string {
  const at = join(root, `f${count++}`);
  mkdirSync(at);
  chmodSync(at, its);
  return at;
}

describe("a folder of keys and records", { skip }, () => {
  it("is made private", async () => {
    const at = join(root, "new", "deep");
    await makePrivateDirectory(systemDisk, at);
    assert.equal(mode(at), 0o700);
  });

  it("that was there and is empty becomes private", async () => {
    const at = folder(0o755);
    await makePrivateDirectory(systemDisk, at);
    assert.equal(mode(at), 0o700);
  });

  it("that holds something keeps the mode that its owner gave it", async () => {
    const at = folder(0o750);
    writeFileSync(join(at, "note"), "");
    await makePrivateDirectory(systemDisk, at);
    assert.equal(mode(at), 0o750);
  });

  it("is never made wider than it was", async () => {
    const at = folder(0o577);
    await makePrivateDirectory(systemDisk, at);
    assert.equal(mode(at), 0o500);
  });

  it("that others may only look into is taken", async () => {
    const at = folder(0o755);
    await refuseExposed(at, ["missing"]);
    await refuseExposed(join(root, "not-there"));
  });

  for (const [its, why] of [
    [0o770, /its group may write it \(mode 770\)/],
    [0o757, /everybody may write it \(mode 757\)/],
  ] as const) {
    it(`with mode ${its.toString(8)} is refused with what to type`, async () => {
      const at = folder(its);
      await assert.rejects(refuseExposed(at), { code: "disk/exposed", message: why, hint: /chmod go-w/ });
    });
  }

  it("is refused for a file in it that others may write, and a link says nothing of its own", async () => {
    const at = folder(0o700);
    writeFileSync(join(at, "settings"), "");
    chmodSync(join(at, "settings"), 0o666);
    symlinkSync("settings", join(at, "link"));
    await refuseExposed(at, ["link"]);
    await assert.rejects(refuseExposed(at, ["settings"]), { code: "disk/exposed", message: /settings/ });
  });

  it(
    "that belongs to another user is refused",
    { skip: process.getuid?.() === 0 ? false : "only root can give a folder away" },
    async () => {
      const at = folder(0o700);
      chownSync(at, 1234, 1234);
      await assert.rejects(refuseExposed(at), {
        code: "disk/exposed",
        message: /belongs to user 1234/,
        hint: /chown/,
      });
    },
  );
});
