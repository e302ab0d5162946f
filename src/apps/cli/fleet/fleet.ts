// What the verbs of `fleet` do, on the store that a running server watches.

import { formatInstant, parseInstant } from "../../../core/instant.ts";
import { UpkeepError } from "../../../core/errors.ts";
import type { Json } from "../../../core/json.ts";
import { compareVersions, parseVersion } from "../../../core/version.ts";
import { versionSchema, z } from "../../../core/schema.ts";
import { assign, configureGroup, unassign } from "../../../fleet/assign.ts";
import { faultOf } from "../../../fleet/audit-head.ts";
import { checkChain } from "../../../fleet/audit.ts";
import type { AuditRow } from "../../../fleet/records.ts";
import { FleetError } from "../../../fleet/errors.ts";
import { needGroup } from "../../../fleet/groups.ts";
import type { Desired } from "../../../fleet/records.ts";
import type { FleetReads } from "../../../fleet/store.ts";
import type { HoldReason } from "../../../message/assignment.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { columns, count } from "../../framework/style.ts";
import { limitOf, nameAt } from "./naming.ts";
import { ownCatalogue } from "./own-catalogue.ts";

export async function fleetAssign(call: Call): Promise<Result> {
  const [group, product, channel] = [nameAt(call, 0), nameAt(call, 1), nameAt(call, 2)];
  const version = call.text("stay-at");
  if (version !== undefined && !z.safeParse(versionSchema, version).success) {
    throw usage(`"${version.slice(0, 80)}" is not a version such as 1.4.0.`);
  }
  const reason = call.text("hold") as HoldReason | undefined;
  const until = call.text("until");
  if (until !== undefined && reason === undefined) throw usage("--until goes with --hold.");
  const listed = await offered(call, { product, channel, version: version ?? null }).catch(
    (error: unknown) => {
      // A repository in trouble is no reason why a fleet could not be told to hold.
      if (version !== undefined || !(error instanceof UpkeepError)) throw error;
      call.context.note(`The repository could not be read: ${error.message}`);
      return undefined;
    },
  );
  if (version !== undefined && listed === null) {
    throw new FleetError(
      "fleet/unknown-release",
      `The repository lists no release ${version} of ${product}.`,
      { product, version },
      { hint: "upkeep release list shows the releases that are there." },
    );
  }
  const { desired, above } = await withFleet(call, async (records, now) => {
    const desired = await assign(
      records,
      now,
      {
        group,
        product,
        channel,
        create: call.flag("create"),
        ...(version === undefined ? {} : { version }),
        ...(reason === undefined
          ? {}
          : { hold: { reason, ...(until === undefined ? {} : { until: parseInstant(until) }) } }),
      },
      actor(),
    );
    const to = version ?? listed ?? null;
    return { desired, above: to === null ? [] : await devicesAbove(records, group, product, to) };
  });
  if (above.length > 0) {
    const shown = above.slice(0, 5).map(({ name, running }) => `${name} (${running})`);
    call.context.note(
      `${count(above.length, "device")} of ${group} ${above.length === 1 ? "runs" : "run"} a newer version: ${shown.join(", ")}${above.length > 5 ? ", …" : ""}. They stay there: a device goes back only when the version that it has is recalled (upkeep release recall), or by hand (upkeep agent rollback).`,
    );
  }
  if (listed === null) {
    call.context.note(
      `Nothing is published at ${product}/${channel} yet; the devices of ${group} hold until it is.`,
    );
  }
  return {
    text: desiredLine(desired),
    json: { ...desiredJson(desired), newer: above.map(({ id, running }) => ({ device: id, running })) },
  };
}

/** Devices that report to run something newer, which this assignment does not take back. */
async function devicesAbove(
  records: Pick<FleetReads, "devices" | "components" | "allComponents">,
  group: string,
  product: string,
  version: string,
): Promise<readonly { readonly id: string; readonly name: string; readonly running: string }[]> {
  const wanted = parseVersion(version);
  const above: { id: string; name: string; running: string }[] = [];
  for (let after: string | undefined; ;) {
    const page = await records.devices({ group, limit: 1000, ...(after === undefined ? {} : { after }) });
    for (const { id, name, status } of page) {
      if (status !== "active") continue;
      const running = (await records.components(id)).find((one) => one.product === product)?.running ?? null;
      if (running !== null && compareVersions(parseVersion(running), wanted) > 0)
        above.push({ id, name, running });
    }
    if (page.length < 1000) return above;
    after = page.at(-1)!.id;
  }
}

/** What the repository offers there now; null when nothing, or when there is no repository. */
async function offered(
  call: Call,
  wanted: { product: string; channel: string; version: string | null },
): Promise<string | null> {
  const { product, channel, version } = wanted;
  const catalogue = await ownCatalogue(call, [wanted]);
  const found =
    version === null ? catalogue?.current(product, channel) : catalogue?.byVersion(product, version);
  return found?.version ?? null;
}

