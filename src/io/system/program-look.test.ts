// Real files as the kernel sees them: what would be handed to a shell is refused, and what is missing on this machine is named.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { ProcessIdentity, RunningProcess } from "../../process/ports.ts";
import { systemPorts } from "./listeners.ts";
import { systemProbes } from "./probes.ts";
import { systemProcesses } from "./process.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "upkeep-look-"));
});
after(() => rm(folder, { recursive: true, force: true }));

let count = 0;
const ENV = { PATH: "/usr/bin:/bin" };
async function file(bytes: string | Uint8Array, mode = 0o755): Promise<string> {
  const path = join(folder, `program-${++count}`);
  await writeFile(path, bytes);
  await chmod(path, mode);
  return path;
}
const look = (program: string) => systemProcesses.look({ program, cwd: folder, env: ENV });

/** This very Node with another machine in its header. */
async function foreign(machine: number): Promise<Uint8Array> {
  const bytes = (await readFile("/bin/true")).subarray();
  new DataView(bytes.buffer, bytes.byteOffset).setUint16(18, machine, true);
  return bytes;
}

describe("a program before it is started", () => {
  it("is taken for what it is: a binary, a script, a script by env", async () => {
    assert.equal(await look("/bin/true"), null);
    assert.equal(await look(await file("#!/bin/sh\nexit 0\n")), null);
    assert.equal(await look(await file("#!/usr/bin/env sh\nexit 0\n")), null);
    assert.equal(await look(await file("#!/usr/bin/env -S sh -e\nexit 0\n")), null);
  });

  it("is never handed to a shell: without a header, of another machine, damaged (foreign code run as commands)", async () => {
    const mark = join(folder, "shell-was-here");
    const attacks: readonly (readonly [string, string | Uint8Array])[] = [
      ["text without #!", `touch ${mark}\n`],
      ["a program for arm64", await foreign(183)],
      ["a program for RISC-V", await foreign(243)],
      ["an archive", Buffer.from(`PK\u0003\u0004\ntouch ${mark}\n`.padEnd(200))],
      ["nothing", ""],
    ];
    for (const [what, bytes] of attacks) {
      const program = await file(bytes);
      const spec = { program, args: [], cwd: folder, env: ENV };
      await assert.rejects(
        systemProcesses.spawn({ ...spec, log: join(folder, "log"), token: "a".repeat(32) }),
        { code: "process/wrong-program" },
        what,
      );
      const probed = await systemProbes.command(spec, 2000);
      assert.equal(probed.kind === "exit" && probed.exit.code, 126, what);
    }
    assert.equal(await readFile(mark).catch(() => null), null);
  });

  it("is at fault itself when it is no executable file or has Windows line ends", async () => {
    for (const [program, reason] of [
      [await file("#!/bin/sh\n", 0o644), /not marked as executable/],
      [await file("#!/bin/sh\r\nexit 0\r\n"), /carriage return/],
      [folder, /no plain file/],
      [join(folder, "nowhere"), /is not there/],
    ] as const) {
      const unfit = await look(program);
      assert.equal(unfit?.code, "process/wrong-program");
      assert.match(unfit.reason, reason);
    }
  });

  it("is not at fault when this machine lacks its interpreter or its loader", async () => {
    const loader = (await readFile("/bin/true")).toString("latin1");
    const other = Buffer.from(
      loader.replace("/lib64/ld-linux-x86-64.so.2", "/lib64/ld-nowhr-x86-64.so.2"),
      "latin1",
    );
    const rows: (readonly [string, RegExp])[] = [
      [await file("#!/opt/none/bin/python3\n"), /"\/opt\/none\/bin\/python3" is not on this device/],
      [
        await file("#!/usr/bin/env no-such-interpreter\n"),
        /"no-such-interpreter" is in no folder of the PATH/,
      ],
      [await file(`#!${await file("#!/bin/sh\n", 0o644)}\n`), /may not be executed/],
    ];
    if (process.arch === "x64") rows.push([await file(other), /loader \/lib64\/ld-nowhr/]);
    for (const [program, reason] of rows) {
      const unfit = await look(program);
      assert.equal(unfit?.code, "process/cannot-start", String(reason));
      assert.match(unfit.reason, reason);
    }
  });

  const mounts = process.getuid?.() === 0 && spawnSync("mount", ["--version"]).status === 0;
  it(
    "is not at fault on a volume that is mounted noexec, and the volume is named",
    { skip: mounts ? false : "only root can mount a volume" },
    async (t) => {
      const volume = join(folder, "noexec");
      await mkdir(volume);
      const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "noexec", "tmpfs", volume]);
      if (mounted.status !== 0) return t.skip("this machine mounts nothing for us");
      try {
        const program = join(volume, "true");
        await copyFile("/bin/true", program);
        const unfit = await look(program);
        assert.equal(unfit?.code, "process/cannot-start");
        assert.match(unfit.reason, new RegExp(`${volume} is mounted noexec`));
        assert.match(unfit.hint ?? "", /remount,exec/);
      } finally {
        spawnSync("umount", [volume]);
      }
    },
  );
});

