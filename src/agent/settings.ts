// What the operator of one device may set: never what runs, only how it is run here.

import { parentOf } from "../core/disk.ts";
import { DAY, SECOND } from "../core/instant.ts";
import type { Json } from "../core/json.ts";
import { AgentError } from "./errors.ts";
import { budgetSchema } from "../manners/budget.ts";
import { ownPolicySchema } from "./manners-settings.ts";
import { checkSchema, nameSchema, z } from "../core/schema.ts";
import type { RunAs } from "../process/ports.ts";
import { NO_PLACE, parseSocketPlace } from "../release/sockets.ts";
import { isSlotPath } from "../release/slot-path.ts";
import type { CommandPlaces } from "../slot/command-folder.ts";

const seconds = (least: number, most: number) => z.number().check(z.int(), z.minimum(least), z.maximum(most));

const NOT_A_MIRROR = "is neither an https address without user, query and fragment, nor an absolute folder";

/** https (or http, which `parseSettings` judges), or a folder. */
function isMirror(text: string): boolean {
  if (text.startsWith("/")) return !text.includes("\0");
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && username + password + search + hash === "";
}

const NOT_A_PLACE = "is no host:port, for example updates.example.org:8443";

function isPlace(text: string): boolean {
  return placeIn(text) !== null;
}

/** `host:port`, an IPv6 address in brackets, `https://` before it or not; null for anything else. */
export function placeIn(text: string): { readonly host: string; readonly port: number } | null {
  const match = /^(?:https:\/\/)?(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})\/?$/.exec(text);
  const port = Number(match?.[3] ?? Number.NaN);
  return match === null || port < 1 || port > 65_535 ? null : { host: match[1] ?? match[2]!, port };
}

const NOT_A_PROXY = 'is neither "none" nor an http or https address with nothing behind its port';

function isProxy(text: string): boolean {
  if (text === "none") return true;
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return false;
  const { pathname, search, hash } = new URL(text);
  return (pathname === "" || pathname === "/") && search + hash === "";
}

const folderSchema = z
  .string()
  .check(
    z.maxLength(1024),
    z.regex(
      /^\/(?!.*(?:\/\/|\/\.{1,2}(?:\/|$)|\0))(?:.*[^/])$/,
      "expected an absolute path such as /usr/local/bin",
    ),
  );

const environmentSchema = z.record(
  z.string().check(z.regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, "not a name of an environment variable")),
  z.string().check(z.maxLength(4096), z.regex(/^[^\0]*$/, "holds a NUL")),
);

const handlerSchema = z
  .strictObject({
    /** Absolute; with `component`, a path inside its slot. */
    program: z.string().check(z.minLength(1), z.maxLength(1024), z.regex(/^[^\0]*$/, "holds a NUL")),
    /** The component that holds the program. */
    component: z.exactOptional(nameSchema),
    args: z.exactOptional(
      z.array(z.string().check(z.maxLength(4096), z.regex(/^[^\0]*$/, "holds a NUL"))).check(z.maxLength(64)),
    ),
    env: z.exactOptional(environmentSchema),
    /** Each step may take this long. */
    timeoutSeconds: z.exactOptional(seconds(1, DAY / SECOND)),
    /** Which products it may install; without it, every product that names it. */
    products: z.exactOptional(z.array(nameSchema).check(z.maxLength(64))),
  })
  .check(
    z.refine(
      ({ program, component }) => (component === undefined ? program.startsWith("/") : isSlotPath(program)),
      "program is neither absolute nor, with component, a path inside its slot",
    ),
  );

