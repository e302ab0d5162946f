// What a release says about how it is run: wishes of the command line, of a settings file, and of the release before.

import { resolve } from "node:path";
import { parse as parseToml } from "smol-toml";
import { fromUtf8 } from "../../../core/bytes.ts";
import type { Json } from "../../../core/json.ts";
import { checkSchema, z } from "../../../core/schema.ts";
import { releaseSchema, type Health, type ReleaseManifest } from "../../../release/manifest.ts";
import type { NewArtifact } from "../../../repository/publish/release-publisher.ts";
import type { Call } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";

const TIMINGS = {
  startSeconds: 30,
  intervalSeconds: 5,
  timeoutSeconds: 10,
  successes: 2,
  failures: 3,
  probationSeconds: 60,
} as const;

export type ReleaseSettings = Pick<ReleaseManifest, "entryPoint" | "health" | "publisher"> &
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
  if (call.flag("data-only")) {
    if (call.text("run") !== undefined) throw usage("--data-only and --run contradict each other.");
    return { ...optional("publisher", publisher), ...optional("dependencies", config.dependencies) };
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
  const probation = call.whole("probation", 0, 604_800);
  const grace = call.whole("start-grace", 0, 3600);
  if (inherited.length > 0 && earlier !== null)
    call.context.note(`as in ${product} ${earlier.version}: ${inherited.join(", ")}`);
  return {
    entryPoint,
    health: {
      ...health,
      ...optional("probationSeconds", probation),
      ...optional("startSeconds", grace),
    },
    ...optional("publisher", publisher),
    ...optional("dependencies", config.dependencies),
  };
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

const configSchema = z.strictObject({
  entryPoint: z.exactOptional(releaseSchema.shape.entryPoint),
  health: z.exactOptional(z.looseObject({ kind: z.string() })),
  publisher: z.exactOptional(releaseSchema.shape.publisher),
  dependencies: z.exactOptional(releaseSchema.shape.dependencies),
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
  const { entryPoint, publisher, dependencies } = rest;
  return {
    ...optional("entryPoint", entryPoint),
    ...optional("publisher", publisher),
    ...optional("dependencies", dependencies),
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
