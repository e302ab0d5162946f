// The agent's side of manners: gathers facts for the decision, remembers what was learned and answered, and says what waits for what.

import type { UpkeepError } from "../core/errors.ts";
import { formatInstant, parseInstant, type Instant } from "../core/instant.ts";
import {
  deadlineOf,
  decide,
  refusesOld,
  warningsDue,
  type Choice,
  type Situation,
  type Stage,
  type Verdict,
} from "../manners/decide.ts";
import { MannersError } from "../manners/errors.ts";
import {
  firstAnchor,
  isWorthKeeping,
  signedAnchor,
  timeBy,
  type Anchor,
  type KnownTime,
} from "../manners/known-time.ts";
import { merge, type Merged } from "../manners/merge.ts";
import type { Kind, Policy } from "../manners/policy.ts";
import { recalledHere } from "../slot/state.ts";
import type { Instructions } from "./check.ts";
import type { Component } from "./component.ts";
import { AgentError } from "./errors.ts";
import { askInterlocks } from "./interlocks.ts";
import { Locks } from "./locks.ts";
import {
  EMPTY_MEMORY,
  holdOn,
  isOptedOut,
  isSameSubject,
  loadMemory,
  saveMemory,
  sinceOf,
  withAim,
  type MannersMemory,
  type Pending,
} from "./manners-memory.ts";
import type { World } from "./ports.ts";
import type { Settings } from "./settings.ts";

/** A wait as it is shown, kept and reported. */
export type Wait = Extract<Verdict, { do: "wait" }>;

/** Warnings about one update that are remembered; the first one counts. */
const MOST_WARNINGS = 64;

/** How an operator's wish bears on the decision. */
export type Wish = { readonly byHand: boolean; readonly asked: boolean };
export const NO_WISH: Wish = { byHand: false, asked: false };

/** All that the decision about one product rests on. */
export type Looked = {
  readonly situation: Situation;
  readonly policy: Merged;
  readonly pending: Pending;
};

export class Manners {
  readonly #world: World;
  readonly #path: string;
  readonly #settings: Settings;
  #memory: MannersMemory = EMPTY_MEMORY;
  #saving: Promise<unknown> = Promise.resolve();
  #anchor: Anchor | null = null;
  readonly #locks = new Map<string, Locks>();
  /** The last wait of each product, for the status. */
  readonly waits = new Map<string, Wait>();
  /** True when what an earlier run remembered could not be read. */
  lost = false;

  constructor(world: World, folder: string, settings: Settings) {
    this.#world = world;
    this.#path = `${folder}/manners.json`;
    this.#settings = settings;
  }

  get memory(): MannersMemory {
    return this.#memory;
  }

  get device(): Policy | null {
    const lines = this.#settings.policy?.lines;
    return lines === undefined ? null : { format: 1, lines };
  }

  get group(): Policy | null {
    return this.#memory.policy;
  }

  get zone(): string {
    return this.#settings.policy?.zone ?? this.#world.surroundings.zone();
  }

