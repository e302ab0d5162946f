// Groups: made by name and never by a typo; removed when nothing is in them.

import type { Instant } from "../core/instant.ts";
import { appendAudit } from "./audit.ts";
import { DEFAULT_GROUP, DEFAULT_INTERVAL } from "./enrol.ts";
import { FleetError } from "./errors.ts";
import type { Group } from "./records.ts";
import type { FleetReads, FleetRecords } from "./store.ts";

/** Error: `fleet/unknown-group`, which names the groups that there are. */
export async function needGroup(records: Pick<FleetReads, "group" | "groups">, name: string): Promise<Group> {
  const group = await records.group(name);
  if (group !== null) return group;
  const known = (await records.groups()).map((one) => one.name);
  const there = known.length === 0 ? "none yet" : known.slice(0, 20).join(", ");
  throw new FleetError(
    "fleet/unknown-group",
    `There is no group ${name.slice(0, 64)}.`,
    { group: name.slice(0, 64), groups: known.slice(0, 20) },
    { hint: `Groups are: ${there}. \`upkeep group add ${name.slice(0, 64)}\` makes it.` },
  );
}

/** As `needGroup`; makes the group when it is the one that every fleet has, or when the operator asked for a new one. */
export async function needOrMakeGroup(
  records: FleetRecords,
  now: Instant,
  request: { readonly group: string; readonly create: boolean },
  actor: string,
): Promise<Group> {
  const { group: name, create } = request;
  const known = await records.group(name);
  if (known !== null) return known;
  if (!create && name !== DEFAULT_GROUP) return needGroup(records, name);
  return (await addGroup(records, now, { name, interval: DEFAULT_INTERVAL }, actor)).group;
}

/** `made` is false for a group that was there already, which stays as it is. */
export async function addGroup(
  records: FleetRecords,
  now: Instant,
  request: { readonly name: string; readonly interval: number },
  actor: string,
): Promise<{ readonly group: Group; readonly made: boolean }> {
  const known = await records.group(request.name);
  if (known !== null) return { group: known, made: false };
  const group = { ...request, created: now };
  await records.putGroup(group);
  await appendAudit(records, now, {
    actor,
    action: "group/added",
    subject: group.name,
    facts: { interval: group.interval },
  });
  return { group, made: true };
}

/**
 * Removes a group with what it should run. Errors: `fleet/unknown-group`; `fleet/group-in-use` while devices are in it or tokens that may
 * still be used lead into it.
 */
export async function removeGroup(
  records: FleetRecords,
  now: Instant,
  name: string,
  actor: string,
): Promise<void> {
  await needGroup(records, name);
  const devices = (await records.groupSizes()).get(name) ?? 0;
  const tokens = (await records.openTokens(name, now)).map(({ id }) => id);
  if (devices > 0 || tokens.length > 0) {
    throw new FleetError(
      "fleet/group-in-use",
      devices > 0
        ? `The group ${name} has ${devices} ${devices === 1 ? "device" : "devices"}; nothing was removed.`
        : `Enrollment tokens lead into the group ${name}; nothing was removed.`,
      { group: name, devices, tokens: tokens.slice(0, 20) },
      {
        hint:
          devices > 0
            ? `Move them with \`upkeep device move\`, or remove them; \`upkeep device list --group ${name}\` lists them.`
            : "Remove them with `upkeep token remove`, or wait until they expire.",
      },
    );
  }
  const desired = (await records.desired(name)).map(({ product, channel }) => `${product}/${channel}`);
  await records.dropGroup(name);
  await appendAudit(records, now, { actor, action: "group/removed", subject: name, facts: { desired } });
}