const SERVES = `const server = require("node:http").createServer((_, answer) => answer.end("mine"));
server.listen(Number(process.env.PORT), process.env.HOST ?? "127.0.0.1");`;

async function startNode(script: string, env: Record<string, string>): Promise<RunningProcess> {
  const token = (++count).toString(16).padStart(32, "0");
  return systemProcesses.spawn({
    program: process.execPath,
    args: ["-e", script],
    cwd: folder,
    env: { ...ENV, ...env, UPKEEP_INSTANCE: token },
    log: join(folder, "node.log"),
    token,
  });
}

async function answerOf(port: number, by: ProcessIdentity): Promise<string> {
  for (let i = 0; ; i++) {
    const answer = await systemProbes.http(port, "/", 1000, by);
    if (answer.kind === "status" || i > 100 || answer.kind === "stranger")
      return answer.kind === "status" ? String(answer.status) : `${answer.kind}: ${answer.what}`;
    await delay(50);
  }
}

async function freePort(): Promise<number> {
  for (let port = 21_000 + (process.pid % 5000); ; port++) if (await systemPorts.isFree(port)) return port;
}

describe("an answer at a component's port", () => {
  const proc = process.platform === "linux" ? false : "only Linux says who listens";
  it("counts when the component gives it, at whatever address it listens", { skip: proc }, async () => {
    for (const HOST of ["127.0.0.1", "0.0.0.0", "::"]) {
      const port = await freePort();
      const service = await startNode(SERVES, { PORT: String(port), HOST });
      try {
        assert.equal(await answerOf(port, service.identity), "200", HOST);
      } finally {
        await service.stop(1000);
      }
    }
  });

  it(
    "counts when a child of the component gives it, also one that left its group",
    { skip: proc },
    async () => {
      const port = await freePort();
      const parent = `require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(SERVES)}], { detached: true, stdio: "ignore" });
setInterval(() => {}, 1000);`;
      const service = await startNode(parent, { PORT: String(port) });
      try {
        assert.equal(await answerOf(port, service.identity), "200");
      } finally {
        await service.stop(1000);
      }
    },
  );

  it("does not count when somebody else gives it (a program in its place)", { skip: proc }, async () => {
    const port = await freePort();
    const squatter = await startNode(SERVES, { PORT: String(port) });
    const sleeper = await startNode("setInterval(() => {}, 1000)", {});
    try {
      assert.equal(await answerOf(port, squatter.identity), "200");
      assert.match(
        await answerOf(port, sleeper.identity),
        new RegExp(`^stranger: on port ${port} is that of process ${squatter.identity.pid} `),
      );
      assert.equal((await systemProbes.http(port, "/", 1000, null)).kind, "stranger");
    } finally {
      await squatter.stop(1000);
      await sleeper.stop(1000);
    }
  });

  it(
    "does not count when somebody stands in front of it at the very address (a program in its place)",
    { skip: proc },
    async () => {
      const port = await freePort();
      const service = await startNode(
        `process.env.HOST = "0.0.0.0"; ${SERVES}`
          .replace("server.listen(", "server.listen({reusePort: true, port: ")
          .replace(', process.env.HOST ?? "127.0.0.1")', ', host: "0.0.0.0"})'),
        { PORT: String(port) },
      );
      const squatter = await startNode(
        SERVES.replace("server.listen(", "server.listen({reusePort: true, port: ").replace(
          ', process.env.HOST ?? "127.0.0.1")',
          ', host: "127.0.0.1"})',
        ),
        { PORT: String(port) },
      );
      try {
        // Until the squatter listens, the service behind it answers.
        let squatting = "";
        for (let tries = 0; tries < 200 && squatting !== "200"; tries++) {
          squatting = await answerOf(port, squatter.identity);
          await delay(50);
        }
        assert.equal(squatting, "200");
        assert.match(await answerOf(port, service.identity), /^stranger/);
      } finally {
        await squatter.stop(1000);
        await service.stop(1000);
      }
    },
  );
});

describe("a port", () => {
  it("is taken while somebody listens, and says by whom", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    assert.equal(await systemPorts.isFree(port), false);
    assert.match(
      (await systemPorts.takenBy(port)) ?? "",
      new RegExp(process.platform === "linux" ? `process ${process.pid} ` : "another"),
    );
    await new Promise((resolve) => server.close(resolve));
    assert.equal(await systemPorts.isFree(port), true);
    assert.equal(await systemPorts.takenBy(port), null);
  });
});
