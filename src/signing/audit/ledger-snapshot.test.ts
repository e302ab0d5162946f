// Tests of the ledger's snapshot: a start with one knows what a start without one knows, and a bad one is as good as none.

import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { describe, it } from "node:test";
import { formatInstant, MINUTE } from "../../core/instant.ts";
import { crashMatrix } from "../../testing/crash-matrix.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import type { Disk } from "../../core/disk.ts";
import { AuditLog } from "./log.ts";
import { noteKeyFromSpki } from "./note.ts";
import {
  openSnapshot,
  resumeLedger,
  type Follower,
  sealSnapshot,
  snapshotPath,
  SnapshotWriter,
} from "./ledger-snapshot.ts";
import { replayLog } from "./replay.ts";
import { AdminDesk, AdminLedger, NO_ADMINS as NO_ADMINS_FILE } from "../policy/admins.ts";
import { Ledger } from "./ledger.ts";

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
const noteKey = noteKeyFromSpki("test/log", spki);
const folder = "/audit";
const macKey = new Uint8Array(32).fill(5);
const placeOn = (disk: Disk) => ({ disk, folder, origin: "test/log", key: macKey });
const clock = new ScriptedClock();
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const open = async (disk: Disk, gather?: () => Promise<void>): Promise<AuditLog> =>
  (
    await AuditLog.open({
      disk,
      clock,
      folder,
      key: noteKey,
      ...(gather === undefined ? {} : { gather }),
      sign: async (message) => new Uint8Array(sign(null, message, privateKey)),
    })
  ).log;

const id = (n: number): string => n.toString(16).padStart(32, "0");
const hash = (n: number): string => n.toString(16).padStart(64, "0");
const document = { sha256: hash(0), length: 1, inline: "AA==" };

/** One of everything that a ledger remembers, numbered from `from`. */
async function work(log: AuditLog, from: number, count: number): Promise<void> {
  const who = { user: "ci", session: id(7), address: "192.0.2.1" };
  const what = (n: number) => ({
    request: id(n),
    requestHash: hash(n),
    certificate: "release",
    operation: "cms",
    file: 'set"up.exe',
    digest: "sha256:00",
    fileSha256: hash(0),
  });
  const expires = formatInstant(clock.now() + 10 * MINUTE);
  await log.append({
    kind: "session",
    ...who,
    spki: hash(1),
    key: "AA==",
    method: "oidc",
    outcome: "accepted",
    reason: "",
    used: `oidc:${from}`,
  });
  const pending = { rule: "ci", needed: 2, expires, document, release: `${hash(3)}:2:0` };
  await log.append({ kind: "pending", ...who, ...what(from), ...pending });
  const subject = `release:${hash(3)}:2`;
  await log.append({
    kind: "approval",
    ...who,
    subject,
    decision: "approve",
    nonce: id(1),
    expires,
    document,
  });
  await log.append({ kind: "denied", ...who, ...what(from + 1), reasons: ["no"], document });
  for (let n = from + 2; n < from + count; n++) {
    const rest = { attempt: 0, rule: "ci", checks: [], approvals: [], expires, document };
    const { index } = await log.append({
      kind: "intent",
      ...who,
      ...what(n),
      ...rest,
      release: `${hash(3)}:${n}`,
    });
    if (n % 5 === 0) continue;
    if (n % 5 === 1) {
      await log.append({
        kind: "failed",
        intent: index,
        request: id(n),
        code: "signing/key-failed",
        reason: "x",
      });
      continue;
    }
    await log.seal({
      kind: "result",
      intent: index,
      ...what(n),
      user: "ci",
      signatureSha256: hash(2),
      reply: document,
    });
  }
}

const NO_ADMINS: Follower = { kept: [], apply: () => {} };

