// The one decision when an accepted update is fetched and activated: facts in, "now" or "wait" with rule, end and command out.

import { DAY, formatInstant, HOUR, MINUTE, SECOND, type Instant } from "../core/instant.ts";
import { firstMinute, within } from "./hours.ts";
import type { HeldLock } from "./locks.ts";
import type { Merged } from "./merge.ts";
import { dueAt, type Kind } from "./policy.ts";

/** Fetching costs the link and the disk; activating costs whoever uses the program. */
export type Stage = "fetch" | "activate";

export type Choice = "accept" | "later" | "skip";

/** Facts of one moment about one update; null where this machine cannot tell. */
export type Situation = {
  readonly stage: Stage;
  readonly product: string;
  readonly version: string;
  readonly kind: Kind;
  readonly now: Instant;
  /** Whether `now` rests on a signed instant of this boot. */
  readonly signedTime: boolean;
  /** The device's own time zone. */
  readonly zone: string;
  /** When the device learned of the release. */
  readonly since: Instant;
  /** A program of the product runs, or did and is expected to; false at a first installation. */
  readonly up: boolean;
  readonly installed: boolean;
  /** The old version is kept from serving until it was brought up to date. */
  readonly blocked: boolean;
  /** A person asked for it now, on this device. */
  readonly asked: boolean;
  readonly load: number | null;
  readonly idleSeconds: number | null;
  /** Percent left while it runs on battery; null on mains. */
  readonly battery: number | null;
  readonly metered: boolean | null;
  readonly locks: readonly HeldLock[];
  /** Executables of the owner that said no or later, or nothing. */
  readonly interlocks: readonly {
    readonly name: string;
    readonly why: string;
    readonly until: Instant | null;
  }[];
  readonly answer: { readonly choice: Choice; readonly until: Instant | null } | null;
  readonly hold: { readonly until: Instant | null } | null;
  readonly optedOut: boolean;
  /** Why the server says wait, in its own word. */
  readonly serverHold: string | null;
  /** When people were warned first of the deadline; null if they were not. */
  readonly warned: Instant | null;
};

/** In the order in which they are asked: the first that applies decides. */
export const RULES = [
  "server-hold",
  "interlock",
  "deadline",
  "held",
  "busy",
  "asked",
  "opted-out",
  "repair-grace",
  "first-installation",
  "at-start",
  "skipped",
  "accepted",
  "now",
  "asks",
  "active-hours",
  "window",
  "metered",
  "battery",
  "load",
  "idle",
  "nothing-in-the-way",
] as const;
export type Rule = (typeof RULES)[number];
export type WaitRule = Exclude<
  Rule,
  "deadline" | "asked" | "first-installation" | "at-start" | "accepted" | "now" | "nothing-in-the-way"
>;

export type Verdict =
  | { readonly do: "now"; readonly rule: Rule }
  | {
      readonly do: "wait";
      readonly rule: WaitRule;
      /** One sentence. */
      readonly reason: string;
      /** When it ends by itself at the latest; null if that is not known. */
      readonly until: Instant | null;
      /** The command that changes it. */
      readonly command: string;
    };

/** A program that is well may go on for so long while the replacement of its damaged slot is ready. */
export const REPAIR_GRACE = DAY;
/** An application that renews its lock without end is waited for so long, where no deadline comes before. */
export const LONGEST_BUSY = 14 * DAY;
/** How soon what nobody announces is looked at again. */
const LOOK_AGAIN = MINUTE;

type Row = (s: Situation, p: Merged) => Omit<Extract<Verdict, { do: "wait" }>, "do" | "rule"> | "now" | null;

/*
 * Each row: when it applies, what it says. The deadline stands above everything that the owner and the applications of a device may say,
 * but for interlocks, which speak of people's safety, and for the server's own word, which the deadline came from.
 */
