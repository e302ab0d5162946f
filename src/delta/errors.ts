// Why a patch cannot be made or applied.

import { FAILED, REFUSED, TRANSIENT, UpkeepError, type Traits } from "../core/errors.ts";

export type DeltaErrorCode =
  /** Not a patch, or one that breaks a rule of spec/delta.md. */
  | "delta/malformed"
  /** The patch is for another old file. */
  | "delta/wrong-base"
  /** The patch is for another new file, or did not make the one that it names. */
  | "delta/wrong-result"
  /** One of the files is larger than patches can be made for. */
  | "delta/too-large"
  /** No algorithm of this name is known here. */
  | "delta/unknown-algorithm"
  /** The worker that made a patch ended before it was done. */
  | "delta/not-made";
export const DELTA_ERRORS = {
  "delta/malformed": REFUSED,
  "delta/wrong-base": { ...REFUSED, hint: "Apply it to the very file that it was made from." },
  "delta/wrong-result": REFUSED,
  "delta/too-large": FAILED,
  "delta/unknown-algorithm": FAILED,
  "delta/not-made": TRANSIENT,
} satisfies Traits<DeltaErrorCode>;

export class DeltaError extends UpkeepError<DeltaErrorCode> {
  protected override get traits(): Traits<DeltaErrorCode> {
    return DELTA_ERRORS;
  }
}

export function malformed(what: string, options: { cause?: unknown } = {}): DeltaError {
  return new DeltaError("delta/malformed", `The patch is refused: ${what}.`, { what }, options);
}
