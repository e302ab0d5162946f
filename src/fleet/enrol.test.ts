// Who becomes a device, stays one and ceases to be one: each refusal by itself, and what it leaves behind.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, parseInstant, SECOND } from "../core/instant.ts";
import { newToken } from "../identity/token.ts";
import { MemoryFleet } from "../testing/memory-fleet.ts";
import { checkChain } from "./audit.ts";
import {
  addToken,
  adoptNextKey,
  enrol,
  renew,
  revoke,
  TOKEN_LIFE_MAX,
  type Applicant,
  type Enrolled,
} from "./enrol.ts";

const now = parseInstant("2026-11-21T04:00:00Z");
const later = now + 90 * DAY;
const pins = { caSpkiSha256: "1".repeat(64), rootSha256: "2".repeat(64) };
let drawn = 0;
const random = { bytes: (length: number) => new Uint8Array(length).fill(++drawn) };
const applicant = (n: number): Applicant => ({
  spki: String(n).repeat(64),
  reportKey: String(n).repeat(32) + "f".repeat(32),
  name: `till ${n}`,
  platform: { os: "linux", arch: "x64" },
});
const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

async function fleet() {
  const records = new MemoryFleet();
  const made = newToken(random, pins);
  const token = { id: made.id, secret: made.secret };
  await addToken(records, now, { ...token, group: "tills", life: DAY });
  /** Each try offers another device id, as the server does. */
  let tries = 0;
  const offer = (who: Applicant, more: { token?: typeof token; at?: number; ends?: number } = {}) =>
    enrol(records, more.at ?? now, {
      token: more.token ?? token,
      applicant: who,
      id: id(++tries),
      certificateEnds: more.ends ?? later,
    });
  const failures = () => records.tokenRows.get(token.id)!.failures;
  const actions = () => records.auditRows.map((row) => row.action);
  return { records, token, offer, failures, actions };
}
const codeOf = (done: Enrolled): string => (done.ok ? `device ${done.device.id}` : done.error.code);

describe("a token", () => {
  it("lives as long as it was made for, and never longer than a week", async () => {
    const { records } = await fleet();
    const row = await addToken(records, now, {
      ...newToken(random, pins),
      group: "tills",
      life: 90 * DAY,
    });
    assert.equal(row.expires, now + TOKEN_LIFE_MAX);
    assert.equal([...records.tokenRows.values()][0]!.expires, now + DAY);
  });

  it("makes no group: a typo would be one", async () => {
    const { records } = await fleet();
    assert.deepEqual([...records.groupRows.values()], []);
    await records.putGroup({ name: "tills", interval: 17, created: now });
    await addToken(records, now + DAY, { ...newToken(random, pins), group: "tills", life: DAY });
    assert.equal(records.groupRows.get("tills")!.interval, 17);
  });
});

