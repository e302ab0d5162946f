// What a release says about how it is run: wishes of the command line, of a settings file, and of the release before.

import { resolve } from "node:path";
import { parse as parseToml } from "smol-toml";
import { fromUtf8 } from "../../../core/bytes.ts";
import type { Json } from "../../../core/json.ts";
import { checkSchema, z } from "../../../core/schema.ts";
import type { ComponentKind } from "../../../release/component-kind.ts";
import { releaseSchema, type Health, type ReleaseManifest } from "../../../release/manifest.ts";
import { handOverSchema, socketsSchema } from "../../../release/sockets.ts";
import type { NewArtifact } from "../../../repository/publish/release-publisher.ts";
import type { Call } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { kindWish } from "./kind-options.ts";

const TIMINGS = {
  startSeconds: 30,
  intervalSeconds: 5,
  timeoutSeconds: 10,
  successes: 2,
  failures: 3,
  probationSeconds: 60,
} as const;

export type ReleaseSettings = Pick<
  ReleaseManifest,
  "component" | "entryPoint" | "health" | "publisher" | "sockets" | "handOver"
> &
  Partial<Pick<ReleaseManifest, "dependencies">>;

/** Wishes of the command line before those of the file, before what the earlier release had. */
export async function settingsOf(
  call: Call,
  product: string,
  artifacts: readonly NewArtifact[],
  earlier: ReleaseManifest | null,
): Promise<ReleaseSettings> {
  const config = await configOf(call);
  const inherited: string[] = [];
  const pick = <T>(what: string, given: T | undefined, before: T | undefined): T | undefined => {
    if (given !== undefined) return given;
    if (before !== undefined) inherited.push(what);
    return before;
  };
  const publisher = pick("publisher", config.publisher, earlier?.publisher);
  const common = { ...optional("publisher", publisher), ...optional("dependencies", config.dependencies) };
  const told = (): void => {
    if (inherited.length > 0 && earlier !== null)
      call.context.note(`as in ${product} ${earlier.version}: ${inherited.join(", ")}`);
  };
  const component = componentOf(call, product, artifacts, config.component, earlier, inherited);
  if (call.flag("data-only")) {
    if (call.text("run") !== undefined) throw usage("--data-only and --run contradict each other.");
    return { ...common, ...optional("component", component) };
  }
  // Of other kinds nothing is started, and a probe is a program that is asked.
  if (startsNothing(call, component)) {
    const probe = call.text("health");
    const asked = probe === undefined ? config.health : parseHealth(probe);
    const before = earlier?.health?.kind === "command" ? earlier.health : undefined;
    const health = timed(call, pick("health probe", asked, before));
    told();
    return { ...common, ...optional("component", component), ...optional("health", health) };
  }
  const env = Object.fromEntries(call.list("env").map(parseEnv));
  const run = call.text("run");
  const onlyFiles = artifacts.every((artifact) => artifact.format === "file");
  let entryPoint = pick(
    "entry point",
    run === undefined ? config.entryPoint : { command: words(run) },
    earlier?.entryPoint ?? (onlyFiles ? { command: [product] } : undefined),
  );
  if (entryPoint === undefined) {
    throw usage(
      "The release has no entry point.",
      'Give --run "bin/program arguments", or --data-only when nothing is started.',
    );
  }
  if (Object.keys(env).length > 0) entryPoint = { ...entryPoint, env: { ...entryPoint.env, ...env } };
  const spec = call.text("health");
  const health = pick(
    "health probe",
    spec === undefined ? config.health : parseHealth(spec),
    earlier?.health,
  ) ?? {
    kind: "running",
    ...TIMINGS,
  };
  const serving = health.kind === "exit-code" ? {} : servingOf(call, config, earlier, pick);
  told();
  return {
    ...optional("component", component),
    entryPoint,
    ...optional("health", timed(call, health)),
    ...serving,
    ...common,
  };
}

function timed(call: Call, health: Health | undefined): Health | undefined {
  if (health === undefined) return undefined;
  return {
    ...health,
    ...optional("probationSeconds", call.whole("probation", 0, 604_800)),
    ...optional("startSeconds", call.whole("start-grace", 0, 3600)),
  };
}

/** The kind that was asked for; else, unless it is now run, the one of the release before. */
function componentOf(
  call: Call,
  product: string,
  artifacts: readonly NewArtifact[],
  fromFile: ComponentKind | undefined,
  earlier: ReleaseManifest | null,
  inherited: string[],
): ComponentKind | undefined {
  const wish = kindWish(call, product, artifacts);
  if (call.flag("data-only") && wish !== null && wish.kind !== "data")
    throw usage(`--data-only and --kind ${wish.kind} contradict each other.`);
  if (wish !== null) return wish.component;
  if (fromFile !== undefined) return fromFile;
  const before = earlier?.component;
  const kept = call.flag("data-only") ? before?.kind === "data" : call.text("run") === undefined;
  if (before === undefined || !kept) return undefined;
  inherited.push("kind");
  return before;
}

function startsNothing(call: Call, component: ComponentKind | undefined): boolean {
  if (component !== undefined) return component.kind !== "service";
  return call.text("kind") === "data";
}

