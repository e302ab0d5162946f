// Why a component could not be started or was found sick, and why a service of this system could not be had.

import { UpkeepError } from "../core/errors.ts";

export type ProcessErrorCode =
  | "process/cannot-start"
  | "process/wrong-program"
  | "process/port-taken"
  | "process/no-port"
  | "process/exited"
  | "process/unhealthy"
  | "process/unknown-too-long"
  | "process/never-settled"
  | "process/crash-loop"
  | "process/will-not-stop"
  | "process/bad-service"
  | "process/no-such-service"
  | "process/service-exists"
  | "process/service-refused"
  | "process/service-exposed"
  | "process/no-services";
export class ProcessError extends UpkeepError<ProcessErrorCode> {}
