// What `fleet devices` does: every device with its state, for people, tables and programs.

import { resolve } from "node:path";
import { toUtf8 } from "../../../core/bytes.ts";
import { statOrNull, writeAtomic } from "../../../core/disk.ts";
import { formatInstant } from "../../../core/instant.ts";
import { DEFAULT_INTERVAL } from "../../../fleet/enrol.ts";
import { deviceState, isAhead, isHeld, LIVENESS, type Liveness } from "../../../fleet/liveness.ts";
import type { FleetReads } from "../../../fleet/store.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { columns, count } from "../../framework/style.ts";
import { readFleet } from "../records/open-store.ts";

type Row = {
  readonly id: string;
  readonly name: string;
  readonly group: string;
  readonly state: Liveness;
  readonly lastSeen: string | null;
  /** True when the time of the last sighting has not come yet: a server's clock was ahead. */
  readonly lastSeenAhead: boolean;
  readonly intervalSeconds: number;
  readonly platform: string;
  readonly agent: string | null;
  readonly running: { readonly [product: string]: string | null };
};

export const DEVICE_FORMS = ["table", "csv", "json"] as const;

export async function fleetDevices(call: Call): Promise<Result> {
  const form = DEVICE_FORMS.find((one) => one === call.needed("format"))!;
  const [state, group] = [call.text("state"), call.text("group")];
  const all = await readFleet(call, (records, now) => rowsOf(records, now, group));
  const rows = all.filter((row) => state === undefined || row.state === state);
  const out = call.text("out");
  const totals = Object.fromEntries(
    LIVENESS.map((one) => [one, all.filter((row) => row.state === one).length]),
  );
  const text = form === "csv" ? csvOf(rows) : form === "json" ? jsonOf(rows) : tableOf(rows, call);
  if (out === undefined) return { text: text.trimEnd(), json: { devices: rows, totals } };
  const path = resolve(out);
  if ((await statOrNull(call.context.disk, path)) !== null) throw usage(`${path} is there already.`);
  await writeAtomic(call.context.disk, path, toUtf8(text.endsWith("\n") ? text : `${text}\n`), 0o600);
  return {
    text: `${path}: ${count(rows.length, "device")}.`,
    json: { file: path, devices: rows.length, totals },
  };
}

async function rowsOf(records: FleetReads, now: number, group: string | undefined): Promise<readonly Row[]> {
  const intervals = new Map((await records.groups()).map((one) => [one.name, one.interval]));
  const desired = Map.groupBy(await records.allDesired(), (one) => one.group);
  const rows: Row[] = [];
  for (let after: string | undefined; ;) {
    const page = await records.devices({
      limit: 1000,
      ...(group === undefined ? {} : { group }),
      ...(after === undefined ? {} : { after }),
    });
    for (const device of page) {
      const interval = intervals.get(device.group) ?? DEFAULT_INTERVAL;
      const held = isHeld(desired.get(device.group) ?? [], now);
      const { os, arch, libc } = device.platform;
      rows.push({
        id: device.id,
        name: device.name,
        group: device.group,
        state: deviceState(device, { interval, now, held }),
        lastSeen: device.lastSeen === null ? null : formatInstant(device.lastSeen),
        lastSeenAhead: isAhead(device.lastSeen, now),
        intervalSeconds: interval,
        platform: [os, arch, libc].filter((word) => word !== undefined).join("-"),
        agent: device.agent?.version ?? null,
        running: Object.fromEntries(
          (await records.components(device.id)).map((one) => [one.product, one.running]),
        ),
      });
    }
    if (page.length < 1000) return rows;
    after = page.at(-1)!.id;
  }
}

function runningText({ running }: Row): string {
  return Object.entries(running)
    .map(([product, version]) => `${product} ${version ?? "-"}`)
    .join(", ");
}

function tableOf(rows: readonly Row[], call: Call): string {
  if (rows.length === 0) return "There are no such devices.";
  const lines = rows.map((row) => [
    row.id,
    row.name,
    row.group,
    row.state,
    row.lastSeen === null ? "never" : `${row.lastSeen}${row.lastSeenAhead ? " (a clock was ahead)" : ""}`,
    runningText(row),
  ]);
  return columns([["DEVICE", "NAME", "GROUP", "STATE", "LAST SEEN", "RUNS"], ...lines], call.context.width);
}

/** RFC 4180. A cell that a spreadsheet would take for a formula is led by an apostrophe: names are a device's own words. */
export function csvOf(rows: readonly Row[]): string {
  const head = [
    "device",
    "name",
    "group",
    "state",
    "last_seen",
    "last_seen_ahead",
    "interval_seconds",
    "platform",
    "agent",
    "running",
  ];
  const cells = rows.map((row) => [
    row.id,
    row.name,
    row.group,
    row.state,
    row.lastSeen ?? "",
    String(row.lastSeenAhead),
    String(row.intervalSeconds),
    row.platform,
    row.agent ?? "",
    runningText(row),
  ]);
  return [head, ...cells].map((line) => `${line.map(cellOf).join(",")}\r\n`).join("");
}

function cellOf(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function jsonOf(rows: readonly Row[]): string {
  return `${JSON.stringify(rows, null, 1)}\n`;
}
