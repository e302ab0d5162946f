// Why a component could not be started or was found sick, and why a service of this system could not be had.

import { FAILED, REFUSED, TRANSIENT, USAGE, UpkeepError, type Traits } from "../core/errors.ts";

export type ProcessErrorCode =
  | "process/cannot-start"
  | "process/wrong-program"
  | "process/port-taken"
  | "process/no-port"
  | "process/no-socket"
  | "process/no-user"
  | "process/exited"
  | "process/unhealthy"
  | "process/unknown-too-long"
  | "process/never-settled"
  | "process/crash-loop"
  | "process/reload-failed"
  | "process/handler-failed"
  | "process/handler-waits"
  | "process/no-handler"
  | "process/will-not-stop"
  | "process/bad-service"
  | "process/no-such-service"
  | "process/service-exists"
  | "process/service-refused"
  | "process/service-exposed"
  | "process/no-services";
export const PROCESS_ERRORS = {
  "process/cannot-start": TRANSIENT,
  "process/wrong-program": REFUSED,
  "process/port-taken": TRANSIENT,
  "process/no-port": TRANSIENT,
  "process/no-socket": TRANSIENT,
  "process/no-user": TRANSIENT,
  "process/exited": FAILED,
  "process/unhealthy": FAILED,
  "process/unknown-too-long": FAILED,
  "process/never-settled": FAILED,
  "process/crash-loop": FAILED,
  "process/reload-failed": FAILED,
  "process/handler-failed": FAILED,
  "process/handler-waits": TRANSIENT,
  "process/no-handler": TRANSIENT,
  "process/will-not-stop": TRANSIENT,
  "process/bad-service": USAGE,
  "process/no-such-service": FAILED,
  "process/service-exists": FAILED,
  "process/service-refused": FAILED,
  "process/service-exposed": REFUSED,
  "process/no-services": FAILED,
} satisfies Traits<ProcessErrorCode>;

export class ProcessError extends UpkeepError<ProcessErrorCode> {
  protected override get traits(): Traits<ProcessErrorCode> {
    return PROCESS_ERRORS;
  }
}
