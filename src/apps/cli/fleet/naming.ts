// Names, limits and consent as the verbs about a fleet take them.

import { createInterface } from "node:readline/promises";
import { nameSchema, z } from "../../../core/schema.ts";
import type { Call } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";

export function limitOf(call: Call): number {
  return call.whole("limit", 1, 100_000) ?? 50;
}

export function nameAt(call: Call, place: number): string {
  return checkName(call.argument(place));
}

/** Error: `cli/usage`. */
export function checkName(text: string): string {
  if (z.safeParse(nameSchema, text).success) return text;
  const suggested = text
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, "-")
    .replace(/^[.-]+|[.-]+$/g, "")
    .slice(0, 64);
  throw usage(
    `"${text.slice(0, 80)}" cannot be a name; use lower-case letters, digits, dots and dashes, at most 64.`,
    z.safeParse(nameSchema, suggested).success ? `${suggested} could be one.` : undefined,
  );
}

/** What cannot be taken back wants a yes: --yes, or typed on a terminal. Errors: `cli/usage`, `cli/interrupted`. */
export async function needConsent(call: Call, what: string): Promise<void> {
  if (call.flag("yes")) return;
  const { stdin, stderr } = call.context.terminal;
  if (stdin.isTTY !== true || stderr.isTTY !== true)
    throw usage(`${what} That cannot be taken back.`, "Run it on a terminal, or give --yes.");
  const ask = createInterface({ input: stdin, output: process.stderr });
  try {
    const answer = await ask.question(`${what} That cannot be taken back. Type "yes" to go on: `);
    if (answer.trim() !== "yes") throw new CliError("cli/interrupted", "Nothing was removed.", {});
  } finally {
    ask.close();
  }
}
