// Seats: who has one, who gives one up, and how one is taken so that no two devices ever take the same.

import { DAY, formatInstant, type Instant } from "../../core/instant.ts";
import { LicenseError } from "../../license/errors.ts";
import type { License } from "../../license/license.ts";
import { raiseAlarm } from "../alarms.ts";
import { appendAudit } from "../audit.ts";
import type { Activation } from "../license-records.ts";
import type { StoreRecords } from "../store.ts";

/** The seats that exist: those that were sold, and the overage. */
export function slotsOf({ seats }: Pick<License, "seats">): number {
  return seats.max + Math.floor((seats.max * seats.overagePercent) / 100);
}

/**
 * Takes a seat for an activation. Errors: `license/seat-held` where files that are out hold seats which would be enough, `license/no-seat`.
 */
export async function takeSeat(
  records: StoreRecords,
  now: Instant,
  license: License,
  { activation, device }: { readonly activation: string; readonly device: string },
): Promise<number> {
  if (license.seats.model === "site")
    await records.putSeats(license.id, (await records.seatsTaken(license.id)) + 1);
  const slot =
    (await records.changeFreeSeat(license.id, activation)) ??
    ((await reclaim(records, now, license)) ? await records.changeFreeSeat(license.id, activation) : null);
  if (slot === null) throw await noSeat(records, now, license);
  if (slot > license.seats.max)
    await raiseAlarm(records, now, {
      device,
      code: "license/over-seat",
      about: license.product,
      detail: `The license ${license.id} of ${license.customer} has ${license.seats.max} seats, and this device took number ${slot}.`,
    });
  return slot;
}

/** Frees seats that nothing holds any more: floating ones whose lease has ended, and files that are over. */
async function reclaim(records: StoreRecords, now: Instant, license: License): Promise<boolean> {
  let freed = false;
  for (const activation of await records.activations(license.id)) {
    if (activation.status !== "active") continue;
    const over =
      activation.heldUntil !== null
        ? activation.heldUntil <= now
        : license.seats.model === "floating" && activation.leaseEnds <= now;
    if (!over) continue;
    await giveBack(records, now, activation, "server", "its lease has ended");
    freed = true;
  }
  return freed;
}

async function noSeat(records: StoreRecords, now: Instant, license: License): Promise<LicenseError> {
  const held = (await records.activations(license.id)).filter(
    ({ status, heldUntil }) => status === "active" && heldUntil !== null && heldUntil > now,
  );
  const [first] = held.toSorted((a, b) => a.heldUntil! - b.heldUntil!);
  if (first !== undefined)
    return new LicenseError(
      "license/seat-held",
      `All ${license.seats.max} seats of the license are taken; the first of those that went out by file ends at ${formatInstant(first.heldUntil!)}.`,
      { license: license.id, seats: license.seats.max, until: formatInstant(first.heldUntil!) },
      {
        hint: "Bring the receipt that `upkeep agent license release` makes on a device that gives its seat back.",
      },
    );
  return new LicenseError(
    "license/no-seat",
    `All ${license.seats.max} seats of the license are taken${slotsOf(license) > license.seats.max ? ", those of the overage as well" : ""}.`,
    { license: license.id, seats: license.seats.max },
  );
}

/** The seat is free at once; the record stays, and counts as a transfer. */
export async function giveBack(
  records: StoreRecords,
  now: Instant,
  activation: Activation,
  actor: string,
  why: string,
): Promise<void> {
  await records.dropSeat(activation.license, activation.id);
  await records.dropSeat(activation.license, copyOf(activation.id));
  await records.putActivation({
    ...activation,
    status: "released",
    slot: null,
    heldUntil: null,
    released: actor === "server" ? activation.released : now,
  });
  await appendAudit(records, now, {
    actor,
    action: "license/released",
    subject: activation.license,
    facts: { device: activation.device, activation: activation.id, why },
  });
}

/** Under what a second machine on one identity holds its seat. */
export function copyOf(activation: string): string {
  return `${activation}:copy`;
}

/**
 * Seats given back by hand within 30 days are counted, so that one seat does not serve many devices by turns.
 * Error: `license/transfer-limit` with the date of the next free transfer.
 */
export async function spendTransfer(records: StoreRecords, now: Instant, license: License): Promise<void> {
  const most = license.policy.transfersPer30Days;
  const recent = (await records.activations(license.id))
    .flatMap(({ released }) => (released !== null && now - released < 30 * DAY ? [released] : []))
    .toSorted((a, b) => b - a);
  if (recent.length < most) return;
  const next = most === 0 ? null : formatInstant(recent[most - 1]! + 30 * DAY);
  const support = `${license.id.slice(4, 12)}-${recent.length}`;
  throw new LicenseError(
    "license/transfer-limit",
    `${recent.length} seat(s) of this license moved within 30 days, and ${most} may${next === null ? "" : `: the next one is free at ${next}`}. Support code: ${support}.`,
    { license: license.id, moved: recent.length, most, next, support },
    { hint: "The vendor can lift it: `upkeep license transfer --override`." },
  );
}
