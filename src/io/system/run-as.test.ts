// A component as its own user, with real users: what its program can reach of the agent's folder, and what it cannot.

import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  readdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { RunAs } from "../../process/ports.ts";
import { systemProbes } from "./probes.ts";
import { systemProcesses } from "./process.ts";
import { OWN_USERS, prepareUser } from "./run-as.ts";

const root = process.platform === "linux" && process.geteuid?.() === 0;
const skip = root ? false : "only root on Linux can start programs as other users";

let top: string;
let agent: string;
const component = (name: string): string => join(agent, "components", name);

before(() => {
  // Where everybody may pass, as through /var/lib.
  top = mkdtempSync(join(tmpdir(), "upkeep-users-"));
  chmodSync(top, 0o755);
  agent = join(top, "agent");
  mkdirSync(join(agent, "identity"), { recursive: true });
  chmodSync(agent, 0o750);
  writeFileSync(join(agent, "identity/device.key"), "secret", { mode: 0o600 });
  writeFileSync(join(agent, "agent.toml"), "proxy = 'secret'\n", { mode: 0o644 });
  for (const name of ["shop", "till", "old"]) {
    for (const part of ["slots/1", "data", "snapshots/a"])
      mkdirSync(join(component(name), part), { recursive: true });
    writeFileSync(join(component(name), "data/secret"), name);
    writeFileSync(join(component(name), "snapshots/a/secret"), name);
    writeFileSync(join(component(name), "slots/1/program"), '#!/bin/sh\nexec /bin/sh -c "$1"\n', {
      mode: 0o755,
    });
  }
});
after(() => rmSync(top, { recursive: true, force: true }));

/** Runs a line of shell as the component, and returns what it wrote. */
async function run(name: string, line: string, as: Partial<RunAs> = {}, env = {}): Promise<string> {
  const log = join(component(name), "output.log");
  rmSync(log, { force: true });
  const found = await systemProcesses.spawn({
    program: join(component(name), "slots/1/program"),
    args: [line],
    cwd: join(component(name), "slots/1"),
    env: { PATH: "/usr/bin:/bin", ...env },
    log,
    token: "f".repeat(32),
    as: { user: "own", data: join(component(name), "data"), ...as },
  });
  await found.exited;
  return readFileSync(log, "utf8").trim();
}

describe("a component as its own user", { skip }, () => {
  it("gets a number that is nobody else's, and keeps it", async () => {
    const mine = Number(await run("shop", "id -u"));
    const other = Number(await run("till", "id -u"));
    assert.ok(mine >= OWN_USERS.first && other <= OWN_USERS.last && mine !== other);
    assert.equal(Number(await run("shop", "id -u")), mine);
    assert.equal(await run("shop", "id -G"), String(mine));
  });

  it("reads its slot and writes its data, which was there before", async () => {
    const out = await run(
      "shop",
      "cat program >/dev/null && cat ../../data/secret && echo more > ../../data/new && echo done",
    );
    assert.equal(out, "shopdone");
    assert.equal(statSync(join(component("shop"), "data/new")).mode & 0o777, 0o600);
  });

  for (const [what, path] of [
    ["the device's key", "identity/device.key"],
    ["the settings", "agent.toml"],
    ["the data of another component", "components/till/data/secret"],
    ["the data of one that runs as root", "components/old/data/secret"],
    ["the copies of its own data", "components/shop/snapshots/a/secret"],
  ] as const)
    it(`cannot read ${what}`, async () => {
      await run("till", "true");
      assert.match(await run("shop", `cat ${agent}/${path}`), /Permission denied/);
    });

  for (const path of [
    "components/shop/slots/1/program",
    "components/shop/current",
    "components/till/data/x",
    "tuf",
  ])
    it(`cannot write ${path}`, async () => {
      await run("shop", `echo evil > ${agent}/${path} && echo written`);
      assert.doesNotMatch(readFileSync(join(component("shop"), "output.log"), "utf8"), /written/);
    });

  it("has no way to more rights", async () => {
    assert.match(await run("shop", "grep NoNewPrivs /proc/self/status"), /\t1$/);
    assert.match(await run("shop", "grep CapEff /proc/self/status"), /\t0+$/);
  });

  it("is bounded in its memory and its processes", async () => {
    const limits = await run("shop", "cat /proc/self/limits", { memoryBytes: 64 * 1024 ** 2, processes: 20 });
    assert.match(limits, /Max data size\s+67108864\s+67108864/);
    assert.match(limits, /Max processes\s+20\s+20/);
  });

  it("gives what its release puts into the environment to no program of root", async () => {
    // The shell reads the file that ENV names only when it is interactive; LD_PRELOAD is read by every program that is started.
    await run("shop", "true", {}, { LD_DEBUG: "libs", LD_DEBUG_OUTPUT: `${component("shop")}/data/loader` });
    const made = readdirSync(join(component("shop"), "data"));
    const loaders = made.filter((name) => name.startsWith("loader"));
    assert.ok(loaders.length > 0);
    for (const name of loaders) assert.notEqual(statSync(join(component("shop"), "data", name)).uid, 0);
  });

  it("is probed with its own rights", async () => {
    const answer = await systemProbes.command(
      {
        program: join(component("shop"), "slots/1/program"),
        args: [`cat ${agent}/identity/device.key`],
        cwd: join(component("shop"), "slots/1"),
        env: { PATH: "/usr/bin:/bin" },
        as: { user: "own", data: join(component("shop"), "data") },
      },
      5000,
    );
    assert.ok(answer.kind === "exit" && answer.exit.code !== 0 && /Permission denied/.test(answer.output));
  });

  it("is not started as a user that this machine does not have", async () => {
    await assert.rejects(prepareUser({ user: "nobody-here", data: join(component("shop"), "data") }), {
      code: "process/no-user",
    });
  });
});