const TABLE: { readonly [R in Rule]: Row } = {
  "server-hold": (s) =>
    s.serverHold === null
      ? null
      : wait(`The server holds it back (${s.serverHold}).`, null, "upkeep fleet assign"),
  interlock: (s, p) => {
    const [first] = s.interlocks;
    if (first === undefined || s.stage === "fetch") return null;
    if (isDue(s, p) && p.deadline?.overInterlocks === true) return null;
    return wait(
      `The interlock ${first.name} does not let it through: ${first.why}`,
      first.until ?? s.now + LOOK_AGAIN,
      "upkeep agent policy show",
    );
  },
  deadline: (s, p) => (isDue(s, p) || (s.stage === "fetch" && isNear(s, p)) ? "now" : null),
  held: (s) =>
    s.hold === null || s.stage === "fetch" || isDown(s)
      ? null
      : wait("The owner of this device holds it.", s.hold.until, `upkeep agent release ${s.product}`),
  busy: (s) => {
    const last = s.locks.toSorted((a, b) => b.leftMs - a.leftMs)[0];
    if (last === undefined || s.stage === "fetch" || isDown(s)) return null;
    if (s.now >= s.since + LONGEST_BUSY) return null;
    const why = last.why === null ? "" : `: ${last.why}`;
    return wait(
      `${last.holder} is in the middle of something${why}.`,
      s.now + last.leftMs,
      `upkeep agent unlock ${s.product} ${last.holder}`,
    );
  },
  asked: (s) => (s.asked ? "now" : null),
  "opted-out": (s) =>
    s.optedOut && !isDown(s)
      ? wait("The owner of this device opted out of updates.", null, `upkeep agent opt-in ${s.product}`)
      : null,
  "repair-grace": (s) => {
    if (s.kind !== "repair" || s.stage === "fetch") return null;
    // A clock that was set back ends the wait: nobody can tell how long it took.
    if (!s.up || s.now < s.since || s.now >= s.since + REPAIR_GRACE) return "now";
    const until = s.since + REPAIR_GRACE;
    return wait(
      `The replacement of the damaged ${s.version} is ready. It takes its place when the program ends, when somebody runs \`upkeep agent update\`, or at ${formatInstant(until)}.`,
      until,
      "upkeep agent update",
    );
  },
  "first-installation": (s) => (s.installed ? null : "now"),
  "at-start": (s) => (s.blocked ? "now" : null),
  skipped: (s) =>
    s.answer?.choice === "skip" && s.stage === "activate"
      ? wait(
          `A person on this device skips ${s.version}; a newer one asks again.`,
          null,
          `upkeep agent answer ${s.product} accept`,
        )
      : null,
  accepted: (s) => (s.answer?.choice === "accept" ? "now" : null),
  now: (_, p) => (p.when === "now" && !hasConditions(p) ? "now" : null),
  asks: (s, p) => {
    if (p.when !== "ask" || s.stage === "fetch") return null;
    const later = s.answer?.choice === "later" ? s.answer.until : null;
    if (later !== null && later > s.now)
      return wait(
        `A person on this device said later to ${s.version}.`,
        later,
        `upkeep agent answer ${s.product} accept`,
      );
    return wait(
      `A person is asked whether ${s.version} may be installed.`,
      null,
      `upkeep agent answer ${s.product} accept`,
    );
  },
  "active-hours": (s, p) => {
    if (s.stage === "fetch" || !within(p.activeHours, s.now, s.zone)) return null;
    const end = firstMinute(s.now, (at) => isOpen(p, at, s.zone));
    return wait("It is within active hours.", end, `upkeep agent update --now`);
  },
  window: (s, p) => {
    if (s.stage === "fetch" || p.windows.every((list) => within(list, s.now, s.zone))) return null;
    const end = firstMinute(s.now, (at) => isOpen(p, at, s.zone));
    return wait("It is outside of the maintenance windows.", end, `upkeep agent update --now`);
  },
  metered: (s, p) =>
    p.metered || s.metered !== true || s.stage === "activate"
      ? null
      : wait("The network link is metered.", s.now + LOOK_AGAIN, "upkeep agent update --now"),
  battery: (s, p) =>
    p.minBattery === null || s.battery === null || s.battery >= p.minBattery || s.stage === "fetch"
      ? null
      : wait(
          `The device runs on battery, with ${s.battery} percent left; ${p.minBattery} are asked for.`,
          s.now + LOOK_AGAIN,
          "upkeep agent update --now",
        ),
  load: (s, p) =>
    p.maxLoad === null || s.load === null || s.load <= p.maxLoad || s.stage === "fetch"
      ? null
      : wait(
          `The machine is busy: its load is ${Math.round(s.load)} percent of its processors, ${p.maxLoad} is the most.`,
          s.now + LOOK_AGAIN,
          "upkeep agent update --now",
        ),
  idle: (s, p) =>
    p.idleSeconds === null || s.idleSeconds === null || s.idleSeconds >= p.idleSeconds || s.stage === "fetch"
      ? null
      : wait(
          `A person works on this machine: its last input was ${Math.round(s.idleSeconds)} s ago, ${p.idleSeconds} s are asked for.`,
          s.now + (p.idleSeconds - s.idleSeconds) * SECOND,
          "upkeep agent update --now",
        ),
  "nothing-in-the-way": () => "now",
};

