// The compliance suite of the audit log over a store of files: what it keeps, and what every kind of tampering is called.

import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { writeAtomic, type FileStore } from "../core/disk.ts";
import { sha256Hex } from "../core/digest.ts";
import { openCheckpoint, parseCheckpointText } from "../signing/audit/checkpoint.ts";
import { encodeEntry, type EntryBody } from "../signing/audit/entry.ts";
import { readSegment, segmentPath, splitLines } from "../signing/audit/files.ts";
import { AuditLog, type AuditLogPorts } from "../signing/audit/log.ts";
import { noteKeyFromSpki } from "../signing/audit/note.ts";
import { receiptOfSignature, verifyReceipt } from "../signing/audit/receipt.ts";
import { tilePath } from "../signing/audit/tiles.ts";
import { verifyLog } from "../signing/audit/verify.ts";
import { ScriptedClock } from "./scripted-clock.ts";

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const key = noteKeyFromSpki("test/log", new Uint8Array(publicKey.export({ type: "spki", format: "der" })));
export const suiteKey = key;
const clock = new ScriptedClock();

/** Where a test keeps its log: `disk` for the files, a folder that does not exist yet. */
export type LogPlace = { readonly disk: FileStore; readonly folder: string };

export function portsOf({ disk, folder }: LogPlace): AuditLogPorts {
  return {
    disk,
    clock,
    folder,
    key,
    sign: async (message: Uint8Array) => new Uint8Array(sign(null, message, privateKey)),
  };
}

const open = (place: LogPlace) => AuditLog.open(portsOf(place));
export const ending = (n: number): EntryBody => ({
  kind: "session-end",
  session: String(n).padStart(32, "0"),
  reason: "closed",
});
export const result = (digest: string): EntryBody => ({
  kind: "result",
  intent: 0,
  request: "0".repeat(32),
  requestHash: "1".repeat(64),
  user: "alice",
  certificate: "release",
  operation: "authenticode",
  file: "setup.exe",
  digest,
  fileSha256: "3".repeat(64),
  signatureSha256: "2".repeat(64),
  reply: { sha256: sha256Hex(new Uint8Array(3)), length: 3, inline: "AAAA" },
});

/** A log of `count` entries, written in groups. */
export async function logOf(place: LogPlace, count: number, groups = 3): Promise<LogPlace> {
  const { log } = await open(place);
  for (let g = 0; g < groups; g++) {
    const from = Math.floor((g * count) / groups);
    const to = Math.floor(((g + 1) * count) / groups);
    await Promise.all(Array.from({ length: to - from }, (_, i) => log.seal(ending(from + i))));
  }
  await log.close();
  return place;
}

async function edit({ disk, folder }: LogPlace, change: (lines: string[]) => string[]): Promise<void> {
  const lines = fromUtf8(await readSegment(disk, folder, 0))
    .split("\n")
    .slice(0, -1);
  const text = change(lines)
    .map((line) => `${line}\n`)
    .join("");
  await writeAtomic(disk, segmentPath(folder, 0), toUtf8(text));
}

