// What the verbs of `fleet`, `device`, `token` and `report` do, on the store that a running server watches.

import { formatInstant, HOUR, parseInstant } from "../../../core/instant.ts";
import { UpkeepError } from "../../../core/errors.ts";
import type { Json } from "../../../core/json.ts";
import { nameSchema, versionSchema, z } from "../../../core/schema.ts";
import { assign, configureGroup, moveDevice, unassign, wakeNow } from "../../../fleet/assign.ts";
import { checkChain } from "../../../fleet/audit.ts";
import type { AuditRow } from "../../../fleet/records.ts";
import { findRelease, readCatalogue } from "../../../fleet/catalogue.ts";
import { addToken, DEFAULT_INTERVAL, revoke, unknownDevice } from "../../../fleet/enrol.ts";
import { FleetError } from "../../../fleet/errors.ts";
import { reportLine } from "../../../fleet/intake.ts";
import { liveness, type Liveness } from "../../../fleet/liveness.ts";
import type { Desired, Device, DeviceComponent, WakeScope } from "../../../fleet/records.ts";
import { formatToken, newToken } from "../../../identity/token.ts";
import { diskSource } from "../../../io/source/disk.ts";
import { mirrorAt, openRepository, type Repository } from "../../../repository/client/client.ts";
import { memoryStore } from "../../../repository/client/store.ts";
import type { HoldReason } from "../../../message/assignment.ts";
import { firstRootDigest } from "../../server/repository-watch.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { serverPin } from "./ca.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { columns } from "../../framework/style.ts";

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
  const desired = await withFleet(call, (records, now) =>
    assign(
      records,
      now,
      {
        group,
        product,
        channel,
        ...(version === undefined ? {} : { version }),
        ...(reason === undefined
          ? {}
          : { hold: { reason, ...(until === undefined ? {} : { until: parseInstant(until) }) } }),
      },
      actor(),
    ),
  );
  if (listed === null) {
    call.context.note(
      `Nothing is published at ${product}/${channel} yet; the devices of ${group} hold until it is.`,
    );
  }
  return { text: desiredLine(desired), json: desiredJson(desired) };
}

/** What the repository offers there now; null when nothing, or when there is no repository. */
async function offered(
  call: Call,
  wanted: { product: string; channel: string; version: string | null },
): Promise<string | null> {
  const { context } = call;
  const folder = `${context.data}/repository`;
  const trustedRoot = await context.disk.read(`${folder}/metadata/1.root.json`, 512 * 1024).catch(() => null);
  if (trustedRoot === null) return null;
  const repository: Repository = openRepository({
    mirrors: [mirrorAt(diskSource(context.disk, folder))],
    store: memoryStore(),
    clock: context.clock,
    random: context.random,
    trustedRoot,
  });
  await repository.refresh();
  if (wanted.version !== null) {
    return (await findRelease(repository, wanted.product, wanted.version))?.version ?? null;
  }
  const { catalogue } = await readCatalogue(repository, "", [wanted]);
  return catalogue.current(wanted.product, wanted.channel)?.version ?? null;
}

export async function fleetUnassign(call: Call): Promise<Result> {
  const [group, product] = [nameAt(call, 0), nameAt(call, 1)];
  const dropped = await withFleet(call, (records, now) =>
    unassign(records, now, { group, product }, actor()),
  );
  const text = dropped
    ? `${group} is told nothing about ${product} any more.`
    : `${group} was told nothing about ${product}.`;
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
        : columns([["GROUP", "INTERVAL", "PRODUCT", "CHANNEL", "STATE"], ...rows]),
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
  await withFleet(call, (records, now) => configureGroup(records, now, { group, interval }, actor()));
  return { text: `${group} checks in every ${interval} s.`, json: { group, interval } };
}

export async function fleetWake(call: Call): Promise<Result> {
  const [group, device] = [call.text("group"), call.text("device")];
  if (group !== undefined && device !== undefined) throw usage("Give --group or --device, not both.");
  const scope: WakeScope =
    device !== undefined ? `device:${device}` : group !== undefined ? `group:${group}` : "all";
  const seq = await withFleet(call, async (records, now) => {
    if (device !== undefined && (await records.device(device)) === null) throw unknownDevice(device);
    if (group !== undefined && (await records.group(group)) === null) {
      throw new FleetError("fleet/unknown-group", `There is no group ${group.slice(0, 64)}.`, { group });
    }
    return wakeNow(records, now, scope, actor());
  });
  return { text: `wake-up ${seq} for ${scope}`, json: { scope, seq } };
}

