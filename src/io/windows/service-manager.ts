// This process as a Windows service: the dispatcher on a thread of its own, its callbacks on ours.

import type { ServiceManager } from "../../process/service-host.ts";
import type { ServiceControl, ServiceState, ServiceStatus } from "../../process/service-status.ts";
import { advapi, WIN } from "./_advapi.ts";

const STATES: { readonly [S in ServiceState]: number } = {
  "start-pending": WIN.SERVICE_START_PENDING,
  running: WIN.SERVICE_RUNNING,
  "stop-pending": WIN.SERVICE_STOP_PENDING,
  stopped: WIN.SERVICE_STOPPED,
};
const ACCEPTS: { readonly [C in ServiceControl]: number } = {
  stop: WIN.SERVICE_ACCEPT_STOP | WIN.SERVICE_ACCEPT_SHUTDOWN | WIN.SERVICE_ACCEPT_PRESHUTDOWN,
  reload: WIN.SERVICE_ACCEPT_PARAMCHANGE,
  interrogate: 0,
};
const CONTROLS: { readonly [code: number]: ServiceControl } = {
  [WIN.SERVICE_CONTROL_STOP]: "stop",
  [WIN.SERVICE_CONTROL_SHUTDOWN]: "stop",
  [WIN.SERVICE_CONTROL_PRESHUTDOWN]: "stop",
  [WIN.SERVICE_CONTROL_PARAMCHANGE]: "reload",
  [WIN.SERVICE_CONTROL_INTERROGATE]: "interrogate",
};

/** SERVICE_STATUS as the seven numbers that SetServiceStatus takes. */
export function statusNumbers(status: ServiceStatus): Uint32Array {
  const { failure } = status;
  return Uint32Array.of(
    WIN.SERVICE_WIN32_OWN_PROCESS,
    STATES[status.state],
    status.accepts.reduce((all, control) => all | ACCEPTS[control], 0),
    failure === 0 ? WIN.NO_ERROR : WIN.ERROR_SERVICE_SPECIFIC_ERROR,
    failure,
    status.checkPoint,
    status.waitHint,
  );
}

/** Undefined for what we were not asked to know. */
export function controlOf(code: number): ServiceControl | undefined {
  return CONTROLS[code];
}

/** Errors: `process/no-services`. */
export async function windowsServiceManager(): Promise<ServiceManager> {
  const api = await advapi();
  const { koffi } = api;
  let handle: unknown = null;
  return {
    connect: ({ name, started, asked }) =>
      new Promise((resolve, reject) => {
        // The manager keeps these addresses until the process ends: nothing here is ever freed.
        const control = koffi.register(
          (code: number): number => {
            const known = controlOf(code);
            return known !== undefined && asked(known) === "taken"
              ? WIN.NO_ERROR
              : WIN.ERROR_CALL_NOT_IMPLEMENTED;
          },
          koffi.pointer(koffi.proto("uint32 (uint32 control, uint32 type, void *data, void *context)")),
        );
        const main = koffi.register(
          () => {
            try {
              handle = api.registerHandler(name, control, null);
              // It may return at once: the service lives until "stopped" is reported (ServiceMain, "Remarks").
              started();
            } catch (error) {
              reject(error as Error);
            }
          },
          koffi.pointer(koffi.proto("void (uint32 count, void *words)")),
        );
        // SERVICE_TABLE_ENTRYW: one service, then an empty entry that ends the table.
        const table = koffi.alloc(api.types.entry, 2);
        koffi.encode(table, koffi.array(api.types.entry, 2), [
          { name, main },
          { name: null, main: null },
        ]);
        api.dispatch.async(table, (error: unknown, answer: unknown) => {
          const code = answer === 0 ? api.lastError() : 0;
          if (error !== null && error !== undefined) reject(error as Error);
          else if (answer === 0) reject(api.refused("to run this as a service", code));
          else resolve();
        });
      }),
    report: (status) => void api.setStatus(handle, statusNumbers(status)),
  };
}
