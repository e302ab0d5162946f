// One component's part of a check: finish what was begun, decide from signed data, carry it out, say how it went.

import { toHex } from "../core/bytes.ts";
import { HOUR, formatInstant, type Instant } from "../core/instant.ts";
import { UpkeepError } from "../core/errors.ts";
import type { ChannelPointer } from "../release/channel.ts";
import type { Artifact } from "../release/manifest.ts";
import {
  choose,
  describeObstacle,
  entanglements,
  type Candidate,
  type Choice,
  type Others,
  type Surroundings,
} from "../release/select.ts";
import { recentRecords, type Attempt } from "../slot/attempt.ts";
import { switchCurrent } from "../slot/install.ts";
import { sameBytes, slotName, type SlotId } from "../slot/layout.ts";
import { readRecord } from "../slot/record.ts";
import { belowFloor, LEFT_BY_HAND, recalledHere, skipOf, type SkipEntry } from "../slot/state.ts";
import type { Uninstalled } from "../slot/uninstalled.ts";
import type { Plan } from "./attempt-arrival.ts";
import { runAttempt, type RunnerContext, type RunResult } from "./attempt-runner.ts";
import type { AttemptState, Trouble } from "./attempt-table.ts";
import type { Component } from "./component.ts";
import { AgentError, codeOf, sentenceOf } from "./errors.ts";
import { kindOf, waitError, type Manners } from "./manners.ts";
import { alignOutsideLater } from "./outside.ts";
import { isService } from "./run-spec.ts";
import { retryOfRefused } from "./policy.ts";
import { carryOutUninstall } from "./uninstall.ts";
import type { Releases } from "./ports.ts";

export type ComponentResult = {
  readonly product: string;
  readonly result:
    | "current"
    | "updated"
    | "repaired"
    | "rolled-back"
    | "refused"
    | "failed"
    | "held"
    | "waiting";
  readonly from: string | null;
  readonly to: string | null;
  readonly running: string | null;
  readonly code: string | null;
  /** A sentence: why it ended so. */
  readonly reason: string;
  readonly until: Instant | null;
};

/**
 * What was refused lately, or could not be carried out on this machine, so that the same is not tried at every check. `why` is set for the
 * latter. In memory only: a restart asks once more.
 */
export type Refusals = Map<
  string,
  {
    readonly key: string;
    readonly times: number;
    readonly again: Instant;
    readonly why?: { readonly code: string | null; readonly reason: string };
  }
>;
/** An attempt that was put off so often is begun anew: its journal does not grow without end. */
const MOST_POSTPONEMENTS = 20;

export type Update = Omit<RunnerContext, "plan"> & {
  /** The other products on this device, as they are now. */
  readonly others: () => Promise<Others>;
  readonly refusals: Refusals;
  readonly manners: Manners;
  /** A person asked for the update now, whatever the hour. */
  readonly asked: boolean;
  /** Repairs that were tried lately. */
  readonly repairs: Refusals;
};

/** Goes on from wherever the last run was stopped. Returns how an attempt ended by it, or null if there was nothing to end. */
export async function recoverComponent(update: Update): Promise<ComponentResult | null> {
  const { component } = update;
  const { world, layout } = component;
  if (component.uninstalled !== null) {
    if (!component.uninstalled.done) await finishUninstall(component, component.uninstalled);
    return null;
  }
  const attempt = component.attempt;
  const found = await component.diagnose();
  switch (found.do) {
    case "run":
    case "await":
      if (found.relink) {
        world.log({ level: "warn", event: "pointer-repaired", product: component.product });
        await component.stop();
        // Also to a slot that is damaged: it is not started, and what nobody decided to run is not run in its place.
        await switchCurrent(world.disk, layout, component.rightful);
      }
      await component.keepRunning();
      await alignOutsideLater(component);
      if (attempt !== null && attempt.end !== null && !attempt.reported)
        return finish(update, attempt.end.end, null);
      // Waste that a crash left behind.
      await component.collect();
      return null;
    case "activate":
      return finish(update, "activating", null);
    case "start":
      return finish(update, "probation", null);
    case "roll-back":
      return finish(update, "rolling-back", { code: found.code, reason: found.reason });
    case "finish-roll-back":
      return finish(update, "rolling-back", null);
    case "give-up": {
      const result = await finish(update, "failed", { code: found.code, reason: found.reason });
      await component.keepRunning();
      await alignOutsideLater(component);
      return result;
    }
  }
}

async function finishUninstall(component: Component, decision: Uninstalled): Promise<void> {
  await carryOutUninstall(component, decision);
  component.uninstalled = { ...decision, done: true };
}

