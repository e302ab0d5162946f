// Budgets of work in the background, measured by the kernel's own figures.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { parseInstant } from "../core/instant.ts";
import { z } from "../core/schema.ts";
import { systemClock } from "../io/system/clock.ts";
import { systemDisk } from "../io/system/disk.ts";
import { readFile } from "../slot/read-file.ts";
import { bandwidthAt, budgetSchema, CpuPace, pacedDisk } from "./budget.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-budget-"));
after(() => rmSync(folder, { recursive: true }));

/** getrusage(2), as /proc/self/stat has it. */
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

describe("the share of a processor", () => {
  it("is not exceeded by reading and hashing, as the kernel counts it", async () => {
    const path = join(folder, "large");
    writeFileSync(path, Buffer.alloc(32 * 1024 * 1024, 7));
    const disk = pacedDisk(systemDisk, new CpuPace(systemClock, cpuMs, 25));
    const [at, used] = [performance.now(), cpuMs()];
    // Twice over each part, so that the work is the hash and not the disk.
    const hash = createHash("sha512");
    for await (const part of readFile(disk, path)) hash.update(part).update(part);
    hash.digest();
    const share = (cpuMs() - used) / (performance.now() - at);
    assert.ok(share < 0.3, `it used ${Math.round(share * 100)} percent`);
  });

  it("of work that waited for the network is not saved up without end", async () => {
    let [now, cpu] = [0, 0];
    const slept: number[] = [];
    const clock = {
      now: () => now,
      monotonic: () => now,
      sleep: async (ms: number) => {
        slept.push(ms);
        now += ms;
      },
    };
    const pace = new CpuPace(clock, () => cpu, 50);
    now = 60_000;
    await pace.rest();
    cpu = 100;
    now += 100;
    await pace.rest();
    assert.deepEqual(slept, [100], "a tenth of a second of work, and as long a rest");
  });
});

describe("the cap on bandwidth", () => {
  const budget = z.parse(budgetSchema, {
    bandwidth: 1_000_000,
    bandwidthHours: [
      { hours: [{ from: "07:00", to: "12:00", zone: "Europe/Berlin" }], bandwidth: 10_000 },
      { hours: [{ from: "00:00", to: "04:00" }], bandwidth: 90_000_000 },
    ],
  });

  it("is that of the hours, in their zone", () => {
    assert.equal(bandwidthAt(budget, parseInstant("2026-11-25T06:00:00Z"), "UTC"), 10_000);
    assert.equal(bandwidthAt(budget, parseInstant("2026-11-25T11:00:00Z"), "UTC"), 1_000_000);
    assert.equal(bandwidthAt(budget, parseInstant("2026-11-25T02:00:00Z"), "UTC"), 90_000_000);
    assert.equal(bandwidthAt({}, 0, "UTC"), null);
  });

  it("is refused where it would starve every download", () => {
    for (const bad of [
      { bandwidth: 1023 },
      { cpuShare: 0 },
      { cpuShare: 101 },
      { diskFloor: -1 },
      { more: 1 },
    ])
      assert.equal(z.safeParse(budgetSchema, bad).success, false, JSON.stringify(bad));
  });
});
