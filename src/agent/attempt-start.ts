// The part of an attempt that starts programs: the new version on its probation, or the old one on the way back.

import { FAILED, ReportedError } from "../core/errors.ts";
import { SECOND } from "../core/instant.ts";
import { ProcessError } from "../process/errors.ts";
import type { ProbationRules } from "../process/probation.ts";
import { programsOfKind } from "../release/component-kind.ts";
import type { Attempt } from "../slot/attempt.ts";
import type { SlotId } from "../slot/layout.ts";
import type { Component } from "./component.ts";
import { handsBack, handsOver, startBeside } from "./hand-over.ts";
import { sentenceOf } from "./errors.ts";
import { installByHandler, stepOfHandler } from "./handler.ts";
import { alignOutside, alignOutsideLater, lookOutside } from "./outside.ts";
import { recallTrouble } from "./heed-recalls.ts";
import type { RecallWatch } from "./recall-watch.ts";
import { tellReaders, tellReadersAgain } from "./reload.ts";
import { askedPort, isService, portOf, rulesOf, socketsOf, type RunSpec } from "./run-spec.ts";
import { isDamage } from "./slot-guard.ts";
import { watch } from "./watch.ts";

/** Carries the verdict of probation through the table. */
class RolledBack extends ReportedError {
  constructor(code: string, reason: string) {
    super(FAILED, code, reason);
  }
}

/**
 * Starts the new version and watches it until there is a verdict. `wellBefore`: the old one could be seen well.
 * Errors: `process/*` or `release/recalled` with the verdict, `slot/damaged`, the signal's reason.
 */
export async function startAndWatchNew(
  component: Component,
  current: Attempt,
  wellBefore: boolean,
  signal: AbortSignal,
  recalls: () => RecallWatch | null = () => null,
): Promise<void> {
  const { to, attempt, damage } = current.begin;
  // Known from an earlier run that had no time to act on it.
  const known = recallTrouble(component);
  if (known !== null) throw new RolledBack(known.code, known.reason);
  const run = await component.runOf(to);
  await alignOutside(component, to);
  // A job that did its work is not done twice because its file rotted.
  if (damage === "repair" && !isService(run)) return tellReaders(component, to, run, signal);
  const boot = await component.world.processes.boot();
  const note = (): Promise<void> =>
    component.note({ event: "starting", attempt, number: (component.attempt?.starts ?? 0) + 1, boot });
  // A service that survived its agent is watched on; a job cannot tell its exit code to a stranger and is run again.
  if (!(isService(run) && (await component.adopt(to, run)))) {
    if (await handsOver(component, current)) {
      await note();
      await startBeside(component, to, run);
    } else {
      await component.stop();
      await refuseTakenPort(component, to, run);
      await note();
      await component.start(to, run);
    }
  }
  await installByHandler(component, current, signal);
  await tellReaders(component, to, run, signal);
  const rules = rulesOf(run, wellBefore);
  component.probationEnds =
    component.world.clock.now() + (rules.startSeconds + rules.probationSeconds) * SECOND;
  const recalling = recalls();
  const judge = async (by: ProbationRules): Promise<void> => {
    const verdict = await watch(component, to, run, by, note, signal, recalling);
    if (verdict.kind === "failed") throw new RolledBack(verdict.code, verdict.reason);
  };
  try {
    if ((await component.company.staying()).length > 0) {
      // The one before serves until this one was seen to; then it is let go, and the probation proper begins.
      await judge({ ...rules, probationSeconds: 0 });
      await component.world.atPoint("hand-over:ready");
      await component.letOthersGo();
      await component.world.atPoint("hand-over:let-go");
    }
    await judge(rules);
  } finally {
    recalling?.end();
  }
  await stepOfHandler(component, current, "commit", signal);
}

/**
 * Every program of the slot that the agent will start, looked at before anything is stopped for it. Errors: `process/wrong-program` (the
 * release's fault), `process/cannot-start` (this machine's), `slot/damaged`, `disk/*`.
 */
