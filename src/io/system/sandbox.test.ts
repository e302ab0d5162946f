// A child without network: that it really has none, and that its pipes, its process id and its sockets by path are as they were.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { findNoNewPrivileges, findSandbox, networkOf } from "./sandbox.ts";

const sandbox = findSandbox();
const folder = mkdtempSync(join(tmpdir(), "upkeep-sandbox-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a line of JavaScript that prints one JSON value. */
function run(
  inside: typeof sandbox,
  code: string,
): Promise<{ readonly pid: number; readonly said: unknown }> {
  const plain = [process.execPath, ["-e", code]] as const;
  const [program, args] = inside === null ? plain : inside.wrap(...plain);
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"], timeout: 20_000 });
  let text = "";
  child.stdout.on("data", (part: Buffer) => (text += part.toString()));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", () => resolve({ pid: child.pid!, said: JSON.parse(text) as unknown }));
  });
}

const tryConnect = (where: string): string =>
  `const s=require("node:net").connect(${where});s.on("connect",()=>{console.log('"open"');s.destroy()});s.on("error",e=>console.log(JSON.stringify(e.code)))`;

describe("a process without network", { skip: sandbox === null ? "this system gives none" : false }, () => {
  it("reaches nothing that listens on this machine, and no address outside", async () => {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    try {
      const loopback = tryConnect(`${port},"127.0.0.1"`);
      assert.equal((await run(null, loopback)).said, "open");
      assert.notEqual((await run(sandbox, loopback)).said, "open");
      assert.equal((await run(sandbox, tryConnect('9,"192.0.2.1"'))).said, "ENETUNREACH");
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it("is the process that was started, so that it can be ended by its id", async () => {
    const { pid, said } = await run(sandbox, "console.log(process.pid)");
    assert.equal(said, pid);
  });

  it("still listens on and reaches sockets by path", async () => {
    const path = join(folder, "key.sock");
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      assert.equal((await run(sandbox, tryConnect(JSON.stringify(path)))).said, "open");
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it("has another network namespace than we, no new privileges, and no right to go back", async () => {
    const facts = `const fs=require("node:fs");const status=fs.readFileSync("/proc/self/status","utf8");let out="back";try{fs.readlinkSync("/proc/1/ns/net")}catch(e){out=e.code}
console.log(JSON.stringify({net:fs.readlinkSync("/proc/self/ns/net"),caps:/CapEff:\\s*(\\w+)/.exec(status)[1],uid:process.getuid()}))`;
    const said = (await run(sandbox, facts)).said as { net: string; caps: string; uid: number };
    assert.notEqual(said.net, networkOf("self"));
    assert.equal(said.uid, process.getuid?.());
    // CAP_SYS_ADMIN is bit 21: with it setns(2) leads back.
    if (sandbox!.how.includes("no new privileges")) assert.equal(BigInt(`0x${said.caps}`) & (1n << 21n), 0n);
  });
});

describe(
  "a process with network",
  { skip: findNoNewPrivileges() === null ? "setpriv is not here" : false },
  () => {
    it("gets no new privileges either", async () => {
      const { said } = await run(
        findNoNewPrivileges(),
        'console.log(/NoNewPrivs:\\s*(\\d)/.exec(require("node:fs").readFileSync("/proc/self/status","utf8"))[1])',
      );
      assert.equal(said, 1);
    });
  },
);
