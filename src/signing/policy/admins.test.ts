// Administrators' codes: what they let take force, what is refused, and what somebody who can write files gains.

import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { formatInstant, MINUTE, parseInstant, SECOND } from "../../core/instant.ts";
import { AdminDesk, AdminLedger, NO_ADMINS, parseAdminsFile, type AdminsFile } from "./admins.ts";
import { NO_ENTRY, parseEntry, encodeEntry, type AuditEntry, type EntryBody } from "../audit/entry.ts";
import { stepOf, totpAt } from "./totp.ts";
import { fromBase32 } from "../../testing/authenticator.ts";

const KEY = new Uint8Array(32).fill(7);
const [ONE, TWO, THREE] = ["1", "2", "3"].map((text) => sha256Hex(toUtf8(text))) as [string, string, string];
let now: number;
let seed: number;
let entries: AuditEntry[];
let file: AdminsFile;
let ledger: AdminLedger;
let desk: AdminDesk;
const devices = new Map<string, Uint8Array>();

function reopen(from: readonly AuditEntry[] = entries, key = KEY): void {
  ledger = new AdminLedger(key);
  for (const entry of from) ledger.apply(entry);
  desk = new AdminDesk({
    clock: { now: () => now, monotonic: () => now, sleep: async () => {} },
    random: { bytes: (length: number) => new Uint8Array(length).fill(seed++) },
    ledger,
    key,
    record: async (body: EntryBody) => {
      const entry = { n: entries.length, time: formatInstant(now), prev: NO_ENTRY, ...body } as AuditEntry;
      // What is written can be read again under the closed schema.
      entries.push(parseEntry(encodeEntry(entry)));
      return entry;
    },
    read: async () => parseAdminsFile(toUtf8(JSON.stringify(file))),
    write: async (next) => void (file = next),
    signer: "s1",
  });
}
beforeEach(async () => {
  [now, seed, entries, file] = [parseInstant("2026-11-21T12:00:00Z"), 1, [], NO_ADMINS];
  devices.clear();
  reopen();
  await add("carol");
});

async function add(name: string, by: { admin: string; code: string } | null = null): Promise<void> {
  const { uri } = await desk.add(name, ONE, by);
  devices.set(name, fromBase32(/secret=([A-Z2-7]+)/.exec(uri)![1]!));
}
const code = (admin: string, later = 0): { admin: string; code: string } => ({
  admin,
  code: totpAt(devices.get(admin)!, stepOf(now) + later),
});
const kinds = (): readonly string[] =>
  entries.map((entry) => (entry.kind === "admin" ? entry.action : entry.kind));

