// What a device may say when it enrolls, renews and checks in, and what a server may answer: each bound of the schemas.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { checkWritten } from "../core/growth.ts";
import type { Json } from "../core/json.ts";
import type { Schema } from "../core/schema.ts";
import { ASSIGNMENT_LIMIT, assignmentSchema, MAX_COMPONENTS } from "./assignment.ts";
import { checkInAnswerSchema, checkInRequestSchema, MAX_INTERVAL, MIN_INTERVAL } from "./check-in.ts";
import { readMessage } from "./common.ts";
import {
  CERTIFICATE_LIMIT,
  CSR_LIMIT,
  enrollAnswerSchema,
  enrollRequestSchema,
  enrolmentProof,
  renewAnswerSchema,
  renewRequestSchema,
} from "./enroll.ts";
import { MAX_REPORTS, REPORT_LIMIT, reportResultSchema, reportsRequestSchema } from "./reports.ts";

const takes = (schema: Schema<unknown>, value: object): boolean => {
  try {
    readMessage(toUtf8(JSON.stringify(value)), schema, "message", 1 << 24);
    return true;
  } catch (error) {
    assert.equal((error as { code?: string }).code, "schema/invalid");
    return false;
  }
};
const base64 = (length: number): string => Buffer.alloc(length, 7).toString("base64");
const device = "0a0b0c0d-0000-4000-8000-000000000001";
const nonce = "A".repeat(43);
const platform = { os: "linux", arch: "x64" };
const product = (n: number) => ({ product: `p${n}`, version: null });
const hold = (n: number) => ({ product: `p${n}`, channel: "stable", hold: { reason: "paused" } });

/** Message, schema, and edits that are taken or refused. */
function rows(
  name: string,
  schema: Schema<unknown>,
  good: { readonly [member: string]: Json },
  edits: readonly (readonly [member: string, value: Json | undefined, taken: boolean])[],
  grows = true,
): void {
  describe(name, () => {
    it(`is taken as it is meant, and ${grows ? "with a member that only a later version knows" : "with no member more"}`, () => {
      assert.ok(takes(schema, good));
      assert.equal(takes(schema, { ...good, later: { than: "this" } }), grows);
    });
    it("is never written with a member that this version does not know", () => {
      checkWritten(schema, good, "message");
      const wrong = { ...good, later: 1 };
      assert.throws(() => checkWritten(schema, wrong, "message"), { code: "schema/invalid" });
    });
    for (const [member, value, taken] of edits) {
      const shown = value === undefined ? "nothing" : JSON.stringify(value);
      const short = shown.length > 60 ? `${shown.slice(0, 30)}… (${shown.length})` : shown;
      it(`is ${taken ? "taken" : "refused"} with ${short} as ${member}`, () => {
        const { [member]: _, ...rest } = good;
        assert.equal(takes(schema, value === undefined ? rest : { ...rest, [member]: value }), taken);
      });
    }
  });
}

const token = { id: "0123456789abcdef", secret: nonce };
rows(
  "an enrollment",
  enrollRequestSchema,
  {
    token,
    csr: base64(300),
    reportKey: "a".repeat(64),
    reportKeyProof: base64(64),
    platform,
    name: "till 7",
  },
  [
    ["token", undefined, false],
    ["token", { ...token, id: "0123456789ABCDEF" }, false],
    ["token", { ...token, id: "0123456789abcde" }, false],
    ["token", { ...token, secret: `${"A".repeat(42)}B` }, false],
    ["token", { ...token, secret: "A".repeat(44) }, false],
    ["token", { ...token, group: "admins" }, false],
    ["csr", base64(CSR_LIMIT), true],
    // The text's length bounds the bytes to the next three.
    ["csr", base64(CSR_LIMIT + 3), false],
    ["csr", "", false],
    ["csr", undefined, false],
    ["reportKey", "A".repeat(64), false],
    ["reportKey", "a".repeat(63), false],
    ["reportKey", undefined, false],
    ["reportKeyProof", undefined, false],
    ["reportKeyProof", base64(67), false],
    ["platform", { ...platform, os: "bsd" }, false],
    ["platform", { ...platform, libc: "musl" }, true],
    ["platform", { ...platform, kernel: "6.1" }, false],
    ["name", "n".repeat(128), true],
    ["name", "n".repeat(129), false],
    ["name", "two\nlines", false],
    ["name", "\u001b[2J", false],
    ["name", "a\u202eb", false],
  ],
);