/** The first rule of the table that applies. A wait never lasts beyond the deadline, and says so. */
export function decide(situation: Situation, policy: Merged): Verdict {
  const due = deadlineOf(situation, policy);
  for (const rule of RULES) {
    const said = TABLE[rule](situation, policy);
    if (said === null) continue;
    if (said === "now") return { do: "now", rule };
    const bounded = due !== null && rule !== "server-hold" && rule !== "interlock";
    const until = bounded && (said.until === null || said.until > due) ? due : said.until;
    return { do: "wait", rule: rule as WaitRule, ...said, until };
  }
  return { do: "now", rule: "nothing-in-the-way" };
}

/**
 * When the update is forced: at its deadline, but never before people had the shortest of its warnings. So a machine that slept through
 * all of them, or a policy that names a time gone by, is no surprise. Null without a deadline.
 */
export function deadlineOf(
  { since, warned, now }: Pick<Situation, "since" | "warned" | "now">,
  { deadline }: Merged,
): Instant | null {
  if (deadline === null) return null;
  const due = dueAt(deadline, Math.min(since, now));
  if (deadline.warn === undefined) return due;
  return Math.max(due, (warned ?? now) + Math.min(...deadline.warn) * SECOND);
}

function isDue(s: Situation, p: Merged): boolean {
  const due = deadlineOf(s, p);
  return due !== null && s.now >= due;
}

/** How long before the deadline nothing keeps the bytes from coming any more, where no warning comes earlier. */
const FETCH_BEFORE = HOUR;

function isNear(s: Situation, p: Merged): boolean {
  const due = deadlineOf(s, p);
  return (
    due !== null &&
    s.now >= due - Math.max(FETCH_BEFORE, ...(p.deadline?.warn ?? []).map((lead) => lead * SECOND))
  );
}

/** A damaged version that does not run: its own bytes again disturb nothing. */
function isDown({ kind, up }: Situation): boolean {
  return kind === "repair" && !up;
}

/**
 * Why the old version does not run until the update is there; null if it may. Only by time that was signed: a clock that is wrong at a
 * start of the machine brings an update early, and takes nothing away.
 */
export function refusesOld(s: Situation, p: Merged): string | null {
  if (p.deadline?.after !== "stop" || !s.signedTime || s.serverHold !== null || !isDue(s, p)) return null;
  return `${s.version} was to run here by ${formatInstant(deadlineOf(s, p)!)}, and the policy of the group lets nothing older run after that.`;
}

/** The lead times of warnings that are due and were not given; the shortest stands for all that were slept through. */
export function warningsDue(s: Situation, p: Merged, given: readonly number[]): readonly number[] {
  if (p.deadline === null || s.serverHold !== null) return [];
  const due = dueAt(p.deadline, Math.min(s.since, s.now));
  return (p.deadline.warn ?? []).filter((lead) => s.now >= due - lead * SECOND && !given.includes(lead));
}

/** Whether hours let it through at that instant. */
function isOpen(p: Merged, at: Instant, zone: string): boolean {
  return !within(p.activeHours, at, zone) && p.windows.every((list) => within(list, at, zone));
}

function hasConditions(p: Merged): boolean {
  return (
    p.windows.length + p.activeHours.length > 0 ||
    !p.metered ||
    [p.idleSeconds, p.maxLoad, p.minBattery].some((condition) => condition !== null)
  );
}

function wait(
  reason: string,
  until: Instant | null,
  command: string,
): Omit<Extract<Verdict, { do: "wait" }>, "do" | "rule"> {
  // To the millisecond: what is shown and sent has no fractions.
  const end = until === null ? null : Math.ceil(until);
  return { reason: reason.replaceAll(/\s+/g, " ").slice(0, 500), until: end, command };
}
