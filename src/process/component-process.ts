// The one process of a component: started so that it can be found again after the agent died, adopted or stopped then.

import { fromUtf8, toHex, toUtf8 } from "../core/bytes.ts";
import { exists, readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJsonText } from "../core/json.ts";
import type { Random } from "../core/random.ts";
import { checkSchema, z, type Schema } from "../core/schema.ts";
import type { ProcessHost, RunningProcess, SpawnSpec } from "./ports.ts";

const entry = {
  /** Name of the slot that runs. */
  slot: z.string(),
  /** Digest of how it was started, to notice that the configuration changed. */
  launch: z.string(),
  token: z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 hex digits")),
  boot: z.string(),
  /** Null between the intent and the start. */
  pid: z.nullable(z.number()),
  startTime: z.nullable(z.string()),
};
const recordSchema = z.strictObject({ format: z.literal(1), ...entry });
/** `leaving`: it was asked to end, and answers what it has begun. */
const besideSchema = z.strictObject({
  format: z.literal(1),
  processes: z.array(z.strictObject({ ...entry, leaving: z.boolean() })).check(z.maxLength(64)),
});
type ProcessRecord = z.infer<typeof recordSchema>;

export type Launch = Omit<SpawnSpec, "token" | "ready">;

/** What runs, and from which slot. */
export type Supervised = { readonly process: RunningProcess; readonly slot: string; readonly launch: string };

/** A process beside the one that serves. */
export type Beside = Supervised & { readonly leaving: boolean };

export type ProcessRoom = {
  readonly disk: Disk;
  readonly random: Random;
  readonly host: ProcessHost;
  /** `process.json` of the component. */
  readonly path: string;
  /** `process.beside.json` of the component. */
  readonly beside: string;
};

/** The environment variable by which a process and its children are found again. */
export const TOKEN_VARIABLE = "UPKEEP_INSTANCE";

/**
 * Starts the program. Its identity is written before it exists and completed after, so that at no instant a process runs that nobody can find.
 * A disk that cannot take the record does not keep the component from running. Errors: `process/cannot-start`, `process/wrong-program`.
 */
export async function startProcess(
  room: ProcessRoom,
  slot: string,
  launch: string,
  spec: Launch,
  ready: ((token: string) => SpawnSpec["ready"]) | null = null,
): Promise<Supervised> {
  const intent = await noteIntent(room, slot, launch);
  const { token } = intent;
  const env = { ...spec.env, [TOKEN_VARIABLE]: token };
  const place = ready?.(token);
  const process = await room.host.spawn({
    ...spec,
    env,
    token,
    ...(place === undefined ? {} : { ready: place }),
  });
  const { pid, startTime } = process.identity;
  await write(room, { ...intent, pid, startTime });
  return { process, slot, launch };
}

/** Written before a program exists, so that the next agent finds it by its token. */
export async function noteIntent(room: ProcessRoom, slot: string, launch: string): Promise<ProcessRecord> {
  const token = toHex(room.random.bytes(16));
  const boot = await room.host.boot();
  const intent: ProcessRecord = { format: 1, slot, launch, token, boot, pid: null, startTime: null };
  await write(room, intent);
  return intent;
}

/** The process that an earlier agent started, if it still runs. */
export async function findProcess(room: ProcessRoom): Promise<Supervised | null> {
  const record = await read(room);
  return record === null ? null : find(room, record);
}

/** Makes a process that runs already the one that serves. Errors: `disk/*`. */
export async function recordProcess(room: ProcessRoom, found: Supervised): Promise<void> {
  await save(room, room.path, { format: 1, ...entryOf(found) });
}

/** What runs beside the one that serves; what has ended is left out, and what serves itself. */
export async function findBeside(room: ProcessRoom): Promise<readonly Beside[]> {
  const serving = (await read(room))?.token;
  const out: Beside[] = [];
  for (const record of await readBeside(room)) {
    if (record.token === serving) continue;
    const found = await find(room, record);
    if (found !== null) out.push({ ...found, leaving: record.leaving });
  }
  return out;
}

/** Written before anything of it is changed: a hand-over that could not be remembered does not begin. Errors: `disk/*`. */
export async function recordBeside(room: ProcessRoom, beside: readonly Beside[]): Promise<void> {
  if (beside.length === 0) {
    if (await exists(room.disk, room.beside)) await room.disk.removeFile(room.beside);
    return;
  }
  const processes = beside.map((one) => ({ ...entryOf(one), leaving: one.leaving }));
  await save(room, room.beside, { format: 1, processes });
}

/** The slots of what was recorded beside, running or not: garbage collection keeps them. */
export async function besideSlots(room: ProcessRoom): Promise<readonly string[]> {
  return (await readBeside(room)).map(({ slot }) => slot);
}

function entryOf({ process, slot, launch }: Supervised) {
  const { pid, startTime, boot, token } = process.identity;
  return { slot, launch, token, boot, pid, startTime };
}

async function find(
  room: ProcessRoom,
  record: Pick<ProcessRecord, "token" | "boot" | "pid" | "startTime" | "slot" | "launch">,
): Promise<Supervised | null> {
  const { token, boot, pid, startTime } = record;
  const known = pid === null || startTime === null ? {} : { pid, startTime };
  const process = await room.host.find({ token, boot, ...known });
  return process === null ? null : { process, slot: record.slot, launch: record.launch };
}

/** Called when the process is gone and was not wanted back. */
export async function forgetProcess(room: ProcessRoom): Promise<void> {
  try {
    if (await exists(room.disk, room.path)) await room.disk.removeFile(room.path);
  } catch (error) {
    // A stale record is harmless: its process is not found.
    if (!(error instanceof UpkeepError)) throw error;
  }
}

/** The slot that the record names, running or not: garbage collection keeps it. */
export async function recordedSlot(room: ProcessRoom): Promise<string | null> {
  return (await read(room))?.slot ?? null;
}

function read(room: ProcessRoom): Promise<ProcessRecord | null> {
  return readAt(room, room.path, recordSchema);
}

async function readBeside(room: ProcessRoom): Promise<z.infer<typeof besideSchema>["processes"]> {
  return (await readAt(room, room.beside, besideSchema))?.processes ?? [];
}

async function readAt<T>(room: ProcessRoom, path: string, schema: Schema<T>): Promise<T | null> {
  try {
    const bytes = await readOrNull(room.disk, path, 64 * 1024);
    return bytes === null ? null : checkSchema(schema, parseJsonText(fromUtf8(bytes)), "process record");
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

async function write(room: ProcessRoom, record: ProcessRecord): Promise<void> {
  try {
    await save(room, room.path, record);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
  }
}

async function save(room: ProcessRoom, path: string, record: object): Promise<void> {
  await writeAtomic(room.disk, path, toUtf8(`${JSON.stringify(record)}\n`), 0o600);
}
