// A lease as the server makes it: from the license, the options that are switched on, and what is known of the activation.

import { DAY, formatInstant, parseInstant, SECOND, type Instant } from "../../core/instant.ts";
import { toHex } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import type { DsseSigner } from "../../core/dsse.ts";
import type { Random } from "../../core/random.ts";
import { entitlementsOf } from "../../license/entitlements.ts";
import { signLease, type Lease } from "../../license/lease.ts";
import type { License } from "../../license/license.ts";
import type { LicenseNotice } from "../../license/terms.ts";
import type { Activation, LicenseRow } from "../license-records.ts";

/** What minting needs of the world: the online lease key, and chance. */
export type Mint = { readonly signer: DsseSigner; readonly random: Random };

export type Minted = { readonly envelope: Uint8Array; readonly lease: Lease };

/** How long before its end a license is announced to end. */
const SOON = 30 * DAY;

export type Leased = {
  readonly row: LicenseRow;
  readonly license: License;
  readonly activation: Pick<
    Activation,
    "id" | "device" | "spkiSha256" | "slot" | "seq" | "lease" | "started" | "cloned" | "restrictAt"
  >;
  /** When the device's trial began; null for what is none. */
  readonly trialBegan: Instant | null;
  readonly clientNonce: string;
  /** Seconds, for a lease by file. */
  readonly life?: number;
};

/** The next lease of an activation. Signing uses a key of this process: nothing else is waited for. */
export async function mintLease({ signer, random }: Mint, now: Instant, leased: Leased): Promise<Minted> {
  const { row, license, activation, trialBegan, clientNonce, life } = leased;
  const { features, updates } = entitlementsOf(license, row.options);
  const { ttlSeconds, renewSeconds, graceSeconds } = license.lease;
  const expires = now + (life ?? ttlSeconds) * SECOND;
  const until = endOfRight(license, trialBegan);
  const revoked = row.revokedAt !== null && row.revokedAt <= now;
  const restricted = activation.restrictAt !== null && activation.restrictAt <= now;
  const lease: Lease = {
    id: newId(random, "lse"),
    license: license.id,
    rev: license.rev,
    activation: activation.id,
    product: license.product,
    device: activation.device,
    cnf: { spkiSha256: activation.spkiSha256 },
    seq: activation.seq + 1,
    prev: activation.lease === "" ? null : sha256Hex(Buffer.from(activation.lease, "utf8")),
    chainNonce: toHex(random.bytes(16)),
    clientNonce,
    issued: formatInstant(now),
    renewAfter: formatInstant(now + (life ?? renewSeconds) * SECOND),
    expires: formatInstant(expires),
    graceUntil: formatInstant(expires + graceSeconds * SECOND),
    until: until === null ? null : formatInstant(until),
    status: revoked ? "revoked" : restricted ? "restricted" : license.kind === "trial" ? "trial" : "active",
    features,
    fallback: license.fallback,
    updates,
    seat: { slot: activation.slot ?? 1, of: license.seats.max },
    notices: noticesOf(leased, now, until),
  };
  return { envelope: await signLease(lease, signer), lease };
}

/** When the right ends, whatever leases say; null for never. */
export function endOfRight(
  { expires, trialDays }: Pick<License, "expires" | "trialDays">,
  trialBegan: Instant | null,
): Instant | null {
  const ends = [
    ...(expires === null ? [] : [parseInstant(expires)]),
    ...(trialDays === undefined || trialBegan === null ? [] : [wholeSeconds(trialBegan) + trialDays * DAY]),
  ];
  return ends.length === 0 ? null : Math.min(...ends);
}

function noticesOf({ license, activation }: Leased, now: Instant, until: Instant | null): LicenseNotice[] {
  const notices: LicenseNotice[] = [];
  if (until !== null && until <= now) notices.push({ code: "expired", until: formatInstant(until) });
  else if (until !== null && until - now < SOON && license.kind !== "trial")
    notices.push({ code: "expires-soon", until: formatInstant(until) });
  if (license.seats.model !== "site" && (activation.slot ?? 0) > license.seats.max)
    notices.push({
      code: "overage",
      until: formatInstant(activation.started + license.seats.overageDays * DAY),
    });
  if (activation.cloned !== null)
    notices.push({
      code: "clone",
      ...(activation.restrictAt === null ? {} : { until: formatInstant(activation.restrictAt) }),
    });
  return notices;
}

/** What is signed has no fractions: a trial that began within a second ends no later than it says. */
function wholeSeconds(at: Instant): Instant {
  return Math.floor(at / SECOND) * SECOND;
}

export function newId(random: Random, prefix: "lic" | "act" | "lse"): string {
  return `${prefix}-${toHex(random.bytes(8))}`;
}