export async function fleetAlarms(call: Call): Promise<Result> {
  const alarms = await readFleet(call, (records) => records.alarms(limitOf(call)));
  const rows = alarms.map((a) => [formatInstant(a.last), a.device, a.code, String(a.count), a.detail]);
  return {
    text:
      rows.length === 0
        ? "There are no alarms."
        : columns([["LAST", "DEVICE", "CODE", "TIMES", "WHAT"], ...rows]),
    json: {
      alarms: alarms.map((a) => ({ ...a, first: formatInstant(a.first), last: formatInstant(a.last) })),
    },
  };
}

export async function fleetAudit(call: Call): Promise<Result> {
  const limit = limitOf(call);
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
    JSON.stringify(r.facts),
  ]);
  const head = ["NO", "TIME", "ACTOR", "ACTION", "SUBJECT", "FACTS"];
  const verdict = `The log holds together: ${last?.sequence ?? 0} rows, last hash ${last?.hash ?? "none"}.`;
  return {
    text: `${lines.length === 0 ? "" : `${columns([head, ...lines])}\n`}${verdict}`,
    json: {
      holds: true,
      count: last?.sequence ?? 0,
      hash: last?.hash ?? null,
      rows: rows.map((r) => ({ ...r, at: formatInstant(r.at) })) as Json,
    },
  };
}

export async function deviceList(call: Call): Promise<Result> {
  const group = call.text("group");
  const wanted = call.text("state");
  const limit = limitOf(call);
  const devices = await readFleet(call, async (records, now) => {
    const intervals = new Map((await records.groups()).map((g) => [g.name, g.interval]));
    const found: { device: Device; interval: number; state: Liveness; runs: readonly DeviceComponent[] }[] =
      [];
    for (let after: string | undefined; ;) {
      const page = await records.devices({
        limit: 1000,
        ...(group === undefined ? {} : { group }),
        ...(after === undefined ? {} : { after }),
      });
      for (const device of page) {
        const interval = intervals.get(device.group) ?? DEFAULT_INTERVAL;
        const state = liveness(device, interval, now);
        if (wanted !== undefined && state !== wanted) continue;
        found.push({ device, interval, state, runs: await records.components(device.id) });
        if (found.length === limit) return { found, now };
      }
      if (page.length < 1000) return { found, now };
      after = page.at(-1)!.id;
    }
  });
  const { found, now } = devices;
  const rows = found.map(({ device: d, state, runs }) => [
    d.id,
    d.name,
    d.group,
    state,
    d.lastSeen === null ? "never" : formatInstant(d.lastSeen),
    runsAndTries(d, runs),
  ]);
  return {
    text:
      rows.length === 0
        ? "There are no such devices."
        : columns([["DEVICE", "NAME", "GROUP", "STATE", "LAST SEEN", "RUNS"], ...rows]),
    json: {
      devices: found.map(({ device, interval, runs }) => ({
        ...deviceJson(device, interval, now),
        running: Object.fromEntries(runs.map((c) => [c.product, c.running])),
        trying: Object.fromEntries(triesOf(device, runs)),
      })),
    },
  };
}

/** What it says at check-in to run, and no report tells yet how that ended: product and version. */
function triesOf(
  { claimed }: Device,
  runs: readonly DeviceComponent[],
): readonly (readonly [product: string, version: string])[] {
  return claimed.flatMap(({ product, version }) => {
    const reported = runs.find((c) => c.product === product)?.running ?? null;
    return version === null || version === reported ? [] : [[product, version] as const];
  });
}

function runsAndTries(device: Device, runs: readonly DeviceComponent[]): string {
  const tries = new Map(triesOf(device, runs));
  const lines = runs.map(({ product, running }) => {
    const tried = tries.get(product);
    tries.delete(product);
    return `${product} ${running ?? "-"}${tried === undefined ? "" : ` (trying ${tried})`}`;
  });
  return [...lines, ...[...tries].map(([product, version]) => `${product} - (trying ${version})`)].join(", ");
}

export async function deviceShow(call: Call): Promise<Result> {
  const id = call.argument(0);
  const { device, components, interval, now } = await readFleet(call, async (records, now) => {
    const device = await records.device(id);
    if (device === null) throw unknownDevice(id);
    const interval = (await records.group(device.group))?.interval ?? DEFAULT_INTERVAL;
    return { device, components: await records.components(id), interval, now };
  });
  const claimed = device.claimed.map((c) => `${c.product} ${c.version ?? "-"}`).join(", ");
  const text = columns([
    ["device", device.id],
    ["name", device.name],
    ["group", device.group],
    ["state", liveness(device, interval, now)],
    ["enrolled", formatInstant(device.enrolled)],
    ["last seen", device.lastSeen === null ? "never" : formatInstant(device.lastSeen)],
    ["platform", [device.platform.os, device.platform.arch, device.platform.libc ?? ""].join(" ").trim()],
    ["certificate ends", formatInstant(device.certificateEnds)],
    ["reports", String(device.lastSequence)],
    ["says it runs", claimed === "" ? "nothing" : claimed],
    ...components.map((c) => [
      `runs ${c.product}`,
      `${c.running ?? "nothing"} (signed, report ${c.sequence} of ${formatInstant(c.at)}; committed ${c.committed ?? "-"}, floor ${c.floor ?? "-"})`,
    ]),
  ]);
  const json = {
    ...deviceJson(device, interval, now),
    components: components.map((c) => ({ ...c, at: formatInstant(c.at) })),
  };
  return { text, json };
}

