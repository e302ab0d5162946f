// What a device remembers of messages over restarts: which numbers counted, what was spent, what waits, and how many were dropped and why.

import { toUtf8 } from "../core/bytes.ts";
import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, sha256Schema, z } from "../core/schema.ts";
import { MAX_SPLAY, MESSAGE_KINDS, MESSAGE_TIMES } from "../message/sealed/body.ts";
import { NOTHING_UNREAD } from "./mailbox-budgets.ts";

const LIMIT = 64 * 1024;
/** Numbers of one messenger that are remembered: messages may overtake each other by so many. */
export const WINDOW = 64;
const MESSENGERS = 16;

/** Why a message had no effect, each counted. */
export const DROPS = [
  "wrong-form",
  "other-key",
  "seen",
  "unread",
  "cannot-open",
  "bad-padding",
  "unknown-signer",
  "bad-body",
  "other-device",
  "lives-too-long",
  "expired",
  "from-the-future",
  "replayed",
  "unsealed",
] as const;
export type Drop = (typeof DROPS)[number];

const whole = z.number().check(z.int(), z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER));
const instants = z.array(whole).check(z.maxLength(64));
const pendingSchema = z.strictObject({
  when: z.enum(MESSAGE_TIMES),
  splay: z.number().check(z.int(), z.minimum(0), z.maximum(MAX_SPLAY)),
  since: whole,
});
const perKind = <T extends z.ZodMiniType>(each: T) =>
  z.strictObject(
    Object.fromEntries(MESSAGE_KINDS.map((kind) => [kind, z.exactOptional(each)])) as {
      [K in (typeof MESSAGE_KINDS)[number]]: z.ZodMiniExactOptional<T>;
    },
  );
const schema = z.strictObject({
  format: z.literal(1),
  /** By the messenger's key id: the newest numbers that counted, ascending. */
  counted: z.record(sha256Schema, z.array(whole).check(z.maxLength(WINDOW))),
  effects: perKind(instants),
  /** What was accepted and has to wait: over its budget, for a quiet moment, or for the next start. */
  pending: perKind(pendingSchema),
  unread: z.strictObject({ since: whole, count: whole }),
  accepted: whole,
  coalesced: whole,
  dropped: z.strictObject(
    Object.fromEntries(DROPS.map((drop) => [drop, z.exactOptional(whole)])) as {
      [D in Drop]: z.ZodMiniExactOptional<typeof whole>;
    },
  ),
  /** The highest TUF timestamp version that a messenger spoke of. */
  timestamp: whole,
});
export type MailboxState = z.infer<typeof schema>;
export type Pending = Readonly<z.infer<typeof pendingSchema>>;

export const EMPTY_MAILBOX: MailboxState = {
  format: 1,
  counted: {},
  effects: {},
  pending: {},
  unread: { ...NOTHING_UNREAD },
  accepted: 0,
  coalesced: 0,
  dropped: {},
  timestamp: 0,
};

/** A file that cannot be read is begun anew: what it costs is bounded by the life of a message and by one budget. Errors: `disk/*`. */
export async function loadMailbox(disk: Disk, folder: string): Promise<MailboxState> {
  const bytes = await readOrNull(disk, fileOf(folder), LIMIT);
  if (bytes === null) return EMPTY_MAILBOX;
  try {
    return checkSchema(schema, parseJson(bytes), "state of the mailbox");
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return EMPTY_MAILBOX;
  }
}

/** Errors: `disk/*`. */
export async function saveMailbox(disk: Disk, folder: string, state: MailboxState): Promise<void> {
  await writeAtomic(disk, fileOf(folder), toUtf8(`${JSON.stringify(state)}\n`), 0o600);
}

function fileOf(folder: string): string {
  return `${folder}/mailbox.json`;
}

/** True when a number counted before, or is older than all that are remembered. */
export function isOld(numbers: readonly number[], counter: number): boolean {
  return numbers.includes(counter) || (numbers.length >= WINDOW && counter < numbers[0]!);
}

/** With one number more; the messengers that spoke last are remembered. */
export function withNumber(
  counted: MailboxState["counted"],
  messenger: string,
  counter: number,
): MailboxState["counted"] {
  const numbers = [...(counted[messenger] ?? []), counter].toSorted((a, b) => a - b).slice(-WINDOW);
  const newest = (one: readonly number[]): number => one.at(-1) ?? 0;
  const others = Object.entries(counted)
    .filter(([keyid]) => keyid !== messenger)
    .toSorted(([, a], [, b]) => newest(b) - newest(a))
    .slice(0, MESSENGERS - 1);
  return Object.fromEntries([[messenger, numbers], ...others]);
}

export function withDrop(state: MailboxState, drop: Drop): MailboxState {
  return { ...state, dropped: { ...state.dropped, [drop]: (state.dropped[drop] ?? 0) + 1 } };
}

/** The earlier of two moments to follow: what waits is done when the more urgent of its messages says. */
export function joinPending(known: Pending | undefined, next: Pending): Pending {
  if (known === undefined) return next;
  const rank = (one: Pending): number => MESSAGE_TIMES.indexOf(one.when);
  return rank(known) <= rank(next) ? known : { ...next, since: known.since };
}
