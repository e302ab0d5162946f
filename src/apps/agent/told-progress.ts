// While a command waits for the agent, a line for each step: read from the status that the agent writes, whichever process it is.

import type { Status } from "../../agent/status.ts";
import { readOrNull } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import { parseJson } from "../../core/json.ts";
import type { Context } from "../framework/context.ts";

/** Who is done before that needs no progress. */
const SILENCE = 1500;
const LOOK_EVERY = 500;
const LIMIT = 1024 * 1024;

/** Settles as `work` does. */
export async function tellProgress<T>(
  context: Pick<Context, "clock" | "data" | "disk" | "note">,
  work: Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const telling = tell(context, over.signal);
  try {
    return await work;
  } finally {
    over.abort(new Error("the work is done"));
    await telling;
  }
}

async function tell(
  { clock, data, disk, note }: Pick<Context, "clock" | "data" | "disk" | "note">,
  over: AbortSignal,
): Promise<void> {
  const rest = (ms: number): Promise<void> => clock.sleep(ms, over).catch(() => undefined);
  const told = new Map<string, string>();
  const look = async (): Promise<readonly (readonly [string, string])[]> => {
    try {
      const bytes = await readOrNull(disk, `${data}/status.json`, LIMIT);
      return bytes === null ? [] : stepsOf(parseJson(bytes) as unknown as Status);
    } catch (error) {
      // The next look finds it whole; nothing depends on it.
      if (error instanceof UpkeepError || error instanceof TypeError) return [];
      throw error;
    }
  };
  await rest(SILENCE);
  while (!over.aborted) {
    for (const [product, line] of await look()) {
      if (told.get(product) === line || over.aborted) continue;
      told.set(product, line);
      note(`${product}: ${line}`);
    }
    await rest(LOOK_EVERY);
  }
}

/** What is under way, one line for each component; what rests is told by the result. */
export function stepsOf(status: Status): readonly (readonly [string, string])[] {
  if (status.doing === "stopped") return [];
  return status.components.flatMap(({ product, attempt, why, until }) =>
    attempt === null ? [] : [[product, `${why}${until === null ? "" : ` Until ${until}.`}`] as const],
  );
}
