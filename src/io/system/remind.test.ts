// A real program is told to read again by a signal, and only if it catches it.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { after, describe, it } from "node:test";
import { bootId, hasProc, processFacts } from "./proc.ts";
import { remind } from "./remind.ts";

const children: ChildProcess[] = [];
after(() => children.forEach((child) => child.kill("SIGKILL")));

async function program(code: string): Promise<{ child: ChildProcess; said: () => string }> {
  const child = spawn(process.execPath, ["-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, UPKEEP_INSTANCE: "a".repeat(32) },
  });
  children.push(child);
  let said = "";
  await new Promise<void>((resolve) => {
    child.stdout!.on("data", (part: Buffer) => {
      said += part.toString();
      resolve();
    });
  });
  return { child, said: () => said };
}

async function identityOf(child: ChildProcess) {
  const facts = await processFacts(child.pid!);
  return { pid: child.pid!, startTime: facts?.startTime ?? "", boot: await bootId(), token: "a".repeat(32) };
}

describe("telling a program to read again", () => {
  it("reaches one that catches the signal", async () => {
    const { child } = await program(
      'process.on("SIGHUP", () => { console.log("again"); }); console.log("up"); setInterval(() => {}, 1000);',
    );
    const again = new Promise<void>((resolve) => {
      child.stdout!.on("data", (part: Buffer) => {
        if (part.toString().includes("again")) resolve();
      });
    });
    assert.equal(await remind(await identityOf(child), "SIGHUP"), "sent");
    await again;
    assert.equal(child.exitCode, null);
  });

  it("spares one that would end by it", async (t) => {
    if (!(await hasProc())) return t.skip("no /proc here: nothing tells who catches what");
    const { child } = await program('console.log("up"); setInterval(() => {}, 1000);');
    assert.equal(await remind(await identityOf(child), "SIGHUP"), "not-caught");
    assert.equal(child.exitCode ?? child.signalCode, null);
  });

  it("says so when the program is gone, and reaches no other with its number", async () => {
    const { child } = await program('console.log("up"); setInterval(() => {}, 1000);');
    const identity = await identityOf(child);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    assert.equal(await remind(identity, "SIGHUP"), "gone");
    assert.equal(await remind({ ...identity, pid: process.pid }, "SIGHUP"), "gone");
  });
});