/** Runs the open attempt from `state`. Whatever comes of it, what `current` names runs afterwards if it may. */
export async function finish(
  update: Update,
  state: AttemptState,
  trouble: Trouble | null,
  plan: Plan | null = null,
): Promise<ComponentResult> {
  const { component } = update;
  const { product } = component;
  let result: RunResult;
  try {
    result = await runAttempt({ ...update, plan }, state, trouble);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    // Something runs all the same: whatever the pointer names.
    await component.keepRunning().catch((second: unknown) => {
      if (!(second instanceof UpkeepError)) throw second;
      component.world.log({
        level: "error",
        event: "not-running",
        product,
        code: codeOf(second),
        message: sentenceOf(second),
      });
    });
    throw error;
  }
  return resultOf(component, component.attempt!, result);
}

async function resultOf(component: Component, attempt: Attempt, run: RunResult): Promise<ComponentResult> {
  const { begin, end } = attempt;
  const common = {
    product: component.product,
    from: begin.from?.version ?? null,
    to: begin.to.version,
    running: await component.running(),
    until: null,
  };
  if (end === null) {
    const { code = "agent/stopping", reason = "The agent was stopped.", until = null } = run.trouble ?? {};
    return { ...common, result: "waiting", code, reason, until };
  }
  const reason = end.reason ?? "";
  switch (end.end) {
    case "committed":
      // The installed version was damaged and could not be had: the one before it is a way out and no update.
      if (begin.damage === "fall-back")
        return { ...common, result: "rolled-back", code: "slot/damaged", reason };
      if (begin.damage === "repair") return { ...common, result: "repaired", code: null, reason };
      return {
        ...common,
        result: "updated",
        code: null,
        reason: await committedReason(component, begin.to),
      };
    case "rolled-back":
      // A first installation has nothing to go back to: it failed.
      return { ...common, result: begin.from === null ? "failed" : "rolled-back", code: end.code, reason };
    case "refused":
      return { ...common, result: "refused", code: end.code, reason };
    default:
      return { ...common, result: "failed", code: end.code, reason };
  }
}

/** Only what was started has been watched. */
async function committedReason(component: Component, to: SlotId): Promise<string> {
  const run = await component.runOf(to).catch((error: unknown) => {
    if (!(error instanceof UpkeepError)) throw error;
    return null;
  });
  if (run?.entryPoint !== undefined) {
    return isService(run)
      ? `${to.version} runs and came through its probation.`
      : `${to.version} is installed, and its job ended well.`;
  }
  const kind = run?.component;
  if (kind?.kind === "command") {
    const names = kind.programs.map(({ name }) => name).join(", ");
    const where = component.settings.commands?.folder;
    return where === undefined
      ? `${to.version} is installed; agent.toml sets no commandFolder, so ${names} can be called nowhere.`
      : `${to.version} is installed; users of this machine call ${names} in ${where}.`;
  }
  if (kind?.kind === "handler")
    return `${to.version} was installed and found well by the handler ${kind.handler}.`;
  return run?.health === undefined
    ? `${to.version} is installed; it is data, and nothing is started.`
    : `${to.version} is installed, and its probe found it well.`;
}

/** Signed data that the decision rests on; all of one repository state. */
export type Offer = {
  readonly releases: Releases;
  readonly channel: ChannelPointer | null;
  readonly candidate: Candidate;
};

/** Decides about the offered release and, if the answer is yes, installs it. Errors: `agent/interrupted`, `disk/*`. */
export async function updateComponent(
  update: Update,
  offer: Offer,
): Promise<ComponentResult | { readonly step: Extract<Choice, { kind: "step" }>["step"] }> {
  const { component } = update;
  const { manifest } = offer.candidate;
  const { state } = component;
  if (component.blocked !== null)
    return refused(update, manifest.version, component.blocked.code, component.blocked.message);
  // The same bytes under a higher version may be run or probed otherwise: that is another release.
  const skips = manifest.artifacts
    .map(({ sha256 }) => skipOf(state, { version: manifest.version, sha256 }))
    .filter((entry) => entry !== undefined);
  const choice = choose(offer.candidate, {
    installed: {
      version: state.committed?.version ?? null,
      sha256: state.committed?.sha256 ?? null,
      floor: state.floor,
    },
    platform: component.world.platform,
    channel: offer.channel,
    skipped: skippedFor(skips),
    others: await update.others(),
  });
  const open = component.openAttempt;
  if (choice.kind === "step") return { step: choice.step };
  // A repair waits for nothing but a better version.
  const repair = open?.begin.damage === "repair" && choice.kind !== "install";
  if (
    open !== null &&
    !repair &&
    !(choice.kind === "install" && sameAim(open, choice.artifact, offer.candidate))
  ) {
    await finish(update, "superseded", null);
  }
  if (choice.kind === "current") {
    await update.manners.settled(component, "update");
    return {
      product: component.product,
      result: "current",
      from: state.committed?.version ?? null,
      to: null,
      running: await component.running(),
      code: null,
      reason: `${manifest.version} is installed and is what this device should run.`,
      until: null,
    };
  }
  if (choice.kind === "refused") {
    const sentence = choice.obstacles.map(describeObstacle).join("; ");
    const answer = await refused(
      update,
      manifest.version,
      `release/${choice.obstacles[0]!.code}`,
      `${sentence}.`,
    );
    // What failed here or was left was told when that happened; now it is merely waited for something newer.
    return choice.obstacles.every(({ code }) => code === "failed-here" || code === "left-by-hand")
      ? { ...answer, result: "held" }
      : answer;
  }
  return install(update, offer, choice.artifact);
}

