// The port that the agent gives to a component whose release asks for one: free when it starts, and the same again where that can be.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJsonText } from "../core/json.ts";
import { fraction, type Random } from "../core/random.ts";
import { checkSchema, z } from "../core/schema.ts";
import { ProcessError } from "../process/errors.ts";
import type { LocalPorts } from "../process/ports.ts";

/** Below what systems take for outgoing connections (Linux: 32768 and up), above what services are assigned. */
const [LOWEST, HIGHEST] = [20_000, 32_767];
const TRIES = 100;

const portNumber = z.number().check(z.int(), z.minimum(1), z.maximum(65_535));
/** By the name of the variable; there is room for releases that ask for several. */
const recordSchema = z.strictObject({ format: z.literal(1), ports: z.record(z.string(), portNumber) });
export type GivenPorts = Readonly<Record<string, number>>;

export type PortRoom = {
  readonly disk: Disk;
  readonly random: Random;
  readonly localPorts: LocalPorts;
  /** `ports.json` of the component. */
  readonly path: string;
};

/** The port that the slot was given, else the last that any was. */
export async function readGiven(room: PortRoom, variable: string, slot: string): Promise<GivenPorts> {
  const all = await readAll(room);
  const port = all[keyOf(variable, slot)] ?? all[variable];
  return port === undefined ? {} : { [variable]: port };
}

/** Two versions that run beside each other have each their own. */
function keyOf(variable: string, slot: string): string {
  return `${variable} ${slot}`;
}

/** What was given last; nothing if that cannot be read, which costs the component its number and no more. */
async function readAll({ disk, path }: PortRoom): Promise<GivenPorts> {
  try {
    const bytes = await readOrNull(disk, path, 64 * 1024);
    return bytes === null
      ? {}
      : checkSchema(recordSchema, parseJsonText(fromUtf8(bytes)), "given ports").ports;
  } catch (error) {
    if (error instanceof UpkeepError) return {};
    throw error;
  }
}

/**
 * A port that is free now for the variable: that of the last time if it is, else another.
 * A disk that cannot remember it keeps nobody from starting. Errors: `process/no-port`.
 */
export async function givePort(room: PortRoom, variable: string, slot: string): Promise<GivenPorts> {
  const { random, localPorts } = room;
  const known = await readAll(room);
  for (const last of new Set([known[keyOf(variable, slot)], known[variable]])) {
    if (last === undefined || !(await localPorts.isFree(last))) continue;
    await remember(room, known, variable, slot, last);
    return { [variable]: last };
  }
  for (let i = 0; i < TRIES; i++) {
    const port = LOWEST + Math.floor(fraction(random) * (HIGHEST - LOWEST + 1));
    if (!(await localPorts.isFree(port))) continue;
    await remember(room, known, variable, slot, port);
    return { [variable]: port };
  }
  throw new ProcessError(
    "process/no-port",
    `No free port was found for ${variable} among ${LOWEST} to ${HIGHEST}.`,
    { variable },
  );
}

/** Of how many slots the port is remembered: what runs, what runs beside it, and what may come back. */
const REMEMBERED = 4;

async function remember(
  { disk, path }: PortRoom,
  known: GivenPorts,
  variable: string,
  slot: string,
  port: number,
): Promise<void> {
  const key = keyOf(variable, slot);
  if (known[variable] === port && known[key] === port) return;
  const others = Object.entries(known).filter(([name]) => name !== key && name.startsWith(`${variable} `));
  const ports = {
    ...Object.fromEntries(others.slice(1 - REMEMBERED)),
    [key]: port,
    [variable]: port,
  };
  const bytes = toUtf8(`${JSON.stringify({ format: 1, ports })}\n`);
  await writeAtomic(disk, path, bytes, 0o600).catch((error: unknown) => {
    if (!(error instanceof UpkeepError)) throw error;
  });
}
