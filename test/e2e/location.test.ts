// The update location moves with real programs: probed, tried, settled, and back by itself when the new host fails.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually, freePort, Site, type Json } from "./_agent.ts";

const root = new URL("../..", import.meta.url).pathname;
let site: Site;
let second: { port: number; process: ChildProcess; log: string } | null = null;

const operator = (...args: string[]): Json =>
  JSON.parse(site.ok(site.upkeep(site.operator, ...args, "--json")).stdout) as Json;
const hosts = (): readonly string[] => {
  const ran = site.ok(site.upkeep(site.device, "agent", "hosts", "--json"));
  return (JSON.parse(ran.stdout) as { hosts: { host: string }[] }).hosts.map(({ host }) => host);
};
const place = (port: number): string => `127.0.0.1:${port}`;

/** Another server of the same fleet on a folder that is a copy: the same authorities, director and repository. */
async function startSecond(): Promise<number> {
  const port = second?.port ?? (await freePort());
  const copy = join(site.folder, "second");
  rmSync(copy, { recursive: true, force: true });
  cpSync(site.operator, copy, { recursive: true, filter: (path) => !/server\/lock|\.lock/.test(path) });
  const args = [
    "src/apps/cli/main.ts",
    "--data",
    copy,
    "server",
    "--listen",
    place(port),
    "--name",
    "127.0.0.1",
    "--admin",
    "off",
  ];
  const child = spawn("node_modules/.bin/node", args, { cwd: root, stdio: ["ignore", "ignore", "pipe"] });
  const started = { port, process: child, log: "" };
  child.stderr.on("data", (part: Buffer) => (started.log += part.toString()));
  second = started;
  await eventually("the second server starts", () => {
    if (child.exitCode !== null) throw new Error(started.log);
    return started.log.includes("server/started") ? true : null;
  });
  return port;
}

async function stopSecond(): Promise<void> {
  if (second === null) return;
  const { process: child } = second;
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((done) => child.once("exit", () => done()));
  child.kill("SIGTERM");
  await ended;
}

function publish(name: string, args: readonly string[]): void {
  const file = join(site.folder, `${name}.location`);
  operator("location", "new", ...args, "--out", file);
  for (const key of ["location-1", "location-3"]) operator("location", "sign", file, "--key", key);
  operator("location", "publish", file);
}

before(async () => {
  site = await Site.create();
  site.publish("1.0.0");
  operator("location", "init");
  await site.startServer();
  site.enroll();
  writeFileSync(join(site.device, "agent.toml"), "privateLocations = true\n", { mode: 0o600 });
  site.ok(site.updateTo("1.0.0"));
});
after(async () => {
  await stopSecond();
  await site.remove();
});

describe("the location of updates", () => {
  it("is that of the enrollment at first, and agent hosts prints it", () => {
    assert.deepEqual(hosts(), [place(site.serverPort)]);
  });

  it("is not moved by one key of three (U03)", () => {
    const file = join(site.folder, "one.location");
    operator("location", "new", "--server", "127.0.0.1:9", "--out", file);
    operator("location", "sign", file, "--key", "location-1");
    const refused = site.upkeep(site.operator, "location", "publish", file);
    assert.equal(refused.status, 4);
    assert.match(refused.stderr, /location\/waits-for-signatures/);
  });

  it("moves after a probe, keeps the old host for the trial, and settles (U01)", async () => {
    const port = await startSecond();
    publish("move", ["--server", place(port), "--successes", "2"]);
    // The new host has the same repository before devices hear of it.
    await stopSecond();
    await startSecond();
    site.ok(site.update());
    assert.deepEqual(hosts(), [place(port), place(site.serverPort)]);
    for (let i = 0; i < 2; i++) site.ok(site.update());
    const status = JSON.parse(site.ok(site.upkeep(site.device, "agent", "hosts", "--json")).stdout) as {
      locations: Json;
    };
    assert.deepEqual(status.locations, { version: 1, trial: false });
  });

  it("does not depend on the old host any more (U11)", async () => {
    await site.stopServer();
    site.ok(site.update());
    await site.serve();
  });

  it("changed by hand on the disk is not believed, and that is reported (U10)", () => {
    const file = join(site.device, "locations.json");
    const bytes = readFileSync(file);
    bytes[60]! ^= 1;
    writeFileSync(file, bytes);
    assert.deepEqual(hosts()[0], place(second!.port), "the copy holds");
    site.ok(site.update());
    // The report went to the server that is asked now; its copy of the records has it.
    const there = join(site.folder, "second");
    const ran = site.ok(site.upkeep(there, "fleet", "alarms", "--all", "--json"));
    assert.match(ran.stdout, /location\/tampered/);
  });

  it("has the hosts of agent.toml beside it, and agent hosts says whose they are (U12)", () => {
    writeFileSync(
      join(site.device, "agent.toml"),
      'privateLocations = true\nservers = ["mirror.example.org:8443"]\n',
      { mode: 0o600 },
    );
    const ran = site.ok(site.upkeep(site.device, "agent", "hosts", "--json"));
    const { hosts } = JSON.parse(ran.stdout) as { hosts: { host: string; why: string }[] };
    assert.ok(hosts.some(({ host, why }) => host === "mirror.example.org:8443" && why === "agent.toml"));
  });
});
