// Reports: believed from their own device only, coherent, and in a chain that shows gaps.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { signEnvelope } from "../core/dsse.ts";
import { localSigner } from "../keys/signer.ts";
import {
  chainFit,
  openReport,
  signReport,
  type AttemptReport,
  type InventoryReport,
  isRepair,
  resultOf,
} from "./report.ts";

const key = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const device = "0a0b0c0d-0000-4000-8000-000000000001";
const success: AttemptReport = {
  kind: "attempt",
  id: "1".repeat(32),
  device,
  sequence: 1,
  previous: null,
  issued: "2026-11-21T04:00:00Z",
  boot: "b".repeat(32),
  attempt: "2".repeat(32),
  product: "shop",
  from: "1.0.0",
  to: "1.1.0",
  outcome: "success",
  step: "committed",
  started: "2026-11-21T03:59:00Z",
  duration: 60_000,
  bytes: 12_345,
  source: "origin",
  running: "1.1.0",
};
const inventory: InventoryReport = {
  kind: "inventory",
  id: "3".repeat(32),
  device,
  sequence: 2,
  previous: "c".repeat(64),
  issued: "2026-11-21T04:00:00Z",
  boot: "b".repeat(32),
  components: [
    { product: "shop", running: "1.1.0", manifestSha256: "d".repeat(64), committed: "1.1.0", floor: null },
  ],
};
const expected = { key: key.publicKey, device };

describe("a report", () => {
  it("is believed when its own device signed it", async () => {
    for (const report of [success, inventory]) {
      const { envelope, payloadSha256 } = await signReport(report, key);
      const opened = openReport(envelope, expected);
      assert.deepEqual(opened.report, report);
      assert.equal(opened.payloadSha256, payloadSha256);
    }
  });

  it("is refused with one byte changed, wherever it is (tampered report)", async () => {
    const { envelope } = await signReport(success, key);
    for (let i = 0; i < envelope.length - 1; i += 11) {
      const changed = Uint8Array.from(envelope);
      changed[i]! ^= 1;
      assert.throws(() => openReport(changed, expected), `byte ${i}`);
    }
  });

  it("is refused about another device, though the signature is good", async () => {
    const other = { ...success, device: "0a0b0c0d-0000-4000-8000-000000000002" };
    const { envelope } = await signReport(other, key);
    assert.throws(() => openReport(envelope, expected), { code: "report/wrong-device" });
  });

  it("is refused when the key of another device signed it (forged report)", async () => {
    const stranger = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
    const { envelope } = await signReport(success, stranger);
    assert.throws(() => openReport(envelope, expected), { code: "dsse/no-valid-signature" });
  });

  for (const [what, change] of [
    ["a success with an error code", { code: "slot/full" }],
    ["a success whose new version does not run", { running: "1.0.0" }],
    ["a failure without a code", { outcome: "failure" }],
    ["a first report that names a previous one", { previous: "a".repeat(64) }],
    ["a later report without a previous one", { sequence: 2 }],
  ] as const) {
    it(`is refused as ${what}, when made and when read`, async () => {
      const wrong = { ...success, ...change } as AttemptReport;
      await assert.rejects(signReport(wrong, key), { code: "report/incoherent" });
      const envelope = await signEnvelope("report", toUtf8(JSON.stringify(wrong)), [key]);
      assert.throws(() => openReport(envelope, expected), { code: "report/incoherent" });
    });
  }

  it("is refused when it is of an unknown kind", async () => {
    const envelope = await signEnvelope("report", toUtf8(JSON.stringify({ ...success, kind: "poem" })), [
      key,
    ]);
    assert.throws(() => openReport(envelope, expected), { code: "schema/invalid" });
  });

  it("is taken with a member that only a later version knows, and never made with one", async () => {
    const grown = { ...success, later: "x" };
    const envelope = await signEnvelope("report", toUtf8(JSON.stringify(grown)), [key]);
    assert.equal(openReport(envelope, expected).report.id, success.id);
    await assert.rejects(signReport(grown, key), { code: "schema/invalid" });
  });
});

describe("the report of a repair", () => {
  const repaired = { ...success, from: "1.1.0", step: "repaired" };

  it("has the form of any success, so that older servers take it, and is told apart from an update", async () => {
    const { envelope } = await signReport(repaired, key);
    assert.deepEqual(openReport(envelope, expected).report, repaired);
    assert.equal(resultOf(repaired), "repaired");
    assert.equal(isRepair(repaired), true);
  });

  it("that did not work says nothing about the release either", () => {
    const failed = {
      ...repaired,
      outcome: "refused",
      code: "mirror/wrong-content",
      step: "downloading",
    } as const;
    assert.deepEqual([resultOf(failed), isRepair(failed)], ["refused", true]);
  });

  it("cannot be claimed by an update", () => {
    assert.equal(resultOf({ ...success, step: "repaired" }), "success");
    assert.equal(isRepair(success), false);
    assert.equal(isRepair({ ...success, from: null }), false);
  });
});

describe("the chain of reports", () => {
  const at = (sequence: number, previous: string | null) => ({ ...success, sequence, previous });
  const last = { sequence: 4, payloadSha256: "e".repeat(64) };

  for (const [what, fit, place, report] of [
    ["starts with the first", "next", null, at(1, null)],
    ["shows that the first is missing", "gap", null, at(3, "f".repeat(64))],
    ["goes on", "next", last, at(5, "e".repeat(64))],
    ["shows a missing report", "gap", last, at(6, "f".repeat(64))],
    ["shows one from before", "old", last, at(4, "e".repeat(64))],
    ["shows two devices that write under one name (clone)", "fork", last, at(5, "f".repeat(64))],
  ] as const) {
    it(what, () => assert.equal(chainFit(place, report), fit));
  }
});
