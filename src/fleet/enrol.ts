// Enrolment, renewal and revocation: how a key becomes, stays and ceases to be a device.

import type { Program } from "../core/growth.ts";
import { sameDigest } from "../core/digest.ts";
import { DAY, HOUR, type Instant } from "../core/instant.ts";
import type { PlatformFacts } from "../message/common.ts";
import { secretDigest } from "../identity/token.ts";
import { appendAudit } from "./audit.ts";
import { FleetError } from "./errors.ts";
import type { Device, Token } from "./records.ts";
import type { FleetRecords } from "./store.ts";

/** Short-lived by default, and never long. */
export const TOKEN_LIFE = DAY;
export const TOKEN_LIFE_MAX = 7 * DAY;
/** What clocks of servers of one fleet may differ by. */
const SKEW = HOUR;
/** Seconds between check-ins of a group that nobody configured. */
export const DEFAULT_INTERVAL = 300;
export const DEFAULT_GROUP = "default";

/** Keeps a new token: only its digest. The caller has seen to it that there is the group. */
export async function addToken(
  records: FleetRecords,
  now: Instant,
  token: {
    readonly id: string;
    readonly secret: string;
    readonly group: string;
    readonly life: number;
    /** Devices that it may enroll; one when not given. */
    readonly uses?: number;
    readonly approval?: boolean;
  },
  actor = "operator",
): Promise<Token> {
  const row: Token = {
    id: token.id,
    secretSha256: secretDigest(token.secret),
    group: token.group,
    created: now,
    expires: now + Math.min(token.life, TOKEN_LIFE_MAX),
    failures: 0,
    used: null,
    usedBy: null,
    uses: token.uses ?? 1,
    usedCount: 0,
    approval: token.approval ?? false,
  };
  await records.addToken(row);
  await appendAudit(records, now, {
    actor,
    action: "token/made",
    subject: token.id,
    facts: {
      group: token.group,
      expires: row.expires,
      ...(row.uses === 1 ? {} : { uses: row.uses }),
      ...(row.approval ? { approval: true } : {}),
    },
  });
  return row;
}

/** What was proved of the asker before this: both keys are its own. */
export type Applicant = {
  readonly spki: string;
  readonly reportKey: string;
  readonly name: string;
  readonly platform: PlatformFacts;
  readonly agent?: Program | null;
};

/** `refused` is a value, not a throw: the count of bad secrets must be kept. */
export type Enrolled =
  | { readonly ok: true; readonly device: Device; readonly again: boolean }
  | { readonly ok: false; readonly error: FleetError };

/**
 * Turns a token into a device. The same keys may repeat the request while the token lives, because an answer can get lost;
 * anybody else is refused.
 */
export async function enrol(
  records: FleetRecords,
  now: Instant,
  request: {
    readonly token: { readonly id: string; readonly secret: string };
    readonly applicant: Applicant;
    /** For the new device. */
    readonly id: string;
    readonly certificateEnds: Instant;
  },
): Promise<Enrolled> {
  const { applicant } = request;
  const token = await records.token(request.token.id);
  const refusal = checkToken(token, request.token.secret, now);
  if (refusal !== null || token === null) return refuse(records, now, token, refusal ?? unknownToken());

  const known = await records.deviceBySpki(applicant.spki);
  const again =
    known !== null &&
    known.token === token.id &&
    known.status !== "revoked" &&
    known.spki === applicant.spki &&
    known.reportKey === applicant.reportKey;
  if (again) {
    const { certificateEnds } = request;
    await records.changeDevice(known.id, { certificateEnds });
    return { ok: true, device: { ...known, certificateEnds }, again: true };
  }
  if (token.usedCount >= token.uses) return refuse(records, now, token, usedUp(token));
  const taken =
    (await records.deviceBySpki(applicant.spki)) ?? (await records.deviceByReportKey(applicant.reportKey));
  if (taken !== null) return refuse(records, now, token, keyInUse());

  const device: Device = {
    id: request.id,
    name: applicant.name,
    group: token.group,
    status: token.approval ? "pending" : "active",
    enrolled: now,
    token: token.id,
    platform: applicant.platform,
    reportKey: applicant.reportKey,
    spki: applicant.spki,
    nextSpki: null,
    certificateEnds: request.certificateEnds,
    lastSeen: null,
    claimed: [],
    agent: applicant.agent ?? null,
    timestamp: null,
    lastSequence: 0,
    lastReport: null,
  };
  await records.addDevice(device);
  await records.changeToken(token.id, {
    used: now,
    usedBy: device.id,
    usedCount: token.usedCount + 1,
  });
  await appendAudit(records, now, {
    actor: `token:${token.id}`,
    action: "device/enrolled",
    subject: device.id,
    facts: {
      name: device.name,
      group: device.group,
      spki: device.spki,
      ...(device.status === "pending" ? { pending: true } : {}),
    },
  });
  return { ok: true, device, again: false };
}

function usedUp({ id, uses, usedBy }: Token): FleetError {
  return new FleetError(
    "fleet/token-used",
    uses === 1
      ? "This enrollment token was used already: either it was pasted twice, or somebody else used it first."
      : `This enrollment token has enrolled all ${uses} devices that it was made for.`,
    { token: id, device: usedBy },
    uses === 1
      ? { hint: "If no device of yours used it, revoke the device it made; then make a new token." }
      : { hint: "Make a new token with `upkeep token new --uses`." },
  );
}

