// What a license comes to at a moment: one table, read from the top, of states with their features, their reason and what to do.

import { DAY, parseInstant, SECOND, type Instant } from "../core/instant.ts";
import type { Granted } from "./lease.ts";
import { revokedSince, type Revocations } from "./revocations.ts";
import type { Features, LicenseNotice, Updates } from "./terms.ts";

export const REASONS = [
  "LEASE",
  "GRACE",
  "NOT_YET",
  "EXPIRED",
  "OFFLINE",
  "REVOKED",
  "RESTRICTED",
  "KEY_MISMATCH",
  "NO_AGENT",
  "NO_LICENSE",
  "INTERNAL",
] as const;
export type Reason = (typeof REASONS)[number];

export const STATES = [
  "none",
  "unproved",
  "copied",
  "revoked",
  "restricted",
  "not-yet",
  "trial-over",
  "expired-warned",
  "expired",
  "offline-too-long",
  "expiring",
  "grace",
  "valid",
  "failed",
] as const;
export type LicenseStateName = (typeof STATES)[number];

/** What is known when the table is asked. */
export type Situation = {
  readonly granted: Granted | null;
  readonly revocations: Revocations | null;
  readonly now: Instant;
  /** Whether the device has shown that it holds the key of the lease: `unasked` where it could not be asked yet. */
  readonly binding: "proved" | "foreign" | "unasked";
};

type Facts = {
  readonly none: boolean;
  readonly binding: Situation["binding"];
  readonly revoked: boolean;
  readonly restricted: boolean;
  readonly begun: boolean;
  readonly trial: boolean;
  /** The right itself has ended; `overAndGrace`: so long ago that its grace has ended too. */
  readonly over: boolean;
  readonly overAndGrace: boolean;
  readonly warnOnly: boolean;
  readonly leaseOver: boolean;
  readonly graceOver: boolean;
};

type Grants = "lease" | "fallback" | "nothing";
type Row = {
  readonly state: LicenseStateName;
  readonly when: (facts: Facts) => boolean;
  readonly grants: Grants;
  readonly reason: Reason;
  /** True if a signed statement says so; false where the truth could not be asked for. */
  readonly conclusive: boolean;
  readonly next: string;
};

/*
 *   none ── activate ──> valid <── renewal ── grace ──> offline-too-long
 *                          │ └─> expiring ──> expired        │
 *                          └─> restricted, revoked           └── contact ──> valid
 *
 * Every state but `none` can be left by a lease that arrives; only signed statements lead into `revoked` and `restricted`.
 */
const TABLE: readonly Row[] = [
  row("none", (f) => f.none, "nothing", "NO_LICENSE", true, "Activate a license on this device."),
  row(
    "copied",
    (f) => f.binding === "foreign",
    "fallback",
    "KEY_MISMATCH",
    true,
    "This lease belongs to another device: activate the license on this one.",
  ),
  row(
    "unproved",
    (f) => f.binding === "unasked",
    "fallback",
    "NO_AGENT",
    false,
    "Start the agent of this device: it has to show that the lease is this device's.",
  ),
  row(
    "revoked",
    (f) => f.revoked,
    "fallback",
    "REVOKED",
    true,
    "Ask the vendor: the license was taken back.",
  ),
  row(
    "restricted",
    (f) => f.restricted,
    "fallback",
    "RESTRICTED",
    true,
    "Two machines use one identity, or more seats than there are: ask the vendor.",
  ),
  row("not-yet", (f) => !f.begun, "fallback", "NOT_YET", true, "The license begins later."),
  row(
    "trial-over",
    (f) => f.trial && f.over,
    "fallback",
    "EXPIRED",
    true,
    "The trial is over: buy a license. All data stays.",
  ),
  row(
    "expired-warned",
    (f) => f.overAndGrace && f.warnOnly,
    "lease",
    "EXPIRED",
    true,
    "The license has ended: renew it.",
  ),
  row(
    "expired",
    (f) => f.overAndGrace,
    "fallback",
    "EXPIRED",
    true,
    "The license has ended: renew it. All data stays.",
  ),
  row(
    "offline-too-long",
    (f) => f.graceOver,
    "fallback",
    "OFFLINE",
    false,
    "Let this device reach its server, or bring a new lease by file.",
  ),
  row(
    "expiring",
    (f) => f.over,
    "lease",
    "GRACE",
    true,
    "The license has ended and its days of grace are running: renew it.",
  ),
  row(
    "grace",
    (f) => f.leaseOver,
    "lease",
    "GRACE",
    false,
    "Let this device reach its server before the grace ends.",
  ),
  row("valid", () => true, "lease", "LEASE", true, "Nothing has to be done."),
];