export const settingsSchema = z.strictObject({
  /** Seconds between checks until the server names another interval. */
  interval: z.exactOptional(seconds(10, DAY / SECOND)),
  /** Upper bound of the random wait before the first check after a start. */
  startSpread: z.exactOptional(seconds(0, 3600)),
  /** Further addresses of the update server, `host:port`, used in turn while the one before does not answer; all prove the same authority. */
  servers: z.exactOptional(
    z.array(z.string().check(z.maxLength(262), z.refine(isPlace, NOT_A_PLACE))).check(z.maxLength(8)),
  ),
  /** Copies of the repository, used when the server's own cannot be had or is older: `https://…` or an absolute folder that holds metadata/ and targets/. */
  mirrors: z.exactOptional(
    z.array(z.string().check(z.maxLength(2048), z.refine(isMirror, NOT_A_MIRROR))).check(z.maxLength(8)),
  ),
  /** Allows `http://` among the mirrors: whoever is on the way sees what this device fetches. */
  untrustedHttp: z.exactOptional(z.boolean()),
  /**
   * The proxy that connections to the outside go through, `http://[NAME:PASSWORD@]HOST:PORT` or `https://…`; `none` for no proxy.
   * Without it, HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment hold.
   */
  proxy: z.exactOptional(z.string().check(z.maxLength(2048), z.refine(isProxy, NOT_A_PROXY))),
  /** With `proxy`: names (with what is below them), addresses and networks that are asked directly. */
  noProxy: z.exactOptional(
    z
      .array(z.string().check(z.minLength(1), z.maxLength(255), z.regex(/^\S+$/, "holds a blank")))
      .check(z.maxLength(64)),
  ),
  /** When updates are activated here, and who is asked. */
  policy: z.exactOptional(ownPolicySchema),
  /** What work in the background may use. */
  budget: z.exactOptional(budgetSchema),
  /** What is read before a component is started: every byte, or only of files that changed since they were read last. */
  verify: z.exactOptional(z.enum(["always", "changed"])),
  /** Where command-line programs become reachable to the users of this machine, such as /usr/local/bin; without it, nowhere. */
  commandFolder: z.exactOptional(folderSchema),
  /** Where their public copies are; without it, `lib/upkeep` beside the folder. */
  commandStore: z.exactOptional(folderSchema),
  /** By name: the programs that may install what a release leaves to a handler. No release and no server can name another. */
  handlers: z.exactOptional(z.record(nameSchema, handlerSchema)),
  components: z.exactOptional(
    z.record(
      nameSchema,
      z.strictObject({
        /** Added to, and stronger than, the environment of the release. */
        env: z.exactOptional(environmentSchema),
        /** Seconds that the component has to end after SIGTERM. */
        stopSeconds: z.exactOptional(seconds(0, 3600)),
        /** Addresses in place of those of the release, by the names of its sockets: `tcp:8080`, `tcp:127.0.0.1:8080`, `unix:/PATH`. */
        sockets: z.exactOptional(
          z.record(
            z.string().check(z.maxLength(64)),
            z.string().check(z.refine((text) => parseSocketPlace(text) !== null, NO_PLACE)),
          ),
        ),
        /** The user that it runs as, a name or a number; `own` for a number that is nobody else's. Absent: the agent's own user. */
        runAs: z.exactOptional(
          z
            .string()
            .check(z.regex(/^(?:[a-z_][a-z0-9_.-]{0,31}|\d{1,10})$/, "is neither a user nor a number")),
        ),
        /** With `runAs`: how much memory and how many processes it may have at most. */
        memoryBytes: z.exactOptional(z.number().check(z.int(), z.minimum(1024 ** 2))),
        processes: z.exactOptional(z.number().check(z.int(), z.minimum(1), z.maximum(1_000_000))),
        /** Largest data folder that is copied before an update; 0 switches copies off. */
        snapshotBytes: z.exactOptional(z.number().check(z.int(), z.minimum(0))),
      }),
    ),
  ),
});
export type Settings = z.infer<typeof settingsSchema>;

export type ComponentSettings = {
  readonly env: Readonly<Record<string, string>>;
  readonly stopMs: number;
  readonly snapshotBytes: number;
  /** Bytes of the volume that no update takes. */
  readonly diskFloor: number;
  readonly sockets: Readonly<Record<string, string>>;
  /** Null: as the agent itself. */
  readonly runAs: Omit<RunAs, "data"> | null;
  readonly verify: NonNullable<Settings["verify"]>;
  /** Null: command-line programs are installed, and reachable nowhere. */
  readonly commands: CommandPlaces | null;
  readonly handlers: Readonly<Record<string, HandlerSettings>>;
};

