// Tokens with several uses, and devices that wait for approval.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, parseInstant } from "../core/instant.ts";
import { newToken } from "../identity/token.ts";
import { MemoryFleet } from "../testing/memory-fleet.ts";
import { checkChain } from "./audit.ts";
import { addToken, approveDevice, enrol, revoke, type Applicant } from "./enrol.ts";

const now = parseInstant("2026-11-21T04:00:00Z");
const pins = { caSpkiSha256: "1".repeat(64), rootSha256: "2".repeat(64) };
const random = { bytes: (length: number) => new Uint8Array(length).fill(7) };
const applicant = (n: number): Applicant => ({
  spki: String(n).repeat(64),
  reportKey: String(n).repeat(64),
  name: `till ${n}`,
  platform: { os: "linux", arch: "x64" },
});
const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

async function fleet(more: { readonly uses?: number; readonly approval?: boolean }) {
  const records = new MemoryFleet();
  const token = newToken(random, pins);
  await addToken(records, now, { ...token, group: "tills", life: DAY, ...more });
  const offer = async (n: number, as = n) => {
    const done = await enrol(records, now, {
      token,
      applicant: applicant(n),
      id: id(as),
      certificateEnds: now + DAY,
    });
    return done.ok
      ? `${done.again ? "again" : "new"} ${done.device.status} ${done.device.id}`
      : done.error.code;
  };
  return { records, token, offer };
}

describe("a token with several uses", () => {
  it("enrolls so many devices, each once, and no more", async () => {
    const { records, token, offer } = await fleet({ uses: 2 });
    assert.equal(await offer(1), `new active ${id(1)}`);
    assert.equal(await offer(1, 9), `again active ${id(1)}`);
    assert.deepEqual((await records.openTokens("tills", now)).length, 1);
    assert.equal(await offer(2), `new active ${id(2)}`);
    assert.equal(await offer(3), "fleet/token-used");
    assert.equal(await offer(2, 9), `again active ${id(2)}`, "an answer that was lost is given once more");
    assert.deepEqual(await records.openTokens("tills", now), []);
    assert.equal((await records.token(token.id))?.usedCount, 2);
    checkChain(null, records.auditRows);
  });

  it("gives no device back that was revoked", async () => {
    const { records, offer } = await fleet({ uses: 3 });
    await offer(1);
    await revoke(records, now, id(1), "operator:kim");
    assert.equal(await offer(1, 9), "fleet/key-in-use");
  });
});

describe("a device that waits for approval", () => {
  it("is pending until a person approves it, and that stands in the audit log with its key", async () => {
    const { records, offer } = await fleet({ approval: true });
    assert.equal(await offer(1), `new pending ${id(1)}`);
    assert.equal(await offer(1, 9), `again pending ${id(1)}`);
    assert.equal((await approveDevice(records, now, id(1), "operator:kim")).fresh, true);
    assert.equal((await records.device(id(1)))?.status, "active");
    const row = records.auditRows.at(-1)!;
    assert.deepEqual(
      [row.actor, row.action, row.facts["spki"]],
      ["operator:kim", "device/approved", "1".repeat(64)],
    );
    assert.equal((await approveDevice(records, now, id(1), "operator:kim")).fresh, false);
  });

  it("can be turned away, and is not approved after that", async () => {
    const { records, offer } = await fleet({ approval: true });
    await offer(1);
    await revoke(records, now, id(1), "operator:kim");
    await assert.rejects(approveDevice(records, now, id(1), "operator:kim"), {
      code: "fleet/device-revoked",
    });
    await assert.rejects(approveDevice(records, now, id(5), "operator:kim"), {
      code: "fleet/unknown-device",
    });
  });
});
