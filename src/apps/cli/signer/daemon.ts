// What the verbs of `daemon` do.

import { fileURLToPath } from "node:url";
import { moduleBeside } from "../../../core/module-beside.ts";
import { ProcessError } from "../../../process/errors.ts";
import {
  isWindowsPath,
  SERVICE_PROGRAMS,
  serviceDefinition,
  serviceName,
  type ServiceDefinition,
  type ServiceProgram,
} from "../../../process/service-definition.ts";
import { folderSecurity } from "../../../process/windows-access.ts";
import { SECOND } from "../../../core/instant.ts";
import type { ServiceCondition } from "../../../io/windows/services.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { columns } from "../../framework/style.ts";

export async function daemonInstall(call: Call): Promise<Result> {
  const program = programOf(call);
  const folder = folderOf(call, program);
  const definition = serviceDefinition(program, commandOf(call, program, folder));
  if (call.flag("print")) return { text: described(definition, folder), json: jsonOf(definition, folder) };
  onWindows(program);
  const { makeServiceFolder } = await import("../../../io/windows/access.ts");
  const { createService, deleteService, startService } = await import("../../../io/windows/services.ts");
  const { made, refused } = await createService(definition);
  try {
    // Only now the account is there.
    await makeServiceFolder(folder, definition.name);
  } catch (error) {
    await deleteService(definition.name);
    throw error;
  }
  for (const what of refused) call.context.note(`This Windows does not know the setting: ${what}.`);
  call.context.note(
    `Not checked: who may change ${process.execPath} and the files of upkeep. Whoever can is the service.`,
  );
  const condition = call.flag("start")
    ? await startService(definition.name, call.context.clock, 90 * SECOND)
    : null;
  return {
    text: `${described(definition, folder)}\n${condition === null ? "not started" : sentence(definition.name, condition)}`,
    json: { ...jsonOf(definition, folder), settings: made, unknown: refused, condition },
  };
}

export async function daemonUninstall(call: Call): Promise<Result> {
  const name = serviceOf(call);
  const { deleteService, stopService } = await import("../../../io/windows/services.ts");
  await stopService(name, call.context.clock, patience(call));
  await deleteService(name);
  return {
    text: `The service ${name} is removed; its data folder stays.`,
    json: { service: name, removed: true },
  };
}

export async function daemonStart(call: Call): Promise<Result> {
  const name = serviceOf(call);
  const { startService } = await import("../../../io/windows/services.ts");
  return shown(name, await startService(name, call.context.clock, patience(call)));
}

export async function daemonStop(call: Call): Promise<Result> {
  const name = serviceOf(call);
  const { stopService } = await import("../../../io/windows/services.ts");
  return shown(name, await stopService(name, call.context.clock, patience(call)));
}

export async function daemonReload(call: Call): Promise<Result> {
  if (programOf(call) === "server")
    throw usage("The server has no configuration that it could read again.", "Stop it and start it.");
  const name = serviceOf(call);
  await (await import("../../../io/windows/services.ts")).reloadService(name);
  return {
    text: `Asked ${name} to reload; its log says whether it took the configuration.`,
    json: { service: name, told: true },
  };
}

export async function daemonStatus(call: Call): Promise<Result> {
  const name = serviceOf(call);
  const condition = await (await import("../../../io/windows/services.ts")).serviceCondition(name);
  return { ...shown(name, condition), exit: condition.state === "running" ? EXIT.ok : EXIT.pending };
}

export async function daemonRun(call: Call): Promise<Result> {
  const program = programOf(call);
  onWindows(program);
  const folder = folderOf(call, program);
  const { runAsService } = await import("../../daemon/main.ts");
  // Ends the process: the dispatcher's thread would keep it.
  return runAsService({
    name: serviceName(program),
    folder,
    words: programWords(program, folder, call.argumentsFrom(1)),
    context: call.context,
  });
}

