// What is said between a thread that makes a patch and the thread that asked for it.

import type { AlgorithmName } from "../../delta/algorithms.ts";
import type { DeltaErrorCode } from "../../delta/errors.ts";

export type PatchOrder = {
  readonly algorithm: AlgorithmName;
  readonly from: string;
  readonly to: string;
};

export type PatchNews =
  | { readonly kind: "progress"; readonly bytes: number }
  | { readonly kind: "made"; readonly patch: Uint8Array }
  | { readonly kind: "refused"; readonly code: DeltaErrorCode; readonly message: string }
  /** The files could not be read. */
  | { readonly kind: "failed"; readonly message: string };
