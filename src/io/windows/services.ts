// The services of this Windows: makes one of ours, removes it, starts, stops and looks at it.

import type { Clock } from "../../core/clock.ts";
import { ProcessError } from "../../process/errors.ts";
import type { ServiceDefinition } from "../../process/service-definition.ts";
import { advapi, WIN, type Advapi, type Handle } from "./_advapi.ts";

export type ServiceCondition = {
  readonly state: "stopped" | "starting" | "stopping" | "running" | "other";
  /** Of the last end: 0, a Windows error, or what the service said of itself. */
  readonly exit: number;
  /** 0 when it does not run. */
  readonly pid: number;
};

const STATES: { readonly [state: number]: ServiceCondition["state"] } = {
  [WIN.SERVICE_STOPPED]: "stopped",
  [WIN.SERVICE_START_PENDING]: "starting",
  [WIN.SERVICE_STOP_PENDING]: "stopping",
  [WIN.SERVICE_RUNNING]: "running",
};
const LOOK_EVERY = 250;

export type Settings = { readonly made: readonly string[]; readonly refused: readonly string[] };

/**
 * Makes the service. Each setting that bounds what it may do must be taken, or the service is removed again;
 * those that only help it come back are named in `refused` if Windows does not know them.
 * Errors: `process/service-exists`, `process/service-refused`, `process/no-services`.
 */
export async function createService(definition: ServiceDefinition): Promise<Settings> {
  const api = await advapi();
  return withManager(api, WIN.SC_MANAGER_CONNECT | WIN.SC_MANAGER_CREATE_SERVICE, (manager) => {
    const service = api.createService(
      manager,
      definition.name,
      definition.displayName,
      WIN.SERVICE_ALL_ACCESS,
      WIN.SERVICE_WIN32_OWN_PROCESS,
      WIN.SERVICE_AUTO_START,
      WIN.SERVICE_ERROR_NORMAL,
      definition.command,
      null,
      null,
      list(definition.dependencies),
      definition.account,
      null,
    ) as Handle | null;
    if (service === null || service === 0n) {
      const code = api.lastError();
      if (code === WIN.ERROR_SERVICE_EXISTS)
        throw new ProcessError(
          "process/service-exists",
          `There is a service ${definition.name} already.`,
          { service: definition.name },
          { hint: "Uninstall it first; its data stays." },
        );
      throw api.refused(`to make the service ${definition.name}`, code);
    }
    try {
      return configure(api, service, definition);
    } catch (error) {
      api.deleteService(service);
      throw error;
    } finally {
      api.closeHandle(service);
    }
  });
}

type Row = readonly [what: string, must: boolean, level: number, type: keyof Advapi["types"], value: object];

function configure(api: Advapi, service: Handle, definition: ServiceDefinition): Settings {
  const { restartAfter, resetAfter } = definition.failure;
  const rows: readonly Row[] = [
    [
      "required privileges",
      true,
      WIN.SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO,
      "text",
      { text: list(definition.privileges) },
    ],
    [
      "service SID",
      true,
      WIN.SERVICE_CONFIG_SERVICE_SID_INFO,
      "number",
      { number: WIN.SERVICE_SID_TYPE_UNRESTRICTED },
    ],
    ["description", false, WIN.SERVICE_CONFIG_DESCRIPTION, "text", { text: definition.description }],
    [
      "recovery",
      true,
      WIN.SERVICE_CONFIG_FAILURE_ACTIONS,
      "failure",
      {
        reset: resetAfter,
        rebootMessage: null,
        command: null,
        count: restartAfter.length,
        actions: restartAfter.map((delay) => ({ type: WIN.SC_ACTION_RESTART, delay })),
      },
    ],
    ["recovery after an error", true, WIN.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, "number", { number: 1 }],
    ["delayed start", false, WIN.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, "number", { number: 1 }],
    [
      "preshutdown time",
      false,
      WIN.SERVICE_CONFIG_PRESHUTDOWN_INFO,
      "number",
      { number: definition.preshutdown },
    ],
  ];
  const [made, refused]: [string[], string[]] = [[], []];
  for (const [what, must, level, type, value] of rows) {
    try {
      api.configure(service, level, api.koffi.as(value, api.koffi.pointer(api.types[type])));
      made.push(what);
    } catch (error) {
      if (!(error instanceof ProcessError)) throw error;
      if (must)
        throw new ProcessError(
          "process/service-refused",
          `Windows does not take the setting "${what}" of ${definition.name}, so the service was not made.`,
          { service: definition.name, setting: what, ...error.facts },
          { cause: error },
        );
      refused.push(what);
    }
  }
  return { made, refused };
}

