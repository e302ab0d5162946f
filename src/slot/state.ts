// What a component remembers for good: what was committed, the floor, the skip list; kept twice, so that one damaged file loses nothing.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJsonText } from "../core/json.ts";
import { checkSchema, instantSchema, nameSchema, sha256Schema, versionSchema, z } from "../core/schema.ts";
import { compareVersions, parseVersion } from "../core/version.ts";
import { SlotError } from "./errors.ts";
import type { BeginEvent, EndEvent } from "./journal-event.ts";
import { attemptIdSchema } from "./journal-event.ts";
import { sameBytes, sameSlot, slotIdSchema, type Layout, type SlotId } from "./layout.ts";

const skipSchema = z.strictObject({
  sha256: sha256Schema,
  version: versionSchema,
  code: z.string(),
  at: instantSchema,
});
export type SkipEntry = z.infer<typeof skipSchema>;

const stateSchema = z.strictObject({
  format: z.literal(1),
  /** Grows with every write; of two copies the higher one counts. */
  sequence: z.number().check(z.int(), z.minimum(0)),
  /** The attempt whose end is already in here. */
  applied: z.nullable(attemptIdSchema),
  committed: z.nullable(slotIdSchema),
  /** Slots that came through their probation before, newest last. */
  good: z.array(slotIdSchema),
  floor: z.nullable(versionSchema),
  skip: z.array(skipSchema),
  /** Which release set which floor: a signed recall can lift one that a thief's release set. `by` is null for one that is not known. */
  floors: z.exactOptional(z.array(z.strictObject({ floor: versionSchema, by: z.nullable(versionSchema) }))),
  /** The channel it follows, and what that says about versions that are here: nobody goes back to a recalled one, also without a network. */
  channel: z.exactOptional(
    z.strictObject({
      name: nameSchema,
      recalled: z.array(z.strictObject({ version: versionSchema, reason: z.string() })),
    }),
  ),
  /** SHA-256 of the records of the slots above, by which a changed record is noticed. Absent in what older agents wrote. */
  records: z.exactOptional(z.array(z.strictObject({ slot: slotIdSchema, sha256: sha256Schema }))),
});
export type ComponentState = z.infer<typeof stateSchema>;

export const EMPTY_STATE: ComponentState = {
  format: 1,
  sequence: 0,
  applied: null,
  committed: null,
  good: [],
  floor: null,
  skip: [],
};

/** The code of a skipped version that did not fail: somebody went back from it. */
export const LEFT_BY_HAND = "agent/rolled-back-by-hand";

const LIMIT = 1024 * 1024;
const MAX_SKIPS = 200;
/** Floors that are remembered one by one; the lowest go first, for they count only when all above are lifted. */
const MAX_FLOORS = 64;
/** Former versions that are kept for a roll back by hand. */
export const KEEP_GOOD = 2;

/** Reads both copies: the newer one counts, and the higher floor. Errors: `slot/state-corrupt`, `disk/*`. */
export async function loadState(disk: Disk, layout: Layout): Promise<ComponentState> {
  const copies: ComponentState[] = [];
  let damaged = 0;
  for (const path of [layout.state, layout.stateCopy]) {
    const bytes = await readOrNull(disk, path, LIMIT);
    if (bytes === null) continue;
    const state = parse(bytes);
    if (state === null) damaged++;
    else copies.push(state);
  }
  if (copies.length === 0) {
    if (damaged === 0) return EMPTY_STATE;
    // Starting afresh would forget the floor: refusing is the safe answer.
    throw new SlotError(
      "slot/state-corrupt",
      `Both copies of the component's state (${layout.state}) are damaged: its floor and skip list are lost.`,
      { path: layout.state },
      {
        hint: "What is installed keeps running. Restore one copy from a backup, or remove both to start without a floor.",
      },
    );
  }
  const newest = copies.reduce((a, b) => (b.sequence > a.sequence ? b : a));
  return { ...newest, floor: copies.map((copy) => copy.floor).reduce(higher) };
}

/** Both copies, one after the other: at every instant one of them is whole. */
export async function saveState(disk: Disk, layout: Layout, state: ComponentState): Promise<ComponentState> {
  const next = { ...state, sequence: state.sequence + 1 };
  const body = JSON.stringify(next);
  const bytes = toUtf8(`${sha256Hex(toUtf8(body))} ${body}\n`);
  await writeAtomic(disk, layout.state, bytes, 0o600);
  await writeAtomic(disk, layout.stateCopy, bytes, 0o600);
  return next;
}