/** `http:/health`, `http:8080/health`, `command:bin/check --fast`, `exit-code`, `running`. */
function parseHealth(text: string): Health {
  const http = /^http:(\d{1,5})?(\/.*)$/.exec(text);
  if (http !== null) {
    const port = http[1] === undefined ? { env: "PORT" } : Number(http[1]);
    return { kind: "http", path: http[2]!, port, ...TIMINGS };
  }
  if (text.startsWith("command:")) return { kind: "command", command: words(text.slice(8)), ...TIMINGS };
  if (text === "exit-code" || text === "running") return { kind: text, ...TIMINGS };
  throw usage(
    `"${text.slice(0, 60)}" is not a health probe.`,
    "One of: http:/path, http:PORT/path, command:PROGRAM ARGS, exit-code, running.",
  );
}

/** Longest drain that is assumed when none is given. */
const DRAIN_SECONDS = 30;

/** Sockets and the hand-over, from the command line, the file, or the release before. */
function servingOf(
  call: Call,
  config: ReleaseSettings,
  earlier: ReleaseManifest | null,
  pick: <T>(what: string, given: T | undefined, before: T | undefined) => T | undefined,
): Pick<ReleaseSettings, "sockets" | "handOver"> {
  const given = call.list("socket").map((text) => {
    const at = text.indexOf("=");
    if (at <= 0)
      throw usage(`"${text.slice(0, 60)}" is not NAME=ADDRESS.`, "Write for example http=tcp:8080.");
    return { name: text.slice(0, at), address: text.slice(at + 1) };
  });
  const sockets = pick("sockets", given.length === 0 ? config.sockets : given, earlier?.sockets);
  const drain = call.whole("drain", 0, 86_400);
  const ready = call.flag("notify") ? ("notify" as const) : undefined;
  const asked = call.flag("hand-over");
  if (!asked && (drain !== undefined || ready !== undefined))
    throw usage("--drain and --notify say how a version hands over.", "Give --hand-over as well.");
  const wanted: ReleaseSettings["handOver"] = asked
    ? { drainSeconds: drain ?? DRAIN_SECONDS, ready: ready ?? "probe" }
    : config.handOver;
  const handOver = pick("hand-over", wanted, earlier?.handOver);
  return { ...optional("sockets", sockets), ...optional("handOver", handOver) };
}

const configSchema = z.strictObject({
  component: releaseSchema.shape.component,
  entryPoint: z.exactOptional(releaseSchema.shape.entryPoint),
  health: z.exactOptional(z.looseObject({ kind: z.string() })),
  publisher: z.exactOptional(releaseSchema.shape.publisher),
  dependencies: z.exactOptional(releaseSchema.shape.dependencies),
  sockets: z.exactOptional(socketsSchema),
  handOver: z.exactOptional(handOverSchema),
});

async function configOf(call: Call): Promise<ReleaseSettings> {
  const path = call.text("config");
  if (path === undefined) return {};
  const text = fromUtf8(await call.context.disk.read(resolve(path), 1 << 20));
  let value: unknown;
  try {
    value = parseToml(text);
  } catch (cause) {
    throw new CliError("cli/usage", `${path} is not valid TOML.`, { path }, { cause });
  }
  commandsFromTop(value);
  const config = checkSchema(configSchema, value as Json, `release settings in ${path}`);
  const { health, ...rest } = config;
  const { component, entryPoint, publisher, dependencies, sockets, handOver } = rest;
  return {
    ...optional("component", component),
    ...optional("entryPoint", entryPoint),
    ...optional("publisher", publisher),
    ...optional("dependencies", dependencies),
    ...optional("sockets", sockets),
    ...optional("handOver", handOver),
    // Timings that are not written down are the usual ones; the manifest's own schema judges the result.
    ...(health === undefined ? {} : { health: { ...TIMINGS, ...health } as unknown as Health }),
  };
}

export async function notesOf(call: Call): Promise<string | undefined> {
  const path = call.text("notes-file");
  return path === undefined ? undefined : fromUtf8(await call.context.disk.read(resolve(path), 16384));
}

export function parseDependency(text: string): ReleaseManifest["dependencies"][number] {
  const at = text.indexOf("@");
  if (at <= 0)
    throw usage(`"${text.slice(0, 60)}" is not a dependency.`, "Write for example db@>=1.2.0 or db@*.");
  return { product: text.slice(0, at), range: text.slice(at + 1) };
}

function parseEnv(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at <= 0) throw usage(`"${text.slice(0, 60)}" is not NAME=VALUE.`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function words(text: string): string[] {
  return fromTop(text.split(" ").filter((word) => word !== ""));
}

/** `./bin/x` is what people write for a program of the slot, and means `bin/x`. */
function fromTop([program, ...rest]: readonly string[]): string[] {
  return program === undefined ? [] : [program.replace(/^(?:\.\/+)+/, ""), ...rest];
}

/** The same in a settings file, before its schema judges it. */
function commandsFromTop(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  for (const part of Object.values(value)) {
    const { command } = (part ?? {}) as { command?: unknown };
    if (Array.isArray(command) && command.every((word) => typeof word === "string"))
      (part as { command: string[] }).command = fromTop(command);
  }
}

export function optional<K extends string, V>(name: K, value: V | undefined): { readonly [P in K]?: V } {
  return (value === undefined ? {} : { [name]: value }) as { readonly [P in K]?: V };
}