  /** Errors: `disk/*`. */
  async load(): Promise<void> {
    const found = await loadMemory(this.#world.disk, this.#path);
    this.lost = found === null;
    this.#memory = found ?? EMPTY_MEMORY;
    await this.time();
  }

  /** Known at once, so that of two changes none is lost; durable when it resolves. Errors: `disk/*`. */
  change(change: Partial<MannersMemory>): Promise<void> {
    this.#memory = { ...this.#memory, ...change };
    const save = (): Promise<void> => saveMemory(this.#world.disk, this.#path, this.#memory);
    const saved = this.#saving.then(save, save);
    this.#saving = saved.catch(() => undefined);
    return saved;
  }

  /** The time that waits are measured by. Errors: `disk/*`. */
  async time(): Promise<KnownTime> {
    const up = await this.#world.surroundings.uptime();
    const anchor = this.#anchor ?? this.#memory.anchor;
    const known = timeBy(anchor, up);
    if (known !== null) return this.#keep({ instant: known.now, signed: known.signed, ...up }, known);
    const first = firstAnchor(anchor, up, this.#world.clock.now());
    return this.#keep(first, { now: first.instant, signed: false });
  }

  async #keep(anchor: Anchor, known: KnownTime): Promise<KnownTime> {
    this.#anchor ??= anchor;
    if (this.#anchor.boot !== anchor.boot) this.#anchor = anchor;
    if (isWorthKeeping(this.#memory.anchor, anchor)) await this.change({ anchor });
    return known;
  }

  /** What the server signed: the time, the policy, and what it holds back. Errors: `disk/*`. */
  async hear(instructions: Instructions, components: readonly Component[]): Promise<void> {
    const { group, complete } = instructions;
    if (group === null || !complete) return;
    this.#anchor = signedAnchor(group.issued, await this.#world.surroundings.uptime());
    const serverHolds: Record<string, string> = {};
    const spoken = new Set<string>();
    for (const component of instructions.components) {
      spoken.add(component.product);
      if ("hold" in component) serverHolds[component.product] = component.hold.reason;
    }
    for (const { product } of components) if (!spoken.has(product)) serverHolds[product] = "not-assigned";
    const next = { policy: group.policy, serverHolds };
    const { policy, serverHolds: before } = this.#memory;
    if (JSON.stringify([policy, before]) !== JSON.stringify([next.policy, next.serverHolds]))
      await this.change(next);
    await this.time();
  }

  /** A release is to be installed: its waiting begins, unless one began before. Errors: `disk/*`. */
  async aim(product: string, aim: Pick<Pending, "version" | "manifestSha256" | "kind">): Promise<Pending> {
    const { now } = await this.time();
    const pending = withAim(this.#memory.pending, { product, ...aim }, now);
    if (pending !== this.#memory.pending) await this.change({ pending: [...pending] });
    return this.#memory.pending.find((one) => isSameSubject(one, { product, kind: aim.kind }))!;
  }

  /** The product is as it should be: nothing of it is pending. Errors: `disk/*`. */
  async settled(component: Component, of: "update" | "repair"): Promise<void> {
    const { product } = component;
    const left = this.#memory.pending.filter(
      (one) => one.product !== product || (one.kind === "repair") !== (of === "repair"),
    );
    this.waits.delete(product);
    if (left.length !== this.#memory.pending.length) await this.change({ pending: left });
  }

  pendingOf(component: Component): Pending | null {
    const repair = component.openAttempt?.begin.damage === "repair";
    const { product } = component;
    return (
      this.#memory.pending.find((one) =>
        isSameSubject(one, { product, kind: repair ? "repair" : "feature" }),
      ) ?? null
    );
  }

  mergedFor(product: string, kind: Kind, since: Instant = 0): Merged {
    return merge(this.group, this.device, product, kind, since);
  }

  /** The verdict about the component's open attempt. Interlocks are asked only when all else says now. Errors: `disk/*`. */
  async turn(component: Component, stage: Stage, wish: Wish = NO_WISH): Promise<Verdict> {
    const { begin } = component.openAttempt!;
    const repair = begin.damage === "repair";
    const pending =
      this.pendingOf(component) ??
      (await this.aim(component.product, {
        version: begin.to.version,
        manifestSha256: begin.manifestSha256,
        kind: repair ? "repair" : "feature",
      }));
    const verdict = await this.verdictOn(component, pending, stage, wish);
    if (verdict.do === "now") this.waits.delete(component.product);
    else this.waits.set(component.product, verdict);
    return verdict;
  }

  async verdictOn(component: Component, pending: Pending, stage: Stage, wish: Wish): Promise<Verdict> {
    const { situation, policy } = await this.look(component, pending, stage, wish);
    const first = decide(situation, policy);
    const hooks = this.#settings.policy?.interlocks ?? [];
    if (first.do === "wait" || stage === "fetch" || hooks.length === 0) return first;
    const interlocks = await askInterlocks(this.#world.surroundings, hooks, situation);
    return decide({ ...situation, interlocks }, policy);
  }

  /** Errors: `disk/*`. */
  async look(component: Component, pending: Pending, stage: Stage, wish: Wish = NO_WISH): Promise<Looked> {
    const { product } = component;
    const { surroundings } = this.#world;
    const { now, signed } = await this.time();
    const since = sinceOf(pending);
    const policy = this.mergedFor(product, pending.kind, since);
    const machine = await surroundings.facts();
    const by = this.#settings.policy?.metered ?? "system";
    const metered = stage === "fetch" && !policy.metered ? await surroundings.metered(by) : null;
    const { answer } = pending;
    const repair = pending.kind === "repair";
    const firstWarning = pending.warned.map(({ at }) => parseInstant(at));
    const situation: Situation = {
      stage,
      product,
      version: pending.version,
      kind: pending.kind,
      now,
      signedTime: signed,
      zone: this.zone,
      since,
      up: await component.isUp(),
      installed: component.state.committed !== null,
      blocked: component.withheld?.why === "at-start",
      asked: wish.asked || (repair && wish.byHand),
      ...machine,
      metered,
      locks: await this.locks(component).held(this.#world.clock.monotonic(), (one) =>
        surroundings.lives(one),
      ),
      interlocks: [],
      answer:
        answer === null
          ? null
          : { choice: answer.choice, until: answer.until === null ? null : parseInstant(answer.until) },
      hold: holdOn(this.#memory, product, now),
      optedOut: isOptedOut(this.#memory, product),
      serverHold: repair ? null : (this.#memory.serverHolds[product] ?? null),
      warned: firstWarning.length === 0 ? null : Math.min(...firstWarning),
    };
    return { situation, policy, pending };
  }

  locks(component: Component): Locks {
    const known = this.#locks.get(component.product);
    if (known !== undefined) return known;
    const made = new Locks(this.#world.disk, component.layout.locks);
    this.#locks.set(component.product, made);
    return made;
  }

  /** Lead times whose warnings are due now; each is noted as given. Errors: `disk/*`. */
  async takeWarnings({ situation, policy, pending }: Looked): Promise<Instant | null> {
    const given = pending.warned.map(({ lead }) => lead);
    const due = warningsDue(situation, policy, given);
    if (due.length === 0) return null;
    const at = formatInstant(situation.now);
    const warned = [...pending.warned, ...due.map((lead) => ({ lead, at }))].slice(0, MOST_WARNINGS);
    await this.revise(pending, { warned });
    const first = parseInstant(warned[0]!.at);
    return deadlineOf({ ...situation, warned: first }, policy);
  }

  async revise(pending: Pending, change: Partial<Pending>): Promise<void> {
    const list = this.#memory.pending.map((one) =>
      isSameSubject(one, pending) && one.manifestSha256 === pending.manifestSha256
        ? { ...one, ...change }
        : one,
    );
    await this.change({ pending: list });
  }

  /** Why the old version does not run; what was so once stays so until the update is there. Errors: `disk/*`. */
  async overdue(looked: Looked): Promise<string | null> {
    const reason = refusesOld(looked.situation, looked.policy);
    const { pending, situation, policy } = looked;
    if (reason !== null && !pending.overdue) await this.revise(pending, { overdue: true });
    if (reason !== null) return reason;
    const stands = pending.overdue && policy.deadline?.after === "stop" && situation.serverHold === null;
    if (stands && !situation.signedTime)
      return `${pending.version} was to run here before, and the policy of the group lets nothing older run.`;
    if (pending.overdue && !stands) await this.revise(pending, { overdue: false });
    return null;
  }

  /** The answer of a person to the prompt of a release. Errors: `manners/unknown-prompt`, `disk/*`. */
  async answer(id: string, choice: Choice, forMs: number): Promise<Pending> {
    const [product, version] = id.split("@");
    const pending = this.#memory.pending.find(
      (one) =>
        one.kind !== "repair" &&
        one.product === product &&
        (version === undefined || one.version === version),
    );
    if (pending === undefined) {
      const open = this.#memory.pending.filter(({ kind }) => kind !== "repair").map((one) => promptId(one));
      throw new MannersError(
        "manners/unknown-prompt",
        `Nothing is asked under ${id.slice(0, 80)}.`,
        { id: id.slice(0, 80), open },
        { hint: open.length === 0 ? "No update waits for an answer." : `Asked now: ${open.join(", ")}.` },
      );
    }
    const { now } = await this.time();
    const until = choice === "later" ? formatInstant(now + forMs) : null;
    await this.revise(pending, { answer: { choice, until, at: formatInstant(now) }, prompted: null });
    return this.#memory.pending.find((one) => one.manifestSha256 === pending.manifestSha256)!;
  }
}

export function promptId({ product, version }: Pick<Pending, "product" | "version">): string {
  return `${product}@${version}`;
}

/** What an update is for, as far as this device knows. */
export function kindOf(component: Component, security: boolean): Kind {
  const { committed } = component.state;
  if (committed !== null && recalledHere(component.state, committed.version) !== undefined) return "recall";
  return security ? "security" : "feature";
}

/** The wait as the error that carries it through the state table. */
export function waitError(component: Component, wait: Wait): UpkeepError {
  const until = wait.until === null ? null : formatInstant(wait.until);
  const facts = { product: component.product, rule: wait.rule, until };
  // The one wait that was there before there were policies keeps its code.
  return wait.rule === "repair-grace"
    ? new AgentError("agent/repair-waits", wait.reason, facts)
    : new MannersError(`manners/${wait.rule}`, wait.reason, facts, {
        hint: `\`${wait.command}\` changes it.`,
      });
}
