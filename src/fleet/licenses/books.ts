// The operator's side of licenses: taken in, revised, revoked, switched; each change with its trace, and its devices woken.

import type { Instant } from "../../core/instant.ts";
import { fromUtf8 } from "../../core/bytes.ts";
import { LicenseError } from "../../license/errors.ts";
import { openLicense, type License } from "../../license/license.ts";
import type { DocumentKeys } from "../../release/trusted-keys.ts";
import { appendAudit } from "../audit.ts";
import type { LicenseRow } from "../license-records.ts";
import type { StoreRecords } from "../store.ts";
import { wake } from "../wake.ts";
import { licenseIn } from "./activate.ts";
import { giveBack, slotsOf, spendTransfer } from "./seats.ts";

type By = { readonly actor: string; readonly now: Instant };

/** Errors: `license/unknown`. */
export async function needLicense(
  records: Pick<StoreRecords, "license">,
  id: string,
): Promise<{ readonly row: LicenseRow; readonly license: License }> {
  const row = await records.license(id);
  if (row !== null) return { row, license: licenseIn(row) };
  throw new LicenseError(
    "license/unknown",
    `There is no license ${id.slice(0, 40)}.`,
    {},
    { hint: "`upkeep license list` shows all." },
  );
}

/**
 * Takes in a signed license, the first of its id or the next revision. It is verified here, as every device does.
 * Errors: `dsse/*`, `schema/invalid`, `license/*`: `license/older` for a revision that is not the next, `license/wrong-product`.
 */
export async function takeLicense(
  records: StoreRecords,
  { actor, now }: By,
  envelope: Uint8Array,
  product: string,
  issuers: DocumentKeys,
  claimSha256: string | null,
): Promise<LicenseRow> {
  const license = openLicense(envelope, issuers, { product });
  const before = await records.license(license.id);
  if (before !== null && license.rev !== before.rev + 1)
    throw new LicenseError(
      "license/older",
      `The license ${license.id} is at revision ${before.rev}: the next is ${before.rev + 1}, and this is ${license.rev}.`,
      { license: license.id, here: before.rev, offered: license.rev },
    );
  const row: LicenseRow = {
    id: license.id,
    product: license.product,
    customer: license.customer,
    kind: license.kind,
    rev: license.rev,
    envelope: fromUtf8(envelope),
    options: (before?.options ?? []).filter((name) => Object.hasOwn(license.options ?? {}, name)),
    created: before?.created ?? now,
    changed: now,
    claimSha256: claimSha256 ?? before?.claimSha256 ?? null,
    revokedAt: before?.revokedAt ?? null,
    reason: before?.reason ?? null,
  };
  await records.putLicense(row);
  await records.putSeats(license.id, license.seats.model === "site" ? 1 : slotsOf(license));
  await appendAudit(records, now, {
    actor,
    action: before === null ? "license/issued" : "license/revised",
    subject: license.id,
    facts: { rev: license.rev, product: license.product, customer: license.customer, kind: license.kind },
  });
  await wakeDevices(records, license.id);
  return row;
}

/** Names of options that the license has: switched on or off at once, which the next lease of each device says. Errors: `license/bad-input`. */
export async function switchOptions(
  records: StoreRecords,
  { actor, now }: By,
  id: string,
  { enable, disable }: { readonly enable: readonly string[]; readonly disable: readonly string[] },
): Promise<LicenseRow> {
  const { row, license } = await needLicense(records, id);
  const known = Object.keys(license.options ?? {});
  const odd = [...enable, ...disable].find((name) => !known.includes(name));
  if (odd !== undefined)
    throw new LicenseError(
      "license/bad-input",
      `The license ${id} has no option ${odd.slice(0, 64)}${known.length === 0 ? "" : `; it has ${known.join(", ")}`}.`,
      { license: id, option: odd.slice(0, 64) },
      { hint: "Only what the issuer signed can be switched on: revise the license first." },
    );
  const options = [...new Set([...row.options, ...enable])]
    .filter((name) => !disable.includes(name))
    .toSorted();
  const next = { ...row, options, changed: now };
  await records.putLicense(next);
  await appendAudit(records, now, {
    actor,
    action: "license/options",
    subject: id,
    facts: { before: row.options, after: options },
  });
  await wakeDevices(records, id);
  return next;
}

/** From `at` on, every lease says so. Errors: `license/unknown`. */
export async function revokeLicense(
  records: StoreRecords,
  { actor, now }: By,
  id: string,
  { at, reason }: { readonly at: Instant; readonly reason: string },
): Promise<LicenseRow> {
  const { row } = await needLicense(records, id);
  const next = { ...row, revokedAt: at, reason, changed: now };
  await records.putLicense(next);
  await appendAudit(records, now, { actor, action: "license/revoked", subject: id, facts: { at, reason } });
  await wakeDevices(records, id);
  return next;
}

/** Takes a seat from a device. Errors: `license/unknown`, `license/seat-held` while a file is out, `license/transfer-limit`. */
export async function transferSeat(
  records: StoreRecords,
  { actor, now }: By,
  id: string,
  device: string,
  override: string | null,
): Promise<void> {
  const { license } = await needLicense(records, id);
  const activation = (await records.activations(id)).find(
    (one) => one.device === device && one.status === "active",
  );
  if (activation === undefined)
    throw new LicenseError("license/unknown", `The device ${device} has no seat of ${id}.`, {
      license: id,
      device,
    });
  if (override === null) {
    if (activation.heldUntil !== null && activation.heldUntil > now)
      throw new LicenseError(
        "license/seat-held",
        `The device has a lease by file until ${new Date(activation.heldUntil).toISOString()}: its seat stays taken until then.`,
        { license: id, device },
        { hint: "Bring its receipt (`upkeep license receipt FILE`), or give --override with a reason." },
      );
    await spendTransfer(records, now, license);
  }
  await giveBack(
    records,
    now,
    activation,
    actor,
    override === null ? "transferred" : `override: ${override}`,
  );
}

/** Asks the devices of a license to check in now. */
export async function wakeDevices(records: StoreRecords, license: string): Promise<void> {
  for (const { device, status } of await records.activations(license))
    if (status === "active" && (await records.device(device)) !== null)
      await wake(records, `device:${device}`);
}
