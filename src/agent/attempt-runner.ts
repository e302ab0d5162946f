// Carries out the effects of the state table for one attempt, and writes every step down before anything relies on it.

import { exists } from "../core/disk.ts";
import { formatInstant, parseInstant, type Instant } from "../core/instant.ts";
import { UpkeepError } from "../core/errors.ts";
import { lastWords } from "../process/last-words.ts";
import { readCurrent, switchCurrent } from "../slot/install.ts";
import type { End, Step } from "../slot/journal-event.ts";
import { linkTarget, slotPath } from "../slot/layout.ts";
import { restoreSnapshot } from "../slot/snapshot.ts";
import { AttemptSnapshot } from "./attempt-snapshot.ts";
import { applyEnd } from "../slot/state.ts";
import { damageOf, hasReplaced, recentRecords, type Attempt } from "../slot/attempt.ts";
import type { ProcessErrorCode } from "../process/errors.ts";
import { SlotError } from "../slot/errors.ts";
import {
  EFFECTS,
  isDevicesFault,
  outcomeOf,
  transition,
  wasChangedHere,
  type AttemptState,
  type Effect,
  type Outcome,
  type Trouble,
  type Turn,
} from "./attempt-table.ts";
import {
  checkBytes,
  checkPublisher,
  fetchArtifact,
  isStaged,
  partOf,
  reserveSpace,
  stageArtifact,
  type Arrival,
  type Plan,
} from "./attempt-arrival.ts";
import { lookAtPrograms, startAndWatchNew, startOld } from "./attempt-start.ts";
import type { Component } from "./component.ts";
import type { Stage, Verdict } from "../manners/decide.ts";
import { waitError, type Wait } from "./manners.ts";
import { handsOver, stopForTheWayBack } from "./hand-over.ts";
import { AgentError, codeOf, sentenceOf } from "./errors.ts";
import { cleanUpByHandler, stepOfHandler } from "./handler.ts";
import { removeBeside } from "./fetch-by-patch.ts";
import type { Downloaded } from "./ports.ts";
import type { RecallWatch } from "./recall-watch.ts";
import { probe } from "./watch.ts";

export type RunnerContext = {
  readonly component: Component;
  readonly plan: Plan | null;
  /** Where artifacts lie until they are staged. */
  readonly downloads: string;
  readonly signal: AbortSignal;
  /** An operator asked: a pause after a refusal is not waited for. */
  readonly byHand: boolean;
  /** Whether the open attempt may go on, by the rules of manners. */
  readonly turn: (stage: Stage) => Promise<Verdict>;
  /** Asks beside a probation for recalls; null where nobody can be asked. */
  readonly recalls: (component: Component) => RecallWatch | null;
  /** Puts the report of the ended attempt into the outbox. */
  readonly report: (attempt: Attempt, bytesFetched: number) => Promise<void>;
  /** Tells what is going on. */
  readonly tell: (state: AttemptState, bytes: number) => void;
};

export type RunResult = { readonly state: "done" | "waiting"; readonly trouble: Trouble | null };

/**
 * Runs the open attempt of the component from `state` until it ended or waits. An effect that must not be given up and does not work
 * throws `agent/interrupted`; the journal then says where recovery goes on.
 */
export async function runAttempt(
  context: RunnerContext,
  state: AttemptState,
  trouble: Trouble | null = null,
): Promise<RunResult> {
  const runner = new Runner(context, trouble);
  return runner.run(state);
}

class Runner {
  readonly #context: RunnerContext;
  #trouble: Trouble | null;
  /** Whether the trouble is this machine's, and none of the release. */
  #postpone: boolean;
  #reached: Step = "chosen";
  #fetched = 0;
  #wellBefore = false;
  #record: string | null = null;

  constructor(context: RunnerContext, trouble: Trouble | null) {
    this.#context = context;
    this.#trouble = trouble;
    this.#postpone = trouble !== null && wasChangedHere(trouble.code);
  }

