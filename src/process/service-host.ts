// Runs a program as a Windows service: what the manager asks becomes what a signal is elsewhere, what happens becomes a status.

import type { Clock } from "../core/clock.ts";
import {
  FIRST_STATUS,
  nextStatus,
  TICK,
  type ServiceControl,
  type ServiceEvent,
  type ServiceStatus,
} from "./service-status.ts";

/** Whether the control was taken; what is refused is answered with ERROR_CALL_NOT_IMPLEMENTED. */
export type ControlAnswer = "taken" | "refused";

/** This process as the Service Control Manager knows it. */
export interface ServiceManager {
  /**
   * Connects this process to the manager. Calls `started` once when the service is to start, and `asked` for each control after it, never two at a time.
   * Resolves when the manager lets go, after "stopped" was reported. Errors: `process/service-refused` (among others: it was not started by the manager).
   */
  connect(service: {
    readonly name: string;
    readonly started: () => void;
    readonly asked: (control: ServiceControl) => ControlAnswer;
  }): Promise<void>;
  /** Only between `started` and the report of "stopped". Errors: `process/service-refused`. */
  report(status: ServiceStatus): void;
}

export interface HostedProgram {
  /** Resolves with the exit code; never rejects. `ready` is called once it serves. */
  run(ready: () => void): Promise<number>;
  /** As SIGTERM: `run` resolves soon. */
  stop(): void;
  /** As SIGHUP. */
  reload(): void;
}

/** Milliseconds that the manager has to let go after "stopped". */
const LET_GO = 5000;

/**
 * Resolves with the exit code of this process when the service is over; the caller then ends the process.
 * `trouble` hears of reports that failed: the program runs on, for it does its work. Errors: `process/service-refused`.
 */
export async function hostService(given: {
  readonly name: string;
  readonly manager: ServiceManager;
  readonly clock: Clock;
  readonly program: HostedProgram;
  readonly trouble: (error: Error) => void;
}): Promise<number> {
  const { manager, clock, program } = given;
  const over = new AbortController();
  let status: ServiceStatus = FIRST_STATUS;
  let exit = 0;
  let finish: () => void = () => {};
  const finished = new Promise<void>((resolve) => (finish = resolve));

  const report = (): void => {
    try {
      manager.report(status);
    } catch (error) {
      given.trouble(error as Error);
    }
  };
  const take = (event: ServiceEvent): ControlAnswer => {
    if (event.kind === "ended") exit = event.exit;
    const [next, effects] = nextStatus(status, event);
    status = next;
    for (const effect of effects) {
      if (effect === "report") report();
      else if (effect === "end") program.stop();
      else if (effect === "reload") program.reload();
      else if (effect === "give-up") exit = next.failure;
    }
    if (status.state === "stopped") {
      over.abort();
      finish();
    }
    return effects.includes("refuse") ? "refused" : "taken";
  };
  const progress = async (): Promise<void> => {
    try {
      while (!over.signal.aborted) {
        await clock.sleep(TICK, over.signal);
        take({ kind: "tick" });
      }
    } catch {
      // The service is over.
    }
  };
  const connected = manager.connect({
    name: given.name,
    started: () => {
      report();
      void progress();
      void program
        .run(() => void take({ kind: "ready" }))
        .then((code) => take({ kind: "ended", exit: code }));
    },
    asked: (control) => take({ kind: control }),
  });
  // A manager that lets go before the service is over has failed: the program ends, and who watches the process sees it end.
  const letGo = connected.then(
    () => undefined,
    (error: unknown) => {
      program.stop();
      throw error;
    },
  );
  await Promise.race([finished, letGo]);
  if (status.state === "stopped") {
    const late = new AbortController();
    await Promise.race([letGo.catch(() => {}), clock.sleep(LET_GO, late.signal).catch(() => {})]);
    late.abort();
    return exit;
  }
  over.abort();
  program.stop();
  return exit === 0 ? 1 : exit;
}