async function snapshotOf(disk: Disk): Promise<void> {
  const log = await open(disk);
  const { ledger, replayed } = await resumeLedger(placeOn(disk), log, NO_ADMINS);
  const writer = new SnapshotWriter(placeOn(disk), log, { ledger, admins: NO_ADMINS }, log.size - replayed);
  await writer.write(async () => {});
  assert.equal(writer.behind, 0);
  await log.close();
}

type Started = { readonly ledger: Ledger; readonly replayed: number; readonly refused?: string };

async function start(disk: Disk): Promise<Started> {
  const log = await open(disk);
  const resumed = await resumeLedger(placeOn(disk), log, NO_ADMINS);
  await log.close();
  return resumed;
}

/** A log of 43 entries and more, its snapshot, and 23 entries after that. */
async function story(): Promise<{ readonly disk: MemoryDisk; readonly size: number; readonly all: number }> {
  const disk = new MemoryDisk();
  const first = await open(disk);
  await work(first, 100, 25);
  const { size } = first;
  await first.close();
  await snapshotOf(disk);
  const second = await open(disk);
  await work(second, 200, 15);
  const all = second.size;
  await second.close();
  return { disk, size, all };
}

/** What a start without any snapshot knows. */
async function fromTheLog(disk: MemoryDisk): Promise<Ledger> {
  const bare = disk.clone();
  await bare.removeFile(snapshotPath(folder));
  return (await start(bare)).ledger;
}

const write = async (disk: Disk, bytes: Uint8Array): Promise<void> => {
  const file = await disk.open(snapshotPath(folder), "write");
  await file.truncate(0);
  await file.write(0, bytes);
  await file.close();
};

