// A survey of the fleet: every active device and assigned product with its why, and what adds up from that.

import type { Instant } from "../../core/instant.ts";
import { FROZEN } from "../alarms.ts";
import type { Catalogue } from "../decide.ts";
import { DEFAULT_INTERVAL } from "../enrol.ts";
import { errorLine, reportDetails } from "../report-details.ts";
import type { Desired, StoredReport } from "../records.ts";
import type { RosterDevice, RolloutDevice } from "../rollout-record.ts";
import type { RosterSource } from "../rollout/roster.ts";
import type { FleetReads } from "../store.ts";
import { why, type FailedAttempt, type Why } from "./why.ts";

const PAGE = 1000;
const STOPPED = 500;
/** Alarms and attempts that are looked through; the newest say how things are. */
const NEWEST = 20_000;

export type Surveyed = { readonly device: RosterDevice; readonly why: Why };

/** Of one product, or of all that are assigned. Errors: `fleet/store-*`. */
export async function survey(
  source: RosterSource,
  catalogue: Catalogue,
  now: Instant,
  only: string | null = null,
): Promise<readonly Surveyed[]> {
  const state = await source.read(async (records) => ({
    desired: (await records.allDesired()).filter(({ product }) => only === null || product === only),
    rollouts: await records.rolloutsInForce(STOPPED),
    intervals: new Map((await records.groups()).map(({ name, interval }) => [name, interval])),
    frozen: new Map(
      (await records.alarms(NEWEST)).flatMap(({ device, code, first }) =>
        code === FROZEN ? [[device, first]] : [],
      ),
    ),
  }));
  const devices: RosterDevice[] = [];
  for (let after = ""; ;) {
    const page = await source.read((records) => records.roster(after, PAGE));
    for (const device of page) devices.push(device);
    if (page.length < PAGE) break;
    after = page.at(-1)!.id;
    await source.breathe?.();
  }
  const found: Surveyed[] = [];
  for (const product of new Set(state.desired.map((one) => one.product))) {
    const byGroup = new Map(
      state.desired.filter((one) => one.product === product).map((one) => [one.group, one]),
    );
    const running = await runningOf(source, product);
    const failures = await source.read((records) => failuresOf(records, product));
    const rows = await rowsOf(
      source,
      state.rollouts.filter((one) => one.product === product).map(({ id }) => id),
    );
    for (const device of devices) {
      const desired = byGroup.get(device.group);
      if (desired === undefined) continue;
      found.push({
        device,
        why: why({
          device,
          desired,
          rollouts: state.rollouts,
          rows: rows.get(device.id) ?? [],
          running: running.get(device.id) ?? null,
          failed: failures.get(device.id) ?? null,
          frozenSince: state.frozen.get(device.id) ?? null,
          catalogue,
          interval: state.intervals.get(device.group) ?? DEFAULT_INTERVAL,
          now,
        }),
      });
    }
  }
  return found;
}

/** Of one device. `products`: those assigned to its group; empty when none is. Errors: `fleet/store-*`. */
export async function whyDevice(
  records: FleetReads,
  catalogue: Catalogue,
  now: Instant,
  device: RosterDevice,
  only: string | null = null,
): Promise<readonly Why[]> {
  const rollouts = await records.rolloutsInForce(STOPPED);
  const components = await records.components(device.id);
  const rows = await records.rolloutsOf(device.id);
  const frozen = (await records.alarmsOf(device.id)).find(
    ({ code, ended }) => code === FROZEN && ended === null,
  );
  const interval = (await records.group(device.group))?.interval ?? DEFAULT_INTERVAL;
  const found: Why[] = [];
  for (const desired of await records.desired(device.group)) {
    const { product } = desired;
    if (only !== null && product !== only) continue;
    const [last] = await attemptsOf(records, { device: device.id, product, limit: 50 });
    found.push(
      why({
        device,
        desired,
        rollouts,
        rows,
        running: components.find((one) => one.product === product)?.running ?? null,
        failed: last === undefined ? null : failureIn(last),
        frozenSince: frozen?.first ?? null,
        catalogue,
        interval,
        now,
      }),
    );
  }
  return found;
}

