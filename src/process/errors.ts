// Why a component could not be started, or was found sick.

import { UpkeepError } from "../core/errors.ts";

export type ProcessErrorCode =
  | "process/cannot-start"
  | "process/no-port"
  | "process/exited"
  | "process/unhealthy"
  | "process/unknown-too-long"
  | "process/never-settled"
  | "process/crash-loop"
  | "process/will-not-stop";
export class ProcessError extends UpkeepError<ProcessErrorCode> {}