describe("a snapshot of the ledger", () => {
  it("lets a start read only what is newer, and know the same", async () => {
    const { disk, size, all } = await story();
    const { ledger, replayed, refused } = await start(disk);
    assert.deepEqual([replayed, refused], [all - size, undefined]);
    assert.deepEqual(ledger.state(), (await fromTheLog(disk)).state());
    assert.equal(ledger.request(id(102))?.state, "signed");
    assert.equal(ledger.count("release", "ci", -Infinity), 23 + 13);
    assert.equal(ledger.usedBy("oidc:100"), hash(1));
    assert.equal(ledger.placeTaken(`${hash(3)}:110`), id(110));
  });

  it("keeps what was said about administrators, of whom no later entry may speak", async () => {
    const disk = new MemoryDisk();
    const log = await open(disk);
    const admins = new AdminLedger(macKey);
    log.follow((entry) => admins.apply(entry));
    const desk = new AdminDesk({
      clock,
      random: { bytes: (length) => new Uint8Array(length).fill(9) },
      ledger: admins,
      key: macKey,
      record: async (body) => (await log.append(body)).entry,
      read: async () => NO_ADMINS_FILE,
      write: async () => {},
      signer: "s1",
    });
    await desk.add("carol", hash(4), null);
    const writer = new SnapshotWriter(placeOn(disk), log, { ledger: new Ledger(), admins }, 0);
    await writer.write(turn);
    await log.append({ kind: "stop" });
    await log.close();
    const again = await open(disk);
    const known = new AdminLedger(macKey);
    const { replayed, refused } = await resumeLedger(placeOn(disk), again, known);
    await again.close();
    assert.deepEqual([replayed, refused], [1, undefined]);
    assert.deepEqual([known.names, known.allows(hash(4)), known.allows(hash(5))], [["carol"], true, false]);
  });

  it("is exact when it is taken while the log grows", async () => {
    const disk = new MemoryDisk();
    const log = await open(disk, turn);
    const { ledger } = await resumeLedger(placeOn(disk), log, NO_ADMINS);
    log.follow((entry) => ledger.apply(entry));
    const writer = new SnapshotWriter(placeOn(disk), log, { ledger, admins: NO_ADMINS }, 0);
    const growth = Promise.all([work(log, 100, 40), work(log, 200, 40), work(log, 300, 40)]);
    await log.append({ kind: "stop" });
    const sizes = new Set<number>();
    for (let i = 0; i < 20; i++) {
      await writer.write(turn);
      const { size, ledger: state } = openSnapshot(await disk.read(snapshotPath(folder), 1 << 20), macKey)!;
      const upTo = new Ledger();
      await replayLog(disk, folder, size, (entry) => upTo.apply(entry));
      assert.deepEqual(state, upTo.state());
      sizes.add(size);
      await turn();
    }
    await growth;
    assert.ok(sizes.size > 3, String(sizes.size));
    await log.close();
  });

  it("is refused when any byte was edited, and the log is read instead", async () => {
    const { disk, all } = await story();
    const whole = await disk.read(snapshotPath(folder), 1 << 20);
    const right = (await fromTheLog(disk)).state();
    for (let at = 0; at < whole.length; at += 1 + (at % 97)) {
      const edited = whole.slice();
      edited[at]! ^= 1;
      assert.equal(openSnapshot(edited, macKey), null, `byte ${at}`);
    }
    const edited = whole.slice();
    edited[whole.length - 40]! ^= 0x80;
    await write(disk, edited);
    const { ledger, replayed, refused } = await start(disk);
    assert.equal(replayed, all);
    assert.match(refused ?? "", /changed/);
    assert.deepEqual(ledger.state(), right);
  });

  it("is refused when it was cut off at any point", async () => {
    const { disk, all } = await story();
    const whole = await disk.read(snapshotPath(folder), 1 << 20);
    for (let length = 0; length < whole.length; length++)
      assert.equal(openSnapshot(whole.subarray(0, length), macKey), null, `after ${length} bytes`);
    await write(disk, whole.subarray(0, whole.length - 1));
    assert.equal((await start(disk)).replayed, all);
  });

  it("is refused when it was sealed under another secret, or belongs to a log of another name", async () => {
    const { disk, all } = await story();
    const snapshot = openSnapshot(await disk.read(snapshotPath(folder), 1 << 20), macKey)!;
    await write(disk, sealSnapshot(snapshot, new Uint8Array(32).fill(6)));
    assert.match((await start(disk)).refused ?? "", /another secret/);
    await write(disk, sealSnapshot({ ...snapshot, origin: "other/log" }, macKey));
    const { refused, replayed } = await start(disk);
    assert.match(refused ?? "", /another log/);
    assert.equal(replayed, all);
  });

  it("is refused when it is from another log of the same name: a snapshot splice", async () => {
    const { disk, all } = await story();
    const other = new MemoryDisk();
    const log = await open(other);
    await work(log, 500, 25);
    await log.close();
    await snapshotOf(other);
    await write(disk, await other.read(snapshotPath(folder), 1 << 20));
    const { ledger, refused, replayed } = await start(disk);
    assert.match(refused ?? "", /does not lead/);
    assert.equal(replayed, all);
    assert.equal(ledger.request(id(502)), undefined);
  });

  it("is refused when it is newer than the log: the log was set back to an older copy", async () => {
    const { disk, all } = await story();
    const older = disk.clone();
    await snapshotOf(disk);
    await write(older, await disk.read(snapshotPath(folder), 1 << 20));
    assert.equal((await start(older)).refused, undefined);
    const log = await open(disk);
    await work(log, 300, 9);
    await log.close();
    await snapshotOf(disk);
    await write(older, await disk.read(snapshotPath(folder), 1 << 20));
    const { refused, replayed } = await start(older);
    assert.match(refused ?? "", /newer than the log/);
    assert.equal(replayed, all);
  });

  it("never changes what a start knows, wherever the power cut falls while it is written", async () => {
    const { disk } = await story();
    const right = (await fromTheLog(disk)).state();
    const cases = await crashMatrix(
      disk,
      async (cut) => snapshotOf(cut),
      async ({ disk: left, point }) => {
        const { ledger } = await start(left);
        assert.deepEqual(ledger.state(), right, `after a cut before operation ${point}`);
      },
      { states: 4 },
    );
    assert.ok(cases > 20);
  });
});
