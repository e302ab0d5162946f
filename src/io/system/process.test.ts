// Real processes: found again by who they are, ended with everything they started, never mistaken for others.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { RunningProcess } from "../../process/ports.ts";
import { boundLog, logTail, rotateLog } from "./output-file.ts";
import { sameBoot } from "./proc.ts";
import { systemProbes } from "./probes.ts";
import { systemProcesses } from "./process.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "upkeep-process-"));
});
after(() => rm(folder, { recursive: true, force: true }));

let count = 0;
/** Starts `sh -c SCRIPT` with a token of its own. */
async function start(script: string): Promise<RunningProcess & { readonly log: string }> {
  const token = (++count).toString(16).padStart(32, "0");
  const log = join(folder, `${count}.log`);
  const env = { PATH: "/usr/bin:/bin", UPKEEP_INSTANCE: token };
  const process = await systemProcesses.spawn({
    program: "/bin/sh",
    args: ["-c", script],
    cwd: folder,
    env,
    log,
    token,
  });
  return { ...process, log };
}

/** A process that ended and was not yet reaped by whoever inherited it is not alive. */
const alive = (pid: number): boolean => {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, "latin1");
    return line.slice(line.lastIndexOf(")") + 2, line.lastIndexOf(")") + 3) !== "Z";
  } catch {
    return false;
  }
};

async function number(path: string): Promise<number> {
  for (let i = 0; i < 100; i++) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (text.endsWith("\n")) return Number(text);
    await delay(20);
  }
  throw new Error(`${path} was not written`);
}

describe("a process", () => {
  it("tells how it ended, and leaves what it wrote", async () => {
    const child = await start("echo out; echo err >&2; exit 3");
    assert.deepEqual(await child.exited, { code: 3, signal: null });
    assert.equal(await logTail(child.log, 100), "out\nerr\n");
    assert.equal(await logTail(child.log, 4), "err\n");
  });

  it("that ends at once is heard of, each time", async () => {
    for (let i = 0; i < 100; i++) {
      const child = await start("exit 0");
      const late = delay(5000, "unheard", { ref: false });
      assert.deepEqual(await Promise.race([child.exited, late]), { code: 0, signal: null });
    }
  });

  it("is given nothing of the agent's environment", async () => {
    const child = await start("env");
    await child.exited;
    const names = (await logTail(child.log, 10_000)).split("\n").map((line) => line.split("=")[0]!);
    assert.deepEqual(
      names.filter((name) => !["PATH", "UPKEEP_INSTANCE", "PWD", "SHLVL", "_", "OLDPWD", ""].includes(name)),
      [],
    );
  });

  it("that cannot be started says why", async () => {
    const spec = {
      program: join(folder, "nothing"),
      args: [],
      cwd: folder,
      env: {},
      log: join(folder, "x.log"),
      token: "f".repeat(32),
    };
    await assert.rejects(systemProcesses.spawn(spec), {
      code: "process/wrong-program",
      message: /is not there/,
    });
  });

  it("is found again by its identity and by its token, and by no other start time or boot", async () => {
    const child = await start("sleep 60");
    try {
      const { pid, startTime, boot, token } = child.identity;
      const found = await systemProcesses.find({ pid, startTime, boot, token });
      assert.equal(found?.identity.pid, pid);
      assert.equal((await systemProcesses.find({ boot, token }))?.identity.pid, pid);
      assert.equal(await systemProcesses.find({ pid, startTime, boot: "0".repeat(32), token }), null);
      const other = { pid, startTime: "1", boot, token: "e".repeat(32) };
      assert.equal(await systemProcesses.find(other), null);
      assert.ok(alive(pid), "a process that is not ours is left alone");
    } finally {
      await child.stop(1000);
    }
  });

  it("is ended with its children, also those that left its group", async () => {
    const file = join(folder, "grandchild");
    const child = await start(`setsid sh -c 'echo $$ > ${file}; exec sleep 60' & sleep 60`);
    const grandchild = await number(file);
    assert.ok(alive(grandchild));
    await child.stop(300);
    assert.equal(alive(child.identity.pid), false);
    await delay(50);
    assert.equal(alive(grandchild), false);
  });

  it("that ignores SIGTERM is killed after its time", async () => {
    const file = join(folder, "deaf");
    const child = await start(`trap '' TERM; echo $$ > ${file}; while :; do sleep 1; done`);
    await number(file);
    const from = performance.now();
    await child.stop(200);
    assert.ok(performance.now() - from < 5000);
    assert.equal((await child.exited).signal, "SIGKILL");
  });

  it("leaves no orphan behind when it died and its children did not", async () => {
    const file = join(folder, "orphan");
    const child = await start(`setsid sh -c 'echo $$ > ${file}; exec sleep 60' & sleep 0.2`);
    const orphan = await number(file);
    await child.exited;
    assert.equal(await systemProcesses.find(child.identity), null);
    await delay(100);
    assert.equal(alive(orphan), false);
  });
});

/** A world without /proc needs a mount of its own: root, and unshare of util-linux. */
const masked =
  process.getuid?.() === 0 &&
  spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "tmpfs", "/proc"]).status === 0;

