// How an installed version is run: taken from its signed manifest when it was staged, kept in its slot, turned into a launch here.

import { isJsonObject, type Json } from "../core/json.ts";
import { sha256Hex } from "../core/digest.ts";
import { toUtf8 } from "../core/bytes.ts";
import { checkSchema, versionSchema, z } from "../core/schema.ts";
import type { Launch } from "../process/component-process.ts";
import { ProcessError } from "../process/errors.ts";
import type { RunAs } from "../process/ports.ts";
import type { ProbationRules } from "../process/probation.ts";
import { healthSchema, releaseSchema, type Health, type ReleaseManifest } from "../release/manifest.ts";
import { parseSocketPlace, type SocketPlace } from "../release/sockets.ts";
import type { GivenPorts } from "./given-port.ts";
import type { ComponentSettings } from "./settings.ts";

const runSchema = z.strictObject({
  version: versionSchema,
  /** Absent in what older agents staged, which knew services and data only. */
  component: releaseSchema.shape.component,
  entryPoint: releaseSchema.shape.entryPoint,
  health: z.exactOptional(healthSchema),
  /** What it needs of other products, for as long as it is installed. Absent in what older agents staged. */
  dependencies: z.exactOptional(releaseSchema.shape.dependencies),
  sockets: releaseSchema.shape.sockets,
  handOver: releaseSchema.shape.handOver,
});
export type RunSpec = z.infer<typeof runSchema>;

export function runOf(manifest: ReleaseManifest): Json {
  const { version, component, entryPoint, health, dependencies, sockets, handOver } = manifest;
  const run = {
    version,
    ...(component === undefined ? {} : { component }),
    ...(entryPoint === undefined ? {} : { entryPoint }),
    ...(health === undefined ? {} : { health }),
    ...(dependencies.length === 0 ? {} : { dependencies }),
    ...(sockets === undefined ? {} : { sockets }),
    ...(handOver === undefined ? {} : { handOver }),
  };
  return run as unknown as Json;
}

/** Errors: `schema/invalid`. */
export function parseRun(value: Json): RunSpec {
  return checkSchema(runSchema, isJsonObject(value) ? value : null, "run record of a slot");
}

/** True for what keeps running; a job ends by itself, and data never starts. */
export function isService(run: RunSpec): boolean {
  return run.entryPoint !== undefined && run.health?.kind !== "exit-code";
}

export type Place = {
  readonly product: string;
  /** Absolute path of the slot. */
  readonly slot: string;
  readonly data: string;
  /** The folder of all components: `<components>/<product>/current` is what another product has installed. */
  readonly components: string;
  readonly log: string;
  /** Where the component leaves files that say "not now". */
  readonly locks: string;
};

/** The variable in which the release wants a port, if nobody set it: then the agent gives one. */
export function askedPort(run: RunSpec, settings: ComponentSettings): string | null {
  const { health, entryPoint } = run;
  if (health?.kind !== "http" || typeof health.port === "number") return null;
  const { env } = health.port;
  return settings.env[env] === undefined && entryPoint?.env?.[env] === undefined ? env : null;
}

/** A socket that a version wants, and where it is to be bound on this device. */
export type WantedSocket = { readonly name: string; readonly place: SocketPlace };

/** In the order of the release; an address that the owner set is stronger. */
export function socketsOf(run: RunSpec, settings: ComponentSettings): readonly WantedSocket[] {
  return (run.sockets ?? []).map(({ name, address }) => ({
    name,
    // Both were judged at their doors.
    place: parseSocketPlace(settings.sockets[name] ?? address)!,
  }));
}

/** What every component finds in its environment besides what its release and the operator set. Nothing else of the agent's own gets through. */
const PASSED_ON = [
  "PATH",
  "HOME",
  "LANG",
  "TZ",
  "TMPDIR",
  "USER",
  "SSL_CERT_FILE",
  "UPKEEP_LICENSES",
] as const;

export type HostEnvironment = Readonly<Record<string, string | undefined>>;

export function passedOn(host: HostEnvironment): Readonly<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const name of PASSED_ON) {
    const value = host[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

export function environmentOf(
  run: RunSpec,
  place: Place,
  settings: ComponentSettings,
  host: HostEnvironment,
  given: GivenPorts,
): Readonly<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const [name, port] of Object.entries(given)) env[name] = String(port);
  return {
    ...env,
    ...passedOn(host),
    // The home of the agent's user is not that of another.
    ...(settings.runAs === null ? {} : { HOME: place.data, USER: settings.runAs.user }),
    ...run.entryPoint?.env,
    ...settings.env,
    UPKEEP_PRODUCT: place.product,
    UPKEEP_VERSION: run.version,
    UPKEEP_SLOT: place.slot,
    UPKEEP_COMPONENT_DATA: place.data,
    UPKEEP_LOCKS: place.locks,
    UPKEEP_COMPONENTS: place.components,
  };
}

/** Whose rights every program of the slot has, its service and its probe alike. */
export function asOf(place: Place, { runAs }: ComponentSettings): { readonly as?: RunAs } {
  return runAs === null ? {} : { as: { ...runAs, data: place.data } };
}

/** The launch of a slot's entry point, and a digest of it: a running process with another one was started otherwise. */
export function launchOf(
  run: RunSpec & { readonly entryPoint: NonNullable<RunSpec["entryPoint"]> },
  place: Place,
  settings: ComponentSettings,
  host: HostEnvironment,
  given: GivenPorts = {},
): { readonly spec: Launch; readonly digest: string } {
  const [program, ...args] = run.entryPoint.command;
  const env = environmentOf(run, place, settings, host, given);
  const as = asOf(place, settings);
  const spec = { program: `${place.slot}/${program!}`, args, cwd: place.slot, env, log: place.log, ...as };
  // Of the host's own environment only what was set on purpose counts: a changed PATH is no reason to restart.
  const sockets = socketsOf(run, settings);
  const parts = [
    place.slot,
    run.entryPoint,
    settings.env,
    ...(sockets.length === 0 ? [] : [sockets]),
    ...(settings.runAs === null ? [] : [settings.runAs]),
  ];
  const digest = sha256Hex(toUtf8(JSON.stringify(parts)));
  return { spec, digest };
}

/** The port of an HTTP probe, as the component finds it in its environment. Errors: `process/no-port`. */
export function portOf(
  health: Extract<Health, { kind: "http" }>,
  env: Readonly<Record<string, string>>,
  product: string,
): number {
  if (typeof health.port === "number") return health.port;
  const text = env[health.port.env] ?? "";
  const port = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : 0;
  if (port === 0 || port > 65535) {
    throw new ProcessError(
      "process/no-port",
      `The health probe of ${product} asks on the port in ${health.port.env}, which is ${text === "" ? "not set" : "no port number"}.`,
      { product, variable: health.port.env },
      { hint: `Set components.${product}.env.${health.port.env} in the agent's settings.` },
    );
  }
  return port;
}

export function rulesOf(run: RunSpec, wellBefore: boolean): ProbationRules {
  const { health } = run;
  return {
    job: health?.kind === "exit-code",
    startSeconds: health?.startSeconds ?? 0,
    intervalSeconds: health?.intervalSeconds ?? 1,
    timeoutSeconds: health?.timeoutSeconds ?? 1,
    successes: health?.successes ?? 1,
    failures: health?.failures ?? 1,
    probationSeconds: health?.probationSeconds ?? 0,
    wellBefore,
  };
}