/** Registers tests; `make` gives a place of its own each time. */
export function testAuditLog(make: () => Promise<LogPlace>): void {
  const made = async (count: number, groups = 3): Promise<LogPlace> => logOf(await make(), count, groups);

  describe("the audit log", () => {
    it("continues after a restart and verifies as a whole", async () => {
      const place = await made(300);
      const { log, dropped } = await open(place);
      assert.equal(dropped, 0);
      assert.equal(log.size, 300);
      for (let i = 0; i < 300; i++) void log.append(ending(300 + i));
      await log.seal(ending(600));
      await log.close();
      const verdict = await verifyLog(place.disk, place.folder, key);
      assert.deepEqual(verdict.faults, []);
      assert.equal(verdict.size, 601);
      assert.equal(verdict.counts["session-end"], 601);
    });

    it("crosses segments and proves entries of the first from the last", async () => {
      const place = await made(4096 + 300, 2);
      const { log } = await open(place);
      const sealed = await log.seal(result("sha256:aa"));
      const { entry } = verifyReceipt(toUtf8(await log.receipt(sealed)), key);
      assert.equal(entry.n, 4396);
      const early = await log.receipt({ ...sealed });
      assert.ok(early.startsWith("c2sp.org/tlog-proof@v1\nextra "));
      await log.close();
      assert.deepEqual((await verifyLog(place.disk, place.folder, key)).faults, []);
    });

    it("reads entries back from memory, from bundles and from segments, and refuses changed ones", async () => {
      const place = await made(4096 + 300, 2);
      const { log } = await open(place);
      const read = async (n: number): Promise<string> => {
        const { entry, bytes } = await log.entry(n);
        assert.deepEqual(bytes, encodeEntry(entry));
        return entry.kind === "session-end" ? entry.session : "";
      };
      const session = (n: number): string => String(n).padStart(32, "0");
      for (const n of [0, 255, 256, 4095, 4096, 4352, 4395]) assert.equal(await read(n), session(n));
      const bundle = `${place.folder}/tiles/${tilePath("entries", 1)}`;
      const whole = await place.disk.read(bundle, 1e6);
      await place.disk.removeFile(bundle);
      assert.equal(await read(300), session(300));
      await writeAtomic(place.disk, bundle, whole.subarray(0, 1000));
      assert.equal(await read(300), session(300));
      const forged = Buffer.from(whole).toString("latin1").replaceAll("closed", "opened");
      await writeAtomic(place.disk, bundle, new Uint8Array(Buffer.from(forged, "latin1")));
      await assert.rejects(log.entry(300), { code: "signing/log-damaged" });
      await assert.rejects(log.entry(4396), { code: "signing/log-damaged" });
      await log.close();
    });

    it("gives a receipt that stands alone and refuses a changed one", async () => {
      const place = await made(10);
      const { log } = await open(place);
      const receipt = await log.receipt(await log.seal(result("sha256:aa")));
      await log.close();
      const verified = verifyReceipt(toUtf8(receipt), key);
      assert.equal(
        receiptOfSignature(verified, { digest: "sha256:aa", signatureSha256: "2".repeat(64) }).user,
        "alice",
      );
      assert.throws(() => receiptOfSignature(verified, { digest: "sha256:bb" }), {
        code: "signing/receipt-mismatch",
      });
      assert.throws(() => verifyReceipt(toUtf8(receipt.replace("index 10", "index 9")), key), {
        code: "signing/bad-proof",
      });
      const other = Buffer.from(receipt.split("\n")[1]!.slice(6), "base64")
        .toString()
        .replace("alice", "mallo");
      const forged = receipt.replace(/extra .*/, `extra ${Buffer.from(other).toString("base64")}`);
      assert.throws(() => verifyReceipt(toUtf8(forged), key), { code: "signing/bad-proof" });
    });

    it("makes entries durable while a checkpoint is signed, and covers only what was written", async () => {
      const place = await make();
      const sizes: number[] = [];
      let [release, begin] = [(): void => {}, (): void => {}];
      const held = new Promise<void>((resolve) => (release = resolve));
      const begun = new Promise<void>((resolve) => (begin = resolve));
      const slow = portsOf(place);
      const { log } = await AuditLog.open({
        ...slow,
        sign: async (message) => {
          const { size } = parseCheckpointText(fromUtf8(message));
          const written = splitLines(await readSegment(place.disk, place.folder, 0)).lines.length;
          assert.ok(written >= size);
          sizes.push(size);
          begin();
          await held;
          return slow.sign(message);
        },
      });
      let answered = 0;
      const first = log.seal(ending(0)).finally(() => answered++);
      await begun;
      await log.append(ending(1));
      const second = log.seal(ending(2)).finally(() => answered++);
      await log.append(ending(3));
      assert.deepEqual([sizes, answered], [[1], 0]);
      release();
      assert.equal((await first).size, 1);
      assert.equal((await second).size, 4);
      assert.deepEqual(sizes, [1, 4]);
      await log.close();
      assert.deepEqual((await verifyLog(place.disk, place.folder, key)).faults, []);
    });

    it("answers nobody with success once a write failed behind the one who waits", async () => {
      const place = await made(2);
      let signed = 0;
      const failing = portsOf(place);
      const { log } = await AuditLog.open({
        ...failing,
        sign: (message) => (++signed > 1 ? Promise.reject(new Error("token gone")) : failing.sign(message)),
      });
      assert.equal((await log.seal(ending(2))).index, 2);
      const second = log.seal(ending(4));
      await assert.rejects(second, /token gone/);
      await assert.rejects(log.append(ending(5)), { code: "signing/log-closed" });
      await log.close();
    });

    it("is closed for good by the first write that fails", async () => {
      const place = await made(2);
      const failing = portsOf(place);
      const { log } = await AuditLog.open({
        ...failing,
        sign: () => Promise.reject(new Error("token gone")),
      });
      await assert.rejects(log.seal(ending(9)), /token gone/);
      await assert.rejects(log.append(ending(10)), { code: "signing/log-closed" });
      await log.close();
    });

    it("refuses the folder of another signer", async () => {
      const place = await made(2);
      const other = generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "der" });
      await assert.rejects(
        AuditLog.open({ ...portsOf(place), key: noteKeyFromSpki("test/log", new Uint8Array(other)) }),
        { code: "signing/log-damaged" },
      );
    });
  });

  describe("audit verify", () => {
    const rows: readonly (readonly [string, (lines: string[]) => string[], string, number])[] = [
      ["an edited entry", (l) => l.with(7, l[7]!.replace("closed", "opened")), "edited", 7],
      ["the edited last entry", (l) => l.with(19, l[19]!.replace("closed", "opened")), "edited", 19],
      [
        "an entry edited beyond reading",
        (l) => l.with(3, l[3]!.replace('"reason"', '"raeson"')),
        "unreadable",
        3,
      ],
      ["a deleted entry", (l) => l.toSpliced(5, 1), "deleted", 5],
      ["the deleted first entry", (l) => l.slice(1), "deleted", 0],
      ["two entries that changed places", (l) => l.with(8, l[9]!).with(9, l[8]!), "reordered", 8],
      ["a doubled entry", (l) => l.toSpliced(4, 0, l[3]!), "inserted", 3],
      ["a truncated log", (l) => l.slice(0, -2), "truncated", 18],
    ];
    for (const [name, change, what, entry] of rows) {
      it(`names ${name}`, async () => {
        const place = await made(20);
        await edit(place, change);
        const { faults } = await verifyLog(place.disk, place.folder, key);
        assert.ok(
          faults.some((fault) => fault.what === what && fault.entry === entry),
          JSON.stringify(faults),
        );
      });
    }

    it("names the first entry of a log that was rewritten as a whole, from a checkpoint kept elsewhere", async () => {
      const place = await made(20);
      const kept = openCheckpoint(await place.disk.read(`${place.folder}/tiles/checkpoint`, 1e5), key);
      const forged = await made(25);
      await edit(forged, (lines) => lines.map((line) => line.replaceAll("closed", "forged")));
      const { faults } = await verifyLog(forged.disk, forged.folder, key, [kept]);
      assert.ok(faults.length > 0);
      const short = await made(10);
      const shorter = await verifyLog(short.disk, short.folder, key, [kept]);
      assert.ok(shorter.faults.some((fault) => fault.what === "truncated" && fault.entry === 10));
    });
  });
}
