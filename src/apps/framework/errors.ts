// What the command line itself refuses.

import { UpkeepError } from "../../core/errors.ts";
import { SCHEMES } from "../../keys/scheme.ts";

export type CliErrorCode =
  | "cli/usage"
  | "cli/bad-settings"
  | "cli/no-secret"
  | "cli/interrupted"
  | "cli/failed"
  | "cli/not-found"
  | "cli/verify-failed";
export class CliError extends UpkeepError<CliErrorCode> {}

/** A call that cannot be understood; ends with exit code 2. */
export function usage(message: string, hint?: string): CliError {
  return new CliError("cli/usage", message, {}, hint === undefined ? {} : { hint });
}

export function unknownScheme(scheme: string): CliError {
  return usage(
    `${scheme} is not a signature scheme that is known here.`,
    `Known are ${Object.keys(SCHEMES).join(", ")}.`,
  );
}