function row(
  state: LicenseStateName,
  when: Row["when"],
  grants: Grants,
  reason: Reason,
  conclusive: boolean,
  next: string,
): Row {
  return { state, when, grants, reason, conclusive, next };
}

/** What applications, people and the update policy are given: always whole, whatever went wrong. */
export type Standing = {
  readonly state: LicenseStateName;
  readonly reason: Reason;
  readonly conclusive: boolean;
  readonly features: Features;
  /** True while `features` are those of the fallback. */
  readonly degraded: boolean;
  /** When the state changes by itself; null if nothing but an event changes it. */
  readonly until: Instant | null;
  readonly updates: Updates;
  readonly next: string;
  readonly notices: readonly LicenseNotice[];
};

export const NO_UPDATES: Updates = { until: "1970-01-01T00:00:00Z", editions: [] };

/** Renewals are due every few hours; one that is overdue by so much is worth a word. */
const OVERDUE = DAY;

export function standingOf(situation: Situation): Standing {
  const { granted, now } = situation;
  const facts = factsOf(situation);
  const found = TABLE.find(({ when }) => when(facts))!;
  const { state, reason, conclusive, next } = found;
  if (granted === null || found.grants === "nothing")
    return {
      state,
      reason,
      conclusive,
      features: {},
      degraded: true,
      until: null,
      updates: NO_UPDATES,
      next,
      notices: [],
    };
  const { lease, license } = granted;
  const full = found.grants === "lease";
  const features = full ? lease.features : lease.fallback.features;
  // A lease that was copied, and one of a license that was taken back, give no right to releases; one that only ended keeps what was paid for.
  const updates = state === "copied" || state === "revoked" ? NO_UPDATES : lease.updates;
  // What a signed word or another machine's key decided does not change by itself.
  const lasting = state === "revoked" || state === "restricted" || state === "copied" || state === "unproved";
  const until = lasting ? null : changeAfter(granted, now);
  const overdue = now - parseInstant(lease.renewAfter) > OVERDUE && now < parseInstant(lease.graceUntil);
  const late: LicenseNotice[] = overdue ? [{ code: "renewal-overdue", until: lease.graceUntil }] : [];
  const trial: LicenseNotice[] =
    license.kind === "trial" && lease.until !== null && full ? [{ code: "trial", until: lease.until }] : [];
  return {
    state,
    reason,
    conclusive,
    features,
    degraded: !full,
    until,
    updates,
    next,
    notices: [...lease.notices, ...trial, ...late],
  };
}

function factsOf({ granted, revocations, now, binding }: Situation): Facts {
  if (granted === null)
    return {
      none: true,
      binding,
      revoked: false,
      restricted: false,
      begun: true,
      trial: false,
      over: false,
      overAndGrace: false,
      warnOnly: false,
      leaseOver: false,
      graceOver: false,
    };
  const { license, lease } = granted;
  const listed = revokedSince(revocations, license.id);
  const until = lease.until === null ? Infinity : parseInstant(lease.until);
  return {
    none: false,
    binding,
    revoked: lease.status === "revoked" || (listed !== null && listed <= now),
    restricted: lease.status === "restricted",
    begun: parseInstant(license.notBefore) <= now,
    trial: license.kind === "trial",
    over: until <= now,
    overAndGrace: until + license.lease.graceSeconds * SECOND <= now,
    warnOnly: license.policy.onExpiry === "warn",
    leaseOver: parseInstant(lease.expires) <= now,
    graceOver: parseInstant(lease.graceUntil) <= now,
  };
}

/** The next of the lease's times that is still to come. */
function changeAfter({ license, lease }: Granted, now: Instant): Instant | null {
  const until = lease.until === null ? [] : [parseInstant(lease.until)];
  const times = [
    parseInstant(license.notBefore),
    parseInstant(lease.expires),
    parseInstant(lease.graceUntil),
    ...until,
    ...until.map((end) => end + license.lease.graceSeconds * SECOND),
  ].filter((time) => time > now);
  return times.length === 0 ? null : Math.min(...times);
}
