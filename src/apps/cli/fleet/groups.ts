// What the verbs of `group` do.

import { checkInterval } from "../../../fleet/assign.ts";
import { DEFAULT_INTERVAL } from "../../../fleet/enrol.ts";
import { addGroup, needGroup, removeGroup } from "../../../fleet/groups.ts";
import type { Call, Result } from "../../framework/command.ts";
import { columns } from "../../framework/style.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { nameAt, needConsent } from "./naming.ts";

export async function groupAdd(call: Call): Promise<Result> {
  const name = nameAt(call, 0);
  const interval = call.whole("interval", 1, 1_000_000) ?? DEFAULT_INTERVAL;
  checkInterval(interval);
  const { group, made } = await withFleet(call, (records, now) =>
    addGroup(records, now, { name, interval }, actor()),
  );
  const text = made ? `The group ${name} is there.` : `The group ${name} was there already.`;
  return {
    text: `${text} Its devices check in every ${group.interval} s.`,
    json: { group: name, interval: group.interval, made },
  };
}

export async function groupList(call: Call): Promise<Result> {
  const { groups, sizes, desired } = await readFleet(call, async (records) => ({
    groups: await records.groups(),
    sizes: await records.groupSizes(),
    desired: await records.allDesired(),
  }));
  const rows = groups.map(({ name, interval }) => [
    name,
    String(sizes.get(name) ?? 0),
    `${interval} s`,
    desired
      .filter((one) => one.group === name)
      .map(({ product, channel }) => `${product}/${channel}`)
      .join(", ") || "nothing assigned",
  ]);
  return {
    text:
      rows.length === 0
        ? "There are no groups yet."
        : columns([["GROUP", "DEVICES", "INTERVAL", "FOLLOWS"], ...rows], call.context.width),
    json: {
      groups: groups.map(({ name, interval }) => ({ name, interval, devices: sizes.get(name) ?? 0 })),
    },
  };
}

export async function groupRemove(call: Call): Promise<Result> {
  const name = nameAt(call, 0);
  const desired = await readFleet(call, async (records) => {
    await needGroup(records, name);
    return records.desired(name);
  });
  const lost =
    desired.length === 0
      ? ""
      : `, and that it follows ${desired.map((d) => `${d.product}/${d.channel}`).join(", ")}`;
  await needConsent(call, `The group ${name} will be forgotten${lost}.`);
  await withFleet(call, (records, now) => removeGroup(records, now, name, actor()));
  return { text: `The group ${name} is removed.`, json: { group: name, removed: true } };
}