export async function fleetUnassign(call: Call): Promise<Result> {
  const [group, product] = [nameAt(call, 0), nameAt(call, 1)];
  const dropped = await withFleet(call, async (records, now) => {
    await needGroup(records, group);
    return unassign(records, now, { group, product }, actor());
  });
  const text = dropped
    ? `${product} is no longer assigned to ${group}; what is installed stays.`
    : `${product} was not assigned to ${group}.`;
  return { text, json: { group, product, dropped } };
}

export async function fleetList(call: Call): Promise<Result> {
  const { groups, desired } = await readFleet(call, async (records) => ({
    groups: await records.groups(),
    desired: await records.allDesired(),
  }));
  const rows = groups.flatMap((group) => {
    const own = desired.filter((d) => d.group === group.name);
    const interval = `${group.interval} s`;
    if (own.length === 0) return [[group.name, interval, "-", "-", "nothing assigned"]];
    return own.map((d) => [d.group, interval, d.product, d.channel, stateOf(d)]);
  });
  return {
    text:
      rows.length === 0
        ? "There are no groups yet."
        : columns([["GROUP", "INTERVAL", "PRODUCT", "CHANNEL", "STATE"], ...rows], call.context.width),
    json: {
      groups: groups.map((group) => ({
        name: group.name,
        interval: group.interval,
        desired: desired.filter((d) => d.group === group.name).map(desiredJson),
      })),
    },
  };
}

export async function fleetInterval(call: Call): Promise<Result> {
  const group = nameAt(call, 0);
  const interval = Number(call.argument(1));
  await withFleet(call, (records, now) =>
    configureGroup(records, now, { group, interval, create: call.flag("create") }, actor()),
  );
  return { text: `${group} checks in every ${interval} s.`, json: { group, interval } };
}

/** Errors: `cli/usage`, `fleet/audit-broken` when the log does not hold the row. */
async function mustContain(call: Call): Promise<void> {
  const text = call.text("contains");
  if (text === undefined) return;
  const match = /^([1-9]\d{0,14}):([0-9a-f]{64})$/.exec(text);
  if (match === null) throw usage(`"${text.slice(0, 90)}" is no head such as 41:HASH.`);
  const head = { sequence: Number(match[1]), hash: match[2]! };
  const fault = await readFleet(call, (records) => faultOf(records, head));
  if (fault === null) return;
  throw new FleetError(
    "fleet/audit-broken",
    fault === "cut"
      ? `The audit log ends before row ${head.sequence}: its tail was cut off, or an old backup was restored.`
      : `Row ${head.sequence} of the audit log is not the one with this hash: rows were rewritten.`,
    { sequence: head.sequence, fault },
  );
}

export async function fleetAudit(call: Call): Promise<Result> {
  const limit = limitOf(call);
  await mustContain(call);
  const { rows, last } = await readFleet(call, async (records) => {
    let last: AuditRow | null = null;
    let rows: AuditRow[] = [];
    for (;;) {
      const page = await records.audit(last?.sequence ?? 0, 1000);
      last = checkChain(last, page);
      rows = [...rows, ...page].slice(-limit);
      if (page.length < 1000) return { rows, last };
    }
  });
  const lines = rows.map((r) => [
    String(r.sequence),
    formatInstant(r.at),
    r.actor,
    r.action,
    r.subject,
    Object.entries(r.facts)
      .map(([name, fact]) => `${name}=${typeof fact === "string" ? fact : JSON.stringify(fact)}`)
      .join(" "),
  ]);
  const head = ["NO", "TIME", "ACTOR", "ACTION", "SUBJECT", "FACTS"];
  const verdict = `The log holds together: ${last?.sequence ?? 0} rows, last hash ${last?.hash ?? "none"}.`;
  return {
    text: `${lines.length === 0 ? "" : `${columns([head, ...lines], call.context.width)}\n`}${verdict}`,
    json: {
      holds: true,
      count: last?.sequence ?? 0,
      hash: last?.hash ?? null,
      rows: rows.map((r) => ({ ...r, at: formatInstant(r.at) })) as Json,
    },
  };
}

function desiredLine(d: Desired): string {
  return `${d.group}: ${d.product} follows ${d.channel}, ${stateOf(d)}`;
}

function stateOf(d: Desired): string {
  if (d.hold !== null)
    return `held (${d.hold}${d.holdUntil === null ? "" : ` until ${formatInstant(d.holdUntil)}`})`;
  return d.version === null ? "newest of the channel" : `stays at ${d.version}`;
}

function desiredJson(d: Desired): { readonly [name: string]: Json } {
  return {
    group: d.group,
    product: d.product,
    channel: d.channel,
    version: d.version,
    hold: d.hold,
    until: d.holdUntil === null ? null : formatInstant(d.holdUntil),
    changed: formatInstant(d.changed),
  };
}
