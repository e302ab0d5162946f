// What becomes of devices in a rollout: offers as they are made, results as signed reports bring them; one row a device.

import type { Instant } from "../../core/instant.ts";
import { isRepair, resultOf, type AttemptReport } from "../../report/report.ts";
import { REPAIRED } from "../../report/outcomes.ts";
import { platformWord } from "../platform-word.ts";
import type { Device } from "../records.ts";
import { errorLine } from "../report-details.ts";
import type { RolloutDevice, RolloutResult } from "../rollout-record.ts";
import type { FleetRecords } from "../store.ts";
import { turnOf } from "./decide-device.ts";
import { concerns } from "./cohort.ts";

export type Offer = Pick<RolloutDevice, "rollout" | "device" | "phase" | "offered">;

export function offeredRow(offer: Offer): RolloutDevice {
  return { ...offer, result: "offered", at: null, sequence: 0, code: null, step: null, firstError: null };
}

/**
 * Notes the result of an attempt at the release of a rollout under way. A device that was not let in by the rollout weighs nothing in it:
 * it may report what it likes. A result from an older report than the one noted is passed over.
 */
export async function noteAttempt(
  records: FleetRecords,
  now: Instant,
  device: Pick<Device, "id" | "group" | "name" | "platform">,
  report: AttemptReport,
  firstError: string | null,
): Promise<void> {
  if (isRepair(report) || report.outcome === "superseded") return;
  for (const rollout of await records.rollouts({ product: report.product, under: "way" })) {
    if (rollout.version !== report.to || !concerns(rollout, device.group)) continue;
    const known = await records.rolloutDevice(rollout.id, device.id);
    const member = {
      ...device,
      platform: platformWord(device.platform),
      labels: await records.labels(device.id),
    };
    // The offer itself may have been lost with a server that was killed before it wrote it down.
    if (known === null && turnOf(rollout, member, now) !== now) continue;
    if (known !== null && known.sequence >= report.sequence) continue;
    const outcome = resultOf(report);
    const result: RolloutResult = outcome === "success" || outcome === REPAIRED ? "succeeded" : "failed";
    const row =
      known ?? offeredRow({ rollout: rollout.id, device: device.id, phase: rollout.phase, offered: now });
    await records.putRolloutDevice({
      ...row,
      result,
      at: now,
      sequence: report.sequence,
      code: report.code ?? null,
      step: report.step,
      firstError: result === "failed" ? errorLine(firstError, report.reason ?? null) : null,
    });
  }
}
