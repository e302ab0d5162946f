// Taking in reports: each counts once, its place in the chain is judged, and what really runs is noted from signed words only.

import { formatInstant, parseInstant, type Instant } from "../core/instant.ts";
import { compareVersions, parseVersion } from "../core/version.ts";
import type { AttemptReport, OpenedReport, Report } from "../report/report.ts";
import { REPAIRED } from "../report/outcomes.ts";
import { chainFit, isRepair, resultOf } from "../report/report.ts";
import {
  endAlarm,
  endUpdateAlarms,
  raiseAlarm,
  UNLISTED_VERSION,
  UPDATE_FAILED,
  VERSION_WENT_BACK,
} from "./alarms.ts";
import type { Device, DeviceComponent, StoredReport } from "./records.ts";
import type { FleetRecords } from "./store.ts";

/** Reports kept of one device; older ones go. */
export const REPORTS_KEPT = 500;

/** Products of one device that are noted from attempts alone. */
const COMPONENTS_KEPT = 128;

/** Does the repository list this release? Also true while nobody can tell. */
export type IsListed = (product: string, version: string) => boolean;

/** The releases a report says to run. */
export function releasesIn(
  report: Report,
): readonly { readonly product: string; readonly version: string }[] {
  if (report.kind === "alarm") return [];
  const told = report.kind === "attempt" ? [report] : report.components;
  return told.flatMap(({ product, running }) => (running === null ? [] : [{ product, version: running }]));
}

export type Intake = "accepted" | "duplicate" | "conflict";

/**
 * Takes one report that `openReport` believed. `device` is as the store has it now.
 * `conflict`: the id came before with other content.
 */
export async function takeReport(
  records: FleetRecords,
  isListed: IsListed,
  now: Instant,
  device: Device,
  opened: OpenedReport,
  envelope: string,
): Promise<Intake> {
  const { report, payloadSha256 } = opened;
  const alarm: RaiseFor = (code, detail, about = "") =>
    raiseAlarm(records, now, { device: device.id, code, detail, about });

  const known = await records.report(device.id, report.id);
  if (known !== null) {
    if (known.payloadSha256 === payloadSha256) return "duplicate";
    await alarm("report/id-reused", `The report id ${report.id} came twice with different content.`);
    return "conflict";
  }

  const last =
    device.lastReport === null ? null : { sequence: device.lastSequence, payloadSha256: device.lastReport };
  const fit = chainFit(last, report);
  const place = `report ${report.sequence} after report ${device.lastSequence}`;
  if (fit === "gap") await alarm("report/gap", `Reports are missing: ${place}.`);
  if (fit === "old") await alarm("report/out-of-order", `The device's chain went back: ${place}.`);
  if (fit === "fork") {
    await alarm(
      "report/fork",
      `Two chains of reports go by this name, as after a cloned or restored disk: ${place}.`,
    );
  }

  await records.addReport(storedForm(report, payloadSha256, envelope, now));
  if (fit !== "old") {
    await records.changeDevice(device.id, { lastSequence: report.sequence, lastReport: payloadSha256 });
  }
  await noteRunning(records, isListed, now, device, report, alarm);
  if (report.kind === "alarm") await alarm(report.code, report.reason, report.product);
  if (report.kind === "attempt") await judgeAttempt(records, now, report, alarm);
  await records.pruneReports(device.id, REPORTS_KEPT);
  return "accepted";
}

type RaiseFor = (code: string, detail: string, about?: string) => Promise<void>;

/** An attempt that failed is something to look at until one on the same product succeeds. */
async function judgeAttempt(
  records: FleetRecords,
  now: Instant,
  report: AttemptReport,
  alarm: RaiseFor,
): Promise<void> {
  const { product, from, to, code, step, reason } = report;
  const outcome = resultOf(report);
  if (outcome === "success" || outcome === REPAIRED)
    return endUpdateAlarms(records, now, report.device, product);
  // What made room for something newer did not fail; of damage that a repair could not mend the device itself says so.
  if (outcome === "superseded" || isRepair(report)) return;
  await alarm(
    UPDATE_FAILED,
    `${product} ${from ?? "nothing"} → ${to}: ${outcome} (${code ?? "no code"} at ${step})${reason === undefined ? "" : `: ${reason}`}`,
    product,
  );
}

