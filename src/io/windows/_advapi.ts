// The calls of advapi32.dll that a service needs, through koffi; loaded on Windows only, and only where they are used.

import type koffiModule from "koffi";
import { ProcessError } from "../../process/errors.ts";

type Koffi = typeof koffiModule;
type Given = (...given: unknown[]) => unknown;
export type Handle = bigint;

/** winsvc.h, winerror.h, accctrl.h, winnt.h; checked against the headers of mingw-w64, see docs/operate/windows.md. */
export const WIN = {
  SC_MANAGER_CONNECT: 1,
  SC_MANAGER_CREATE_SERVICE: 2,
  SERVICE_ALL_ACCESS: 0xf01ff,
  SERVICE_QUERY_CONFIG: 1,
  SERVICE_QUERY_STATUS: 4,
  SERVICE_START: 0x10,
  SERVICE_STOP: 0x20,
  SERVICE_PAUSE_CONTINUE: 0x40,
  DELETE: 0x10000,
  SERVICE_WIN32_OWN_PROCESS: 0x10,
  SERVICE_AUTO_START: 2,
  SERVICE_ERROR_NORMAL: 1,
  SERVICE_CONFIG_DESCRIPTION: 1,
  SERVICE_CONFIG_FAILURE_ACTIONS: 2,
  SERVICE_CONFIG_DELAYED_AUTO_START_INFO: 3,
  SERVICE_CONFIG_FAILURE_ACTIONS_FLAG: 4,
  SERVICE_CONFIG_SERVICE_SID_INFO: 5,
  SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO: 6,
  SERVICE_CONFIG_PRESHUTDOWN_INFO: 7,
  SERVICE_SID_TYPE_UNRESTRICTED: 1,
  SC_ACTION_RESTART: 1,
  SC_STATUS_PROCESS_INFO: 0,
  SERVICE_CONTROL_STOP: 1,
  SERVICE_CONTROL_INTERROGATE: 4,
  SERVICE_CONTROL_SHUTDOWN: 5,
  SERVICE_CONTROL_PARAMCHANGE: 6,
  SERVICE_CONTROL_PRESHUTDOWN: 0xf,
  SERVICE_ACCEPT_STOP: 1,
  SERVICE_ACCEPT_SHUTDOWN: 4,
  SERVICE_ACCEPT_PARAMCHANGE: 8,
  SERVICE_ACCEPT_PRESHUTDOWN: 0x100,
  SERVICE_STOPPED: 1,
  SERVICE_START_PENDING: 2,
  SERVICE_STOP_PENDING: 3,
  SERVICE_RUNNING: 4,
  NO_ERROR: 0,
  ERROR_CALL_NOT_IMPLEMENTED: 120,
  ERROR_SERVICE_DOES_NOT_EXIST: 1060,
  ERROR_SERVICE_NOT_ACTIVE: 1062,
  ERROR_FAILED_SERVICE_CONTROLLER_CONNECT: 1063,
  ERROR_SERVICE_SPECIFIC_ERROR: 1066,
  ERROR_SERVICE_EXISTS: 1073,
  SE_FILE_OBJECT: 1,
  OWNER_SECURITY_INFORMATION: 1,
  DACL_SECURITY_INFORMATION: 4,
  PROTECTED_DACL_SECURITY_INFORMATION: 0x8000_0000,
  SDDL_REVISION_1: 1,
  TOKEN_QUERY: 8,
  TokenUser: 1,
} as const;

/** What the numbers mean to a person ("System Error Codes"). */
const WORDS: { readonly [code: number]: string } = {
  2: "the file is not there",
  5: "access is denied; run it as administrator",
  87: "a parameter is wrong",
  124: "this version does not know it",
  1052: "it does not take that at this moment; it starts or stops",
  1053: "the service did not answer in time",
  1055: "the service database is locked",
  1056: "it runs already",
  1057: "the account is not known",
  1058: "it is disabled",
  1060: "there is no such service",
  1061: "it cannot take a command at this moment",
  1062: "it does not run",
  1063: "this process was not started by the Service Control Manager",
  1068: "a service that it depends on did not start",
  1069: "it could not log on",
  1072: "it is marked for deletion; close the windows that show services",
  1073: "there is such a service already",
};

/** Layouts as in winsvc.h, for 64-bit Windows. Exported for a test of their sizes. */
export function layouts(koffi: Koffi) {
  const action = koffi.struct({ type: "uint32", delay: "uint32" });
  return {
    status: koffi.struct({
      type: "uint32",
      state: "uint32",
      accepts: "uint32",
      exit: "uint32",
      specific: "uint32",
      checkPoint: "uint32",
      waitHint: "uint32",
    }),
    entry: koffi.struct({ name: "str16", main: "void *" }),
    text: koffi.struct({ text: "str16" }),
    number: koffi.struct({ number: "uint32" }),
    attributes: koffi.struct({ length: "uint32", descriptor: "void *", inherit: "uint32" }),
    action,
    failure: koffi.struct({
      reset: "uint32",
      rebootMessage: "str16",
      command: "str16",
      count: "uint32",
      actions: koffi.pointer(action),
    }),
  };
}

export type Advapi = Awaited<ReturnType<typeof loadAdvapi>>;
let loaded: Promise<Advapi> | undefined;