async function runningOf(source: RosterSource, product: string): Promise<ReadonlyMap<string, string>> {
  const running = new Map<string, string>();
  for (let after = ""; ;) {
    const page = await source.read((records) => records.runningOf(product, after, PAGE));
    for (const row of page) running.set((after = row.device), row.running);
    if (page.length < PAGE) return running;
    await source.breathe?.();
  }
}

async function rowsOf(
  source: RosterSource,
  rollouts: readonly string[],
): Promise<ReadonlyMap<string, readonly RolloutDevice[]>> {
  const rows = new Map<string, RolloutDevice[]>();
  for (const id of rollouts) {
    for (let after = ""; ;) {
      const page = await source.read((records) => records.rolloutDevices(id, after, PAGE));
      for (const row of page) {
        after = row.device;
        const list = rows.get(row.device);
        if (list === undefined) rows.set(row.device, [row]);
        else list.push(row);
      }
      if (page.length < PAGE) break;
      await source.breathe?.();
    }
  }
  return rows;
}

/** Attempts at updates, newest first; repairs say nothing about a release. */
async function attemptsOf(
  records: FleetReads,
  filter: { readonly device?: string; readonly product: string; readonly limit: number },
): Promise<readonly StoredReport[]> {
  return (await records.reports(filter)).filter(
    ({ kind, from, to, outcome }) => kind === "attempt" && from !== to && outcome !== "superseded",
  );
}

async function failuresOf(records: FleetReads, product: string): Promise<ReadonlyMap<string, FailedAttempt>> {
  const last = new Map<string, StoredReport>();
  for (const report of await attemptsOf(records, { product, limit: NEWEST }))
    if (!last.has(report.device)) last.set(report.device, report);
  return new Map(
    [...last].flatMap(([device, report]) => {
      const failed = failureIn(report);
      return failed === null ? [] : [[device, failed]];
    }),
  );
}

function failureIn(report: StoredReport): FailedAttempt | null {
  if (report.to === null || report.outcome === "success" || report.outcome === "repaired") return null;
  return {
    to: report.to,
    at: report.received,
    code: report.code,
    step: report.step,
    firstError: errorLine(reportDetails(report).firstError, report.reason),
  };
}

/** What adds up, for one group and product. */
export type SurveyRow = {
  readonly group: string;
  readonly product: string;
  /** What its devices should come to run. */
  readonly target: string | null;
  readonly devices: number;
  readonly current: number;
  readonly failed: number;
  /** By rule. */
  readonly open: { readonly [rule: string]: number };
  readonly failures: readonly {
    readonly platform: string;
    readonly devices: number;
    readonly code: string;
    readonly firstError: string | null;
  }[];
};

export function summary(surveyed: readonly Surveyed[], desired: readonly Desired[]): readonly SurveyRow[] {
  return desired.map(({ group, product }): SurveyRow => {
    const own = surveyed.filter(
      ({ device, why: { product: of, state } }) =>
        device.group === group && of === product && state !== "revoked",
    );
    const open: Record<string, number> = {};
    const failures = new Map<
      string,
      { platform: string; devices: number; code: string; firstError: string | null }
    >();
    for (const { device, why: one } of own) {
      if (one.state === "waits" || one.state === "behind") open[one.rule] = (open[one.rule] ?? 0) + 1;
      if (one.state !== "failed") continue;
      const known = failures.get(device.platform);
      if (known === undefined)
        failures.set(device.platform, {
          platform: device.platform,
          devices: 1,
          code: one.failure?.code ?? "no code",
          firstError: one.failure?.firstError ?? null,
        });
      else known.devices++;
    }
    return {
      group,
      product,
      target: mostOf(own.map(({ why: { target } }) => target)),
      devices: own.length,
      current: own.filter(({ why: { state } }) => state === "current").length,
      failed: own.filter(({ why: { state } }) => state === "failed").length,
      open,
      failures: [...failures.values()].toSorted((a, b) => b.devices - a.devices),
    };
  });
}

function mostOf(versions: readonly (string | null)[]): string | null {
  const counts = new Map<string, number>();
  for (const version of versions) if (version !== null) counts.set(version, (counts.get(version) ?? 0) + 1);
  return [...counts].toSorted(([, a], [, b]) => b - a)[0]?.[0] ?? null;
}