export async function deviceMove(call: Call): Promise<Result> {
  const [device, group] = [call.argument(0), nameAt(call, 1)];
  await withFleet(call, (records, now) => moveDevice(records, now, { device, group }, actor()));
  return { text: `${device} is in ${group}.`, json: { device, group } };
}

export async function deviceRevoke(call: Call): Promise<Result> {
  const device = await withFleet(call, (records, now) => revoke(records, now, call.argument(0), actor()));
  return {
    text: `${device.id} (${device.name}) is revoked.`,
    json: { device: device.id, status: device.status },
  };
}

export async function tokenNew(call: Call): Promise<Result> {
  const { context } = call;
  const group = call.needed("group");
  checkName(group);
  const life = (call.whole("hours", 1, 168) ?? 24) * HOUR;
  const rootSha256 = await firstRootDigest(context.disk, `${context.data}/repository`);
  if (rootSha256 === null) {
    throw new FleetError(
      "fleet/no-repository",
      `There is no repository in ${context.data} yet; a token has to pin its first root.`,
      { data: context.data },
      { hint: "Run upkeep repo init first." },
    );
  }
  const token = newToken(context.random, { caSpkiSha256: await serverPin(call), rootSha256 });
  const row = await withFleet(call, (records, now) =>
    addToken(records, now, { ...token, group, life }, actor()),
  );
  const text = formatToken(token);
  context.note(
    `For one device of the group ${group}, until ${formatInstant(row.expires)}. It is shown this once.`,
  );
  return { text, json: { token: text, id: token.id, group, expires: formatInstant(row.expires) } };
}

export async function tokenList(call: Call): Promise<Result> {
  const { tokens, now } = await readFleet(call, async (records, now) => ({
    tokens: await records.tokens(limitOf(call)),
    now,
  }));
  const state = (t: (typeof tokens)[number]): string =>
    t.usedBy !== null ? `used by ${t.usedBy}` : t.expires <= now ? "expired" : "open";
  const rows = tokens.map((t) => [
    t.id,
    t.group,
    formatInstant(t.created),
    formatInstant(t.expires),
    state(t),
    String(t.failures),
  ]);
  return {
    text:
      rows.length === 0
        ? "There are no tokens."
        : columns([["TOKEN", "GROUP", "MADE", "EXPIRES", "STATE", "REFUSALS"], ...rows]),
    json: {
      tokens: tokens.map((t) => ({
        id: t.id,
        group: t.group,
        created: formatInstant(t.created),
        expires: formatInstant(t.expires),
        used: t.used === null ? null : formatInstant(t.used),
        usedBy: t.usedBy,
        refusals: t.failures,
      })),
    },
  };
}

export async function reportList(call: Call): Promise<Result> {
  const [device, product, outcome] = [call.text("device"), call.text("product"), call.text("outcome")];
  const reports = await readFleet(call, (records) =>
    records.reports({
      limit: limitOf(call),
      ...(device === undefined ? {} : { device }),
      ...(product === undefined ? {} : { product }),
      ...(outcome === undefined ? {} : { outcome }),
    }),
  );
  return {
    text: reports.length === 0 ? "There are no reports." : reports.map(reportLine).join("\n"),
    json: {
      reports: reports.map((r) => ({
        ...r,
        received: formatInstant(r.received),
        issued: formatInstant(r.issued),
      })),
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

function deviceJson(d: Device, interval: number, now: number): { readonly [name: string]: Json } {
  return {
    id: d.id,
    name: d.name,
    group: d.group,
    state: liveness(d, interval, now),
    enrolled: formatInstant(d.enrolled),
    lastSeen: d.lastSeen === null ? null : formatInstant(d.lastSeen),
    platform: d.platform as Json,
    certificateEnds: formatInstant(d.certificateEnds),
    claimed: d.claimed as Json,
    timestamp: d.timestamp,
    reports: d.lastSequence,
  };
}

function limitOf(call: Call): number {
  return call.whole("limit", 1, 100_000) ?? 50;
}

function nameAt(call: Call, place: number): string {
  return checkName(call.argument(place));
}

function checkName(text: string): string {
  if (z.safeParse(nameSchema, text).success) return text;
  throw usage(
    `"${text.slice(0, 80)}" cannot be a name; use lower-case letters, digits, dots and dashes, at most 64.`,
  );
}
