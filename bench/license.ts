// Headline: honest and cloned fleets over years against the rule that finds two machines on one identity; then what leases cost.
//
//   node bench/license.ts

import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DAY, HOUR } from "../src/core/instant.ts";
import { localSigner } from "../src/keys/signer.ts";
import { follow, type Chain } from "../src/license/chain.ts";
import { LicenseWorld } from "../src/testing/license-world.ts";
import { table } from "./_measure.ts";

/** A generator with a seed, so that a run can be repeated (mulberry32). */
function dice(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Disk = { nonce: string; asked: string | null };
type Machine = { disk: Disk; boot: string };

class Server {
  chain: Chain = { nonce: "0", previousNonce: null, previousRequest: null, history: [], forks: [] };
  readonly verdicts: string[] = [];
  #count = 0;

  ask({ disk, boot }: Machine, requestId: string, at: number): string {
    const step = follow(this.chain, { nonce: disk.nonce, requestId, boot, at, address: boot });
    if (step.kind === "again") return this.chain.nonce;
    if (step.kind === "fork") this.verdicts.push(step.verdict);
    this.chain = {
      ...step.chain,
      nonce: String(++this.#count),
      previousNonce: disk.nonce,
      previousRequest: requestId,
    };
    return this.chain.nonce;
  }
}

/** One check-in; answers get lost, and machines stop before they have written down what they got. */
function checkIn(
  server: Server,
  machine: Machine,
  at: number,
  roll: () => number,
  lost: number,
  crash: number,
): void {
  machine.disk.asked ??= String(roll());
  const nonce = server.ask(machine, machine.disk.asked, at);
  if (roll() < lost) return;
  if (roll() < crash) {
    machine.boot = String(roll());
    return;
  }
  machine.disk = { nonce, asked: null };
}

type Life = (roll: () => number) => { readonly server: Server; readonly foundAfter: number | null };

const honest: Life = (roll) => {
  const server = new Server();
  const machine: Machine = { disk: { nonce: "0", asked: null }, boot: "first" };
  for (let day = 0; day < 365; day++) {
    if (roll() < 0.1) machine.boot = String(roll());
    checkIn(server, machine, day * DAY, roll, 0.1, 0.05);
  }
  return { server, foundAfter: null };
};

/** `memory`: the machine is put back with its memory, so that the same start goes on; else it boots. */
const restored =
  (every: number, memory: boolean): Life =>
  (roll) => {
    const server = new Server();
    let machine: Machine = { disk: { nonce: "0", asked: null }, boot: "first" };
    let snapshot: Machine | null = null;
    for (let day = 0; day < 365; day++) {
      if (day === 10) snapshot = { disk: { ...machine.disk }, boot: machine.boot };
      if (snapshot !== null && day > 10 && day % every === 0)
        machine = { disk: { ...snapshot.disk }, boot: memory ? snapshot.boot : String(roll()) };
      if (roll() < 0.1) machine.boot = String(roll());
      checkIn(server, machine, day * DAY, roll, 0.05, 0.02);
    }
    return { server, foundAfter: null };
  };

const cloned =
  (gap: number): Life =>
  (roll) => {
    const server = new Server();
    const a: Machine = { disk: { nonce: "0", asked: null }, boot: "a" };
    const b: Machine = { disk: { nonce: "0", asked: null }, boot: "b" };
    let count = 0;
    for (let day = 0; day < 120; day++) {
      const order = roll() < 0.5 ? [a, b] : [b, a];
      for (const [at, machine] of order.entries()) {
        if (machine === b && day % gap !== 0) continue;
        count++;
        checkIn(server, machine, day * DAY + at * HOUR, roll, 0.02, 0);
        if (server.verdicts.includes("clone")) return { server, foundAfter: count };
      }
    }
    return { server, foundAfter: null };
  };

function run(name: string, life: Life, times: number, seed: number): readonly string[] {
  const roll = dice(seed);
  const seen = { clone: 0, suspect: 0, restored: 0, quiet: 0 };
  const found: number[] = [];
  for (let at = 0; at < times; at++) {
    const { server, foundAfter } = life(roll);
    const worst =
      (["clone", "suspect", "restored"] as const).find((one) => server.verdicts.includes(one)) ?? "quiet";
    seen[worst]++;
    if (foundAfter !== null) found.push(foundAfter);
  }
  found.sort((x, y) => x - y);
  const quantile = (share: number): string =>
    found.length === 0 ? "-" : String(found[Math.min(found.length - 1, Math.floor(share * found.length))]);
  return [name, String(times), ...Object.values(seen).map(String), quantile(0.5), quantile(0.95)];
}

const rows = [
  ["life", "devices", "clone", "suspect", "restored", "nothing", "check-ins, median", "95 %"],
  run("honest year: 10 % answers lost, 5 % crashes, reboots", honest, 2000, 1),
  run("put back once in the year, by its disk", restored(183, false), 500, 2),
  run("put back once in the year, with its memory", restored(183, true), 500, 3),
  run("put back every month, by its disk", restored(30, false), 500, 4),
  run("put back every day (a laboratory)", restored(1, false), 200, 5),
  run("two machines, both every day", cloned(1), 2000, 6),
  run("two machines, the second once a week", cloned(7), 500, 7),
];
console.log(table(rows));

const folder = mkdtempSync(join(tmpdir(), "upkeep-bench-license-"));
try {
  const world = await LicenseWorld.open(join(folder, "vendor.sqlite"));
  world.leaseKeys = [localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519")];
  await world.publishKeys();
  const { claim } = await world.sell({ seats: { model: "site", max: 1000 }, lease: { renewSeconds: 600 } });
  const devices = [];
  let before = process.cpuUsage();
  const spent = (): number => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1e6;
  };
  for (let at = 0; at < 200; at++) devices.push(await world.device());
  before = process.cpuUsage();
  for (const device of devices) await device.activate(claim);
  const activations = devices.length / spent();
  before = process.cpuUsage();
  for (let round = 0; round < 5; round++) {
    world.pass(HOUR);
    for (const device of devices) await device.checkIn();
  }
  const renewals = (devices.length * 5) / spent();
  console.log(
    `\nper second of CPU, device and server in one process: ${activations.toFixed(0)} activations, ${renewals.toFixed(0)} renewals`,
  );
  await world.store.close();
} finally {
  rmSync(folder, { recursive: true });
}
