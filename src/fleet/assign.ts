// What an operator changes: groups, desired state, where a device belongs. `actor` is who stands in the audit log.

import type { Facts } from "../core/errors.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import { MAX_COMPONENTS, type HoldReason } from "../message/assignment.ts";
import { MAX_INTERVAL, MIN_INTERVAL } from "../message/check-in.ts";
import { appendAudit } from "./audit.ts";
import { unknownDevice } from "./enrol.ts";
import { FleetError } from "./errors.ts";
import { needOrMakeGroup } from "./groups.ts";
import type { Desired } from "./records.ts";
import type { FleetRecords } from "./store.ts";
import { wake } from "./wake.ts";

export type AssignRequest = {
  readonly group: string;
  readonly product: string;
  readonly channel: string;
  /** Stay at this release instead of following the channel. */
  readonly version?: string;
  readonly hold?: { readonly reason: HoldReason; readonly until?: Instant };
  /** Make the group if there is none. */
  readonly create?: boolean;
};

/** Sets what a group should run of one product. Errors: `fleet/unknown-group`, `fleet/too-many-products`. */
export async function assign(
  records: FleetRecords,
  now: Instant,
  request: AssignRequest,
  actor = "operator",
): Promise<Desired> {
  await needOrMakeGroup(records, now, { group: request.group, create: request.create ?? false }, actor);
  const all = await records.desired(request.group);
  if (all.length >= MAX_COMPONENTS && !all.some((d) => d.product === request.product)) {
    throw new FleetError("fleet/too-many-products", `A group can have at most ${MAX_COMPONENTS} products.`, {
      group: request.group,
      limit: MAX_COMPONENTS,
    });
  }
  const desired: Desired = {
    group: request.group,
    product: request.product,
    channel: request.channel,
    version: request.version ?? null,
    hold: request.hold?.reason ?? null,
    holdUntil: request.hold?.until ?? null,
    changed: now,
  };
  await records.putDesired(desired);
  await trace(records, now, actor, "group/assigned", request.group, {
    product: desired.product,
    channel: desired.channel,
    version: desired.version,
    hold: desired.hold,
    until: desired.holdUntil === null ? null : formatInstant(desired.holdUntil),
  });
  return desired;
}

/** The group's devices are no longer told about the product; what is installed stays. */
export async function unassign(
  records: FleetRecords,
  now: Instant,
  request: { readonly group: string; readonly product: string },
  actor = "operator",
): Promise<boolean> {
  const dropped = await records.dropDesired(request.group, request.product);
  if (dropped)
    await trace(records, now, actor, "group/unassigned", request.group, { product: request.product });
  return dropped;
}

/** `interval` in seconds between check-ins. Errors: `fleet/bad-interval`, `fleet/unknown-group`. */
export async function configureGroup(
  records: FleetRecords,
  now: Instant,
  request: { readonly group: string; readonly interval: number; readonly create?: boolean },
  actor = "operator",
): Promise<void> {
  const { group, interval } = request;
  checkInterval(interval);
  const known = await needOrMakeGroup(records, now, { group, create: request.create ?? false }, actor);
  await records.putGroup({ ...known, interval });
  await trace(records, now, actor, "group/configured", group, { interval });
}

/** Error: `fleet/bad-interval`. */
export function checkInterval(interval: number): void {
  if (!Number.isInteger(interval) || interval < MIN_INTERVAL || interval > MAX_INTERVAL) {
    throw new FleetError(
      "fleet/bad-interval",
      `The interval must be a whole number of seconds from ${MIN_INTERVAL} to ${MAX_INTERVAL}.`,
      { interval },
    );
  }
}

/** Errors: `fleet/unknown-device`, `fleet/unknown-group`. */
export async function moveDevice(
  records: FleetRecords,
  now: Instant,
  request: { readonly device: string; readonly group: string; readonly create?: boolean },
  actor = "operator",
): Promise<void> {
  const device = await records.device(request.device);
  if (device === null) throw unknownDevice(request.device);
  if (device.group === request.group) return;
  await needOrMakeGroup(records, now, { group: request.group, create: request.create ?? false }, actor);
  await records.changeDevice(device.id, { group: request.group });
  await wake(records, `device:${device.id}`);
  await trace(records, now, actor, "device/moved", device.id, { from: device.group, to: request.group });
}

async function trace(
  records: FleetRecords,
  now: Instant,
  actor: string,
  action: string,
  subject: string,
  facts: Facts,
): Promise<void> {
  await appendAudit(records, now, { actor, action, subject, facts });
}
