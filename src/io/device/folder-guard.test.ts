// A data folder that others may write, or keys that they may read, are refused with what to do.

import assert from "node:assert/strict";
import { chmodSync, chownSync, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { guardFolder, narrowFolder } from "./folder-guard.ts";

const root = mkdtempSync(join(tmpdir(), "upkeep-guard-"));
after(() => rmSync(root, { recursive: true }));
const skip = process.platform === "win32" ? "Windows has access lists instead" : false;
let count = 0;

function folder(): string {
  const at = join(root, `f${count++}`);
  for (const sub of ["", "/identity", "/components", "/tuf"]) mkdirSync(`${at}${sub}`, { mode: 0o750 });
  for (const name of ["device.pem", "report.key", "identity.json"])
    writeFileSync(join(at, "identity", name), "x", { mode: 0o600 });
  writeFileSync(join(at, "agent.toml"), "", { mode: 0o644 });
  return at;
}

describe("the agent's folder", { skip }, () => {
  it("is taken as the agent makes it, also when others may look into it", async () => {
    const at = folder();
    await guardFolder(at);
    chmodSync(at, 0o755);
    await guardFolder(at);
    await guardFolder(join(root, "not-there"));
  });

  for (const [place, mode, why] of [
    ["", 0o770, /its group may write it \(mode 770\)/],
    ["", 0o757, /everybody may write it/],
    ["components", 0o777, /everybody may write it/],
    ["tuf", 0o775, /its group may write it/],
    ["identity", 0o772, /everybody may write it/],
    ["identity/identity.json", 0o622, /everybody may write it/],
    ["agent.toml", 0o664, /its group may write it/],
    ["identity/device.pem", 0o640, /others may read it \(mode 640\)/],
    ["identity/report.key", 0o604, /others may read it/],
  ] as const) {
    it(`is refused with mode ${mode.toString(8)} of ${place === "" ? "itself" : place}`, async () => {
      const at = folder();
      chmodSync(join(at, place), mode);
      await assert.rejects(guardFolder(at), { code: "agent/exposed-folder", message: why, hint: /chmod/ });
    });
  }

  it(
    "is refused when it belongs to somebody else",
    { skip: process.getuid?.() === 0 ? false : "only root can give a folder away" },
    async () => {
      const at = folder();
      chownSync(join(at, "components"), 1234, 1234);
      await assert.rejects(guardFolder(at), {
        code: "agent/exposed-folder",
        message: /belongs to user 1234/,
      });
    },
  );

  it("that existed is narrowed at enrolment, unless it holds what is not ours", async () => {
    const mode = (at: string): number => lstatSync(at).mode & 0o7777;
    const at = join(root, "before");
    mkdirSync(at);
    chmodSync(at, 0o777);
    writeFileSync(join(at, "agent.toml"), "");
    await narrowFolder(at, 0o750);
    assert.equal(mode(at), 0o750);
    const shared = join(root, "shared");
    mkdirSync(shared);
    chmodSync(shared, 0o1777);
    writeFileSync(join(shared, "letter"), "");
    await narrowFolder(shared, 0o750);
    assert.equal(mode(shared), 0o1777);
  });
});