describe("an administrator", () => {
  it("takes over what is in force, and from then on nothing else takes force unasked", () => {
    assert.deepEqual([ledger.allows(ONE), ledger.allows(TWO), ledger.names], [true, false, ["carol"]]);
    assert.ok(new AdminLedger(KEY).allows(TWO), "without one everything does");
  });

  it("accepts another configuration with a code, which then is the only one", async () => {
    await desk.accept(TWO, code("carol"));
    assert.deepEqual([ledger.allows(ONE), ledger.allows(TWO)], [false, true]);
    reopen();
    assert.deepEqual([ledger.allows(ONE), ledger.allows(TWO)], [false, true], "after a restart as well");
  });

  it("can use a code once, also across a restart, and never an older one after a newer", async () => {
    await desk.accept(TWO, code("carol"));
    reopen();
    await assert.rejects(desk.accept(THREE, code("carol")), { code: "signing/refused" });
    await assert.rejects(desk.accept(THREE, code("carol", -1)), { code: "signing/refused" });
    assert.match((entries.at(-1) as { reason: string }).reason, /used before/);
    now += 30 * SECOND;
    await desk.accept(THREE, code("carol"));
    assert.ok(ledger.allows(THREE));
  });

  it("cannot use one code for two things at the same time", async () => {
    const both = await Promise.allSettled([
      desk.accept(TWO, code("carol")),
      desk.accept(THREE, code("carol")),
    ]);
    assert.deepEqual(both.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
  });

  it("is not guessed: after five wrong codes none is looked at for a while, also across a restart, and not even the right one", async () => {
    for (let i = 0; i < 5; i++) await assert.rejects(desk.accept(TWO, { admin: "carol", code: `00000${i}` }));
    reopen();
    await assert.rejects(desk.accept(TWO, code("carol")), /too many wrong codes/);
    const written = entries.length;
    await assert.rejects(desk.accept(TWO, code("carol")), /too many wrong codes/);
    assert.equal(entries.length, written, "what is not looked at fills no log");
    now += 16 * MINUTE;
    await desk.accept(TWO, code("carol"));
  });

  it("is added by one that is there, and removed by any of them; nobody becomes one without a code", async () => {
    await assert.rejects(add("eve"), { code: "signing/refused" });
    await assert.rejects(add("eve", { admin: "eve", code: "123456" }), { code: "signing/refused" });
    await add("dave", code("carol"));
    await assert.rejects(desk.remove("carol", null), { code: "signing/refused" });
    await desk.remove("carol", code("dave"));
    now += 30 * SECOND;
    await assert.rejects(desk.accept(TWO, code("carol")), { code: "signing/refused" });
    assert.deepEqual([ledger.names, Object.keys(file.admins)], [["dave"], ["dave"]]);
    await desk.remove("dave", code("dave"));
    assert.ok(ledger.allows(THREE), "with the last one the rule ends");
  });

  it("leaves an entry for all of it: who, which configuration, why not", async () => {
    await assert.rejects(desk.accept(TWO, { admin: "carol", code: "000000" }));
    await desk.unasked(THREE);
    assert.deepEqual(kinds(), ["added", "refused", "refused"]);
    const [, wrong, unasked] = entries as { admin: string; config: string; reason: string }[];
    assert.deepEqual(
      [wrong!.admin, wrong!.config, wrong!.reason],
      ["carol", TWO, "accepting: the code is wrong"],
    );
    assert.deepEqual([unasked!.admin, unasked!.config], ["", THREE]);
    assert.ok(
      !JSON.stringify([entries, file]).includes(Buffer.from(devices.get("carol")!).toString("base64")),
    );
  });
});

describe("somebody who can write files but has neither passphrase nor device", () => {
  it("gains nothing by lines added to the log: invented ones, and old ones played again", async () => {
    await desk.accept(TWO, code("carol"));
    const [added, accepted] = entries as [AuditEntry, AuditEntry];
    now += 30 * SECOND;
    await desk.accept(THREE, code("carol"));
    const invented = { ...accepted, config: ONE, nonce: "ab".repeat(16) } as AuditEntry;
    const removed = { ...added, action: "removed", nonce: "cd".repeat(16) } as AuditEntry;
    reopen([...entries, accepted, invented, removed, added]);
    assert.deepEqual(
      [ledger.allows(THREE), ledger.allows(TWO), ledger.allows(ONE), ledger.names],
      [true, false, false, ["carol"]],
    );
  });

  it("gains nothing by another file of secrets, or by removing it: then nobody can accept", async () => {
    const good = file;
    const other = new Uint8Array(32).fill(9);
    const [before, entriesBefore] = [ledger, entries];
    entries = [];
    reopen([], other);
    await add("carol");
    const theirs = file;
    entries = entriesBefore;
    for (const swapped of [theirs, NO_ADMINS]) {
      file = swapped;
      reopen();
      await assert.rejects(desk.accept(TWO, code("carol")), { code: "signing/refused" });
      assert.deepEqual([ledger.allows(TWO), ledger.allows(ONE)], [false, true]);
    }
    assert.deepEqual([before.names, good.version], [["carol"], 1]);
  });

  it("cannot put one administrator's sealed secret under another's name", async () => {
    await add("dave", code("carol"));
    file = { version: 1, admins: { ...file.admins, carol: file.admins["dave"]! } };
    reopen();
    now += 30 * SECOND;
    await assert.rejects(desk.accept(TWO, { admin: "carol", code: code("dave").code }), {
      code: "signing/refused",
    });
  });
});