describe("a process where /proc is masked", () => {
  /** Runs JavaScript with `processes` and `spec` at hand in a program that has no /proc. */
  const without = (script: string) => {
    const program = `import { systemProcesses as processes } from ${JSON.stringify(new URL("process.ts", import.meta.url).href)};
      const spec = { program: "/bin/sh", args: ["-c", "sleep 300 & wait"], cwd: "/", log: ${JSON.stringify(join(folder, "masked.log"))},
        token: "e".repeat(32), env: { PATH: "/usr/bin:/bin", UPKEEP_INSTANCE: "e".repeat(32) } };
      ${script}`;
    const line = 'mount -t tmpfs tmpfs /proc && exec "$@"';
    const words = [process.execPath, "--input-type=module-typescript", "-e", program];
    return spawnSync("unshare", ["-m", "sh", "-c", line, "sh", ...words], {
      encoding: "utf8",
      timeout: 20_000,
    });
  };
  const carriers = (): number =>
    readdirSync("/proc").filter((name) => {
      try {
        return (
          /^\d+$/.test(name) &&
          alive(Number(name)) &&
          readFileSync(`/proc/${name}/environ`, "latin1").includes(`UPKEEP_INSTANCE=${"e".repeat(32)}`)
        );
      } catch {
        return false;
      }
    }).length;
  const skip = masked ? false : "only root with unshare can mask /proc";

  it("is stopped in good order with its children", { skip }, async () => {
    const ran = without(
      "const child = await processes.spawn(spec); await child.stop(1000); console.log(await processes.findsAgain());",
    );
    assert.equal(ran.stdout.trim(), "false", ran.stderr);
    assert.equal(carriers(), 0);
  });

  it(
    "ends with an agent that is killed, or is ended by the next one: there are never two",
    { skip },
    async () => {
      const killed = without(
        "const child = await processes.spawn(spec); console.log(JSON.stringify(child.identity)); process.kill(process.pid, 'SIGKILL');",
      );
      const identity = JSON.parse(killed.stdout) as object;
      const found = without(`console.log(await processes.find(${JSON.stringify(identity)}));`);
      assert.equal(found.stdout.trim(), "null", found.stderr);
      assert.equal(carriers(), 0);
    },
  );
});

describe("a boot that only its time names", () => {
  const at = (seconds: number): string => seconds.toString(16).padStart(32, "0");
  it("is the same when the clock was merely corrected", () => {
    assert.equal(sameBoot(at(1_790_000_000), at(1_790_000_060)), true);
    assert.equal(sameBoot(at(1_790_000_000), at(1_790_000_500)), false);
    assert.equal(sameBoot("a".repeat(32), "b".repeat(32)), false);
    assert.equal(sameBoot("a".repeat(32), "a".repeat(32)), true);
  });
});

describe("a probe", () => {
  it("asks over HTTP on loopback", async () => {
    const ours = { pid: process.pid, startTime: "0", boot: "0", token: "0".repeat(32) };
    const server = createServer((request, answer) => {
      if (request.url === "/slow") return;
      answer.statusCode = request.url === "/sick" ? 503 : 200;
      answer.end("x".repeat(100_000));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    try {
      assert.deepEqual(await systemProbes.http(port, "/", 1000, ours), { kind: "status", status: 200 });
      assert.deepEqual(await systemProbes.http(port, "/sick", 1000, ours), { kind: "status", status: 503 });
      assert.equal((await systemProbes.http(port, "/slow", 100, ours)).kind, "timeout");
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    assert.equal((await systemProbes.http(port, "/", 1000, ours)).kind, "refused");
  });

  it("runs a command, bounded in time, and ends what it started", async () => {
    const run = (script: string, ms = 5000) =>
      systemProbes.command(
        { program: "/bin/sh", args: ["-c", script], cwd: folder, env: { PATH: "/usr/bin:/bin" } },
        ms,
      );
    const good = await run("echo fine");
    assert.deepEqual(good, { kind: "exit", exit: { code: 0, signal: null }, output: "fine\n" });
    const file = join(folder, "probe-child");
    const slow = await run(`sh -c 'echo $$ > ${file}; exec sleep 60' & wait`, 300);
    assert.equal(slow.kind, "timeout");
    await delay(100);
    assert.equal(alive(await number(file)), false);
    const missing = await systemProbes.command(
      { program: join(folder, "no"), args: [], cwd: folder, env: {} },
      1000,
    );
    assert.equal(missing.kind === "exit" && missing.exit.code, 127);
  });
});

describe("a log", () => {
  it("is kept within its bound and put aside for the next run", async () => {
    const path = join(folder, "long.log");
    await writeFile(path, "x".repeat(5000));
    await boundLog(path, 1000);
    assert.equal((await stat(path)).size, 0);
    assert.equal((await stat(`${path}.2`)).size, 500);
    await writeFile(path, "last run");
    await rotateLog(path);
    assert.equal(await readFile(`${path}.1`, "utf8"), "last run");
    assert.equal(await logTail(path, 100), "");
    await rotateLog(path);
  });
});
