// What a client remembers of time: never earlier than a refresh that succeeded, unless newer signed metadata contradicts that.

import type { Instant } from "../../core/instant.ts";
import { isJsonObject, type Json } from "../../core/json.ts";
import type { Root } from "../metadata.ts";
import { isSignedLater } from "../periods.ts";

/** Their lives are the shortest, or decide over all others: what contradicts the remembered time shows in them first. */
const ROLES = ["root", "timestamp", "snapshot"] as const;
export type MainRole = (typeof ROLES)[number];

/**
 * A refresh succeeded at `time`, under files of these versions, none of which had expired then.
 * Attacks that it stops: a clock that is set back brings expired metadata to life (freeze), also after the numbers of a role
 * began again under a new root.
 */
export type KnownTime = {
  readonly time: Instant;
  readonly versions: { readonly [role in MainRole]: number };
};

/** Signed metadata that ends before the remembered time although it was made after it was remembered. */
export type Contradiction = { readonly role: MainRole; readonly version: number; readonly expires: Instant };

type Ending = { readonly version: number; readonly expires: Instant };

/** The time that one refresh judges expiry by (TUF 5.1), and what it learned of the time that was remembered. */
export class RefreshTime {
  readonly now: Instant;
  readonly known: KnownTime | null;
  readonly #root: Root;
  #contradiction: Contradiction | null = null;

  /** `root`: the newest, whose signed periods say how long files live. */
  constructor(now: Instant, known: KnownTime | null, root: Root) {
    this.now = now;
    this.known = known;
    this.#root = root;
  }

  /** Fixed at the beginning; it changes only when what was remembered turns out to be wrong. */
  get start(): Instant {
    return this.known === null || this.#contradiction !== null
      ? this.now
      : Math.max(this.now, this.known.time);
  }

  /** What showed that the remembered time was wrong; null while nothing did. */
  get contradiction(): Contradiction | null {
    return this.#contradiction;
  }

  /** The time for a file that passed every other check and would be used; the remembered time is dropped if the file contradicts it. */
  readonly judge = (role: string, signed: Ending): Instant => {
    const found = this.#contradicting(role, signed);
    this.#contradiction ??= found;
    return this.start;
  };

  /** The same for a file that is one of several to choose from: nothing is dropped for it. */
  readonly consider = (role: string, signed: Ending): Instant =>
    this.#contradicting(role, signed) === null ? this.start : this.now;

  /**
   * The remembered time is wrong when a file ends before it that is no older than those of that refresh, which all ended after it.
   * The clock of now must fit the file: neither before it can have been signed, nor after its end. So a clock that was set back to
   * another year is not trusted because of it (freeze attack), and what is older than the files of that refresh counts for nothing
   * (rollback attack).
   */
  #contradicting(role: string, { version, expires }: Ending): Contradiction | null {
    const { known, now } = this;
    const main = ROLES.find((name) => name === role);
    if (known === null || main === undefined || version < known.versions[main]) return null;
    if (expires > known.time || expires <= now) return null;
    if (isSignedLater(main, this.#root.roles[main], expires, now)) return null;
    return { role: main, version, expires };
  }
}

/** No key that signed for the role before may sign for it now: its numbers begin again, and nothing old can be shown under the new ones. */
export function isReplaced(before: Root, after: Root, role: MainRole): boolean {
  return before.roles[role].keyids.every((keyid) => !after.roles[role].keyids.includes(keyid));
}

/** As it is stored; a bare number is what earlier versions of this program wrote, which kept no versions. Null for anything else. */
export function knownTimeOf(value: Json | null): KnownTime | null {
  const whole = (one: Json | undefined, least: number): one is number =>
    typeof one === "number" && Number.isSafeInteger(one) && one >= least;
  if (typeof value === "number" && value > 0)
    return { time: value, versions: { root: 0, timestamp: 0, snapshot: 0 } };
  if (!isJsonObject(value ?? undefined)) return null;
  const { time, versions } = value as { [name: string]: Json };
  if (!whole(time, 1) || !isJsonObject(versions)) return null;
  const { root, timestamp, snapshot } = versions;
  if (!whole(root, 0) || !whole(timestamp, 0) || !whole(snapshot, 0)) return null;
  return { time, versions: { root, timestamp, snapshot } };
}