rows("a renewal", renewRequestSchema, { csr: base64(300) }, [
  ["csr", base64(CSR_LIMIT + 3), false],
  ["csr", "not base64", false],
]);

const badDevices = [
  ["device", "not-an-id", false],
  ["device", device.toUpperCase(), false],
] as const;
const chain = [base64(500), base64(500)];
for (const [name, schema, good] of [
  ["the answer to an enrollment", enrollAnswerSchema, { device, certificates: chain }],
  ["the answer to a renewal", renewAnswerSchema, { certificates: chain }],
] as const)
  rows(name, schema, good, [
    ...("device" in good ? badDevices : []),
    ["certificates", [], false],
    ["certificates", Array<string>(4).fill(chain[0]!), true],
    ["certificates", Array<string>(5).fill(chain[0]!), false],
    ["certificates", [base64(CERTIFICATE_LIMIT + 3)], false],
  ]);

rows("a check-in", checkInRequestSchema, { nonce, platform, components: [product(1)] }, [
  ["nonce", "A".repeat(42), false],
  // The last character has two bits too many: another spelling of the same bytes.
  ["nonce", `${"A".repeat(42)}B`, false],
  ["nonce", `${"A".repeat(42)}=`, false],
  ["components", [], true],
  ["components", Array.from({ length: MAX_COMPONENTS }, (_, n) => product(n)), true],
  ["components", Array.from({ length: MAX_COMPONENTS + 1 }, (_, n) => product(n)), false],
  ["components", [product(1), product(1)], false],
  ["components", [{ product: "shop", version: "latest" }], false],
  ["timestamp", "a".repeat(64), true],
  ["timestamp", "a".repeat(63), false],
]);

rows("the answer to a check-in", checkInAnswerSchema, { assignment: base64(100), interval: 60, seq: 0 }, [
  ["assignment", base64(ASSIGNMENT_LIMIT), true],
  ["assignment", base64(ASSIGNMENT_LIMIT + 3), false],
  ["interval", MIN_INTERVAL, true],
  ["interval", MIN_INTERVAL - 1, false],
  ["interval", MAX_INTERVAL, true],
  ["interval", MAX_INTERVAL + 1, false],
  ["seq", -1, false],
]);

rows(
  "an assignment",
  assignmentSchema,
  {
    device,
    nonce,
    issued: "2026-11-21T04:00:00Z",
    expires: "2026-11-21T05:00:00Z",
    components: [hold(1)],
  },
  [
    ["components", Array.from({ length: MAX_COMPONENTS }, (_, n) => hold(n)), true],
    ["components", Array.from({ length: MAX_COMPONENTS + 1 }, (_, n) => hold(n)), false],
    ["components", [hold(1), hold(1)], false],
    ["expires", undefined, false],
    ["expires", "2026-11-21 05:00", false],
    ["nonce", undefined, false],
    ["device", undefined, false],
  ],
);

rows("a delivery of reports", reportsRequestSchema, { reports: [base64(100)] }, [
  ["reports", [], false],
  ["reports", Array<string>(MAX_REPORTS).fill(base64(9)), true],
  ["reports", Array<string>(MAX_REPORTS + 1).fill(base64(9)), false],
  ["reports", [base64(REPORT_LIMIT + 3)], false],
]);

rows(
  "the verdict on a report",
  reportResultSchema,
  { sha256: "a".repeat(64), result: "refused", final: true, code: "report/wrong-device", message: "no" },
  [
    ["result", "accepted", false],
    ["result", "perhaps", false],
    ["code", "no code", false],
    ["message", "m".repeat(501), false],
  ],
  false,
);

describe("the proof of a report key", () => {
  it("is over the certificate request, under a type of its own", () => {
    const text = Buffer.from(enrolmentProof(toUtf8("request"))).toString();
    assert.equal(text, "DSSEv1 41 application/vnd.upkeep.enrolment-proof.v1 7 request");
  });
});