/** What failed is the graver news of two. */
function skippedFor(skips: readonly SkipEntry[]): Surroundings["skipped"] {
  if (skips.length === 0) return null;
  return skips.every(({ code }) => code === LEFT_BY_HAND) ? "left-by-hand" : "failed-here";
}

function sameAim(open: Attempt, artifact: Artifact, candidate: Candidate): boolean {
  return open.begin.to.sha256 === artifact.sha256 && open.begin.manifestSha256 === candidate.sha256;
}

async function install(update: Update, offer: Offer, artifact: Artifact): Promise<ComponentResult> {
  const { component, refusals } = update;
  const { manifest, sha256: manifestSha256 } = offer.candidate;
  const to: SlotId = { version: manifest.version, sha256: artifact.sha256 };
  const known = refusals.get(component.product);
  const now = component.world.clock.now();
  if (!update.byHand && known?.key === manifestSha256 && now < known.again && now > known.again - 25 * HOUR) {
    const { code, reason } = known.why ?? {
      code: "agent/refused",
      reason: `${to.version} was refused before.`,
    };
    return {
      ...(await refused(
        update,
        to.version,
        code ?? "agent/refused",
        `${reason} It is tried again at ${formatInstant(known.again)}.`,
      )),
      result: "waiting",
      until: known.again,
    };
  }
  const kind = kindOf(component, manifest.security);
  const pending = await update.manners.aim(component.product, { version: to.version, manifestSha256, kind });
  const open = component.openAttempt;
  // Of what waits as it did, not every byte is read again; of what may not be fetched, nothing is begun.
  const stage = open === null ? "fetch" : open.staged && open.ready !== null ? "activate" : null;
  if (stage !== null) {
    const wish = { byHand: update.byHand, asked: update.asked };
    const verdict = await update.manners.verdictOn(component, pending, stage, wish);
    if (verdict.do === "wait") {
      update.manners.waits.set(component.product, verdict);
      const { code, message } = waitError(component, verdict);
      const answer = await refused(update, to.version, code, message);
      return { ...answer, result: "waiting", until: verdict.until };
    }
  }
  if ((component.openAttempt?.postponed ?? 0) >= MOST_POSTPONEMENTS) await finish(update, "superseded", null);
  if (component.openAttempt === null) {
    await begin(component, {
      to,
      length: artifact.length,
      manifestSha256,
      floor: manifest.floor ?? null,
      manual: false,
    });
  }
  const before = component.openAttempt?.postponed ?? 0;
  const result = await finish(update, "downloading", null, { manifest, artifact, releases: offer.releases });
  return concluded(update, manifestSha256, before, result);
}

/**
 * Goes on with an update that is ready and has its turn, by what was accepted when it came; null while its last try on this machine is
 * too short a time ago. Errors: `agent/interrupted`, `disk/*`.
 */
export async function activateReady(update: Update): Promise<ComponentResult | null> {
  const { component, refusals } = update;
  const { begin, postponed } = component.openAttempt!;
  if (begin.damage === "repair") return finish(update, "ready", null);
  const known = refusals.get(component.product);
  if (known?.key === begin.manifestSha256 && component.world.clock.now() < known.again) return null;
  return concluded(update, begin.manifestSha256, postponed, await finish(update, "ready", null));
}

/** What a try leaves behind: a pause before the next one, or nothing more to wait for. */
async function concluded(
  update: Update,
  manifestSha256: string,
  before: number,
  result: ComponentResult,
): Promise<ComponentResult> {
  const { component, refusals } = update;
  const known = refusals.get(component.product);
  // A try that stopped what runs is not repeated at each check.
  const postponed = (component.openAttempt?.postponed ?? 0) > before;
  // What was taken back is skipped until something newer comes: there is no next try to announce.
  const ended = component.attempt?.end?.end === "rolled-back";
  if (!ended && (result.result === "refused" || result.result === "failed" || postponed)) {
    const times = known?.key === manifestSha256 ? known.times + 1 : 1;
    const again = component.world.clock.now() + retryOfRefused(times);
    const { code, reason } = result;
    refusals.set(component.product, {
      key: manifestSha256,
      times,
      again,
      ...(postponed ? { why: { code, reason } } : {}),
    });
    return { ...result, until: again };
  }
  if (result.result !== "waiting") refusals.delete(component.product);
  if (result.result === "updated") await update.manners.settled(component, "update");
  return result;
}