async function noteRunning(
  records: FleetRecords,
  isListed: IsListed,
  received: Instant,
  device: Device,
  report: Report,
  alarm: RaiseFor,
): Promise<void> {
  if (report.kind === "alarm") return;
  const at = parseInstant(report.issued);
  const before = new Map((await records.components(device.id)).map((c) => [c.product, c]));
  const told: DeviceComponent[] =
    report.kind === "attempt"
      ? [
          {
            device: device.id,
            product: report.product,
            running: report.running,
            manifestSha256: null,
            committed:
              report.outcome === "success" ? report.to : (before.get(report.product)?.committed ?? null),
            floor: before.get(report.product)?.floor ?? null,
            sequence: report.sequence,
            at,
          },
        ]
      : report.components.map(({ product, running, manifestSha256, committed, floor }) => ({
          device: device.id,
          product,
          running,
          manifestSha256,
          committed,
          floor,
          sequence: report.sequence,
          at,
        }));

  for (const now of told) {
    const was = before.get(now.product);
    // An older report that comes late does not overwrite what a newer one said.
    if (was !== undefined && was.sequence > now.sequence) continue;
    // Attempts name products one by one; what no inventory confirms does not pile up.
    if (was === undefined && report.kind === "attempt" && before.size >= COMPONENTS_KEPT) continue;
    await records.putComponent(now);
    if (now.running === null) continue;
    // A version nobody published is noticed; nothing is ever withheld because of it.
    if (!isListed(now.product, now.running)) {
      await alarm(
        UNLISTED_VERSION,
        `${now.product} ${now.running} is said to run, but the repository lists no such release.`,
        now.product,
      );
    } else
      await endAlarm(records, received, { device: device.id, code: UNLISTED_VERSION, about: now.product });
    if (report.kind === "inventory" && isLower(now.running, was?.running ?? null)) {
      await alarm(
        VERSION_WENT_BACK,
        `${now.product} went from ${was!.running} to ${now.running} without an attempt that says why.`,
        now.product,
      );
    }
  }
  if (
    report.kind === "inventory" &&
    told.every((c) => (before.get(c.product)?.sequence ?? 0) <= c.sequence)
  ) {
    await records.dropComponents(
      device.id,
      told.map((c) => c.product),
    );
  }
}

function isLower(a: string, b: string | null): boolean {
  return b !== null && compareVersions(parseVersion(a), parseVersion(b)) < 0;
}

function storedForm(report: Report, payloadSha256: string, envelope: string, now: Instant): StoredReport {
  const attempt = report.kind === "attempt" ? report : null;
  const alarm = report.kind === "alarm" ? report : null;
  return {
    id: report.id,
    device: report.device,
    sequence: report.sequence,
    kind: report.kind,
    received: now,
    issued: parseInstant(report.issued),
    product: attempt?.product ?? alarm?.product ?? null,
    from: attempt?.from ?? null,
    to: attempt?.to ?? null,
    outcome: attempt === null ? null : resultOf(attempt),
    code: attempt?.code ?? alarm?.code ?? null,
    step: attempt?.step ?? null,
    reason: attempt?.reason ?? alarm?.reason ?? null,
    payloadSha256,
    envelope,
  };
}

function attemptWords({ from, to, outcome }: StoredReport): string {
  if (from !== to) return `${from ?? "nothing"} → ${to}: ${outcome}`;
  // The same version again: what was installed had been damaged.
  return outcome === REPAIRED ? `${to}: ${REPAIRED}` : `${to}: repair: ${outcome}`;
}

/** One line for people. */
export function reportLine(report: StoredReport): string {
  const what =
    report.kind === "attempt"
      ? `${report.product} ${attemptWords(report)}${report.code === null ? "" : ` (${report.code} at ${report.step})`}`
      : report.kind === "alarm"
        ? `alarm ${report.code}`
        : report.kind;
  return `${formatInstant(report.received)} ${report.device} #${report.sequence} ${what}`;
}
