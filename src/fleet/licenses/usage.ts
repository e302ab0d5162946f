// Receipts and usage reports, as devices sign them: seats come free, counters grow, and use that nothing grants becomes an alarm.

import { formatInstant, type Instant } from "../../core/instant.ts";
import { LicenseError } from "../../license/errors.ts";
import type { DeactivationReceipt, UsageReport } from "../../license/device-documents.ts";
import { raiseAlarm } from "../alarms.ts";
import type { Activation } from "../license-records.ts";
import type { StoreRecords } from "../store.ts";
import { licenseIn } from "./activate.ts";
import { giveBack, spendTransfer } from "./seats.ts";

async function own(
  records: StoreRecords,
  { activation, license, device }: Pick<UsageReport, "activation" | "license" | "device">,
): Promise<Activation> {
  const found = await records.activation(activation);
  if (found !== null && found.license === license && found.device === device) return found;
  throw new LicenseError("license/unknown", "This device has no such activation.", { activation });
}

/** True if it freed a seat; a receipt that comes twice frees nothing more. Errors: `license/unknown`, `license/older`, `license/transfer-limit`. */
export async function takeReceipt(
  records: StoreRecords,
  now: Instant,
  receipt: DeactivationReceipt,
  { override = false, actor }: { readonly override?: boolean; readonly actor: string },
): Promise<boolean> {
  const activation = await own(records, receipt);
  if (activation.status !== "active") return false;
  // A receipt of a lease that was replaced since gives nothing up.
  if (receipt.seq < activation.seq)
    throw new LicenseError(
      "license/older",
      `The receipt is for lease ${receipt.seq}, and the device has got lease ${activation.seq} since.`,
      { activation: activation.id },
    );
  const row = await records.license(activation.license);
  if (!override) await spendTransfer(records, now, licenseIn(row!));
  await giveBack(records, now, activation, actor, "the device gave it back");
  return true;
}

/** Counters only grow: a report that comes late or twice changes nothing. Errors: `license/unknown`. */
export async function takeUsage(records: StoreRecords, now: Instant, report: UsageReport): Promise<void> {
  const activation = await own(records, report);
  const used = grown(activation.used, report.used);
  const refused = grown(activation.refused, report.refused);
  const more = Object.keys(refused).filter((name) => refused[name]! > (activation.refused[name] ?? 0));
  const row = await records.license(activation.license);
  const { device } = activation;
  if (more.length > 0)
    await raiseAlarm(records, now, {
      device,
      code: "license/unentitled-use",
      about: row!.product,
      detail: `Features that the license does not grant were asked for: ${more.slice(0, 8).join(", ")}.`,
    });
  const steps = report.clockSteps;
  if (steps > (activation.used["clock-steps"] ?? 0))
    await raiseAlarm(records, now, {
      device,
      code: "license/clock",
      about: row!.product,
      detail: `The clock of this device was more than a day behind what it knew (${steps} time(s), reported at ${formatInstant(now)}).`,
    });
  await records.putActivation({
    ...activation,
    used: { ...used, "clock-steps": Math.max(steps, used["clock-steps"] ?? 0) },
    refused,
  });
}

function grown(
  before: Readonly<Record<string, number>>,
  now: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  const all: Record<string, number> = { ...before };
  for (const [name, value] of Object.entries(now)) all[name] = Math.max(value, all[name] ?? 0);
  return all;
}
