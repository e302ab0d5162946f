// What kind of component a release is: a service, a command-line program, data, or what a handler installs. A closed list.

import type { Needs } from "../core/growth.ts";
import { FEATURES, type Feature } from "../core/features.ts";
import { nameSchema, z } from "../core/schema.ts";
import { commandSchema, programSchema, seconds, text } from "./slot-path.ts";

/** The word that a release with `component` has in its `needs`: a device that does not know kinds must not install it as something else. */
export const KINDS_FEATURE = "component-kinds" satisfies Feature;

/** The name under which users of the machine call a program. */
const callNameSchema = z
  .string()
  .check(z.regex(/^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/, "expected the name of a command such as shopctl"));

/** Only signals that programs use for reading their configuration again; never one that ends a program for certain. */
export const RELOAD_SIGNALS = ["SIGHUP", "SIGUSR1", "SIGUSR2"] as const;
export type ReloadSignal = (typeof RELOAD_SIGNALS)[number];

/** How running readers of the data learn that `current` was switched. */
const reloadSchema = z.discriminatedUnion("kind", [
  /** The main process of another component receives the signal, and has to stay well for `settleSeconds`. */
  z.strictObject({
    kind: z.literal("signal"),
    product: nameSchema,
    signal: z.enum(RELOAD_SIGNALS),
    settleSeconds: seconds(0, 600),
  }),
  /** A program of the new slot must end with 0 in time. */
  z.strictObject({ kind: z.literal("command"), command: commandSchema, timeoutSeconds: seconds(1, 600) }),
  /** Readers watch the pointer themselves. */
  z.strictObject({ kind: z.literal("watch") }),
]);
export type Reload = Readonly<z.infer<typeof reloadSchema>>;

const settingNameSchema = z
  .string()
  .check(z.regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, "expected a name such as partition"));

export const componentSchema = z.discriminatedUnion("kind", [
  /** Its entry point is started and watched. */
  z.strictObject({ kind: z.literal("service") }),
  /** Users of the machine call its programs; the agent starts none of them. */
  z.strictObject({
    kind: z.literal("command"),
    programs: z.array(z.strictObject({ name: callNameSchema, path: programSchema })).check(
      z.minLength(1),
      z.maxLength(64),
      z.refine(
        (list) => new Set(list.map(({ name }) => name.toLowerCase())).size === list.length,
        "two programs have the same name",
      ),
    ),
  }),
  /** Files that others read. */
  z.strictObject({
    kind: z.literal("data"),
    reload: z.exactOptional(reloadSchema),
    /** The product whose data it augments: it appears in that product's folder `addons`, under its own name. */
    extends: z.exactOptional(nameSchema),
  }),
  /** A program that the owner of the device allowed installs `file` (spec/handler.md). */
  z.strictObject({
    kind: z.literal("handler"),
    handler: nameSchema,
    file: programSchema,
    settings: z.exactOptional(z.record(settingNameSchema, text(4096))),
  }),
]);
export type ComponentKind = Readonly<z.infer<typeof componentSchema>>;
export type CommandKind = Extract<ComponentKind, { kind: "command" }>;
export type DataKind = Extract<ComponentKind, { kind: "data" }>;
export type HandlerKind = Extract<ComponentKind, { kind: "handler" }>;

type Judged = {
  readonly product: string;
  readonly component?: ComponentKind;
  readonly entryPoint?: object;
  readonly dependencies: readonly { readonly product: string }[];
  readonly needs?: Needs;
};

/** What contradicts the kind in the rest of the manifest, in words; null if nothing does. */
export function kindTrouble(manifest: Judged): string | null {
  const { product, component, entryPoint, dependencies, needs } = manifest;
  if (component === undefined) return null;
  // Devices from before kinds would pass over the member, and install something else than was signed.
  if (needs?.features.includes(KINDS_FEATURE) !== true)
    return `a release with "component" has to need the feature ${KINDS_FEATURE}`;
  if (component.kind === "service") return entryPoint === undefined ? "a service needs an entry point" : null;
  if (entryPoint !== undefined) return `the agent starts nothing of a component of kind ${component.kind}`;
  if (component.kind !== "data") return null;
  const { extends: base, reload } = component;
  if (base === product || (reload?.kind === "signal" && reload.product === product))
    return "it names itself as another product";
  if (base !== undefined && !dependencies.some((one) => one.product === base))
    return `it extends ${base}, which is not among its dependencies`;
  return null;
}

/** What a release with this kind has to need; nothing for one that devices from before kinds install as it is meant. */
export function needsOfKind(component: ComponentKind | undefined): { readonly needs?: Needs } {
  if (component === undefined) return {};
  return { needs: { features: [KINDS_FEATURE], version: FEATURES[KINDS_FEATURE] } };
}

/** The kind by which a release is installed, whether it names one or not. */
export function kindOf(release: {
  readonly component?: ComponentKind;
  readonly entryPoint?: object;
}): ComponentKind["kind"] {
  return release.component?.kind ?? (release.entryPoint === undefined ? "data" : "service");
}

/** Programs inside the slot that have to be startable, beside entry point and probe. */
export function programsOfKind(component: ComponentKind | undefined): readonly string[] {
  if (component?.kind === "command") return component.programs.map(({ path }) => path);
  if (component?.kind === "data" && component.reload?.kind === "command")
    return component.reload.command.slice(0, 1);
  return [];
}
