// Devices as people speak of them: by name or by the start of an id; renamed and removed.

import type { Instant } from "../core/instant.ts";
import { appendAudit } from "./audit.ts";
import { unknownDevice } from "./enrol.ts";
import { FleetError } from "./errors.ts";
import type { Device, Token } from "./records.ts";
import type { FleetReads, FleetRecords } from "./store.ts";

/** Of an id, at least: fewer letters are a typo rather than a device. */
const PREFIX_LEAST = 4;
const SHOWN = 8;

/**
 * The one device that is meant: by its whole id, by its name, or by a start of its id that no other device has.
 * Errors: `fleet/unknown-device`, `fleet/ambiguous-device`.
 */
export async function findDevice(
  records: Pick<FleetReads, "device" | "devicesLike">,
  text: string,
): Promise<Device> {
  const exact = await records.device(text);
  if (exact !== null) return exact;
  const { named, prefixed } = await records.devicesLike(text, SHOWN + 1);
  const found = named.length > 0 ? named : text.length < PREFIX_LEAST ? [] : prefixed;
  if (found.length === 1) return found[0]!;
  if (found.length === 0) throw unknownDevice(text);
  const shown = found.slice(0, SHOWN).map(({ id, name }) => `${id} (${name})`);
  throw new FleetError(
    "fleet/ambiguous-device",
    `More than one device is called ${JSON.stringify(text.slice(0, 128))}.`,
    { device: text.slice(0, 128), devices: shown },
    { hint: "Give more of the id; `upkeep device rename` gives each its own name." },
  );
}

/** Names are for people and may repeat; a name that stands for another device already is refused all the same. Error: `fleet/ambiguous-device`. */
export async function renameDevice(
  records: FleetRecords,
  now: Instant,
  request: { readonly device: Device; readonly name: string },
  actor: string,
): Promise<void> {
  const { device, name } = request;
  if (device.name === name) return;
  const other = (await records.devicesLike(name, 2)).named.find(({ id }) => id !== device.id);
  if (other !== undefined) {
    throw new FleetError("fleet/ambiguous-device", `The device ${other.id} has this name already.`, {
      device: other.id,
      name,
    });
  }
  await records.changeDevice(device.id, { name });
  await appendAudit(records, now, {
    actor,
    action: "device/renamed",
    subject: device.id,
    facts: { from: device.name, to: name },
  });
}

/** Forgets a device with all that it reported; its keys open nothing from now on, as if it had been revoked. What it did stays in the audit log. */
export async function removeDevice(
  records: FleetRecords,
  now: Instant,
  device: Device,
  actor: string,
): Promise<void> {
  await records.dropDevice(device.id);
  await appendAudit(records, now, {
    actor,
    action: "device/removed",
    subject: device.id,
    facts: {
      name: device.name,
      group: device.group,
      status: device.status,
      // Servers close the connections of these keys.
      spkis: [device.spki, ...(device.nextSpki === null ? [] : [device.nextSpki])],
    },
  });
}

/** Nobody can enrol with the token any more; what it made stays. Error: `fleet/token-unknown`. */
export async function removeToken(
  records: FleetRecords,
  now: Instant,
  id: string,
  actor: string,
): Promise<Token> {
  const token = await needToken(records, id);
  await records.dropToken(id);
  await appendAudit(records, now, {
    actor,
    action: "token/removed",
    subject: id,
    facts: { group: token.group, usedBy: token.usedBy },
  });
  return token;
}

/** Error: `fleet/token-unknown`. */
export async function needToken(records: Pick<FleetRecords, "token">, id: string): Promise<Token> {
  const token = await records.token(id);
  if (token === null) {
    throw new FleetError(
      "fleet/token-unknown",
      `There is no token ${id.slice(0, 40)}.`,
      { token: id.slice(0, 40) },
      { hint: "`upkeep token list` lists tokens by their ids." },
    );
  }
  return token;
}
