// What `device label` and `group fill` do.

import { moveDevice } from "../../../fleet/assign.ts";
import { findDevice } from "../../../fleet/devices.ts";
import { parseFilter } from "../../../fleet/filter.ts";
import { needOrMakeGroup } from "../../../fleet/groups.ts";
import { changeLabels } from "../../../fleet/labels.ts";
import type { Labels } from "../../../fleet/label-record.ts";
import type { RosterDevice } from "../../../fleet/rollout-record.ts";
import type { FleetReads } from "../../../fleet/store.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { count } from "../../framework/style.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { nameAt } from "./naming.ts";

export async function deviceLabel(call: Call): Promise<Result> {
  const change = {
    add: call.list("tag"),
    remove: call.list("untag"),
    set: call.list("set").map(pairOf),
    unset: call.list("unset"),
  };
  if (Object.values(change).every((list) => list.length === 0)) {
    const { device, labels } = await readFleet(call, async (records) => {
      const device = await findDevice(records, call.argument(0));
      return { device, labels: await records.labels(device.id) };
    });
    return { text: `${device.name}: ${labelsText(labels)}`, json: { device: device.id, ...labels } };
  }
  const { device, labels } = await withFleet(call, async (records, now) => {
    const device = await findDevice(records, call.argument(0));
    return { device, labels: await changeLabels(records, now, device, change, actor()) };
  });
  return { text: `${device.name}: ${labelsText(labels)}`, json: { device: device.id, ...labels } };
}

function pairOf(text: string): readonly [name: string, value: string] {
  const at = text.indexOf("=");
  if (at <= 0) throw usage(`"${text.slice(0, 80)}" is no attribute such as site=berlin.`);
  return [text.slice(0, at), text.slice(at + 1)];
}

export function labelsText({ tags, attributes }: Labels): string {
  const all = [...tags, ...Object.entries(attributes).map(([name, value]) => `${name}=${value}`)];
  return all.length === 0 ? "no tags, no attributes" : all.join(", ");
}

/** Every device for which the expression holds. Error: `fleet/bad-filter`. */
export async function devicesWhere(records: FleetReads, where: string): Promise<readonly RosterDevice[]> {
  const holds = parseFilter(where);
  const found: RosterDevice[] = [];
  for (let after = ""; ;) {
    const page = await records.roster(after, 1000);
    found.push(...page.filter(holds));
    if (page.length < 1000) return found;
    after = page.at(-1)!.id;
  }
}

export async function groupFill(call: Call): Promise<Result> {
  const group = nameAt(call, 0);
  const dry = call.flag("dry-run");
  const where = call.needed("where");
  const moving = (devices: readonly RosterDevice[]): readonly RosterDevice[] =>
    devices.filter((device) => device.group !== group && device.status === "active");
  const moved = dry
    ? await readFleet(call, async (records) => moving(await devicesWhere(records, where)))
    : await withFleet(call, async (records, now) => {
        await needOrMakeGroup(records, now, { group, create: call.flag("create") }, actor());
        const devices = moving(await devicesWhere(records, where));
        for (const { id } of devices) await moveDevice(records, now, { device: id, group }, actor());
        return devices;
      });
  const lines = moved.slice(0, 20).map(({ id, name, group: from }) => `  ${id}  ${name}  from ${from}`);
  return {
    text: [
      dry
        ? `${count(moved.length, "device")} would move into ${group}.`
        : `${count(moved.length, "device")} moved into ${group}.`,
      ...lines,
      ...(moved.length > 20 ? [`  and ${moved.length - 20} more; --json lists all`] : []),
    ].join("\n"),
    json: {
      group,
      dryRun: dry,
      devices: moved.map(({ id, name, group: from }) => ({ device: id, name, from })),
    },
  };
}