export type HandlerSettings = {
  readonly program: string;
  readonly component: string | null;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutSeconds: number;
  readonly products: readonly string[] | null;
};
const HANDLER_SECONDS = 600;

export const DEFAULT_INTERVAL = 300;
export const DEFAULT_START_SPREAD = 2;

/** Errors: `schema/invalid`, `agent/bad-settings`. */
export function parseSettings(value: Json): Settings {
  const settings = checkSchema(settingsSchema, value, "settings of the agent");
  for (const mirror of settings.mirrors ?? []) refuseClear(mirror, settings);
  for (const [product, { runAs, memoryBytes, processes }] of Object.entries(settings.components ?? {}))
    if (runAs === undefined && (memoryBytes !== undefined || processes !== undefined))
      throw new AgentError(
        "agent/bad-settings",
        `components.${product} has limits and no separate user: the limits of the agent's user would hold for the agent as well.`,
        { product },
        { hint: `Set components.${product}.runAs, for example to "own".` },
      );
  return settings;
}

/** Errors: `agent/bad-settings` for an http address that the settings do not allow. */
export function refuseClear(mirror: string, settings: Pick<Settings, "untrustedHttp">): void {
  if (!/^http:/i.test(mirror) || settings.untrustedHttp === true) return;
  throw new AgentError(
    "agent/bad-settings",
    `The mirror ${mirror} would be asked in the clear.`,
    { mirror },
    {
      hint: "Use https, or allow it with untrustedHttp = true in agent.toml: content is verified all the same, but others can see and block it.",
    },
  );
}

export function componentSettings(settings: Settings, product: string): ComponentSettings {
  const own = settings.components?.[product];
  return {
    env: own?.env ?? {},
    stopMs: (own?.stopSeconds ?? 10) * SECOND,
    snapshotBytes: own?.snapshotBytes ?? 1024 ** 3,
    diskFloor: settings.budget?.diskFloor ?? 0,
    sockets: own?.sockets ?? {},
    runAs: runAsOf(own),
    // A bit that rots changes no time of its file: only reading finds it.
    verify: settings.verify ?? "always",
    commands: commandPlaces(settings),
    handlers: Object.fromEntries(
      Object.entries(settings.handlers ?? {}).map(([name, one]) => [
        name,
        {
          program: one.program,
          component: one.component ?? null,
          args: one.args ?? [],
          env: one.env ?? {},
          timeoutSeconds: one.timeoutSeconds ?? HANDLER_SECONDS,
          products: one.products ?? null,
        },
      ]),
    ),
  };
}

function runAsOf(own: NonNullable<Settings["components"]>[string] | undefined): ComponentSettings["runAs"] {
  if (own?.runAs === undefined) return null;
  const { memoryBytes, processes } = own;
  return {
    user: own.runAs,
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(processes === undefined ? {} : { processes }),
  };
}

function commandPlaces({ commandFolder, commandStore }: Settings): CommandPlaces | null {
  if (commandFolder === undefined) return null;
  return { folder: commandFolder, store: commandStore ?? `${parentOf(commandFolder)}/lib/upkeep` };
}

/** What `agent.toml` sets for components that this device does not have, each in a sentence: most likely a name that was misspelt. */
export function strayComponents(settings: Settings, products: readonly string[]): readonly string[] {
  return Object.keys(settings.components ?? {})
    .filter((name) => !products.includes(name))
    .map((name) => {
      const near = products.find((product) => isNear(name, product));
      return `agent.toml sets something for the component ${name}, which this device does not have${near === undefined ? "" : `; it has ${near}`}.`;
    });
}

/** One letter more, less or other, or two that changed places. */
function isNear(a: string, b: string): boolean {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a];
  if (long.length - short.length > 1) return false;
  let start = 0;
  while (start < short.length && short[start] === long[start]) start++;
  let end = 0;
  while (end < short.length - start && short.at(-1 - end) === long.at(-1 - end)) end++;
  const [left, right] = [short.slice(start, short.length - end), long.slice(start, long.length - end)];
  return left.length + right.length <= 2 || (left.length === 2 && right === `${left[1]}${left[0]}`);
}