/** What `upkeep` is called with inside the service. */
function programWords(program: ServiceProgram, folder: string, more: readonly string[]): readonly string[] {
  const words: { readonly [P in ServiceProgram]: readonly string[] } = {
    signer: ["signer", "run"],
    gateway: ["gateway", "run"],
    server: ["server"],
  };
  const unlock =
    program === "signer" && more.length === 0 ? ["--passphrase-file", `${folder}\\unlock.txt`] : [];
  return ["--data", folder, ...words[program], ...unlock, ...more];
}

function commandOf(call: Call, program: ServiceProgram, folder: string): readonly string[] {
  const more = call.argumentsFrom(1);
  const windows = process.platform === "win32";
  // Elsewhere it is an example of what would be made there.
  const runtime = windows ? process.execPath : "C:\\Program Files\\nodejs\\node.exe";
  const main = windows
    ? fileURLToPath(moduleBeside("../main", import.meta.url))
    : "C:\\Program Files\\upkeep\\src\\apps\\cli\\main.ts";
  return [
    runtime,
    main,
    "daemon",
    "run",
    program,
    "--folder",
    folder,
    ...(more.length > 0 ? ["--", ...more] : []),
  ];
}

function programOf(call: Call): ServiceProgram {
  const name = call.argument(0);
  const program = SERVICE_PROGRAMS.find((each) => each === name);
  if (program !== undefined) return program;
  if (name === "agent")
    throw new ProcessError(
      "process/no-services",
      "The agent is no Windows service yet: it watches its components by what only Linux has (/proc).",
      { program: name },
    );
  throw usage(`There is no service "${name.slice(0, 40)}".`, `One of: ${SERVICE_PROGRAMS.join(", ")}.`);
}

function serviceOf(call: Call): string {
  const program = programOf(call);
  onWindows(program);
  return serviceName(program);
}

function onWindows(program: ServiceProgram): void {
  if (process.platform === "win32") return;
  const units =
    program === "server" ? "see docs/operate/server.md" : `upkeep signer units ${program} prints it`;
  throw new ProcessError(
    "process/no-services",
    "This system has no Service Control Manager; on Linux a systemd unit does the same.",
    { platform: process.platform },
    { hint: `Use the unit (${units}) and systemctl.` },
  );
}

function folderOf(call: Call, program: ServiceProgram): string {
  const folder =
    call.text("folder") ??
    `${call.context.terminal.env["ProgramData"] ?? "C:\\ProgramData"}\\${serviceName(program)}`;
  if (!isWindowsPath(folder) || /^[A-Za-z]:[\\/]?$/.test(folder))
    throw usage("--folder is an absolute path on a drive, such as D:\\upkeep-signer.");
  return folder.replace(/[\\/]+$/, "");
}

function patience(call: Call): number {
  return (call.whole("timeout", 1, 3600) ?? 90) * SECOND;
}

function jsonOf(definition: ServiceDefinition, folder: string): { readonly [name: string]: unknown } {
  return { ...definition, start: "automatic, delayed", folder, access: folderSecurity(definition.name) };
}

function described(definition: ServiceDefinition, folder: string): string {
  const { restartAfter, resetAfter } = definition.failure;
  return columns([
    ["service", definition.name],
    ["account", definition.account],
    ["privileges", definition.privileges.join(", ")],
    ["start", `automatic, delayed; after ${definition.dependencies.join(", ")}`],
    [
      "after a failure",
      `start again after ${restartAfter.map((ms) => ms / SECOND).join(", ")} s; forgotten after ${resetAfter} s`,
    ],
    ["before a shutdown", `${definition.preshutdown / SECOND} s to end`],
    ["folder", folder],
    ["access", folderSecurity(definition.name)],
    ["command", definition.command],
  ]);
}

function shown(name: string, condition: ServiceCondition): Result {
  return { text: sentence(name, condition), json: { service: name, ...condition } };
}

function sentence(name: string, { state, exit, pid }: ServiceCondition): string {
  if (state === "running") return `${name} runs (process ${pid})`;
  return `${name} is ${state}${state === "stopped" && exit !== 0 ? `; it ended with error ${exit}` : ""}`;
}
