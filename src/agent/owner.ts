// What the owner of a device and its applications may say about updates: hold, release, opt out, answer, lock; and what the policies make of it.

import { DAY, formatInstant, type Instant } from "../core/instant.ts";
import { deadlineOf, decide, type Choice, type Situation } from "../manners/decide.ts";
import { describeMerged } from "../manners/describe.ts";
import { KINDS, type Kind, type Policy } from "../manners/policy.ts";
import type { LockFile } from "../manners/locks.ts";
import type { Merged } from "../manners/merge.ts";
import type { Component } from "./component.ts";
import { AgentError } from "./errors.ts";
import type { Manners } from "./manners.ts";
import type { Pending } from "./manners-memory.ts";
import { LATER, type Prompt, type Prompter } from "./prompter.ts";

export type Owned = {
  readonly manners: Manners;
  readonly prompter: Prompter;
  readonly components: readonly Component[];
};

/** Holds and opt-outs that are remembered, of products that a device may not even have. */
const MOST = 200;

/** Holds and opt-outs as they stand. */
export type OwnerWord = {
  readonly holds: readonly { readonly scope: string; readonly until: string | null }[];
  readonly optedOut: readonly string[];
};

/** `until` null: until it is released. What is held is fetched all the same, and waits. Errors: `disk/*`. */
export async function hold({ manners }: Owned, scope: string, until: Instant | null): Promise<OwnerWord> {
  const others = manners.memory.holds.filter((one) => one.scope !== scope);
  const next = { scope, until: until === null ? null : formatInstant(until) };
  await manners.change({ holds: [...others, next].slice(-MOST) });
  return wordOf(manners);
}

/** Of "*", all holds end. Errors: `disk/*`. */
export async function release(
  { manners }: Owned,
  scope: string,
): Promise<OwnerWord & { readonly released: boolean }> {
  const before = manners.memory.holds;
  const holds = scope === "*" ? [] : before.filter((one) => one.scope !== scope);
  await manners.change({ holds });
  return { ...wordOf(manners), released: holds.length !== before.length };
}

/** Nothing is fetched or activated by itself, but what the deadline of a signed policy asks for. Errors: `disk/*`. */
export async function optOut({ manners }: Owned, scope: string): Promise<OwnerWord> {
  const others = manners.memory.optedOut.filter((one) => one !== scope);
  await manners.change({ optedOut: [...others, scope].slice(-MOST) });
  return wordOf(manners);
}

/** Errors: `disk/*`. */
export async function optIn({ manners }: Owned, scope: string): Promise<OwnerWord> {
  const optedOut = scope === "*" ? [] : manners.memory.optedOut.filter((one) => one !== scope);
  await manners.change({ optedOut });
  return wordOf(manners);
}

function wordOf({ memory: { holds, optedOut } }: Manners): OwnerWord {
  return { holds, optedOut };
}

/** What people are asked now, and what they answered and may answer otherwise. Errors: `disk/*`. */
export async function prompts(owned: Owned, language?: string): Promise<readonly Prompt[]> {
  const { manners, prompter } = owned;
  const found: Prompt[] = [];
  for (const pending of manners.memory.pending) {
    const component = owned.components.find(({ product }) => product === pending.product);
    if (component === undefined || pending.kind === "repair") continue;
    const looked = await manners.look(component, pending, "activate");
    if (looked.policy.when === "ask" || pending.answer !== null)
      found.push(prompter.promptOf(looked, language));
  }
  return found;
}

/** Errors: `manners/unknown-prompt`, `disk/*`. */
export function answer(
  { manners }: Owned,
  id: string,
  choice: Choice,
  forMs: number = LATER,
): Promise<Pending> {
  return manners.answer(id, choice, Math.min(forMs, 30 * DAY));
}

/** Errors: `agent/not-installed`, `manners/bad-lock`, `disk/*`. */
export async function lock(owned: Owned, product: string, holder: string, file: LockFile): Promise<void> {
  await owned.manners.locks(componentOf(owned, product)).take(holder, file);
}