export async function lookAtPrograms(component: Component, id: SlotId): Promise<void> {
  const run = await component.runOf(id);
  const { slot } = component.place(id);
  const env = await component.environmentOf(id, run);
  const probed = run.health?.kind === "command" ? run.health.command[0] : undefined;
  await lookOutside(component, run);
  for (const program of [run.entryPoint?.command[0], probed, ...programsOfKind(run.component)]) {
    if (program === undefined) continue;
    const unfit = await component.world.processes.look({ program: `${slot}/${program}`, cwd: slot, env });
    if (unfit === null) continue;
    const hint = unfit.hint === undefined ? {} : { hint: unfit.hint };
    throw new ProcessError(unfit.code, unfit.reason, { program }, hint);
  }
}

/** With a port that is written down, another program there can only mean failure, and no fault of the release. Errors: `process/port-taken`. */
async function refuseTakenPort(component: Component, id: SlotId, run: RunSpec): Promise<void> {
  const { world, product, settings } = component;
  if (run.health?.kind !== "http" || askedPort(run, settings) !== null) return;
  const port = portOf(run.health, await component.environmentOf(id, run), product);
  // What listens there is the socket that the agent holds for it.
  if (socketsOf(run, settings).some(({ place }) => place.kind === "tcp" && place.port === port)) return;
  const by = await world.localPorts.takenBy(port);
  if (by === null) return;
  throw new ProcessError(
    "process/port-taken",
    `${product} is to answer on port ${port}, and ${by} listens there.`,
    { product, port },
    {
      hint: "End that program, or give the component another port (components.<product>.env in agent.toml).",
    },
  );
}

/** Starts the version before, if its slot is whole. Errors: `process/*`, `disk/*`, the signal's reason. */
export async function startOld(component: Component, attempt: Attempt, signal: AbortSignal): Promise<void> {
  const { from, to } = attempt.begin;
  // Must not be given up: until it is done the attempt stays open, and is gone on with at each check.
  await stepOfHandler(component, attempt, "rollback", signal).catch(onlyDamage);
  await alignOutsideLater(component);
  await tellReadersAgain(component, from, to, signal);
  if (from === null) return;
  // After the deadline of a policy the old version serves no more; what was bad does not either.
  if (component.withheld?.why === "overdue") return component.stop();
  const run = await startIfWhole(component, from, await handsBack(component, attempt));
  // What was bad serves nobody any longer, whatever is in the way of the version before.
  if (run === null) return component.stop();
  // Only to report the truth: going back is finished whatever it shows, and its keeper goes on trying.
  const rules = { ...rulesOf(run, false), probationSeconds: 0 };
  const restart = async (): Promise<void> => {};
  const verdict = await watch(component, from, run, rules, restart, signal);
  if (verdict.kind === "failed") {
    component.world.log({
      level: "error",
      event: "old-version-sick",
      product: component.product,
      version: from.version,
      code: verdict.code,
      message: verdict.reason,
    });
  }
  await component.letOthersGo();
}

/** `beside`: what serves now does so until this one does. Null if there is nothing to start, or nothing that may be started: then the attempt ends all the same, and a repair follows. */
async function startIfWhole(component: Component, id: SlotId, beside: boolean): Promise<RunSpec | null> {
  try {
    const run = await component.runOf(id);
    if (!isService(run)) return null;
    if (await component.adopt(id, run)) return run;
    if (beside) await startBeside(component, id, run);
    else await component.start(id, run);
    return run;
  } catch (error) {
    if (error instanceof ProcessError) {
      // The machine cannot start it now. The way back is finished all the same, and its keeper goes on trying.
      const { product, world } = component;
      const [code, message] = [error.code, sentenceOf(error)];
      world.log({
        level: "error",
        event: "old-version-not-started",
        product,
        version: id.version,
        code,
        message,
      });
      component.startLater();
      return null;
    }
    if (!isDamage(error)) throw error;
    if (component.guard.damage === null) await component.guard.readAll(id).catch(onlyDamage);
    return null;
  }
}

function onlyDamage(error: unknown): void {
  if (!isDamage(error)) throw error;
}
