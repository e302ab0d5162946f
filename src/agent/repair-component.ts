// Puts back what was installed and is damaged: the same release from any source, verified as always, into a fresh slot; else the last good version.

import { DAY, formatInstant, HOUR } from "../core/instant.ts";
import { UpkeepError } from "../core/errors.ts";
import { bestFit } from "../release/platform.ts";
import { nextCopy, type SlotId } from "../slot/layout.ts";
import { belowFloor } from "../slot/state.ts";
import type { Plan } from "./attempt-arrival.ts";
import { loadRelease } from "./check.ts";
import { loadChannel, type Signed } from "./load-channel.ts";
import { AgentError, codeOf, sentenceOf } from "./errors.ts";
import { outcomeOf } from "./attempt-table.ts";
import { waitError } from "./manners.ts";
import { retryOfRefused } from "./policy.ts";
import {
  begin,
  finish,
  lastGood,
  type ComponentResult,
  type Intent,
  type Update,
} from "./update-component.ts";

/** What exists and who may say so; or why that is not known at the moment. */
export type Source = Signed | { readonly missing: UpkeepError };

/** True if the component has something to be put back, or was in the middle of it. */
export function needsRepair({ component }: Update): boolean {
  return component.guard.damage !== null || component.openAttempt?.begin.damage === "repair";
}

/**
 * Repairs the component if it needs it. In this order: the same release again; while that cannot be had and nothing runs, the last good
 * version, if it is whole and not below the floor; else it stays as it is, says so, and is tried again. Null if there is nothing to do.
 * Errors: `agent/interrupted`, `disk/*`.
 */
export async function repairComponent(update: Update, source: Source): Promise<ComponentResult | null> {
  const { component } = update;
  if (!needsRepair(update)) return null;
  if (component.blocked !== null) return answer(update, "refused", component.blocked);
  // An update that is under way mends the damage as well; what runs can wait for it.
  const open = component.openAttempt;
  if (open !== null && open.begin.damage !== "repair" && (await component.isUp())) return null;
  const result = await putBack(update, source);
  // The next damage has a grace of its own.
  if (component.openAttempt?.begin.damage !== "repair") await update.manners.settled(component, "repair");
  if (result.result === "repaired" || update.signal.aborted) return result;
  if (await isUsable(update)) return result;
  return (await fallBack(update)) ?? result;
}

async function putBack(update: Update, source: Source): Promise<ComponentResult> {
  const { component, repairs } = update;
  const { product, world, state } = component;
  const now = world.clock.now();
  const known = repairs.get(product);
  const open = component.openAttempt;
  const under = open?.begin.damage === "repair" ? open : null;
  if (
    under === null &&
    !update.byHand &&
    known !== undefined &&
    now < known.again &&
    now > known.again - 25 * HOUR
  ) {
    const reason = `It was repaired or tried ${known.times} times lately; the next try is at ${formatInstant(known.again)}.`;
    return {
      ...(await answer(update, "waiting", new AgentError("agent/refused", reason, { product }))),
      until: known.again,
    };
  }
  let result: ComponentResult;
  try {
    const turn = under?.staged === true ? await update.turn("activate") : null;
    if (turn?.do === "wait")
      return { ...(await answer(update, "waiting", waitError(component, turn))), until: turn.until };
    // What is staged already was verified before it got its name: it needs no network any more.
    const staged = under !== null && (await component.isWhole(under.begin.to));
    const found = staged ? null : await planFor(update, under?.begin.to ?? state.committed!, source);
    if (under === null) {
      if (open !== null) await finish(update, "superseded", null);
      await begin(component, found!.intent);
    }
    result = await finish(update, "downloading", null, found?.plan ?? null);
  } catch (error) {
    if (!(error instanceof UpkeepError) || error.code === "agent/interrupted") throw error;
    const transient = outcomeOf(error) === "transient" || "missing" in source;
    result = await answer(update, transient ? "waiting" : "refused", error);
  }
  // What waits for the network goes on at every check; what came to an end is not begun again at once.
  if (component.openAttempt === null && result.result !== "waiting") {
    const lately = known !== undefined && now < known.again + DAY;
    const times = lately ? known.times + 1 : 1;
    repairs.set(product, {
      key: "repair",
      times,
      again: world.clock.now() + pauseAfter(result.result === "repaired", times),
    });
  }
  return result;
}

