// Sockets that real programs of another language inherit: by number, name and process; taken back by the next agent; and who answers on them.

import assert from "node:assert/strict";
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { RunningProcess } from "../../process/ports.ts";
import type { SocketPlace } from "../../release/sockets.ts";
import { bindTcp } from "./_bind.ts";
import { systemSockets } from "./held-sockets.ts";
import { systemProbes } from "./probes.ts";
import { systemProcesses } from "./process.ts";

const PYTHON = "/usr/bin/python3";
const here = process.platform === "linux" && existsSync(PYTHON);
const skip = here ? false : "Linux with /usr/bin/python3 is needed for a program that inherits sockets";
const perl = existsSync("/usr/bin/perl") && process.geteuid?.() === 0;
const noPerl = perl ? false : "root and /usr/bin/perl are needed to take a socket from a running program";

/** As its documentation says a program uses socket activation: descriptor 3, LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID. */
const SERVER = `
import os, socket, sys, threading
assert os.environ["LISTEN_PID"] == str(os.getpid()), "LISTEN_PID is that of another process"
assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_FDNAMES"] == "http"
server = socket.socket(fileno=3)
server.listen()
if "NOTIFY_SOCKET" in os.environ:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.sendto(b"STATUS=up\\nREADY=1", os.environ["NOTIFY_SOCKET"])
print("listening", flush=True)
while True:
    conn, _ = server.accept()
    conn.recv(65536)
    conn.sendall(("HTTP/1.1 %s X\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n" % sys.argv[1]).encode())
    conn.close()
`;

let folder: string;
let count = 0;
const started: RunningProcess[] = [];
before(() => {
  folder = mkdtempSync(join(tmpdir(), "upkeep-sockets-"));
  writeFileSync(join(folder, "server.py"), SERVER);
});
after(async () => {
  for (const one of started) await one.stop(100);
  for (const owner of ["a", "b", "c", "d"]) await systemSockets.keepOnly(owner, []);
  rmSync(folder, { recursive: true, force: true });
});

async function start(
  descriptor: number,
  status: string,
  ready?: { file: string; socket: string },
): Promise<RunningProcess & { readonly log: string }> {
  const token = `e${(++count).toString(16).padStart(31, "0")}`;
  const log = join(folder, `${count}.log`);
  const found = await systemProcesses.spawn({
    program: PYTHON,
    args: [join(folder, "server.py"), status],
    cwd: folder,
    env: { PATH: "/usr/bin:/bin", UPKEEP_INSTANCE: token },
    log,
    token,
    sockets: [{ name: "http", descriptor }],
    ...(ready === undefined ? {} : { ready }),
  });
  started.push(found);
  for (let i = 0; i < 400 && !readFileSync(log, "utf8").includes("listening"); i++) await delay(25);
  assert.match(readFileSync(log, "utf8"), /^listening/);
  return { ...found, log };
}

async function freePlace(): Promise<Extract<SocketPlace, { kind: "tcp" }>> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return { kind: "tcp", host: "127.0.0.1", port };
}

const inode = (pid: number | "self", fd: number): string => readlinkSync(`/proc/${pid}/fd/${fd}`);
const status = async (port: number, by: RunningProcess): Promise<unknown> => {
  const answer = await systemProbes.http(port, "/", 5000, by.identity);
  return answer.kind === "status" ? answer.status : answer;
};

describe("a program of another language", { skip }, () => {
  it("inherits the socket as socket activation has it, with its own process number", async () => {
    const place = await freePlace();
    const found = await start(await systemSockets.hold("a", place, null), "200");
    assert.equal(await status(place.port, found), 200);
  });

  it("finds connections that waited while nobody accepted", async () => {
    const place = await freePlace();
    const descriptor = await systemSockets.hold("a", place, null);
    const first = await start(descriptor, "200");
    await first.stop(2000);
    const waiting = systemProbes.http(place.port, "/", 20_000, null);
    await start(descriptor, "201");
    const answer = await waiting;
    assert.ok(
      answer.kind === "stranger" || (answer.kind === "status" && answer.status === 201),
      JSON.stringify(answer),
    );
  });

  it("is asked itself when two versions accept from one socket", async () => {
    const place = await freePlace();
    const descriptor = await systemSockets.hold("a", place, null);
    const before = await start(descriptor, "200");
    const next = await start(descriptor, "500");
    for (let i = 0; i < 5; i++) {
      const [old, young] = await Promise.all(
        [before, next].map((one) => systemProbes.httpOf(place.port, "/", 10_000, one.identity)),
      );
      assert.deepEqual(old, { kind: "status", status: 200 });
      assert.deepEqual(young, { kind: "status", status: 500 });
    }
  });

  it(
    "says over sd_notify's socket that it serves, and the word is kept in a file",
    { skip: noPerl },
    async () => {
      const place = await freePlace();
      const ready = { file: join(folder, "word"), socket: join(folder, "word.socket") };
      await start(await systemSockets.hold("a", place, null), "200", ready);
      for (let i = 0; i < 200 && readFileSync(ready.file, "utf8") === ""; i++) await delay(25);
      assert.equal(readFileSync(ready.file, "utf8"), "READY=1\n");
      for (let i = 0; i < 200 && existsSync(ready.socket); i++) await delay(25);
      assert.equal(existsSync(ready.socket), false, "who listened for it has ended");
    },
  );
});

