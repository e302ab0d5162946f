// What a component remembers for good: what was committed, the floor, the skip list; kept twice, so that one damaged file loses nothing.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJsonText } from "../core/json.ts";
import { checkSchema, instantSchema, sha256Schema, versionSchema, z } from "../core/schema.ts";
import { compareVersions, parseVersion } from "../core/version.ts";
import { SlotError } from "./errors.ts";
import type { BeginEvent, EndEvent } from "./journal-event.ts";
import { attemptIdSchema } from "./journal-event.ts";
import { sameSlot, slotIdSchema, type Layout, type SlotId } from "./layout.ts";

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

const LIMIT = 1024 * 1024;
const MAX_SKIPS = 200;
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

/** The state after an attempt ended; the same however often it is applied. */
export function applyEnd(state: ComponentState, begin: BeginEvent, end: EndEvent): ComponentState {
  if (state.applied === end.attempt) return state;
  const applied = { ...state, applied: end.attempt };
  if (end.end === "committed") {
    const last = state.committed;
    const former = last === null || goesBack(last, begin.to) ? [] : [last];
    const others = [...state.good, ...former].filter(
      (id, i, all) => !sameSlot(id, begin.to) && all.findIndex((other) => sameSlot(other, id)) === i,
    );
    return {
      ...applied,
      committed: begin.to,
      good: others.slice(-KEEP_GOOD),
      floor: higher(state.floor, begin.floor),
      // What was proven good is no longer to be skipped; what an operator went back from is, until something newer comes.
      skip: withSkip(
        state.skip.filter((entry) => !sameSlot(entry, begin.to)),
        begin.manual && last !== null ? { ...last, code: "agent/rolled-back-by-hand", at: end.at } : null,
      ),
    };
  }
  if (end.end === "rolled-back") {
    const entry = { ...begin.to, code: end.code ?? "process/failed", at: end.at };
    return { ...applied, skip: withSkip(state.skip, entry) };
  }
  return applied;
}

function withSkip(skip: readonly SkipEntry[], entry: SkipEntry | null): SkipEntry[] {
  if (entry === null) return [...skip];
  return [...skip.filter((other) => !sameSlot(other, entry)), entry].slice(-MAX_SKIPS);
}

/** Whoever went back from a version, by recall or by hand, does not keep it as one to go back to. */
function goesBack(from: SlotId, to: SlotId): boolean {
  return compareVersions(parseVersion(to.version), parseVersion(from.version)) < 0;
}

export function skipOf(state: ComponentState, id: SlotId): SkipEntry | undefined {
  return state.skip.find((entry) => sameSlot(entry, id));
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