function checkToken(token: Token | null, secret: string, now: Instant): FleetError | null {
  // Hashed in either case: a missing id and a wrong secret take the same time and get the same answer.
  const offered = secretDigest(secret);
  const expected = token?.secretSha256 ?? "0".repeat(64);
  if (!sameDigest(offered, expected) || token === null) return unknownToken();
  // One from a clock that was ahead would be good for as long as that.
  if (token.expires <= now || token.created > now + SKEW) {
    return new FleetError(
      "fleet/token-expired",
      token.expires <= now
        ? "This enrollment token has expired."
        : "This enrollment token was made while a clock was ahead, and opens nothing.",
      { token: token.id },
      {
        hint: "Make a new one with `upkeep token new`.",
      },
    );
  }
  return null;
}

/**
 * A bad secret is counted and traced but locks nothing: 256 bits cannot be guessed, and a lock would let
 * whoever saw the id in a log keep the rightful device out.
 */
async function refuse(
  records: FleetRecords,
  now: Instant,
  token: Token | null,
  error: FleetError,
): Promise<Enrolled> {
  if (token !== null && token.failures < 1000) {
    await records.changeToken(token.id, { failures: token.failures + 1 });
    if (token.failures < 20) {
      await appendAudit(records, now, {
        actor: `token:${token.id}`,
        action: "device/enrolment-refused",
        subject: token.id,
        facts: { code: error.code },
      });
    }
  }
  return { ok: false, error };
}

function unknownToken(): FleetError {
  return new FleetError(
    "fleet/token-unknown",
    "This enrollment token is not known here.",
    {},
    {
      hint: "Check that it was made on this server, and copied whole.",
    },
  );
}

function keyInUse(): FleetError {
  return new FleetError(
    "fleet/key-in-use",
    "This key belongs to a device already; each device needs its own keys.",
  );
}

/** Notes the key of a renewed certificate. The key in use stays valid until the new one is seen. */
export async function renew(
  records: FleetRecords,
  now: Instant,
  request: { readonly device: string; readonly spki: string; readonly certificateEnds: Instant },
): Promise<void> {
  const device = await records.device(request.device);
  if (device === null || device.status !== "active") throw revoked(request.device);
  if (device.spki === request.spki) {
    throw new FleetError("fleet/key-in-use", "A renewed certificate needs a new key; this one is in use.", {
      device: device.id,
    });
  }
  const owner = await records.deviceBySpki(request.spki);
  if (owner !== null && owner.id !== device.id) throw keyInUse();
  await records.changeDevice(device.id, { nextSpki: request.spki });
  await appendAudit(records, now, {
    actor: `device:${device.id}`,
    action: "certificate/renewed",
    subject: device.id,
    facts: { spki: request.spki, ends: request.certificateEnds },
  });
}

/** First use of a renewed key: from now on it is the only one. */
export async function adoptNextKey(
  records: FleetRecords,
  now: Instant,
  used: { readonly device: string; readonly spki: string; readonly certificateEnds: Instant },
): Promise<void> {
  const device = await records.device(used.device);
  if (device === null || device.nextSpki !== used.spki) return;
  await records.changeDevice(device.id, {
    spki: used.spki,
    nextSpki: null,
    certificateEnds: used.certificateEnds,
  });
  await appendAudit(records, now, {
    actor: `device:${device.id}`,
    action: "certificate/adopted",
    subject: device.id,
    facts: { spki: used.spki, replaced: device.spki },
  });
}

/** From now on the device's keys open nothing. Error: `fleet/unknown-device`. */
export async function revoke(
  records: FleetRecords,
  now: Instant,
  id: string,
  actor: string,
): Promise<Device> {
  const device = await records.device(id);
  if (device === null) throw unknownDevice(id);
  if (device.status === "revoked") return device;
  await records.changeDevice(id, { status: "revoked", nextSpki: null });
  await appendAudit(records, now, {
    actor,
    action: "device/revoked",
    subject: id,
    facts: { name: device.name },
  });
  return { ...device, status: "revoked", nextSpki: null };
}

/** A person has looked at the device: from now on it gets assignments. Errors: `fleet/unknown-device`, `fleet/device-revoked`. */
export async function approveDevice(
  records: FleetRecords,
  now: Instant,
  id: string,
  actor: string,
): Promise<{ readonly device: Device; readonly fresh: boolean }> {
  const device = await records.device(id);
  if (device === null) throw unknownDevice(id);
  if (device.status === "revoked") throw revoked(id);
  if (device.status === "active") return { device, fresh: false };
  await records.changeDevice(id, { status: "active" });
  await appendAudit(records, now, {
    actor,
    action: "device/approved",
    subject: id,
    facts: { name: device.name, group: device.group, spki: device.spki },
  });
  return { device: { ...device, status: "active" }, fresh: true };
}

/** Why a device that nobody approved yet is not answered. */
export function pending(id: string): FleetError {
  return new FleetError(
    "fleet/device-pending",
    "This device is enrolled, and waits until an operator approves it.",
    { device: id },
    { hint: `\`upkeep device approve ${id}\` on the operator's machine.` },
  );
}

export function unknownDevice(id: string): FleetError {
  return new FleetError(
    "fleet/unknown-device",
    `There is no device ${id.slice(0, 64)}.`,
    { device: id.slice(0, 64) },
    {
      hint: "A device is named by its id, the start of it, or its name; `upkeep device list` shows them.",
    },
  );
}

export function revoked(id: string): FleetError {
  return new FleetError(
    "fleet/device-revoked",
    "This device was revoked by an operator; it gets no more assignments.",
    { device: id },
    { hint: "To bring it back, enroll it again with a new token." },
  );
}