/** Errors: `process/no-services` on another system or without koffi's binding for it. */
export function advapi(): Promise<Advapi> {
  return (loaded ??= loadAdvapi());
}

async function loadAdvapi() {
  if (process.platform !== "win32")
    throw new ProcessError("process/no-services", "There is no Service Control Manager on this system.");
  let koffi: Koffi;
  try {
    koffi = (await import("koffi")).default;
  } catch (cause) {
    throw new ProcessError(
      "process/no-services",
      "The binding to native libraries (koffi) is not installed for this system.",
      {},
      { cause, hint: "npm installs it with the optional dependencies: npm ci." },
    );
  }
  const library = koffi.load("advapi32.dll");
  const kernel = koffi.load("kernel32.dll");
  const lastError = kernel.func("uint32 GetLastError()") as unknown as () => number;
  const types = layouts(koffi);
  /** `what` completes "Windows refuses …". */
  const refused = (what: string, code: number): ProcessError =>
    new ProcessError(
      "process/service-refused",
      `Windows refuses ${what}: ${WORDS[code] ?? "see the number"}.`,
      {
        error: code,
      },
    );
  /** The call answers 0 when it failed. */
  const sure = (declaration: string, what: string, from = library): Given => {
    const call = from.func(declaration) as unknown as Given;
    return (...given) => {
      const answer = call(...given);
      if (answer === 0 || answer === null || answer === 0n || answer === false)
        throw refused(what, lastError());
      return answer;
    };
  };
  return {
    koffi,
    types,
    refused,
    lastError,
    dispatch: library.func("int StartServiceCtrlDispatcherW(void *table)"),
    registerHandler: sure(
      "void *RegisterServiceCtrlHandlerExW(str16 name, void *handler, void *context)",
      "a handler of controls",
    ),
    setStatus: sure("int SetServiceStatus(void *handle, void *status)", "the service's status"),
    openManager: sure(
      "void *OpenSCManagerW(str16 machine, str16 database, uint32 access)",
      "the list of services",
    ),
    openService: library.func(
      "void *OpenServiceW(void *manager, str16 name, uint32 access)",
    ) as unknown as Given,
    createService: library.func(
      "void *CreateServiceW(void *manager, str16 name, str16 display, uint32 access, uint32 type, uint32 start, uint32 error, str16 path, str16 group, void *tag, str16 dependencies, str16 account, str16 password)",
    ) as unknown as Given,
    deleteService: sure("int DeleteService(void *service)", "to delete the service"),
    configure: sure(
      "int ChangeServiceConfig2W(void *service, uint32 level, void *info)",
      "a service's setting",
    ),
    start: sure("int StartServiceW(void *service, uint32 count, void *words)", "to start the service"),
    control: sure("int ControlService(void *service, uint32 control, void *status)", "the service's control"),
    queryStatus: sure(
      "int QueryServiceStatusEx(void *service, uint32 level, void *buffer, uint32 size, void *needed)",
      "the service's status",
    ),
    closeHandle: library.func("int CloseServiceHandle(void *handle)") as unknown as Given,
    parseSecurity: sure(
      "int ConvertStringSecurityDescriptorToSecurityDescriptorW(str16 text, uint32 revision, void *descriptor, void *size)",
      "the access list",
    ),
    formatSecurity: sure(
      "int ConvertSecurityDescriptorToStringSecurityDescriptorW(void *descriptor, uint32 revision, uint32 what, void *text, void *length)",
      "the access list",
    ),
    daclOf: sure(
      "int GetSecurityDescriptorDacl(void *descriptor, void *present, void *dacl, void *defaulted)",
      "an access list",
    ),
    ownerOf: sure(
      "int GetSecurityDescriptorOwner(void *descriptor, void *owner, void *defaulted)",
      "an owner",
    ),
    setFileSecurity: sure(
      "int SetFileSecurityW(str16 path, uint32 what, void *descriptor)",
      "an access list",
    ),
    /** Answer an error number, not a boolean. */
    setNamedSecurity: library.func(
      "uint32 SetNamedSecurityInfoW(str16 name, uint32 type, uint32 what, void *owner, void *group, void *dacl, void *sacl)",
    ) as unknown as (...given: unknown[]) => number,
    getNamedSecurity: library.func(
      "uint32 GetNamedSecurityInfoW(str16 name, uint32 type, uint32 what, void *owner, void *group, void *dacl, void *sacl, void *descriptor)",
    ) as unknown as (...given: unknown[]) => number,
    openToken: sure(
      "int OpenProcessToken(void *process, uint32 access, void *token)",
      "this process's token",
    ),
    tokenInformation: sure(
      "int GetTokenInformation(void *token, uint32 kind, void *buffer, uint32 size, void *needed)",
      "this process's user",
    ),
    sidText: sure("int ConvertSidToStringSidW(void *sid, void *text)", "a SID"),
    createFolder: sure("int CreateDirectoryW(str16 path, void *attributes)", "a new folder", kernel),
    free: kernel.func("void *LocalFree(void *memory)") as unknown as Given,
    closeKernelHandle: kernel.func("int CloseHandle(void *handle)") as unknown as Given,
    thisProcess: kernel.func("void *GetCurrentProcess()") as unknown as () => bigint,
  };
}
