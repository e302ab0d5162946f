// Tags and attributes of devices: what people say about them, within bounds, for filters and for whoever looks.

import type { Instant } from "../core/instant.ts";
import { appendAudit } from "./audit.ts";
import { FleetError } from "./errors.ts";
import type { Labels } from "./label-record.ts";
import type { Device } from "./records.ts";
import type { FleetRecords } from "./store.ts";

/** What one device may have, so that records stay small whatever a script does. */
export const MOST_TAGS = 32;
export const MOST_ATTRIBUTES = 32;
const VALUE = 256;
const NAME = /^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/;

export type LabelChange = {
  readonly add: readonly string[];
  readonly remove: readonly string[];
  readonly set: readonly (readonly [name: string, value: string])[];
  readonly unset: readonly string[];
};

/** Errors: `fleet/bad-label`, `fleet/too-many-labels`. */
export async function changeLabels(
  records: FleetRecords,
  now: Instant,
  device: Pick<Device, "id">,
  change: LabelChange,
  actor: string,
): Promise<Labels> {
  const before = await records.labels(device.id);
  const after = changed(before, change);
  await records.putLabels(device.id, after);
  await appendAudit(records, now, {
    actor,
    action: "device/labelled",
    subject: device.id,
    facts: { before: { ...before }, after: { ...after } },
  });
  return after;
}

function changed(before: Labels, { add, remove, set, unset }: LabelChange): Labels {
  for (const name of [...add, ...set.map(([attribute]) => attribute)])
    if (!NAME.test(name)) throw bad(`"${name.slice(0, 80)}" cannot be a tag or the name of an attribute.`);
  for (const [name, value] of set)
    // eslint-disable-next-line no-control-regex -- control characters are what is looked for
    if (value === "" || value.length > VALUE || /[\u0000-\u001f\u007f]/.test(value))
      throw bad(`The value of ${name} is one line of 1 to ${VALUE} characters.`);
  const tags = new Set([...before.tags, ...add]);
  for (const tag of remove) tags.delete(tag);
  const attributes = new Map([...Object.entries(before.attributes), ...set]);
  for (const name of unset) attributes.delete(name);
  if (tags.size > MOST_TAGS || attributes.size > MOST_ATTRIBUTES)
    throw new FleetError(
      "fleet/too-many-labels",
      `A device has at most ${MOST_TAGS} tags and ${MOST_ATTRIBUTES} attributes.`,
      { tags: tags.size, attributes: attributes.size },
    );
  return {
    tags: [...tags].toSorted(),
    attributes: Object.fromEntries([...attributes].toSorted(([a], [b]) => (a < b ? -1 : 1))),
  };
}

function bad(sentence: string): FleetError {
  return new FleetError(
    "fleet/bad-label",
    sentence,
    {},
    {
      hint: "Lower-case letters, digits, dots, dashes and underscores, at most 64; attributes as NAME=VALUE.",
    },
  );
}