describe("enrollment", () => {
  it("makes one device of the asker's keys, in the token's group, and leaves a trace", async () => {
    const { records, token, offer, actions } = await fleet();
    const done = await offer(applicant(1));
    assert.ok(done.ok);
    assert.deepEqual([done.again, done.device.group, done.device.status], [false, "tills", "active"]);
    assert.deepEqual(records.deviceRows.get(done.device.id), done.device);
    assert.deepEqual(
      [records.tokenRows.get(token.id)!.usedBy, records.tokenRows.get(token.id)!.used],
      [done.device.id, now],
    );
    assert.deepEqual(actions(), ["token/made", "device/enrolled"]);
    checkChain(null, records.auditRows);
  });

  it("may be repeated by the same keys because an answer can get lost, and makes no second device", async () => {
    const { records, offer } = await fleet();
    await offer(applicant(1));
    const again = await offer(applicant(1), { ends: later + DAY });
    assert.ok(again.ok);
    assert.deepEqual([again.again, again.device.id], [true, id(1)]);
    assert.deepEqual([records.deviceRows.size, again.device.certificateEnds], [1, later + DAY]);
    assert.equal(records.deviceRows.get(id(1))!.certificateEnds, later + DAY);
  });

  for (const [what, thief] of [
    ["other keys", applicant(2)],
    ["the device's TLS key and another report key", { ...applicant(1), reportKey: "a".repeat(64) }],
    ["the device's report key and another TLS key", { ...applicant(1), spki: "a".repeat(64) }],
  ] as const) {
    it(`with a spent token and ${what} is refused (stolen token)`, async () => {
      const { records, offer, failures } = await fleet();
      await offer(applicant(1));
      assert.equal(codeOf(await offer(thief)), "fleet/token-used");
      assert.deepEqual([records.deviceRows.size, failures()], [1, 1]);
    });
  }

  it("with the token of a revoked device is refused, by its own keys too", async () => {
    const { records, offer } = await fleet();
    await offer(applicant(1));
    await revoke(records, now, id(1), "operator");
    assert.equal(codeOf(await offer(applicant(1))), "fleet/token-used");
    assert.equal(records.deviceRows.get(id(1))!.status, "revoked");
  });

  it("with a token whose device is gone is refused", async () => {
    const { records, offer } = await fleet();
    await offer(applicant(1));
    records.deviceRows.clear();
    assert.equal(codeOf(await offer(applicant(1))), "fleet/token-used");
  });

  it("with a wrong secret, or an id that nobody made, says the same of both", async () => {
    const { token, offer, failures } = await fleet();
    const { secret } = newToken(random, pins);
    const wrong = await offer(applicant(1), { token: { ...token, secret } });
    const unknown = await offer(applicant(1), { token: { ...token, id: "f".repeat(16) } });
    assert.ok(!wrong.ok && !unknown.ok);
    assert.equal(wrong.error.code, "fleet/token-unknown");
    assert.deepEqual(wrong.error.toJSON(), unknown.error.toJSON());
    assert.equal(failures(), 1);
  });

  it("without a token never passes by the digest that stands in for one", async () => {
    const { offer } = await fleet();
    for (const secret of ["A".repeat(43), newToken(random, pins).secret])
      assert.equal(
        codeOf(await offer(applicant(1), { token: { id: "f".repeat(16), secret } })),
        "fleet/token-unknown",
      );
  });

  it("is possible to the last second of the token, also when it is repeated", async () => {
    const { offer } = await fleet();
    assert.ok((await offer(applicant(1), { at: now + DAY - SECOND })).ok);
    assert.equal(codeOf(await offer(applicant(1), { at: now + DAY })), "fleet/token-expired");
  });

  for (const [what, thief] of [
    ["TLS key", { ...applicant(2), spki: applicant(1).spki }],
    ["report key", { ...applicant(2), reportKey: applicant(1).reportKey }],
  ] as const) {
    it(`with the ${what} of another device is refused, and spends nothing (key substitution)`, async () => {
      const { records, offer, token } = await fleet();
      await offer(applicant(1));
      const second = newToken(random, pins);
      await addToken(records, now, { ...second, group: "tills", life: DAY });
      assert.equal(codeOf(await offer(thief, { token: second })), "fleet/key-in-use");
      assert.equal(records.tokenRows.get(second.id)!.usedBy, null);
      assert.deepEqual([records.deviceRows.size, records.tokenRows.get(token.id)!.failures], [1, 0]);
    });
  }

  it("that is refused without end fills neither the log nor the count", async () => {
    const { records, token, offer, failures, actions } = await fleet();
    const { secret } = newToken(random, pins);
    for (let i = 0; i < 25; i++) await offer(applicant(1), { token: { ...token, secret } });
    assert.equal(failures(), 25);
    assert.equal(actions().filter((action) => action === "device/enrolment-refused").length, 20);
    for (const [before, after] of [
      [999, 1000],
      [1000, 1000],
    ] as const) {
      await records.changeToken(token.id, { failures: before });
      await offer(applicant(1), { token: { ...token, secret } });
      assert.equal(failures(), after);
    }
    // Nobody who guesses keeps the rightful device out.
    assert.ok((await offer(applicant(1))).ok);
  });
});

