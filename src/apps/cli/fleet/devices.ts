// What the verbs of `device` do.

import { formatInstant } from "../../../core/instant.ts";
import type { Json } from "../../../core/json.ts";
import { z } from "../../../core/schema.ts";
import { moveDevice } from "../../../fleet/assign.ts";
import { findDevice, removeDevice, renameDevice } from "../../../fleet/devices.ts";
import { approveDevice, DEFAULT_INTERVAL, revoke } from "../../../fleet/enrol.ts";
import { deviceState, isAhead, isHeld, liveness, type Liveness } from "../../../fleet/liveness.ts";
import type { Device, DeviceComponent } from "../../../fleet/records.ts";
import { lineSchema } from "../../../message/common.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { columns } from "../../framework/style.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { devicesWhere, labelsText } from "./labels.ts";
import { limitOf, nameAt, needConsent } from "./naming.ts";

export async function deviceList(call: Call): Promise<Result> {
  const group = call.text("group");
  const wanted = call.text("state");
  const limit = limitOf(call);
  const devices = await readFleet(call, async (records, now) => {
    const where = call.text("where");
    const meant =
      where === undefined ? null : new Set((await devicesWhere(records, where)).map(({ id }) => id));
    const intervals = new Map((await records.groups()).map((g) => [g.name, g.interval]));
    const desired = Map.groupBy(await records.allDesired(), (one) => one.group);
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
        const held = isHeld(desired.get(device.group) ?? [], now);
        const state = deviceState(device, { interval, now, held });
        if (wanted !== undefined && state !== wanted) continue;
        if (meant !== null && !meant.has(device.id)) continue;
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
    seenText(d, now),
    runsAndTries(d, runs),
  ]);
  return {
    text:
      rows.length === 0
        ? "There are no such devices."
        : columns([["DEVICE", "NAME", "GROUP", "STATE", "LAST SEEN", "RUNS"], ...rows], call.context.width),
    json: {
      devices: found.map(({ device, interval, state, runs }) => ({
        ...deviceJson(device, interval, now),
        state,
        running: Object.fromEntries(runs.map((c) => [c.product, c.running])),
        trying: triesJson(device, runs),
      })),
    },
  };
}

export async function deviceShow(call: Call): Promise<Result> {
  const { device, components, interval, now, labels } = await readFleet(call, async (records, now) => {
    const device = await findDevice(records, call.argument(0));
    const interval = (await records.group(device.group))?.interval ?? DEFAULT_INTERVAL;
    const labels = await records.labels(device.id);
    return { device, components: await records.components(device.id), interval, now, labels };
  });
  const claimed = device.claimed.map((c) => `${c.product} ${c.version ?? "-"}`).join(", ");
  const rows = [
    ["device", device.id],
    ["name", device.name],
    ["group", device.group],
    ["state", liveness(device, interval, now)],
    ["enrolled", formatInstant(device.enrolled)],
    ["last seen", seenText(device, now)],
    ["platform", [device.platform.os, device.platform.arch, device.platform.libc ?? ""].join(" ").trim()],
    ["labels", labelsText(labels)],
    ["agent", agentText(device)],
    ["certificate ends", formatInstant(device.certificateEnds)],
    ["reports", String(device.lastSequence)],
    ["says it runs", claimed === "" ? "nothing" : claimed],
    ...triedBy(device, components).map((one) => [`tries ${one.product}`, tryText(one)]),
    ...components.map((c) => [
      `runs ${c.product}`,
      `${c.running ?? "nothing"} (signed, report ${c.sequence} of ${formatInstant(c.at)}; committed ${c.committed ?? "-"}, floor ${c.floor ?? "-"})`,
    ]),
  ];
  const text = columns(rows, call.context.width);
  const json = {
    ...deviceJson(device, interval, now),
    ...labels,
    components: components.map((c) => ({ ...c, at: formatInstant(c.at) })),
    trying: triesJson(device, components),
  };
  return { text, json };
}

export async function deviceMove(call: Call): Promise<Result> {
  const group = nameAt(call, 1);
  const device = await withFleet(call, async (records, now) => {
    const found = await findDevice(records, call.argument(0));
    await moveDevice(records, now, { device: found.id, group, create: call.flag("create") }, actor());
    return found;
  });
  return { text: `${device.id} (${device.name}) is in ${group}.`, json: { device: device.id, group } };
}

