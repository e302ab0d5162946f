// The client's check of the time stamp inside a reply: exactly the one that was wished for, over this very signature.

import type { SignerInfo } from "../../artifact/cms.ts";
import { checkFreshTimestamp } from "../../artifact/fresh-timestamp.ts";
import { MICROSOFT_RFC3161 } from "../../artifact/timestamp.ts";
import type { Instant } from "../../core/instant.ts";
import * as oids from "../../der/oids.ts";
import type { Certificate } from "../../der/x509.ts";
import type { Operation } from "./operation.ts";

export type StampExpectation = {
  readonly now: Instant;
  /** Roots of time-stamp authorities that the service's description names; null if it names none. */
  readonly timestampRoots: readonly Certificate[] | null;
};

/**
 * What is wrong with the unsigned part of a reply, or null. No signature covers it, so nothing but one token is let in.
 * A token of another signature, a forged one, one that was left out or added are all refused here.
 */
export function stampFault(
  operation: Exclude<Operation, { kind: "raw" }>,
  signer: SignerInfo,
  { now, timestampRoots }: StampExpectation,
): string | null {
  const { unsignedAttributes } = signer;
  if (!operation.timestamp)
    return unsignedAttributes.length === 0
      ? null
      : "it holds unsigned attributes, though no timestamp was asked for";
  const place = operation.kind === "authenticode" ? MICROSOFT_RFC3161 : oids.timeStampToken;
  const tokens = unsignedAttributes.filter(({ oid }) => oid === place).flatMap(({ values }) => values);
  if (tokens.length === 0) return "it has no timestamp, though one was asked for";
  if (tokens.length > 1 || unsignedAttributes.length > 1)
    return "it holds more beside its signature than the one timestamp that was asked for";
  try {
    checkFreshTimestamp(tokens[0]!, signer.signature, { roots: timestampRoots, now });
    return null;
  } catch (error) {
    return `its timestamp is not trusted: ${(error as Error).message.replace(/\.$/, "")}`;
  }
}