describe("a renewed certificate", () => {
  const renewal = (device: string, spki: string) => ({ device, spki, certificateEnds: later + DAY });
  const enrolled = async () => {
    const made = await fleet();
    await made.offer(applicant(1));
    return { ...made, device: () => made.records.deviceRows.get(id(1))! };
  };

  it("has its key noted, beside the one in use", async () => {
    const { records, device, actions } = await enrolled();
    await renew(records, now, renewal(id(1), "b".repeat(64)));
    assert.deepEqual([device().spki, device().nextSpki], [applicant(1).spki, "b".repeat(64)]);
    assert.equal(device().certificateEnds, later);
    assert.equal(actions().at(-1), "certificate/renewed");
    await renew(records, now, renewal(id(1), "b".repeat(64)));
  });

  for (const [what, spki, code] of [
    ["the key in use", applicant(1).spki, "fleet/key-in-use"],
    ["another device's key", "c".repeat(64), "fleet/key-in-use"],
    ["another device's next key", "d".repeat(64), "fleet/key-in-use"],
  ] as const) {
    it(`is refused for ${what}`, async () => {
      const { records, device } = await enrolled();
      await records.addDevice({ ...device(), id: id(9), spki: "c".repeat(64), nextSpki: "d".repeat(64) });
      await assert.rejects(renew(records, now, renewal(id(1), spki)), { code });
      assert.equal(device().nextSpki, null);
    });
  }

  it("is refused to a revoked device, and to one that nobody enrolled", async () => {
    const { records } = await enrolled();
    await assert.rejects(renew(records, now, renewal(id(7), "b".repeat(64))), {
      code: "fleet/device-revoked",
    });
    await revoke(records, now, id(1), "operator");
    await assert.rejects(renew(records, now, renewal(id(1), "b".repeat(64))), {
      code: "fleet/device-revoked",
    });
  });

  it("makes its key the only one at its first use, and no other key ever", async () => {
    const { records, device, actions } = await enrolled();
    await renew(records, now, renewal(id(1), "b".repeat(64)));
    const before = device();
    await adoptNextKey(records, now, renewal(id(1), "e".repeat(64)));
    await adoptNextKey(records, now, renewal(id(1), before.spki));
    await adoptNextKey(records, now, renewal(id(8), "b".repeat(64)));
    assert.deepEqual(device(), before);
    await adoptNextKey(records, now, renewal(id(1), "b".repeat(64)));
    assert.deepEqual(
      [device().spki, device().nextSpki, device().certificateEnds],
      ["b".repeat(64), null, later + DAY],
    );
    assert.equal(actions().at(-1), "certificate/adopted");
  });
});

describe("a revoked device", () => {
  it("keeps no next key, is revoked once, and leaves a trace of who did it", async () => {
    const { records, offer, actions } = await fleet();
    await offer(applicant(1));
    await renew(records, now, { device: id(1), spki: "b".repeat(64), certificateEnds: later });
    const gone = await revoke(records, now, id(1), "operator:anna");
    assert.deepEqual([gone.status, gone.nextSpki], ["revoked", null]);
    assert.deepEqual(records.deviceRows.get(id(1)), gone);
    assert.equal(records.auditRows.at(-1)!.actor, "operator:anna");
    await revoke(records, now, id(1), "operator");
    assert.equal(actions().filter((action) => action === "device/revoked").length, 1);
    // A key that was never used opens nothing now either.
    await adoptNextKey(records, now, { device: id(1), spki: "b".repeat(64), certificateEnds: later });
    assert.equal(records.deviceRows.get(id(1))!.spki, applicant(1).spki);
  });

  it("has to be one", async () => {
    const { records } = await fleet();
    await assert.rejects(revoke(records, now, "x".repeat(80), "operator"), {
      code: "fleet/unknown-device",
      facts: { device: "x".repeat(64) },
    });
  });
});
