// What a Windows service tells the Service Control Manager, and when: its states as a table.

/**
 * ```
 * start-pending --ready--> running --stop--> stop-pending --ended--> stopped
 *       \________________________ended_________________________________^
 * ```
 * Source: Microsoft, "Service State Transitions" and SERVICE_STATUS (winsvc.h).
 */
export type ServiceState = "start-pending" | "running" | "stop-pending" | "stopped";

/** What a service can be asked. `stop` stands for SERVICE_CONTROL_STOP, SHUTDOWN and PRESHUTDOWN, `reload` for PARAMCHANGE. */
export type ServiceControl = "stop" | "reload" | "interrogate";

export type ServiceEvent =
  | { readonly kind: "ready" }
  | { readonly kind: ServiceControl }
  /** Time went by: a state that is pending shows progress. */
  | { readonly kind: "tick" }
  /** The program is over; `exit` is the exit code that it would have ended with. */
  | { readonly kind: "ended"; readonly exit: number };

/** `report`: tell the manager. `end`: as SIGTERM does. `reload`: as SIGHUP does. `refuse`: the control is not for this state. `give-up`: end without waiting. */
export type ServiceEffect = "report" | "end" | "reload" | "refuse" | "give-up";

export type ServiceStatus = {
  readonly state: ServiceState;
  /** Controls that the manager may send now; `interrogate` always. */
  readonly accepts: readonly ServiceControl[];
  /** 0, or what is reported as service-specific error: the recovery actions follow from it. */
  readonly failure: number;
  /** Grows with each report of a pending state, else 0. */
  readonly checkPoint: number;
  /** Milliseconds until the next report at the latest; 0 when nothing is pending. */
  readonly waitHint: number;
};

/** Reported when the program ended by itself and said that all was well: nobody asked it to, so it is started again. */
export const ENDED_UNASKED = 100;
/** Reported when a start or a stop took longer than its limit. */
export const GAVE_UP = 101;

/** Milliseconds between two signs of progress, and what the manager is told to wait for one. */
export const TICK = 5000;
const WAIT_HINT = 4 * TICK;
/** Signs of progress that are believed: a start that replays a long log takes minutes, a stop does not. */
const MOST_TICKS: { readonly [S in ServiceState]: number } = {
  "start-pending": 120,
  running: 0,
  "stop-pending": 12,
  stopped: 0,
};

const ACCEPTS: { readonly [S in ServiceState]: readonly ServiceControl[] } = {
  "start-pending": [],
  running: ["stop", "reload"],
  "stop-pending": [],
  stopped: [],
};

type Row = readonly [next: ServiceState, effects: readonly ServiceEffect[]];

// prettier-ignore
const TABLE: { readonly [S in ServiceState]: { readonly [K in ServiceEvent["kind"]]: Row } } = {
  "start-pending": {
    ready:       ["running", ["report"]],
    // The manager sends none while nothing is accepted; a stop that comes all the same is obeyed.
    stop:        ["stop-pending", ["report", "end"]],
    reload:      ["start-pending", ["refuse"]],
    interrogate: ["start-pending", []],
    tick:        ["start-pending", ["report"]],
    ended:       ["stopped", ["report"]],
  },
  running: {
    ready:       ["running", []],
    stop:        ["stop-pending", ["report", "end"]],
    reload:      ["running", ["reload"]],
    interrogate: ["running", []],
    tick:        ["running", []],
    ended:       ["stopped", ["report"]],
  },
  "stop-pending": {
    // It became ready while it was asked to stop: it stops.
    ready:       ["stop-pending", []],
    // A shutdown may follow a stop.
    stop:        ["stop-pending", []],
    reload:      ["stop-pending", ["refuse"]],
    interrogate: ["stop-pending", []],
    tick:        ["stop-pending", ["report"]],
    ended:       ["stopped", ["report"]],
  },
  stopped: {
    ready:       ["stopped", []],
    stop:        ["stopped", []],
    reload:      ["stopped", ["refuse"]],
    interrogate: ["stopped", []],
    tick:        ["stopped", []],
    // SetServiceStatus must not be called after SERVICE_STOPPED was reported.
    ended:       ["stopped", []],
  },
};

export const FIRST_STATUS: ServiceStatus = statusOf("start-pending", 1);

export function nextStatus(
  before: ServiceStatus,
  event: ServiceEvent,
): readonly [ServiceStatus, readonly ServiceEffect[]] {
  if (event.kind === "tick" && isPending(before.state) && before.checkPoint >= MOST_TICKS[before.state])
    return [{ ...statusOf("stopped", 0), failure: GAVE_UP }, ["report", "give-up"]];
  const [state, effects] = TABLE[before.state][event.kind];
  if (!effects.includes("report")) return [before, effects];
  const checkPoint = !isPending(state) ? 0 : state === before.state ? before.checkPoint + 1 : 1;
  const failure = event.kind === "ended" ? failureOf(before.state, event.exit) : 0;
  return [{ ...statusOf(state, checkPoint), failure }, effects];
}

/** After a stop that was asked for there is nothing to recover from, whatever the program said; its log has it. */
function failureOf(state: ServiceState, exit: number): number {
  if (state === "stop-pending") return 0;
  return exit === 0 ? ENDED_UNASKED : exit;
}

function statusOf(state: ServiceState, checkPoint: number): ServiceStatus {
  return {
    state,
    accepts: ACCEPTS[state],
    failure: 0,
    checkPoint,
    waitHint: isPending(state) ? WAIT_HINT : 0,
  };
}

function isPending(state: ServiceState): boolean {
  return state === "start-pending" || state === "stop-pending";
}
