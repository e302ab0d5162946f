// What `agent status` shows: what is happening, why nothing is, and until when. Written to status.json at every change.

import { formatInstant, type Instant } from "../core/instant.ts";
import type { AttemptState } from "./attempt-table.ts";
import { recalledHere } from "../slot/state.ts";
import type { BytesBy } from "../slot/journal-event.ts";
import type { Component } from "./component.ts";
import type { Wait } from "./manners.ts";
import type { Notice } from "./ports.ts";
import type { WaitReason } from "./policy.ts";
import { uninstalledSentence } from "./uninstall.ts";
import type { ComponentResult } from "./update-component.ts";

export type ComponentStatus = {
  readonly product: string;
  readonly running: string | null;
  readonly committed: string | null;
  readonly floor: string | null;
  readonly pid: number | null;
  /** The open attempt, or null. */
  readonly attempt: {
    readonly to: string;
    readonly state: AttemptState;
    readonly bytes: number;
    readonly length: number;
  } | null;
  /** Where the bytes of the last installed release came from; null if that is not known. */
  readonly fetched: (BytesBy & { readonly detour?: string }) | null;
  /** What is wrong with the installed files, in a sentence; null if nothing is known to be. */
  readonly damage: string | null;
  /** Why the publisher took back what is installed; null if it did not, as far as is known. */
  readonly recalled: string | null;
  /** Why it is as it is. Always a sentence. */
  readonly why: string;
  /** When that changes by itself, if it is known. */
  readonly until: string | null;
  /** What an update that is at hand waits for: the rule that decides, when it ends at the latest, and the command that changes it. */
  readonly wait: { readonly rule: string; readonly until: string | null; readonly command: string } | null;
  /** The code of the last refusal or failure, until something succeeds. */
  readonly code: string | null;
  readonly skipped: readonly { readonly version: string; readonly code: string }[];
};

export type CheckStatus = {
  readonly at: string;
  readonly result: "ok" | "failed";
  readonly code: string | null;
  readonly message: string | null;
};

export type Status = {
  readonly format: 1;
  readonly written: string;
  readonly pid: number;
  readonly device: string;
  readonly doing: "starting" | "checking" | "waiting" | "stopping" | "stopped";
  /** Why nothing is happening, in a sentence; null while something is. */
  readonly why: string | null;
  readonly until: string | null;
  readonly lastCheck: CheckStatus | null;
  /** What the last refresh of the repository noticed that did not stop it: failing mirrors, a clock set back, expiry to come. */
  readonly notices: readonly Notice[];
  readonly wakeUps: "connected" | "disconnected";
  readonly reportsWaiting: number;
  /** Counts of the messages that came, by what became of them; never what one said. */
  readonly messages?: {
    readonly accepted: number;
    readonly coalesced: number;
    readonly waiting: readonly { readonly kind: string; readonly when: string; readonly since: string }[];
    readonly dropped: { readonly [reason: string]: number };
  };
  readonly components: readonly ComponentStatus[];
};

