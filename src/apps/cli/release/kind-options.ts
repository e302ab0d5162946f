// What `release add` says about the kind of a component: its options, and the member of the manifest that they become.

import {
  RELOAD_SIGNALS,
  type ComponentKind,
  type Reload,
  type ReloadSignal,
} from "../../../release/component-kind.ts";
import type { NewArtifact } from "../../../repository/publish/release-publisher.ts";
import type { Call, OptionSpec } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";

const RELOAD_SECONDS = 30;
const SETTLE_SECONDS = 2;

export const KIND_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--kind <kind>",
    about: "what kind of component it is (a service with an entry point, else data)",
    choices: ["service", "command", "data", "handler"],
  },
  {
    flags: "--command <[NAME=]path>",
    about: "kind command: a program of the artifact that users of the device call, and its name",
    repeat: true,
  },
  {
    flags: "--reload <how>",
    about: "kind data: how readers learn of it: signal:PRODUCT[:SIGHUP], command:PROGRAM ARGS, or watch",
  },
  { flags: "--extends <product>", about: "kind data: the product whose data it augments" },
  { flags: "--handler <name>", about: "kind handler: which handler of the device installs it" },
  { flags: "--handler-file <path>", about: "kind handler: the file of the artifact that it installs" },
  { flags: "--handler-setting <NAME=VALUE>", about: "kind handler: for the handler alone", repeat: true },
];

const BELONGS: { readonly [option: string]: ComponentKind["kind"] } = {
  command: "command",
  reload: "data",
  extends: "data",
  handler: "handler",
  "handler-file": "handler",
  "handler-setting": "handler",
};

/**
 * The kind that the options name, or the one that follows from them; null if they say nothing. Plain services and plain data have no member of
 * their own, so that devices from before kinds take them. Errors: `cli/usage`.
 */
export function kindWish(
  call: Call,
  product: string,
  artifacts: readonly NewArtifact[],
): { readonly kind: ComponentKind["kind"]; readonly component: ComponentKind | undefined } | null {
  const given = Object.keys(BELONGS).filter((name) =>
    ["command", "handler-setting"].includes(name)
      ? call.list(name).length > 0
      : call.text(name) !== undefined,
  );
  const named = call.text("kind") as ComponentKind["kind"] | undefined;
  const kinds = new Set([...(named === undefined ? [] : [named]), ...given.map((name) => BELONGS[name]!)]);
  if (kinds.size === 0) return null;
  if (kinds.size > 1)
    throw usage(`These options are for different kinds of component: ${[...kinds].join(", ")}.`);
  const [kind] = [...kinds];
  if (kind !== "service" && call.text("run") !== undefined)
    throw usage(`--run is for a service; the agent starts nothing of a component of kind ${kind!}.`);
  return { kind: kind!, component: componentOf(call, kind!, product, artifacts) };
}

function componentOf(
  call: Call,
  kind: ComponentKind["kind"],
  product: string,
  artifacts: readonly NewArtifact[],
): ComponentKind | undefined {
  const onlyFiles = artifacts.every(({ format }) => format === "file");
  switch (kind) {
    case "service":
      return undefined;
    case "command": {
      const words = call.list("command");
      if (words.length === 0 && !onlyFiles)
        throw usage("Which programs of the artifact do users call? Give --command bin/PROGRAM.");
      const programs = words.length === 0 ? [{ name: product, path: product }] : words.map(programOf);
      return { kind, programs };
    }
    case "data": {
      const [reload, base] = [call.text("reload"), call.text("extends")];
      if (reload === undefined && base === undefined) return undefined;
      return {
        kind,
        ...(reload === undefined ? {} : { reload: parseReload(reload) }),
        ...(base === undefined ? {} : { extends: base }),
      };
    }
    case "handler": {
      const file = call.text("handler-file") ?? (onlyFiles ? product : undefined);
      if (file === undefined)
        throw usage("Which file of the artifact does the handler install? Give --handler-file PATH.");
      const settings = call.list("handler-setting").map(settingOf);
      return {
        kind,
        handler: call.needed("handler"),
        file,
        ...(settings.length === 0 ? {} : { settings: Object.fromEntries(settings) }),
      };
    }
  }
}

function programOf(text: string): { readonly name: string; readonly path: string } {
  const match = /^(?:([^=/]+)=)?(?:\.\/)*(.+)$/.exec(text);
  const path = match?.[2] ?? text;
  return { name: match?.[1] ?? path.slice(path.lastIndexOf("/") + 1), path };
}

function parseReload(text: string): Reload {
  if (text === "watch") return { kind: "watch" };
  const signal = /^signal:([^:]+)(?::([A-Z0-9]+))?$/.exec(text);
  if (signal !== null) {
    const name = signal[2] ?? "SIGHUP";
    if (!(RELOAD_SIGNALS as readonly string[]).includes(name))
      throw usage(`${name} is not a signal for reloading.`, `One of: ${RELOAD_SIGNALS.join(", ")}.`);
    return {
      kind: "signal",
      product: signal[1]!,
      signal: name as ReloadSignal,
      settleSeconds: SETTLE_SECONDS,
    };
  }
  if (text.startsWith("command:")) {
    const [program = "", ...args] = text
      .slice(8)
      .split(" ")
      .filter((word) => word !== "");
    const command = [program.replace(/^(?:\.\/+)+/, ""), ...args];
    return { kind: "command", command, timeoutSeconds: RELOAD_SECONDS };
  }
  throw usage(
    `"${text.slice(0, 60)}" is no way to reload.`,
    "One of: signal:PRODUCT, signal:PRODUCT:SIGUSR1, command:PROGRAM ARGS, watch.",
  );
}

function settingOf(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at <= 0) throw usage(`"${text.slice(0, 60)}" is not NAME=VALUE.`);
  return [text.slice(0, at), text.slice(at + 1)];
}