export async function deviceApprove(call: Call): Promise<Result> {
  const done = await withFleet(call, async (records, now) => {
    const done: { device: Device; fresh: boolean }[] = [];
    for (const name of call.argumentsFrom(0)) {
      const { id } = await findDevice(records, name);
      done.push(await approveDevice(records, now, id, actor()));
    }
    return done;
  });
  return {
    text: done
      .map(
        ({ device: { id, name }, fresh }) =>
          `${id} (${name}) ${fresh ? "is approved" : "was approved already"}.`,
      )
      .join("\n"),
    json: { devices: done.map(({ device: { id, name }, fresh }) => ({ device: id, name, approved: fresh })) },
  };
}

export async function deviceRename(call: Call): Promise<Result> {
  const name = call.argument(1);
  if (!z.safeParse(lineSchema(128), name).success || name.trim() === "")
    throw usage("A device's name is one line of at most 128 letters.");
  const device = await withFleet(call, async (records, now) => {
    const found = await findDevice(records, call.argument(0));
    await renameDevice(records, now, { device: found, name }, actor());
    return found;
  });
  return { text: `${device.id} is called ${name}.`, json: { device: device.id, name } };
}

export async function deviceRevoke(call: Call): Promise<Result> {
  const device = await withFleet(call, async (records, now) =>
    revoke(records, now, (await findDevice(records, call.argument(0))).id, actor()),
  );
  return {
    text: `${device.id} (${device.name}) is revoked.`,
    json: { device: device.id, status: device.status },
  };
}

export async function deviceRemove(call: Call): Promise<Result> {
  const { id, name } = await readFleet(call, (records) => findDevice(records, call.argument(0)));
  await needConsent(
    call,
    `${id} (${name}) will be forgotten with all its reports, and its keys open nothing.`,
  );
  await withFleet(call, async (records, now) =>
    removeDevice(records, now, await findDevice(records, id), actor()),
  );
  return { text: `${id} (${name}) is removed.`, json: { device: id, removed: true } };
}

type Try = { readonly product: string; readonly version: string; readonly step: string | null };

/** What the device said at its last check-in that it tries: an open attempt, or a version that runs and that no signed report confirms yet. */
function triedBy(device: Device, runs: readonly DeviceComponent[]): readonly Try[] {
  return device.claimed.flatMap(({ product, version, trying }): Try[] => {
    if (trying !== undefined) return [{ product, ...trying }];
    const signed = runs.find((one) => one.product === product)?.running ?? null;
    return version === null || version === signed ? [] : [{ product, version, step: null }];
  });
}

function triesJson(device: Device, runs: readonly DeviceComponent[]): { readonly [product: string]: string } {
  return Object.fromEntries(triedBy(device, runs).map(({ product, version }) => [product, version]));
}

function runsAndTries(device: Device, runs: readonly DeviceComponent[]): string {
  const tries = new Map(triedBy(device, runs).map((one) => [one.product, one]));
  const own = runs.map(({ product, running }) => ({ product, running }));
  const more = [...tries.keys()].filter((product) => !own.some((one) => one.product === product));
  return [...own, ...more.map((product) => ({ product, running: null }))]
    .map(({ product, running }) => {
      const tried = tries.get(product);
      const trying =
        tried === undefined
          ? ""
          : ` (trying ${tried.version}${tried.step === null ? "" : `, ${tried.step}`})`;
      return `${product} ${running ?? "-"}${trying}`;
    })
    .join(", ");
}

function tryText({ product, version, step }: Try): string {
  return `${product} ${version}${step === null ? "" : ` (${step})`}`;
}

function seenText({ lastSeen }: Device, now: number): string {
  if (lastSeen === null) return "never";
  const ahead = isAhead(lastSeen, now) ? " (in the future: a clock was wrong)" : "";
  return `${formatInstant(lastSeen)}${ahead}`;
}

function agentText({ agent }: Device): string {
  if (agent === null) return "says nothing of itself";
  const features = agent.features.length === 0 ? "" : ` (${agent.features.join(", ")})`;
  return `${agent.version}${features}`;
}

function deviceJson(d: Device, interval: number, now: number): { readonly [name: string]: Json } {
  return {
    id: d.id,
    name: d.name,
    group: d.group,
    state: liveness(d, interval, now),
    enrolled: formatInstant(d.enrolled),
    lastSeen: d.lastSeen === null ? null : formatInstant(d.lastSeen),
    lastSeenAhead: isAhead(d.lastSeen, now),
    platform: d.platform as Json,
    certificateEnds: formatInstant(d.certificateEnds),
    agent: d.agent as Json,
    claimed: d.claimed as Json,
    timestamp: d.timestamp,
    reports: d.lastSequence,
  };
}
