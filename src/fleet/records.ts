// What the server remembers: plain records, as they stand in the store.

import type { Facts } from "../core/errors.ts";
import type { Instant } from "../core/instant.ts";
import type { HoldReason } from "../message/assignment.ts";
import type { Program } from "../core/growth.ts";
import type { UpdateStanding } from "../message/check-in.ts";
import type { PlatformFacts, Running } from "../message/common.ts";
import type { MessageKind, MessageTime } from "../message/sealed/body.ts";

/** `pending`: enrolled by a token that asks for approval, and not approved yet. */
export type DeviceStatus = "active" | "pending" | "revoked";

export type Device = {
  readonly id: string;
  readonly name: string;
  readonly group: string;
  readonly status: DeviceStatus;
  readonly enrolled: Instant;
  /** Id of the token it enrolled with. */
  readonly token: string;
  readonly platform: PlatformFacts;
  /** Ed25519, hex: verifies its reports. */
  readonly reportKey: string;
  /** SHA-256 of the SubjectPublicKeyInfo that authenticates it; this, not the certificate, is what it may act by. */
  readonly spki: string;
  /** Of a renewed certificate that the device has not used yet; its first use makes it the only one. */
  readonly nextSpki: string | null;
  readonly certificateEnds: Instant;
  readonly lastSeen: Instant | null;
  /** What the device said at its last check-in; for the operator's eyes only. */
  readonly claimed: readonly Running[];
  /** What its owner said then of updates; null for one that says nothing. */
  readonly standing?: UpdateStanding | null;
  /** What the device said then of its agent; null for one that says nothing. */
  readonly agent: Program | null;
  /** SHA-256 of the TUF timestamp the device trusted then. */
  readonly timestamp: string | null;
  /** The end of its chain of reports. */
  readonly lastSequence: number;
  readonly lastReport: string | null;
};

/** What a device runs, from its signed reports. */
export type DeviceComponent = {
  readonly device: string;
  readonly product: string;
  readonly running: string | null;
  readonly manifestSha256: string | null;
  readonly committed: string | null;
  readonly floor: string | null;
  /** The report that says so. */
  readonly sequence: number;
  readonly at: Instant;
};

export type Group = {
  readonly name: string;
  /** Seconds between check-ins. */
  readonly interval: number;
  readonly created: Instant;
};

/** Desired state: what the devices of a group should run of one product. */
export type Desired = {
  readonly group: string;
  readonly product: string;
  readonly channel: string;
  /** A release to stay at instead of what the channel points to. */
  readonly version: string | null;
  readonly hold: HoldReason | null;
  readonly holdUntil: Instant | null;
  readonly changed: Instant;
};

export type Token = {
  readonly id: string;
  /** SHA-256 of the secret's 32 bytes; the secret itself is shown once and kept nowhere. */
  readonly secretSha256: string;
  readonly group: string;
  readonly created: Instant;
  readonly expires: Instant;
  /** Bad secrets offered so far. */
  readonly failures: number;
  /** When it was used last, and for which device. */
  readonly used: Instant | null;
  readonly usedBy: string | null;
  /** How many devices it may enroll, and how many it has enrolled. */
  readonly uses: number;
  readonly usedCount: number;
  /** Devices that it enrolls wait until a person approves them. */
  readonly approval: boolean;
};

/** A report that was verified and is kept as it came. */
export type StoredReport = {
  readonly id: string;
  readonly device: string;
  readonly sequence: number;
  readonly kind: string;
  readonly received: Instant;
  readonly issued: Instant;
  readonly product: string | null;
  readonly from: string | null;
  readonly to: string | null;
  readonly outcome: string | null;
  readonly code: string | null;
  readonly step: string | null;
  readonly reason: string | null;
  readonly payloadSha256: string;
  /** The signed envelope, byte for byte. */
  readonly envelope: string;
};

/** Something an operator should look at; one row per device, code and product, however often it happens. */
export type Alarm = {
  readonly device: string;
  readonly code: string;
  /** The product it is about; empty when it is about none. */
  readonly about: string;
  readonly first: Instant;
  readonly last: Instant;
  readonly count: number;
  readonly detail: string;
  /** Who has looked at it, as in the audit log. */
  readonly acknowledgedBy: string | null;
  readonly acknowledgedAt: Instant | null;
  /** Since when it is over; null while it lasts. */
  readonly ended: Instant | null;
};

/** The key that messages to a device are sealed for; its report key said so. */
export type MessageKeyRecord = {
  readonly device: string;
  /** X25519, hex. */
  readonly key: string;
  /** When the server took it. */
  readonly taken: Instant;
};

/** The newest of what an operator asked of a scope, of its kind: a message is sealed from it for each device that comes in time. */
export type MessageOrder = {
  readonly scope: WakeScope;
  readonly kind: MessageKind;
  /** Grows over all orders: by it a message counts once on a device. */
  readonly counter: number;
  readonly when: MessageTime | null;
  /** Seconds. */
  readonly splay: number;
  readonly made: Instant;
  readonly expires: Instant;
  /** Of an update check: the number of the wake-up that it stands for. */
  readonly seq: number | null;
};

/** Who a wake-up concerns: everybody, a group, or one device. */
export type WakeScope = "all" | `group:${string}` | `device:${string}`;

/** One row of the audit log; audit.ts says how the rows hang together. */
export type AuditRow = {
  readonly sequence: number;
  readonly at: Instant;
  /** `operator:<user>`, `device:<id>`, `token:<id>` or `server`. */
  readonly actor: string;
  /** Such as `device/enrolled`. */
  readonly action: string;
  readonly subject: string;
  readonly facts: Facts;
  /** Hash of the row before; 64 zeros in the first. */
  readonly previous: string;
  readonly hash: string;
};
