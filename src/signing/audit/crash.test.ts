// The audit log cut at every disk operation: what was acknowledged is there afterwards, and the log goes on.

import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { describe, it } from "node:test";
import { fromUtf8 } from "../../core/bytes.ts";
import type { Disk } from "../../core/disk.ts";
import { crashMatrix } from "../../testing/crash-matrix.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { encodeEntry, type AuditEntry, type EntryBody } from "./entry.ts";
import { readHead, readSegment, splitLines } from "./files.ts";
import { AuditLog } from "./log.ts";
import { noteKeyFromSpki } from "./note.ts";
import { verifyLog } from "./verify.ts";

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const key = noteKeyFromSpki("crash/log", new Uint8Array(publicKey.export({ type: "spki", format: "der" })));
const folder = "/audit";
const open = (disk: Disk): Promise<{ readonly log: AuditLog; readonly dropped: number }> =>
  AuditLog.open({
    disk,
    clock: new ScriptedClock(),
    folder,
    key,
    sign: async (message) => new Uint8Array(sign(null, message, privateKey)),
  });
const body = (n: number): EntryBody => ({
  kind: "session-end",
  session: String(n).padStart(32, "0"),
  reason: "closed",
});

/** Starts with `count` entries that were written in peace. */
async function filled(count: number): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const { log } = await open(disk);
  await Promise.all(Array.from({ length: count }, (_, i) => log.seal(body(i))));
  await log.close();
  return disk;
}

async function cut(count: number, stride: number): Promise<number> {
  let acknowledged: AuditEntry[] = [];
  let covered = 0;
  return crashMatrix(
    await filled(count),
    async (disk) => {
      acknowledged = [];
      covered = 0;
      const { log } = await open(disk);
      const append = async (n: number): Promise<void> => {
        acknowledged.push((await log.append(body(n))).entry);
      };
      const seal = async (n: number): Promise<void> => {
        const { entry, size } = await log.seal(body(n));
        acknowledged.push(entry);
        covered = Math.max(covered, size);
      };
      for (let i = 0; i < 3; i++) {
        await append(1000 + i);
        await seal(2000 + i);
      }
      // Entries that are written while the checkpoint over earlier ones is signed and synced.
      await Promise.all([
        seal(3000),
        seal(3001),
        append(3002).then(() => Promise.all([seal(3003), append(3004)])),
      ]);
      await log.close();
    },
    async ({ disk, point, state }) => {
      const at = `after a cut before operation ${point}, state ${state}`;
      assert.ok(((await readHead(disk, folder, key))?.size ?? 0) >= covered, `the checkpoint is lost ${at}`);
      const { log } = await open(disk);
      const next = await log.seal(body(9999));
      await log.close();
      const lines = splitLines(await readSegment(disk, folder, 0)).lines.map(fromUtf8);
      assert.ok(next.index === lines.length - 1, at);
      for (const entry of acknowledged) assert.equal(lines[entry.n], fromUtf8(encodeEntry(entry)), at);
      const { faults } = await verifyLog(disk, folder, key);
      assert.deepEqual(faults, [], at);
    },
    { states: 6, stride },
  );
}

describe("the audit log under power cuts", () => {
  it("keeps what it acknowledged, from its first entry on", async () => {
    assert.ok((await cut(0, 1)) > 200);
  });

  it("keeps what it acknowledged while a tile fills up", async () => {
    assert.ok((await cut(250, 4)) > 50);
  });
});