/** One component as it is now. `result` is how its last check went, `attempt` what is under way. */
export async function componentStatus(
  component: Component,
  result: ComponentResult | null,
  attempt: ComponentStatus["attempt"],
  wait: Wait | null = null,
): Promise<ComponentStatus> {
  const { product, state, supervised } = component;
  const running = await component.running().catch(() => null);
  const recalled = state.committed === null ? undefined : recalledHere(state, state.committed.version);
  const gone = component.uninstalled;
  const idle =
    gone !== null
      ? uninstalledSentence(product, gone)
      : (result?.reason ?? "It was not checked since the agent started.");
  const until =
    attempt?.state === "probation" ? component.probationEnds : (wait?.until ?? result?.until ?? null);
  const open = component.openAttempt;
  const ready = attempt === null && wait !== null && open?.staged === true && !open.activating;
  return {
    product,
    running,
    committed: state.committed?.version ?? null,
    floor: state.floor,
    pid: running === null ? null : (supervised?.process.identity.pid ?? null),
    attempt: ready
      ? { to: open.begin.to.version, state: "ready", bytes: open.begin.length, length: open.begin.length }
      : attempt,
    fetched: fetchedBy(component),
    damage: component.guard.damage?.what ?? null,
    recalled: recalled?.reason ?? null,
    why: [
      recalledSentence(recalled),
      component.withheld === null ? "" : `${component.withheld.reason} `,
      attempt !== null ? attemptSentence(attempt) : wait === null ? idle : waitingSentence(wait, idle),
      component.outside === null ? "" : ` ${component.outside.reason}`,
    ].join(""),
    until: until === null ? null : formatInstant(until),
    wait:
      wait === null || attempt !== null
        ? null
        : {
            rule: wait.rule,
            until: wait.until === null ? null : formatInstant(wait.until),
            command: wait.command,
          },
    code: gone !== null ? "agent/uninstalled" : (result?.code ?? component.outside?.code ?? null),
    skipped: state.skip.map(({ version, code }) => ({ version, code })),
  };
}

/** A repair says what is damaged, too. */
function waitingSentence(wait: Wait, idle: string): string {
  return wait.rule === "repair-grace" ? idle : `${wait.reason} \`${wait.command}\` changes it.`;
}

/** By the journal; fetched from one source alone, that source has all of it. */
function fetchedBy({ attempt }: Component): ComponentStatus["fetched"] {
  const verified = attempt?.verified ?? null;
  if (verified === null) return null;
  const { by, source, bytes, detour } = verified;
  return {
    ...(by ?? (source === "none" ? {} : { [source]: bytes })),
    ...(detour === undefined ? {} : { detour }),
  };
}

function recalledSentence(recalled: ReturnType<typeof recalledHere>): string {
  return recalled === undefined
    ? ""
    : `${recalled.version}, which is installed here, was recalled: ${recalled.reason.replace(/[.!]*$/, "")}. `;
}

function attemptSentence({ to, state }: NonNullable<ComponentStatus["attempt"]>): string {
  switch (state) {
    case "downloading":
    case "verifying":
    case "staging":
    case "ready":
    case "activating":
      return `${to} is coming: ${state}.`;
    case "probation":
      return `${to} runs on probation: it is committed if it stays well, else the version before comes back.`;
    case "rolling-back":
      return `${to} failed: the version before comes back.`;
    default:
      return `The attempt at ${to} is ending: ${state}.`;
  }
}

/** Why the agent waits, as a sentence. */
export function waitSentence(reason: WaitReason, until: Instant, lastCheck: CheckStatus | null): string {
  const at = formatInstant(until);
  switch (reason) {
    case "schedule":
      return `Nothing is due: the next check is at ${at}, or at a wake-up.`;
    case "missed-wake-up":
      return `A wake-up asks for a check: it is at ${at}, spread so that not all devices check at once.`;
    case "start":
      return `The first check after the start is at ${at}.`;
    case "retry-after":
      return `The server asked to be left alone until ${at}.`;
    case "back-off":
      return `The last check failed (${lastCheck?.code ?? "unknown"}): ${lastCheck?.message ?? ""} It is repeated at ${at}.`;
  }
}

/** What the last agent left behind, as it is to be read when none runs: nothing is under way, and nothing happens by itself. */
export function withoutAgent(left: Status): Status {
  return {
    ...left,
    doing: "stopped",
    why: "No agent runs, so nothing is checked until one is started.",
    until: null,
    wakeUps: "disconnected",
    components: left.components.map((component) =>
      component.attempt === null
        ? component
        : {
            ...component,
            attempt: null,
            why: `The update to ${component.attempt.to} was not finished when the agent ended (${component.attempt.state}); the next one goes on with it.`,
            until: null,
          },
    ),
  };
}