  get #component(): Component {
    return this.#context.component;
  }

  get #attempt(): Attempt {
    const attempt = this.#component.attempt;
    if (attempt === null) throw new AgentError("agent/interrupted", "No attempt is open.", {});
    return attempt;
  }

  async run(from: AttemptState): Promise<RunResult> {
    try {
      return await this.#run(from);
    } finally {
      this.#component.owned = false;
      this.#component.probationEnds = null;
      this.#context.tell("done", this.#fetched);
    }
  }

  async #run(from: AttemptState): Promise<RunResult> {
    let state: AttemptState = from;
    while (state !== "done" && state !== "waiting") {
      this.#context.tell(state, this.#fetched);
      if (state === "activating" || state === "probation" || state === "rolling-back")
        this.#component.owned = true;
      const step = stepOf(state);
      if (step !== null) this.#reached = step;
      const outcome = await this.#enter(state);
      if (outcome === "stopping") return { state: "waiting", trouble: this.#trouble };
      const next = transition(state, outcome, this.#turns);
      if (next === "stuck") {
        throw new AgentError(
          "agent/interrupted",
          `The update of ${this.#component.product} stopped while ${state}: ${this.#trouble?.reason ?? "unknown"} It will be continued.`,
          { product: this.#component.product, state, code: this.#trouble?.code ?? "" },
        );
      }
      state = next;
    }
    return { state, trouble: this.#trouble };
  }

  get #turns(): readonly Turn[] {
    const { begin, rollingBack } = this.#attempt;
    const turns: Turn[] = begin.damage === "repair" ? ["repair"] : [];
    if (rollingBack?.postpone !== true) return turns;
    // An operator's way back and a fall-back are decided anew from what is known then.
    return [...turns, begin.manual || begin.damage === "fall-back" ? "given-up" : "postponed"];
  }

  async #enter(state: Exclude<AttemptState, "done" | "waiting">): Promise<Outcome | "stopping"> {
    for (const effect of EFFECTS[state]) {
      const point = `${state}:${effect}`;
      try {
        await this.#component.world.atPoint(`before ${point}`);
        await this.#perform(effect, state);
        await this.#component.world.atPoint(`after ${point}`);
      } catch (error) {
        if (!(error instanceof UpkeepError)) {
          this.#component.world.log({
            level: "error",
            event: "unforeseen",
            at: point,
            message: sentenceOf(error),
          });
        }
        const code = codeOf(error);
        if (code === "agent/stopping" && (state === "probation" || state === "rolling-back")) {
          if (state === "probation")
            await this.#component.note({ event: "paused", attempt: this.#attempt.begin.attempt });
          return "stopping";
        }
        this.#trouble = { code, reason: sentenceOf(error), until: untilOf(error) };
        this.#postpone = isDevicesFault(error);
        return outcomeOf(error);
      }
    }
    return "ok";
  }

  async #perform(effect: Effect, state: AttemptState): Promise<void> {
    const component = this.#component;
    const { world, layout } = component;
    const attempt = this.#attempt;
    const { begin } = attempt;
    const id = { attempt: begin.attempt };
    switch (effect) {
      case "await-fetch": {
        if (attempt.staged) return;
        const verdict = await this.#context.turn("fetch");
        if (verdict.do === "wait") throw waitError(component, verdict);
        return;
      }
      case "reserve-space":
        return reserveSpace(this.#arrival);
      case "fetch": {
        const got = await fetchArtifact(this.#arrival);
        this.#fetched += got.bytes;
        this.#got = got;
        return;
      }
      case "check-bytes":
        return checkBytes(this.#arrival);
      case "check-publisher":
        return checkPublisher(this.#arrival);
      case "note-verified":
        if (attempt.verified !== null) return;
        return component.note({ event: "verified", ...id, bytes: this.#fetched, ...this.#sources });
      case "stage":
        this.#record = await stageArtifact(this.#arrival);
        return;
      case "look-at-program":
        await lookAtPrograms(component, begin.to);
        return stepOfHandler(component, attempt, "prepare", this.#context.signal);
      case "note-staged": {
        const record = this.#record === null ? {} : { record: this.#record };
        return attempt.staged ? undefined : component.note({ event: "staged", ...id, ...record });
      }
      case "await-turn":
        return this.#awaitTurn();
      case "prepare-snapshot":
        // Room for what the journal will say of this try: a switch that began is always written to its end.
        await component.journal.reserve(recentRecords);
        // Data that two versions write at once has no state that could be copied.
        if (await handsOver(component, attempt)) return;
        return this.#snapshots.prepare();
      case "look-at-old":
        return this.#lookAtOld();
      case "note-activating":
        return attempt.activating ? undefined : component.note({ event: "activating", ...id });
      case "stop":
        if (state === "rolling-back") return stopForTheWayBack(component, attempt);
        if (await handsOver(component, attempt)) return;
        return component.stop();
      case "snapshot":
        if (await handsOver(component, attempt)) return;
        return this.#snapshots.take();
      case "switch-forward":
        return this.#switchForward();
      case "start-and-watch-new":
        return startAndWatchNew(component, attempt, this.#wellBefore, this.#context.signal, () =>
          this.#context.recalls(component),
        );
      case "note-rolling-back": {
        if (attempt.rollingBack !== null) return;
        const { code, reason } = this.#trouble ?? {
          code: "agent/unforeseen",
          reason: "The reason was lost.",
        };
        return component.note({
          event: "rolling-back",
          ...id,
          code,
          reason: await this.#withLog(code, reason),
          ...(this.#postpone ? { postpone: true as const } : {}),
        });
      }
      case "restore":
        if (attempt.snapshot === null || attempt.restored) return;
        await restoreSnapshot(world.disk, layout, begin.attempt);
        return component.note({ event: "restored", ...id });
      case "switch-back": {
        const wanted = begin.from === null ? null : linkTarget(begin.from);
        if ((await readCurrent(world.disk, layout)) !== wanted)
          return switchCurrent(world.disk, layout, begin.from);
        // Found right, but perhaps only in memory.
        return world.disk.syncDirectory(layout.folder);
      }
      case "start-and-watch-old":
        return startOld(component, attempt, this.#context.signal);
      case "note-postponed": {
        // After a kill on the way back only the journal knows why.
        const { code, reason } = attempt.rollingBack!;
        this.#trouble = { code, reason };
        await component.note({ event: "postponed", ...id });
        return component.collect();
      }
      case "note-end":
        return attempt.end === null ? this.#noteEnd(state as End) : undefined;
      case "remember":
        if (attempt.end !== null) {
          const facts = { replaced: hasReplaced(attempt), record: attempt.record };
          await component.remember(applyEnd(component.state, begin, attempt.end, facts));
        }
        return;
      case "report":
        if (attempt.reported) return;
        await cleanUpByHandler(component, attempt);
        await this.#context.report(attempt, this.#fetched);
        return component.note({ event: "reported", ...id });
      case "collect":
        return this.#collect(state);
    }
  }

  #got: Downloaded = { bytes: 0, source: "none" };

  get #sources(): Omit<Downloaded, "bytes"> {
    const { bytes: _, ...sources } = this.#got;
    return sources;
  }

  get #snapshots(): AttemptSnapshot {
    return new AttemptSnapshot(this.#component, this.#attempt);
  }

  get #arrival(): Arrival {
    const { component, plan, downloads, signal, tell } = this.#context;
    return { component, attempt: this.#attempt, plan, downloads, signal, tell };
  }

  /** The one place where an update that is at hand waits. Why is written down first, so that it is known after a power cut as well. */
  async #awaitTurn(): Promise<void> {
    const verdict = await this.#context.turn("activate");
    if (verdict.do === "now") return;
    await this.#noteReady(verdict);
    throw waitError(this.#component, verdict);
  }

  async #noteReady({ rule, reason, until }: Wait): Promise<void> {
    const { begin, ready, waits } = this.#attempt;
    // Rules that take turns without end fill no journal.
    if (ready?.rule === rule || waits >= MOST_WAITS) return;
    await this.#component.note({
      event: "ready",
      attempt: begin.attempt,
      rule,
      reason: reason.slice(0, 200),
      until: until === null ? null : formatInstant(until),
    });
  }

  /** Remembers whether the old version could be seen well: only then is a lasting "unknown" held against the new one. */
  async #lookAtOld(): Promise<void> {
    const { from } = this.#attempt.begin;
    // Of a damaged slot not even the probe is run.
    if (from === null || this.#component.supervised === null || this.#component.guard.damage !== null) return;
    const run = await this.#component.runOf(from);
    this.#wellBefore = (await probe(this.#component, from, run)).kind === "well";
  }

  async #switchForward(): Promise<void> {
    const { world, layout } = this.#component;
    const { to } = this.#attempt.begin;
    // The last look before these bytes run.
    if (!(await isStaged(this.#component, this.#attempt))) {
      throw new SlotError("slot/damaged", `The slot ${slotPath(layout, to)} is not whole any more.`, {
        path: slotPath(layout, to),
      });
    }
    if ((await readCurrent(world.disk, layout)) !== linkTarget(to))
      await switchCurrent(world.disk, layout, to);
    else await world.disk.syncDirectory(layout.folder);
  }

  async #withLog(code: string, reason: string): Promise<string> {
    // Only of what ran: else the output is that of the version before.
    if (!RAN.has(code)) return reason;
    const { logs } = this.#component.world;
    const { layout, logFrom } = this.#component;
    const head = await logs.head(layout.log, FIRST_PART, logFrom);
    const words = lastWords(head, await logs.tail(layout.log, LAST_PART, logFrom));
    return sentenceOf(`${reason.slice(0, 300)}${words}`);
  }

  async #noteEnd(end: End): Promise<void> {
    const component = this.#component;
    const { begin, rollingBack, step } = this.#attempt;
    const why = end === "committed" ? null : (rollingBack ?? this.#trouble);
    const now = component.world.clock.now();
    // Over a restart only wall time is left to measure by.
    const began = component.begun?.attempt === begin.attempt ? component.begun.at : null;
    const duration =
      began === null ? now - parseInstant(begin.at) : component.world.clock.monotonic() - began;
    await component.note({
      event: "end",
      attempt: begin.attempt,
      end,
      step:
        end === "committed"
          ? "committed"
          : end === "rolled-back"
            ? "rolling-back"
            : later(step, this.#reached),
      code:
        why?.code ??
        (end === "superseded" ? "agent/superseded" : end === "committed" ? null : "agent/unforeseen"),
      reason: why === null || why === undefined ? this.#damageTold(end) : await this.#toldOf(why.reason, end),
      at: formatInstant(now),
      duration: Math.round(Math.max(duration, 0)),
      running: end === "committed" ? begin.to.version : await component.running(),
    });
  }

  async #toldOf(reason: string, end: End): Promise<string> {
    const left = end === "rolled-back" ? await this.#snapshots.left() : "";
    return `${reason.slice(0, LONGEST_REASON - left.length)}${left}`;
  }

  /** Why the same version was installed again, or an older one that was good. */
  #damageTold(end: End): string | null {
    const { begin } = this.#attempt;
    if (end !== "committed" || begin.damage === undefined || begin.from === null) return null;
    const what = damageOf(this.#component.journal.events, begin.from)?.what ?? "The slot was damaged.";
    return `${what} ${begin.damage === "repair" ? "The same release was installed again." : "The last good version took its place."}`;
  }

  async #collect(state: AttemptState): Promise<void> {
    const { disk } = this.#component.world;
    // What failed for now is kept, so that the next attempt goes on with it.
    const part = partOf(this.#context.downloads, this.#attempt);
    const wanted = state === "failed" && !hasReplaced(this.#attempt);
    if (!wanted) {
      if (await exists(disk, part)) await disk.removeFile(part);
      await removeBeside(disk, part);
    }
    await this.#component.collect();
  }
}

/** Waits of one attempt that are written down. */
const MOST_WAITS = 16;

/** When the error ends by itself, where it says so. */
function untilOf(error: unknown): Instant | null {
  const until = error instanceof UpkeepError ? error.facts["until"] : undefined;
  return typeof until === "string" ? parseInstant(until) : null;
}

/** As the journal takes it. */
const LONGEST_REASON = 1000;
/** Verdicts on a program that was started. */
const RAN: ReadonlySet<string> = new Set<ProcessErrorCode>([
  "process/exited",
  "process/unhealthy",
  "process/unknown-too-long",
  "process/never-settled",
  "process/crash-loop",
]);
/** How much of its output is looked through for the first error, and for the end. */
const FIRST_PART = 256 * 1024;
const LAST_PART = 4096;

const ORDER: readonly Step[] = ["chosen", "downloading", "verifying", "staging", "activating", "probation"];
function later(a: Step, b: Step): Step {
  return ORDER.indexOf(a) > ORDER.indexOf(b) ? a : b;
}

function stepOf(state: AttemptState): Step | null {
  switch (state) {
    case "downloading":
    case "verifying":
    case "staging":
    case "activating":
    case "probation":
    case "committed":
    case "rolling-back":
      return state;
    default:
      return null;
  }
}
