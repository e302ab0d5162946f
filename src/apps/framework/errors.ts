// What the command line itself refuses.

import { FAILED, NOT_VERIFIED, USAGE, UpkeepError, type Traits } from "../../core/errors.ts";
import { SCHEMES } from "../../keys/scheme.ts";

export type CliErrorCode =
  | "cli/usage"
  | "cli/bad-settings"
  | "cli/no-secret"
  | "cli/interrupted"
  | "cli/failed"
  | "cli/not-found"
  | "cli/verify-failed"
  /** An error that no room declared: a defect. */
  | "cli/unexpected";
export const CLI_ERRORS = {
  "cli/usage": USAGE,
  "cli/bad-settings": USAGE,
  "cli/no-secret": USAGE,
  "cli/interrupted": FAILED,
  "cli/failed": FAILED,
  "cli/not-found": FAILED,
  "cli/verify-failed": NOT_VERIFIED,
  "cli/unexpected": FAILED,
} satisfies Traits<CliErrorCode>;

export class CliError extends UpkeepError<CliErrorCode> {
  protected override get traits(): Traits<CliErrorCode> {
    return CLI_ERRORS;
  }
}

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