/** Errors: `agent/not-installed`, `manners/bad-lock`. */
export function unlock(owned: Owned, product: string, holder: string): Promise<boolean> {
  return owned.manners.locks(componentOf(owned, product)).release(holder);
}

function componentOf({ components }: Owned, product: string): Component {
  const component = components.find((one) => one.product === product);
  if (component !== undefined) return component;
  throw new AgentError("agent/not-installed", `${product} is not installed on this device.`, { product });
}

export type ShownPolicy = {
  readonly group: Policy | null;
  readonly device: Policy | null;
  readonly zone: string;
  readonly holds: OwnerWord["holds"];
  readonly optedOut: readonly string[];
  readonly time: { readonly now: string; readonly signed: boolean };
  readonly products: readonly {
    readonly product: string;
    readonly kinds: readonly {
      readonly kind: Kind;
      readonly rows: readonly { readonly name: string; readonly value: string; readonly from: string }[];
    }[];
  }[];
};

/** What holds for each product and kind, and whose word each part is. Errors: `disk/*`. */
export async function showPolicy({ manners, components }: Owned): Promise<ShownPolicy> {
  const { now, signed } = await manners.time();
  const products = components.map(({ product }) => ({
    product,
    kinds: KINDS.map((kind) => ({
      kind,
      rows: describeMerged(manners.mergedFor(product, kind, now)).map(([name, value, from]) => ({
        name,
        value,
        from,
      })),
    })),
  }));
  const { group, device, zone } = manners;
  return { group, device, zone, ...wordOf(manners), time: { now: formatInstant(now), signed }, products };
}

export type Tested = {
  readonly product: string;
  readonly kind: Kind;
  readonly at: string;
  readonly do: "now" | "wait";
  readonly rule: string;
  readonly reason: string | null;
  readonly until: string | null;
  readonly command: string | null;
  readonly deadline: string | null;
};

/**
 * What would happen at an instant to an update that is at hand: to the one that waits, else to one that was learned of at that instant.
 * Load, power, locks and answers are those of now, for nobody knows those to come; interlocks are not asked. Errors: `disk/*`.
 */
export async function testPolicy(
  { manners, components }: Owned,
  at: Instant,
  only: { readonly product?: string; readonly kind?: Kind },
): Promise<readonly Tested[]> {
  const tested: Tested[] = [];
  for (const component of components) {
    const { product } = component;
    if (only.product !== undefined && only.product !== product) continue;
    const waiting = manners.memory.pending.find((one) => one.product === product && one.kind !== "repair");
    const kinds =
      only.kind === undefined
        ? waiting === undefined
          ? (["feature", "security"] as const)
          : [waiting.kind]
        : [only.kind];
    for (const kind of kinds) {
      const instant = formatInstant(at);
      const assumed: Pending = {
        product,
        version: "next",
        manifestSha256: "0".repeat(64),
        kind,
        since: instant,
        securitySince: kind === "security" ? instant : null,
        warned: [],
        answer: null,
        prompted: null,
        overdue: false,
      };
      const pending = waiting?.kind === kind ? waiting : assumed;
      const { situation, policy } = await manners.look(component, pending, "activate");
      tested.push(verdictAt({ ...situation, now: at, warned: situation.warned ?? situation.since }, policy));
    }
  }
  return tested;
}

function verdictAt(situation: Situation, policy: Merged): Tested {
  const verdict = decide(situation, policy);
  const waits = verdict.do === "wait" ? verdict : null;
  const deadline = deadlineOf(situation, policy);
  return {
    product: situation.product,
    kind: situation.kind,
    at: formatInstant(situation.now),
    do: verdict.do,
    rule: verdict.rule,
    reason: waits?.reason ?? null,
    until: waits === null || waits.until === null ? null : formatInstant(waits.until),
    command: waits?.command ?? null,
    deadline: deadline === null ? null : formatInstant(deadline),
  };
}