describe("an agent that comes after one that was killed", { skip }, () => {
  it("gets the very socket that the program holds", { skip: noPerl }, async () => {
    const place = await freePlace();
    const found = await start(await systemSockets.hold("b", place, null), "200");
    await systemSockets.keepOnly("b", []);
    const descriptor = await systemSockets.hold("c", place, found.identity);
    assert.equal(inode("self", descriptor), inode(found.identity.pid, 3));
    assert.equal(await status(place.port, found), 200, "nobody else accepts from it");
    const next = await start(descriptor, "201");
    await found.stop(2000);
    assert.equal(await status(place.port, next), 201);
  });

  it("gets a socket file back in the same way", { skip: noPerl }, async () => {
    const place: SocketPlace = { kind: "unix", path: join(folder, "u.sock") };
    const found = await start(await systemSockets.hold("b", place, null), "200");
    assert.equal(statSync(place.path).mode & 0o777, 0o666);
    // The first agent's own descriptor is of no use to the next one.
    const descriptor = await systemSockets.hold("b", place, found.identity);
    assert.equal(inode("self", descriptor), inode(found.identity.pid, 3));
  });

  it("can put a second socket beside it where it cannot be had", async () => {
    const place = await freePlace();
    await start(await systemSockets.hold("b", place, null), "200");
    const second = bindTcp(place.host, place.port);
    assert.ok(typeof second !== "string", String(second));
    second.close();
  });
});

describe("a place for a socket", { skip }, () => {
  it("where another program listens is refused by its name", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const wanted = systemSockets.hold("d", { kind: "tcp", host: "127.0.0.1", port }, null);
    await assert.rejects(wanted, {
      code: "process/port-taken",
      message: new RegExp(`process ${process.pid} `),
    });
    const all = systemSockets.hold("d", { kind: "tcp", host: null, port }, null);
    await assert.rejects(all, { code: "process/port-taken" });
    server.close();
  });

  it("that another component has is refused by its name", async () => {
    const place = await freePlace();
    await systemSockets.hold("a", place, null);
    await assert.rejects(systemSockets.hold("d", place, null), {
      code: "process/port-taken",
      message: /the component a of this device/,
    });
  });

  it("is one, however often it is asked for, and free again afterwards", async () => {
    const place = await freePlace();
    const first = await systemSockets.hold("d", place, null);
    assert.equal(await systemSockets.hold("d", place, null), first);
    await systemSockets.keepOnly("d", []);
    assert.notEqual(typeof bindTcp(place.host, place.port), "string");
  });

  it("that is a file of somebody is left alone; a socket that nobody listens on is replaced", async () => {
    const path = join(folder, "plain");
    writeFileSync(path, "precious");
    await assert.rejects(systemSockets.hold("d", { kind: "unix", path }, null), {
      code: "process/no-socket",
    });
    assert.equal(readFileSync(path, "utf8"), "precious");
    const stale: SocketPlace = { kind: "unix", path: join(folder, "stale.sock") };
    await systemSockets.hold("d", stale, null);
    const again = await systemSockets.hold("c", { kind: "unix", path: join(folder, "other.sock") }, null);
    assert.ok(again > 0);
  });

  it("that this machine does not have is named", async () => {
    const place: SocketPlace = { kind: "tcp", host: "203.0.113.7", port: 18_999 };
    await assert.rejects(systemSockets.hold("d", place, null), {
      code: "process/no-socket",
      message: /EADDRNOTAVAIL/,
    });
  });
});
