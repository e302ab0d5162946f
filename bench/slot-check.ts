// What it costs to look at an installed slot before it is started: every byte, only what changed, and slowly in the background.
//
//   node bench/slot-check.ts

import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/io/system/clock.ts";
import { systemDisk } from "../src/io/system/disk.ts";
import { checkSlot, type SlotCheck } from "../src/slot/check-slot.ts";
import type { SlotFile } from "../src/slot/record.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-slot-check-"));
try {
  console.log("slot                         every byte: CPU      wall  only stamps: CPU      wall");
  for (const [name, count, size] of [
    ["one program of 100 MB", 1, 100_000_000],
    ["1,000 files, 100 MB", 1000, 100_000],
    ["20,000 files, 100 MB", 20_000, 5000],
  ] as const) {
    const slot = join(folder, String(count));
    const files = make(slot, count, size);
    await systemClock.sleep(2100);
    const { stamps } = await checkSlot(systemDisk, slot, files);
    const all = await measure(slot, files, {});
    const few = await measure(slot, files, { known: stamps });
    console.log(
      `${name.padEnd(28)} ${cell(all.cpu, 15)} ${cell(all.wall, 9)} ${cell(few.cpu, 17)} ${cell(few.wall, 9)}`,
    );
    if (count !== 1) continue;
    const slow = await measure(slot, files, { pace: () => systemClock.sleep(20) });
    console.log(`  in the background          ${cell(slow.cpu, 16)} ${cell(slow.wall, 9)}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function make(slot: string, count: number, size: number): readonly SlotFile[] {
  mkdirSync(slot);
  const content = Buffer.alloc(size, 7);
  const sha256 = createHash("sha256").update(content).digest("hex");
  return Array.from({ length: count }, (_, i) => {
    const path = `file-${i}`;
    writeFileSync(join(slot, path), content);
    chmodSync(join(slot, path), 0o444);
    return { path, kind: "file", size, sha256, executable: false };
  });
}

async function measure(
  slot: string,
  files: readonly SlotFile[],
  check: SlotCheck,
): Promise<{ readonly cpu: number; readonly wall: number }> {
  const [began, used] = [performance.now(), process.cpuUsage()];
  await checkSlot(systemDisk, slot, files, check);
  const { user, system } = process.cpuUsage(used);
  return { cpu: (user + system) / 1e6, wall: (performance.now() - began) / 1000 };
}

function cell(seconds: number, width: number): string {
  return `${seconds.toFixed(2)} s`.padStart(width);
}
