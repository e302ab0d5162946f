// Tests of the audit log: what survives a crash, and what every kind of tampering is called.

import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { systemDisk } from "../../io/disk.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { openCheckpoint, parseCheckpointText } from "./checkpoint.ts";
import { encodeEntry, type EntryBody } from "./entry.ts";
import { AuditLog } from "./log.ts";
import { headPath, segmentPath, splitLines } from "./files.ts";
import { noteKeyFromSpki } from "./note.ts";
import { receiptOfSignature, verifyReceipt } from "./receipt.ts";
import { tilePath } from "./tiles.ts";
import { verifyLog } from "./verify.ts";

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const key = noteKeyFromSpki("test/log", new Uint8Array(publicKey.export({ type: "spki", format: "der" })));
const clock = new ScriptedClock();

let root: string;
let serial = 0;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "upkeep-audit-"));
});
after(() => rm(root, { recursive: true, force: true }));

function ports(folder: string) {
  return {
    disk: systemDisk,
    clock,
    folder,
    key,
    sign: async (message: Uint8Array) => new Uint8Array(sign(null, message, privateKey)),
  };
}

const open = (folder: string) => AuditLog.open(ports(folder));
const ending = (n: number): EntryBody => ({
  kind: "session-end",
  session: String(n).padStart(32, "0"),
  reason: "closed",
});
const result = (digest: string): EntryBody => ({
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

async function logOf(count: number, groups = 3): Promise<string> {
  const folder = join(root, `log-${serial++}`);
  const { log } = await open(folder);
  for (let g = 0; g < groups; g++) {
    const from = Math.floor((g * count) / groups);
    const to = Math.floor(((g + 1) * count) / groups);
    await Promise.all(Array.from({ length: to - from }, (_, i) => log.seal(ending(from + i))));
  }
  await log.close();
  return folder;
}

async function edit(folder: string, change: (lines: string[]) => string[]): Promise<void> {
  const path = segmentPath(folder, 0);
  const lines = (await readFile(path, "utf8")).split("\n").slice(0, -1);
  await writeFile(
    path,
    change(lines)
      .map((line) => `${line}\n`)
      .join(""),
  );
}

describe("the audit log", () => {
  it("continues after a restart and verifies as a whole", async () => {
    const folder = await logOf(300);
    const { log, dropped } = await open(folder);
    assert.equal(dropped, 0);
    assert.equal(log.size, 300);
    for (let i = 0; i < 300; i++) void log.append(ending(300 + i));
    await log.seal(ending(600));
    await log.close();
    const verdict = await verifyLog(systemDisk, folder, key);
    assert.deepEqual(verdict.faults, []);
    assert.equal(verdict.size, 601);
    assert.equal(verdict.counts["session-end"], 601);
  });

  it("crosses segments and proves entries of the first from the last", async () => {
    const folder = await logOf(4096 + 300, 2);
    const { log } = await open(folder);
    const sealed = await log.seal(result("sha256:aa"));
    const { entry } = verifyReceipt(toUtf8(await log.receipt(sealed)), key);
    assert.equal(entry.n, 4396);
    const early = await log.receipt({ ...sealed });
    assert.ok(early.startsWith("c2sp.org/tlog-proof@v1\nextra "));
    await log.close();
    assert.deepEqual((await verifyLog(systemDisk, folder, key)).faults, []);
  });

  it("reads entries back from memory, from bundles and from segments, and refuses changed ones", async () => {
    const folder = await logOf(4096 + 300, 2);
    const { log } = await open(folder);
    const read = async (n: number): Promise<string> => {
      const { entry, bytes } = await log.entry(n);
      assert.deepEqual(bytes, encodeEntry(entry));
      return entry.kind === "session-end" ? entry.session : "";
    };
    const session = (n: number): string => String(n).padStart(32, "0");
    for (const n of [0, 255, 256, 4095, 4096, 4352, 4395]) assert.equal(await read(n), session(n));
    const bundle = join(folder, "tiles", tilePath("entries", 1));
    const whole = await readFile(bundle);
    await rm(bundle);
    assert.equal(await read(300), session(300));
    await writeFile(bundle, whole.subarray(0, 1000));
    assert.equal(await read(300), session(300));
    await writeFile(bundle, whole.toString("latin1").replaceAll("closed", "opened"), "latin1");
    await assert.rejects(log.entry(300), { code: "signing/log-damaged" });
    await assert.rejects(log.entry(4396), { code: "signing/log-damaged" });
    await log.close();
  });

  it("gives a receipt that stands alone and refuses a changed one", async () => {
    const folder = await logOf(10);
    const { log } = await open(folder);
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

  it("keeps what was acknowledged and drops only what never was, wherever the power cut falls", async () => {
    const folder = await logOf(5, 1);
    const head = await readFile(headPath(folder));
    const acknowledged = (await readFile(segmentPath(folder, 0))).length;
    const { log } = await open(folder);
    await log.append(ending(5));
    await log.close();
    const whole = (await readFile(segmentPath(folder, 0))).length;
    for (let cut = acknowledged - 20; cut <= whole; cut += 10) {
      const copy = join(root, `cut-${cut}`);
      await cp(folder, copy, { recursive: true });
      await writeFile(headPath(copy), head);
      await truncate(segmentPath(copy, 0), cut);
      if (cut < acknowledged) {
        await assert.rejects(open(copy), { code: "signing/log-damaged" });
        continue;
      }
      const again = await open(copy);
      assert.equal(again.log.size, cut === whole ? 6 : 5);
      assert.equal(again.dropped, cut === whole ? 0 : cut - acknowledged);
      await again.log.seal(ending(99));
      await again.log.close();
      // The published tiles speak of the entry that the cut took; only they may disagree.
      const { faults } = await verifyLog(systemDisk, copy, key);
      assert.deepEqual(
        faults.filter((f) => f.what !== "edited" && f.what !== "rewritten" && f.what !== "truncated"),
        [],
      );
      await rm(copy, { recursive: true });
    }
  });

  it("makes entries durable while a checkpoint is signed, and covers only what was written", async () => {
    const folder = join(root, `log-${serial++}`);
    const sizes: number[] = [];
    let [release, begin] = [(): void => {}, (): void => {}];
    const held = new Promise<void>((resolve) => (release = resolve));
    const begun = new Promise<void>((resolve) => (begin = resolve));
    const slow = ports(folder);
    const { log } = await AuditLog.open({
      ...slow,
      sign: async (message) => {
        const { size } = parseCheckpointText(fromUtf8(message));
        const written = splitLines(await readFile(segmentPath(folder, 0))).lines.length;
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
    assert.deepEqual((await verifyLog(systemDisk, folder, key)).faults, []);
  });

  it("answers nobody with success once a write failed behind the one who waits", async () => {
    const folder = await logOf(2);
    let signed = 0;
    const failing = ports(folder);
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
    const folder = await logOf(2);
    const failing = ports(folder);
    const { log } = await AuditLog.open({ ...failing, sign: () => Promise.reject(new Error("token gone")) });
    await assert.rejects(log.seal(ending(9)), /token gone/);
    await assert.rejects(log.append(ending(10)), { code: "signing/log-closed" });
    await log.close();
  });

  it("refuses the folder of another signer", async () => {
    const folder = await logOf(2);
    const other = generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "der" });
    await assert.rejects(
      AuditLog.open({ ...ports(folder), key: noteKeyFromSpki("test/log", new Uint8Array(other)) }),
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
      const folder = await logOf(20);
      await edit(folder, change);
      const { faults } = await verifyLog(systemDisk, folder, key);
      assert.ok(
        faults.some((fault) => fault.what === what && fault.entry === entry),
        JSON.stringify(faults),
      );
    });
  }

  it("names the first entry of a log that was rewritten as a whole, from a checkpoint kept elsewhere", async () => {
    const folder = await logOf(20);
    const kept = openCheckpoint(await readFile(join(folder, "tiles/checkpoint")), key);
    const forged = await logOf(25);
    await edit(forged, (lines) => lines);
    await writeFile(
      segmentPath(forged, 0),
      (await readFile(segmentPath(forged, 0), "utf8")).replaceAll("closed", "forged"),
    );
    const { faults } = await verifyLog(systemDisk, forged, key, [kept]);
    assert.ok(faults.length > 0);
    const shorter = await verifyLog(systemDisk, await logOf(10), key, [kept]);
    assert.ok(shorter.faults.some((fault) => fault.what === "truncated" && fault.entry === 10));
  });
});