export type Intent = {
  readonly to: SlotId;
  readonly length: number;
  readonly manifestSha256: string;
  readonly floor: string | null;
  readonly manual: boolean;
  readonly damage?: NonNullable<Attempt["begin"]["damage"]>;
};

/** Step 3: the intent, and the room for all that the journal will have to say about it. */
export async function begin(component: Component, intent: Intent): Promise<void> {
  const { world, journal } = component;
  await journal.reserve(recentRecords);
  const attempt = toHex(world.random.bytes(16));
  await component.note({
    event: "begin",
    attempt,
    at: component.at(),
    from: component.state.committed,
    ...intent,
  });
  component.begun = { attempt, at: world.clock.monotonic() };
}

async function refused(update: Update, to: string, code: string, reason: string): Promise<ComponentResult> {
  const { component } = update;
  return {
    product: component.product,
    result: "refused",
    from: component.state.committed?.version ?? null,
    to,
    running: await component.running(),
    code,
    reason,
    until: null,
  };
}

/**
 * Back to the last version that was good here, because an operator says so. The version that is left goes to the skip list.
 * Errors: `agent/not-installed`, `agent/nothing-to-go-back-to`, `agent/interrupted`, `disk/*`.
 */
export async function goBack(update: Update): Promise<ComponentResult> {
  const { component } = update;
  const { state, product } = component;
  if (state.committed === null)
    throw new AgentError("agent/not-installed", `${product} is not installed on this device.`, { product });
  if (component.openAttempt !== null) await finish(update, "superseded", null);
  const { intent, refused: reasons } = await lastGood(component, await update.others());
  if (intent !== null) {
    await begin(component, { ...intent, manual: true });
    return finish(update, "activating", null);
  }
  throw new AgentError(
    "agent/nothing-to-go-back-to",
    [
      `No earlier version of ${product} that may be gone back to is kept on this device.`,
      ...reasons.map((reason) => `${reason.replace(/[.!]*$/, "")}.`),
    ].join(" "),
    { product, committed: state.committed.version, floor: state.floor, refused: reasons.join(" ") },
  );
}

/** The version to go back to, null if there is none, and why others that are kept were passed over. */
export type LookBack = { readonly intent: Intent | null; readonly refused: readonly string[] };

/**
 * The newest version that was good here, was not recalled, is not below the floor, has not failed since, gets along with the other products
 * that are installed, and is whole to the last byte now: a damaged one is passed over. Errors: `disk/*`.
 */
export async function lastGood(component: Component, others: Others): Promise<LookBack> {
  const { state, world, layout, product } = component;
  const refused: string[] = [];
  for (const id of state.good.toReversed()) {
    if (state.committed !== null && sameBytes(id, state.committed)) continue;
    const why = obstacleTo(component, id);
    if (why !== null) {
      refused.push(why);
      continue;
    }
    if (!(await component.isWhole(id))) {
      const slot = slotName(id);
      world.log({
        level: "error",
        event: "slot-damaged",
        product,
        slot,
        code: "slot/damaged",
        message: "It is not gone back to.",
      });
      refused.push(`${id.version} is damaged`);
      continue;
    }
    const { version } = id;
    const { dependencies = [] } = await component.runOf(id);
    const tangled = entanglements({ product, version, dependencies }, others);
    if (tangled.length > 0) {
      refused.push(...tangled.map((obstacle) => `${product} ${version}: ${describeObstacle(obstacle)}`));
      continue;
    }
    const record = await readRecord(world.disk, layout, id, component.digestOf(id));
    const { manifestSha256, artifactLength: length } = record;
    return { intent: { to: id, length, manifestSha256, floor: null, manual: false }, refused };
  }
  return { intent: null, refused };
}

function obstacleTo({ state }: Component, id: SlotId): string | null {
  const recalled = recalledHere(state, id.version);
  if (recalled !== undefined) return `${id.version} was recalled: ${recalled.reason}`;
  if (belowFloor(state, id.version)) return `${id.version} is below the floor ${state.floor!}`;
  const skip = skipOf(state, id);
  return skip === undefined ? null : `${id.version} failed here or was left by hand (${skip.code})`;
}