/** Marks it for deletion; it goes when it has stopped and nobody looks at it. Errors: as above, `process/no-such-service`. */
export function deleteService(name: string): Promise<void> {
  return withService(name, WIN.DELETE, (api, service) => void api.deleteService(service));
}

export function serviceCondition(name: string): Promise<ServiceCondition> {
  return withService(name, WIN.SERVICE_QUERY_STATUS, conditionOf);
}

/** Resolves when it runs; `process/service-refused` if it ended before, or took longer than `patience` milliseconds. */
export async function startService(name: string, clock: Clock, patience: number): Promise<ServiceCondition> {
  await withService(name, WIN.SERVICE_START, (api, service) => void api.start(service, 0, null));
  return settled(name, clock, patience, "starting", "running");
}

/** Resolves when it has stopped; one that does not run is left alone. */
export async function stopService(name: string, clock: Clock, patience: number): Promise<ServiceCondition> {
  const until = clock.monotonic() + patience;
  let condition = await serviceCondition(name);
  // One that is starting takes no control.
  while (condition.state === "starting" && clock.monotonic() < until) {
    await clock.sleep(LOOK_EVERY);
    condition = await serviceCondition(name);
  }
  if (condition.state === "stopped") return condition;
  await withService(
    name,
    WIN.SERVICE_STOP,
    (api, service) => void api.control(service, WIN.SERVICE_CONTROL_STOP, new Uint32Array(7)),
  );
  return settled(name, clock, patience, "stopping", "stopped");
}

/** Has it read its configuration again. */
export function reloadService(name: string): Promise<void> {
  return withService(
    name,
    WIN.SERVICE_PAUSE_CONTINUE,
    (api, service) => void api.control(service, WIN.SERVICE_CONTROL_PARAMCHANGE, new Uint32Array(7)),
  );
}

async function settled(
  name: string,
  clock: Clock,
  patience: number,
  pending: ServiceCondition["state"],
  wanted: ServiceCondition["state"],
): Promise<ServiceCondition> {
  const until = clock.monotonic() + patience;
  for (;;) {
    const condition = await serviceCondition(name);
    if (condition.state === wanted) return condition;
    // Between the control and the answer of the service the old state still stands when it stops.
    const waits = condition.state === pending || (wanted === "stopped" && condition.state === "running");
    if (!waits || clock.monotonic() >= until)
      throw new ProcessError(
        "process/service-refused",
        `The service ${name} is ${condition.state}, not ${wanted}.`,
        { service: name, state: condition.state, exit: condition.exit },
        { hint: "Its service.log in the data folder says why." },
      );
    await clock.sleep(LOOK_EVERY);
  }
}

/** SERVICE_STATUS_PROCESS: nine numbers. */
function conditionOf(api: Advapi, service: Handle): ServiceCondition {
  const numbers = new Uint32Array(9);
  api.queryStatus(service, WIN.SC_STATUS_PROCESS_INFO, numbers, numbers.byteLength, new Uint32Array(1));
  const [, state = 0, , exit = 0, specific = 0, , , pid = 0] = numbers;
  return {
    state: STATES[state] ?? "other",
    exit: exit === WIN.ERROR_SERVICE_SPECIFIC_ERROR ? specific : exit,
    pid,
  };
}

async function withService<T>(
  name: string,
  access: number,
  act: (api: Advapi, service: Handle) => T,
): Promise<T> {
  const api = await advapi();
  return withManager(api, WIN.SC_MANAGER_CONNECT, (manager) => {
    const service = api.openService(manager, name, access) as Handle | null;
    if (service === null || service === 0n) {
      const code = api.lastError();
      if (code === WIN.ERROR_SERVICE_DOES_NOT_EXIST)
        throw new ProcessError("process/no-such-service", `There is no service ${name}.`, { service: name });
      throw api.refused(`to open the service ${name}`, code);
    }
    try {
      return act(api, service);
    } finally {
      api.closeHandle(service);
    }
  });
}

function withManager<T>(api: Advapi, access: number, act: (manager: Handle) => T): T {
  const manager = api.openManager(null, null, access) as Handle;
  try {
    return act(manager);
  } finally {
    api.closeHandle(manager);
  }
}

/** A double-null-terminated list; the second null is the one that ends every text. */
function list(words: readonly string[]): string {
  return words.map((word) => `${word}\0`).join("");
}
