// A renewal inside a check-in: the next lease, or the same answer again, and what a fork of the chain says about the device.

import { fromUtf8 } from "../../core/bytes.ts";
import { DAY, formatInstant, parseInstant, type Instant } from "../../core/instant.ts";
import { follow, type Step } from "../../license/chain.ts";
import { LicenseError } from "../../license/errors.ts";
import type { License } from "../../license/license.ts";
import { raiseAlarm } from "../alarms.ts";
import { appendAudit } from "../audit.ts";
import type { Activation } from "../license-records.ts";
import type { Device } from "../records.ts";
import type { StoreRecords } from "../store.ts";
import { licenseIn } from "./activate.ts";
import { mintLease, type Mint } from "./mint.ts";
import { copyOf } from "./seats.ts";

export type Asked = {
  readonly activation: string;
  readonly rev: number;
  readonly chainNonce: string;
  readonly requestId: string;
  readonly clientNonce: string;
  readonly boot: string;
};

export type Renewed = {
  readonly lease: string;
  /** Where the device has another revision. */
  readonly license: string | null;
};

/** Time to put it right before a clone without a seat is restricted. */
const CLONE_GRACE = 14 * DAY;
/** Without a fork for so long, a clone is over. */
const CALM = 45 * DAY;

/** Errors: `license/unknown` for an activation that is not this device's. Nothing else is refused: what ended is said in the lease. */
export async function renewLease(
  records: StoreRecords,
  now: Instant,
  mint: Mint,
  device: Pick<Device, "id">,
  asked: Asked,
  address: string,
): Promise<Renewed> {
  const activation = await records.activation(asked.activation);
  const row = activation === null ? null : await records.license(activation.license);
  if (
    activation === null ||
    row === null ||
    activation.device !== device.id ||
    activation.status !== "active"
  )
    throw new LicenseError(
      "license/unknown",
      "This device has no such activation: its seat was given back, or was never its own.",
      { activation: asked.activation },
      { hint: "Activate the license again." },
    );
  const license = licenseIn(row);
  const step = follow(activation, { ...asked, nonce: asked.chainNonce, at: now, address });
  const newer = asked.rev === license.rev ? null : row.envelope;
  if (step.kind === "again") return { lease: activation.lease, license: newer };
  const watched = await judge(records, now, license, activation, step);
  const trial = license.kind === "trial" ? await records.trial(license.product, activation.spkiSha256) : null;
  const { envelope, lease } = await mintLease(mint, now, {
    row,
    license,
    activation: watched,
    trialBegan: trial?.started ?? null,
    clientNonce: asked.clientNonce,
  });
  await escalateOverage(records, now, license, watched);
  await records.putActivation({
    ...watched,
    ...step.chain,
    seq: lease.seq,
    nonce: lease.chainNonce,
    previousNonce: asked.chainNonce,
    previousRequest: asked.requestId,
    lease: fromUtf8(envelope),
    leaseEnds: parseInstant(lease.expires),
    // It is online again: the file that it had is given up with this lease.
    heldUntil: null,
  });
  return { lease: fromUtf8(envelope), license: newer };
}

/** What a step of the chain says; the presenter's chain goes on in any case. */
async function judge(
  records: StoreRecords,
  now: Instant,
  license: License,
  activation: Activation,
  step: Exclude<Step, { kind: "again" }>,
): Promise<Activation> {
  if (step.kind === "next") {
    const last = step.chain.forks.at(-1)?.at ?? -Infinity;
    if (activation.cloned === null || now - last < CALM) return activation;
    await records.dropSeat(license.id, copyOf(activation.id));
    return { ...activation, cloned: null, restrictAt: null };
  }
  const { verdict, addresses } = step;
  await appendAudit(records, now, {
    actor: "server",
    action: `license/${verdict}`,
    subject: license.id,
    facts: { device: activation.device, activation: activation.id, addresses },
  });
  if (verdict === "restored") return activation;
  const places =
    addresses[0] === addresses[1] ? `both from ${addresses[0]}` : `from ${addresses.join(" and ")}`;
  await raiseAlarm(records, now, {
    device: activation.device,
    code: `license/${verdict}`,
    about: license.product,
    detail:
      verdict === "clone"
        ? `Two machines use this identity by turns, ${places}: a disk or a virtual machine was copied. Enroll each with its own token.`
        : `This device was put back to an earlier state ${step.chain.forks.length} times in 45 days, last ${places}.`,
  });
  if (verdict === "suspect" || activation.cloned !== null) return activation;
  const restrictAt = await reactionTo(records, now, license, activation);
  return { ...activation, cloned: now, restrictAt };
}

/** When the clone is restricted; null for never. */
async function reactionTo(
  records: StoreRecords,
  now: Instant,
  { id, policy }: License,
  activation: Activation,
): Promise<Instant | null> {
  switch (policy.onClone) {
    case "warn":
      return null;
    case "restrict":
      return now;
    case "meter": {
      // The second machine counts as what it is: a second seat.
      const seat = await records.changeFreeSeat(id, copyOf(activation.id));
      return seat === null ? now + CLONE_GRACE : null;
    }
  }
}

async function escalateOverage(
  records: StoreRecords,
  now: Instant,
  license: License,
  { slot, started, device }: Activation,
): Promise<void> {
  const { max, model, overageDays } = license.seats;
  const end = started + overageDays * DAY;
  if (model === "site" || slot === null || slot <= max || end > now) return;
  await raiseAlarm(records, now, {
    device,
    code: "license/over-seat",
    about: license.product,
    detail: `Seat ${slot} of ${max} of the license ${license.id} is still in use; its days of overage ended at ${formatInstant(end)}.`,
  });
}
