// What `report list`, `fleet alarms` and `fleet acknowledge` do.

import { formatInstant, SECOND } from "../../../core/instant.ts";
import { acknowledgeAlarms } from "../../../fleet/alarms.ts";
import { findDevice } from "../../../fleet/devices.ts";
import { reportLine } from "../../../fleet/intake.ts";
import type { Alarm, StoredReport } from "../../../fleet/records.ts";
import { reportDetails } from "../../../fleet/report-details.ts";
import type { Call, Result } from "../../framework/command.ts";
import { columns, count, size } from "../../framework/style.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { limitOf } from "./naming.ts";

export async function reportList(call: Call): Promise<Result> {
  const [named, product, outcome] = [call.text("device"), call.text("product"), call.text("outcome")];
  const reports = await readFleet(call, async (records) =>
    records.reports({
      limit: limitOf(call),
      ...(named === undefined ? {} : { device: (await findDevice(records, named)).id }),
      ...(product === undefined ? {} : { product }),
      ...(outcome === undefined ? {} : { outcome }),
    }),
  );
  return {
    text: reports.length === 0 ? "There are no reports." : reports.map(reportText).join("\n"),
    json: {
      reports: reports.map((r) => ({
        ...r,
        ...reportDetails(r),
        received: formatInstant(r.received),
        issued: formatInstant(r.issued),
      })),
    },
  };
}

/** One line, and below it what the device said of an attempt. */
function reportText(report: StoredReport): string {
  const { bytes, source, duration, firstError } = reportDetails(report);
  const facts = [
    ...(bytes === null || source === null
      ? []
      : [source === "none" ? "nothing fetched" : `${size(bytes)} from ${source}`]),
    ...(duration === null ? [] : [`took ${durationText(duration)}`]),
  ];
  return [
    reportLine(report),
    ...(facts.length === 0 ? [] : [`    ${facts.join(", ")}`]),
    ...(firstError === null ? [] : [`    first error: ${oneLine(firstError)}`]),
    ...(report.reason === null ? [] : [`    ${oneLine(report.reason)}`]),
  ].join("\n");
}

function durationText(ms: number): string {
  return ms < 10 * SECOND ? `${(ms / SECOND).toFixed(1)} s` : `${Math.round(ms / SECOND)} s`;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

export async function fleetAlarms(call: Call): Promise<Result> {
  const ended = call.flag("all");
  const { alarms, names } = await readFleet(call, async (records) => {
    const all = await records.alarms(limitOf(call), ended);
    const alarms = ended ? all : all.filter(({ acknowledgedAt }) => acknowledgedAt === null);
    const names = new Map<string, string>();
    for (const { device } of alarms) names.set(device, (await records.device(device))?.name ?? "");
    return { alarms, names };
  });
  const rows = alarms.map((a) => [
    formatInstant(a.last),
    a.device,
    names.get(a.device)!,
    a.code,
    String(a.count),
    stateOfAlarm(a),
    a.about === "" || a.detail.includes(a.about) ? a.detail : `${a.about}: ${a.detail}`,
  ]);
  return {
    text:
      rows.length === 0
        ? ended
          ? "There are no alarms."
          : "All alarms are acknowledged."
        : columns(
            [["LAST", "DEVICE", "NAME", "CODE", "TIMES", "STATE", "WHAT"], ...rows],
            call.context.width,
          ),
    json: {
      alarms: alarms.map((a) => ({
        ...a,
        name: names.get(a.device)!,
        first: formatInstant(a.first),
        last: formatInstant(a.last),
        acknowledgedAt: instantOrNull(a.acknowledgedAt),
        ended: instantOrNull(a.ended),
      })),
    },
  };
}

export async function fleetAcknowledge(call: Call): Promise<Result> {
  const code = call.argumentOr(1);
  const { device, done } = await withFleet(call, async (records, now) => {
    const device = await findDevice(records, call.argument(0));
    const what = { device: device.id, ...(code === undefined ? {} : { code }) };
    return { device, done: await acknowledgeAlarms(records, now, what, actor()) };
  });
  const text =
    done.length === 0
      ? `The alarms of ${device.name} were acknowledged already.`
      : `${count(done.length, "alarm")} of ${device.name} acknowledged: ${done.map((one) => one.code).join(", ")}.`;
  return { text, json: { device: device.id, acknowledged: done.map((one) => one.code) } };
}

function stateOfAlarm({ ended, acknowledgedBy }: Alarm): string {
  if (ended !== null) return `over since ${formatInstant(ended)}`;
  return acknowledgedBy === null ? "open" : `acknowledged by ${acknowledgedBy}`;
}

function instantOrNull(at: number | null): string | null {
  return at === null ? null : formatInstant(at);
}
