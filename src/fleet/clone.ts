// Clones: two copies of one device, seen from check-ins alone. Each answer gives the device a token, and the next question brings it back.

import { SECOND, type Instant } from "../core/instant.ts";

/** One check-in: what the device brought back, what it was given, and from where it asked. */
export type CheckInLink = {
  /** The token of the last answer that the device kept; null when it has none. */
  readonly brought: string | null;
  readonly given: string;
  readonly at: Instant;
  readonly address: string;
  /** Which running server answered: what one server answered has an order, whatever its clock says. */
  readonly server: string;
};

/**
 * A line of tokens, each given in answer to the one before: what one copy of a device's disk has lived through.
 * A device has one. A restored disk starts another and leaves the first for good. Only with two copies alive does an old line go on.
 */
export type Line = {
  /** The token it was first seen with. */
  readonly start: string | null;
  /** The newest token that came back. */
  readonly held: string | null;
  /** Given in answer to `held`: several when answers were lost. */
  readonly given: readonly string[];
  /** Given beside those that came back, and never seen again unless another copy got them. */
  readonly lost: readonly string[];
  /** True once a token that was given on this line came back: somebody lives on it. */
  readonly alive: boolean;
  /** Of its newest check-in. */
  readonly at: Instant;
  readonly address: string;
  readonly server: string;
};

/** Lines of one device, the one that went on most recently first. */
export type Lines = readonly Line[];

export type CloneSuspicion = { readonly addresses: readonly [string, string] };

const LINES = 4;
/** Answers that may get lost one after the other; older ones are forgotten. */
const TOKENS = 16;
/** Clocks of two servers differ by so much at most. */
const SKEW = 5 * SECOND;

/**
 * Takes one check-in into the lines of its device. It is a suspicion when a line goes on although another that is alive has gone on since:
 * A, then B, then A again. None is: a lost answer or a retry (the same token comes twice), a device that moved (addresses decide nothing),
 * a disk that was restored (its old line never goes on), a token that nobody here gave (this server was restored, or a second server has
 * not written yet; when it does, the two lines are put together).
 */
export function follow(
  lines: Lines,
  link: CheckInLink,
): { readonly lines: Lines; readonly suspicion: CloneSuspicion | null } {
  const { brought, given, at, address, server } = link;
  const seen = { at, address, server };

  // Another server's later check-in was written first: this one says what came before it.
  const later = lines.find((line) => line.start === given);
  if (later !== undefined) {
    const before = lines.find(
      (line) => line !== later && (line.held === brought || line.given.includes(brought ?? "")),
    );
    if (before === undefined) return { lines, suspicion: null };
    const joined = {
      ...later,
      start: before.start,
      alive: true,
      lost: recent([...before.lost, ...later.lost]),
    };
    return {
      lines: lines.filter((line) => line !== before).map((line) => (line === later ? joined : line)),
      suspicion: null,
    };
  }

  const on = brought === null ? undefined : lines.find((line) => line.given.includes(brought));
  if (on !== undefined) {
    const lost = recent([...on.lost, ...on.given.filter((token) => token !== brought)]);
    const next: Line = { ...on, ...seen, held: brought, given: [given], lost, alive: true };
    const other = lines.find((line) => line.alive);
    const resumed = on.alive && other !== undefined && other !== on && isAfter(link, other);
    return {
      lines: [next, ...lines.filter((line) => line !== on)],
      suspicion: resumed ? { addresses: [other.address, address] } : null,
    };
  }

  const again = lines.find((line) => line.held === brought);
  if (again !== undefined) {
    const next = { ...again, given: recent([...again.given, given]) };
    return { lines: lines.map((line) => (line === again ? next : line)), suspicion: null };
  }

  // A token that was given beside the one that went on came back: whoever brings it got that answer.
  const alive = brought !== null && lines.some((line) => line.lost.includes(brought));
  const fresh: Line = { ...seen, start: brought, held: brought, given: [given], lost: [], alive };
  // A line that is not known to live stands behind those that do.
  const next = alive ? [fresh, ...lines] : [...lines.slice(0, LINES - 1), fresh];
  return { lines: next.slice(0, LINES), suspicion: null };
}

/** A server that writes late what it answered early tells of no return. */
function isAfter(link: CheckInLink, { at, server }: Line): boolean {
  return link.server === server ? link.at >= at : link.at - at > SKEW;
}

function recent(tokens: readonly string[]): readonly string[] {
  return tokens.slice(-TOKENS);
}
