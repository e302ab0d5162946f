// The noun `daemon` where there is no Windows: what it shows, and what it refuses.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Terminal } from "../../framework/terminal.ts";
import { runProgram } from "../../framework/program.ts";
import { TABLE } from "../table.ts";

async function upkeep(...words: readonly string[]): Promise<{ exit: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  const terminal: Terminal = {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    stdin: process.stdin,
    env: {},
    home: "/nowhere",
  };
  return { exit: await runProgram({ table: TABLE, version: "0" }, words, terminal), out, err };
}

describe("upkeep daemon", () => {
  it("prints what it would make", async () => {
    const { exit, out } = await upkeep("daemon", "install", "signer", "--print", "--json");
    assert.equal(exit, 0);
    const made = JSON.parse(out) as { [name: string]: unknown };
    assert.equal(made["account"], "NT SERVICE\\upkeep-signer");
    assert.equal(made["folder"], "C:\\ProgramData\\upkeep-signer");
    assert.match(String(made["command"]), /^"C:\\.+node\.exe" .+ daemon run signer --folder /);
    assert.match(String(made["access"]), /^O:BAD:PAI\(/);
  });

  it("hands words after -- to the program, quoted", async () => {
    const { out } = await upkeep("daemon", "install", "server", "--print", "--json", "--", "--name", "a b");
    assert.match((JSON.parse(out) as { command: string }).command, / -- --name "a b"$/);
  });

  it("makes, starts and stops nothing on a system without services", async () => {
    if (process.platform === "win32") return;
    for (const verb of ["install", "uninstall", "start", "stop", "reload", "status", "run"]) {
      const { exit, out, err } = await upkeep("daemon", verb, "gateway", "--json");
      assert.deepEqual(
        [exit, out, (JSON.parse(err) as { error: { code: string } }).error.code],
        [1, "", "process/no-services"],
        verb,
      );
    }
  });

  it("refuses the agent, which needs what only Linux has", async () => {
    const { exit, err } = await upkeep("daemon", "install", "agent", "--print");
    assert.equal(exit, 1);
    assert.match(err, /agent is no Windows service yet/);
  });

  it("refuses other programs and folders that are none", async () => {
    assert.equal((await upkeep("daemon", "reload", "server")).exit, 2);
    assert.equal((await upkeep("daemon", "install", "spooler", "--print")).exit, 2);
    for (const folder of ["upkeep", "C:\\", "\\\\server\\share", "C:\\a\\..\\b", "/var/lib/upkeep"])
      assert.equal(
        (await upkeep("daemon", "install", "signer", "--print", "--folder", folder)).exit,
        2,
        folder,
      );
  });
});
