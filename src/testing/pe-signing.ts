// Signing and verifying of small programs for tests of the artifact room, with every fault they want.

import assert from "node:assert/strict";
import type { Instant } from "../core/instant.ts";
import type { Random } from "../core/random.ts";
import { answerTimestamp, type Lies } from "./timestamp-authority.ts";
import type { Pki } from "./publisher-pki.ts";
import { signAuthenticode, withTimestamp, type AuthenticodeWish } from "../artifact/authenticode-sign.ts";
import { digest } from "../artifact/cms-build.ts";
import { parseSignedData } from "../artifact/cms.ts";
import type { AuthenticodeToBeSigned, SignJob } from "../artifact/format.ts";
import type { FileReport, VerifyPolicy } from "../artifact/report.ts";
import { bytesSource, MemorySink } from "../artifact/source.ts";
import { parseTimestampReply, timestampRequest } from "../artifact/timestamp-request.ts";
import { signPe } from "../artifact/pe/sign.ts";
import { verifyPe } from "../artifact/pe/verify.ts";

/** The instant at which these tests happen. */
export const now: Instant = Date.UTC(2026, 10, 21, 12);
export const random: Random = { bytes: (length: number): Uint8Array => new Uint8Array(length).fill(0x5a) };

export type SignOptions = {
  readonly mode?: SignJob["mode"];
  readonly hash?: SignJob["hash"];
  readonly pageHashes?: "sha1" | "sha256";
  readonly wish?: Partial<AuthenticodeWish>;
  readonly stamp?: { readonly at: Instant; readonly lies?: Lies } | false;
};

export async function sign(bytes: Uint8Array, pki: Pki, options: SignOptions = {}): Promise<Uint8Array> {
  const sink = new MemorySink();
  await signPe({
    source: bytesSource(bytes),
    sink,
    mode: options.mode ?? "new",
    hash: options.hash ?? "sha256",
    ...(options.pageHashes === undefined ? {} : { pageHashes: options.pageHashes }),
    makeSignature: (what) => make(what, pki, options),
  });
  return sink.bytes;
}

export async function make(
  what: AuthenticodeToBeSigned,
  pki: Pki,
  options: SignOptions,
): Promise<Uint8Array> {
  const cms = await signAuthenticode({
    indirectData: what.indirectData,
    hash: what.hash,
    certificate: pki.leaf.certificate,
    chain: [pki.authority.certificate, pki.root.certificate],
    signer: pki.leaf.signer,
    ...(what.sequenceNumber === null ? {} : { sequenceNumber: what.sequenceNumber }),
    ...options.wish,
  });
  return options.stamp === undefined || options.stamp === false
    ? cms
    : withTimestamp(
        cms,
        await token(parseSignedData(cms).signers[0]!.signature, pki, options.stamp.at, options.stamp.lies),
      );
}

/** A token straight from the authority, lies included. */
export async function token(
  stamped: Uint8Array,
  pki: Pki,
  at: Instant,
  lies: Lies = {},
): Promise<Uint8Array> {
  const request = timestampRequest(digest("sha256", stamped), "sha256", random.bytes(8));
  const { body } = await answerTimestamp(request, pki.stamper, [pki.root], at, lies);
  const value = parseTimestampReply(body);
  return value.source.subarray(value.start, value.end);
}

export const policyOf = (pki: Pki, more: Partial<VerifyPolicy> = {}): VerifyPolicy => ({
  roots: [pki.root.certificate],
  now,
  ...more,
});
export const verify = (bytes: Uint8Array, pki: Pki, more: Partial<VerifyPolicy> = {}): Promise<FileReport> =>
  verifyPe(bytesSource(bytes), policyOf(pki, more));
export const codes = (report: FileReport): readonly string[] =>
  [...report.findings, ...report.signatures.flatMap((each) => each.findings)]
    .filter((finding) => finding.level === "error")
    .map((finding) => finding.code);

export async function refusedWith(
  code: string,
  bytes: Uint8Array,
  pki: Pki,
  more: Partial<VerifyPolicy> = {},
): Promise<void> {
  const report = await verify(bytes, pki, more);
  assert.equal(report.valid, false);
  assert.ok(codes(report).includes(code), `${code} is not among ${codes(report).join(", ")}`);
}

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
export const grown = (bytes: Uint8Array, by: number): Uint8Array => {
  const out = new Uint8Array(bytes.length + by);
  out.set(bytes);
  return out;
};
