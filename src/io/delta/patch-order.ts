// What is said between a process that makes a patch and the program that asked for it.

import type { AlgorithmName } from "../../delta/algorithms.ts";
import type { DeltaErrorCode } from "../../delta/errors.ts";

/** Paths of files. */
export type PatchOrder = {
  readonly algorithm: AlgorithmName;
  readonly from: string;
  readonly to: string;
  /** Where the patch goes; must not exist yet. */
  readonly out: string;
};

export type PatchNews =
  | { readonly kind: "progress"; readonly bytes: number }
  | { readonly kind: "made"; readonly length: number }
  | { readonly kind: "refused"; readonly code: DeltaErrorCode; readonly message: string }
  /** The files could not be read or written. */
  | { readonly kind: "failed"; readonly message: string };