/** Repairs that worked and follow each other without a pause within a day. */
const FREE_REPAIRS = 3;

/** A slot that is damaged again and again, by its own program or a failing disk, is not fetched again and again without end. */
function pauseAfter(worked: boolean, times: number): number {
  if (!worked) return retryOfRefused(times);
  return times <= FREE_REPAIRS ? 0 : retryOfRefused(times - FREE_REPAIRS);
}

/** The very bytes that were installed, as the repository lists and the product's keys sign them today. Errors: `agent/wrong-release`, `repository/*`, `release/*`, `dsse/*`. */
async function planFor(
  { component }: Update,
  installed: SlotId,
  source: Source,
): Promise<{ readonly plan: Plan; readonly intent: Intent }> {
  if ("missing" in source) throw source.missing;
  const { product, world, state } = component;
  const { version, sha256 } = installed;
  const candidate = await loadRelease(source, product, version);
  const { manifest } = candidate;
  await refuseRecalled(source, product, version, manifest.channel);
  // The one case in which an equal version is installed: it must be the same bytes, and never go below the floor.
  const same = manifest.artifacts.filter((one) => one.sha256 === sha256);
  const artifact = bestFit(same, world.platform);
  if (artifact === null || belowFloor(state, version)) {
    throw new AgentError(
      "agent/wrong-release",
      `The repository does not list ${product} ${version} with the bytes that were installed here: it cannot be repaired with them.`,
      { product, version, installed: sha256 },
      { hint: "A newer release takes the place of the damaged one." },
    );
  }
  return {
    plan: { manifest, artifact, releases: source.releases },
    intent: {
      to: nextCopy(state.committed ?? installed),
      length: artifact.length,
      manifestSha256: candidate.sha256,
      floor: null,
      manual: false,
      damage: "repair",
    },
  };
}

/** What its publisher took back is not put back: then the last good version is the way out. Errors: `agent/refused`, those of `loadChannel`. */
async function refuseRecalled(
  source: Extract<Source, { releases: unknown }>,
  product: string,
  version: string,
  channel: string,
): Promise<void> {
  try {
    const { recalled } = await loadChannel(source, product, channel);
    const found = recalled.find((one) => one.version === version);
    if (found === undefined) return;
    throw new AgentError("agent/refused", `${product} ${version} was recalled: ${found.reason}`, {
      product,
      version,
    });
  } catch (error) {
    // A channel that the repository does not list recalls nothing; one that cannot be had or believed is no pass.
    if (!(error instanceof UpkeepError && error.code === "repository/role-missing")) throw error;
  }
}

/** A damaged program that still runs is left alone; damaged data serves nobody. */
async function isUsable({ component }: Update): Promise<boolean> {
  return component.guard.damage === null || (await component.isUp());
}

async function fallBack(update: Update): Promise<ComponentResult | null> {
  const { component } = update;
  const { intent } = await lastGood(component, await update.others());
  if (intent === null) return null;
  if (component.openAttempt !== null) await finish(update, "superseded", null);
  await begin(component, { ...intent, damage: "fall-back" });
  return finish(update, "activating", null);
}

async function answer(
  { component }: Update,
  result: "waiting" | "refused",
  error: UpkeepError,
): Promise<ComponentResult> {
  const version = component.state.committed?.version ?? null;
  const what = component.guard.damage?.what ?? "The installed slot is damaged.";
  return {
    product: component.product,
    result,
    from: version,
    to: version,
    running: await component.running(),
    code: codeOf(error),
    reason: `${what} It could not be repaired yet: ${sentenceOf(error)}`,
    until: null,
  };
}