function parse(bytes: Uint8Array): ComponentState | null {
  try {
    const match = /^([0-9a-f]{64}) (\{.*\})\n$/.exec(fromUtf8(bytes));
    if (match === null || sha256Hex(toUtf8(match[2]!)) !== match[1]) return null;
    return checkSchema(stateSchema, parseJsonText(match[2]!), "component state");
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

/** What of an ended attempt its begin and end do not say. */
export type EndFacts = {
  /** Whether the new slot took the place of the old one for good (`hasReplaced`). */
  readonly replaced: boolean;
  /** SHA-256 of the record of the new slot, null if it is not known. */
  readonly record: string | null;
};

/** The state after an attempt ended; the same however often it is applied. */
export function applyEnd(
  state: ComponentState,
  begin: BeginEvent,
  end: EndEvent,
  facts: EndFacts = { replaced: end.end === "committed", record: null },
): ComponentState {
  if (state.applied === end.attempt) return state;
  const applied = { ...state, applied: end.attempt };
  if (facts.replaced) {
    const last = state.committed;
    // A damaged slot is nothing to go back to.
    const lost = begin.damage !== undefined;
    const former = last === null || lost || goesBack(last, begin.to) ? [] : [last];
    const others = [...state.good, ...former].filter(
      (id, i, all) => !sameBytes(id, begin.to) && all.findIndex((other) => sameBytes(other, id)) === i,
    );
    const good = others.slice(-KEEP_GOOD);
    return {
      ...applied,
      committed: begin.to,
      good,
      records: recordsAfter(state, [...good, begin.to], begin.to, facts.record),
      floor: higher(state.floor, begin.floor),
      ...floorsAfter(state, begin),
      // What was proven good is no longer to be skipped; what an operator went back from is, until something newer comes.
      skip: withSkip(
        state.skip.filter((entry) => !sameBytes(entry, begin.to)),
        begin.manual && last !== null
          ? { version: last.version, sha256: last.sha256, code: LEFT_BY_HAND, at: end.at }
          : null,
      ),
    };
  }
  // What was good here and could not be put back is not the release's fault: it is tried again.
  if (end.end === "rolled-back" && begin.damage !== "repair") {
    const { version, sha256 } = begin.to;
    const entry = { version, sha256, code: end.code ?? "process/failed", at: end.at };
    return { ...applied, skip: withSkip(state.skip, entry) };
  }
  return applied;
}

function withSkip(skip: readonly SkipEntry[], entry: SkipEntry | null): SkipEntry[] {
  if (entry === null) return [...skip];
  return [...skip.filter((other) => !sameBytes(other, entry)), entry].slice(-MAX_SKIPS);
}

type Remembered = NonNullable<ComponentState["records"]>;

function recordsAfter(
  state: ComponentState,
  kept: readonly SlotId[],
  to: SlotId,
  record: string | null,
): Remembered {
  const known = (state.records ?? []).filter(
    ({ slot }) => kept.some((id) => sameSlot(id, slot)) && (record === null || !sameSlot(slot, to)),
  );
  return record === null ? known : [...known, { slot: to, sha256: record }];
}

/** SHA-256 of the slot's record as it was made, null if an older agent made it. */
export function recordOf(state: ComponentState, id: SlotId): string | null {
  return state.records?.find(({ slot }) => sameSlot(slot, id))?.sha256 ?? null;
}

/** Whoever went back from a version, by recall or by hand, does not keep it as one to go back to. */
function goesBack(from: SlotId, to: SlotId): boolean {
  return compareVersions(parseVersion(to.version), parseVersion(from.version)) < 0;
}

function floorsAfter(state: ComponentState, { floor, to }: BeginEvent): Pick<ComponentState, "floors"> {
  // A damaged slot that is made again sets nothing anew, and going back neither.
  if (floor === null) return state.floors === undefined ? {} : { floors: state.floors };
  // What an older agent remembered has no name, and is never lifted.
  const before = state.floors ?? (state.floor === null ? [] : [{ floor: state.floor, by: null }]);
  const others = before.filter((entry) => entry.by !== to.version);
  const all = [...others, { floor, by: to.version }];
  all.sort((a, b) => compareVersions(parseVersion(a.floor), parseVersion(b.floor)));
  return { floors: all.slice(-MAX_FLOORS) };
}

/**
 * The state without the floors that the named releases set, because a signed recall says that they were none of their publisher's. Floors
 * of other releases hold, and so does one of which nobody knows who set it.
 */
export function withoutFloorsOf(state: ComponentState, releases: ReadonlySet<string>): ComponentState {
  if (state.floors === undefined || releases.size === 0) return state;
  const floors = state.floors.filter(({ by }) => by === null || !releases.has(by));
  const floor = floors.map((entry) => entry.floor).reduce<string | null>(higher, null);
  // Also when nothing is left to lift: of two copies the older one may have brought the higher floor back.
  return floors.length === state.floors.length && floor === state.floor ? state : { ...state, floor, floors };
}

/** Why a version is not gone back to, if its publisher took it back; undefined if that is not known here. */
export function recalledHere(
  state: ComponentState,
  version: string,
): { readonly version: string; readonly reason: string } | undefined {
  return state.channel?.recalled.find((one) => one.version === version);
}

export function skipOf(state: ComponentState, id: SlotId): SkipEntry | undefined {
  return state.skip.find((entry) => sameBytes(entry, id));
}

/** Without the skip list: what failed here may be tried once more, because somebody says so. The floor is not touched. */
export function withoutSkips(state: ComponentState): ComponentState {
  return state.skip.length === 0 ? state : { ...state, skip: [] };
}

export function belowFloor(state: ComponentState, version: string): boolean {
  return state.floor !== null && compareVersions(parseVersion(version), parseVersion(state.floor)) < 0;
}

function higher(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return compareVersions(parseVersion(a), parseVersion(b)) >= 0 ? a : b;
}

/** Every slot that the state names. */
export function namedSlots(state: ComponentState): readonly SlotId[] {
  return state.committed === null ? state.good : [...state.good, state.committed];
}
