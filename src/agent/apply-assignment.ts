// Carries out an assignment over all components of a device, each judged by itself.

import type { Instant } from "../core/instant.ts";
import { UpkeepError } from "../core/errors.ts";
import type { ChannelPointer } from "../release/channel.ts";
import { needsSomebody, outcomeOf } from "./attempt-table.ts";
import {
  inOrder,
  isRelease,
  loadAssigned,
  loadRelease,
  type AssignedRelease,
  type Instructions,
} from "./check.ts";
import type { Component } from "./component.ts";
import type { ReleaseManifest } from "../release/manifest.ts";
import { AgentError, sentenceOf } from "./errors.ts";
import type { Uninstalled } from "../slot/uninstalled.ts";
import { uninstalledSentence } from "./uninstall.ts";
import { loadChannel } from "./load-channel.ts";
import type { LogLine } from "./ports.ts";
import { heedChannel, recallTrouble } from "./heed-recalls.ts";
import {
  finish,
  updateComponent,
  type ComponentResult,
  type Offer,
  type Update,
} from "./update-component.ts";

/** What applying needs of the agent. */
export interface Device {
  components(): readonly Component[];
  find(product: string): Component | undefined;
  /** Makes the component if it is not there yet. */
  open(product: string): Promise<Component>;
  update(component: Component): Update;
  /** Whether the release comes with this device's license. Error: `license/not-entitled`. */
  entitled(manifest: ReleaseManifest): Promise<void>;
  /** Raised once per key until cleared. */
  alarm(key: string, code: string, reason: string, product: string | null): Promise<void>;
  clear(prefix: string): Promise<void>;
  log(line: LogLine): void;
}

/**
 * A device that stays where it is, as its owners decided by signed data: a channel that was moved back, a group that follows another
 * channel, a version that was left by hand. The status says why; it is no reason to call anybody.
 */
const STAYS: ReadonlySet<string> = new Set(["release/older", "release/failed-here"]);

/** Steps from a very old version on the way to the assigned one, at most. */
const MAX_STEPS = 256;

/** Everything that the assignment says, in an order in which dependencies come first. One component's trouble does not keep the others from their updates. */
export async function applyAssignment(
  device: Device,
  instructions: Instructions,
): Promise<ComponentResult[]> {
  const results = instructions.complete ? await unassigned(device, instructions) : [];
  const offers: { assigned: AssignedRelease; candidate: Offer["candidate"] }[] = [];
  for (const assigned of instructions.components) {
    const { product } = assigned;
    const gone = device.find(product)?.uninstalled ?? null;
    if (gone !== null) {
      results.push(uninstalled(product, gone));
      continue;
    }
    if (!isRelease(assigned)) {
      const until = assigned.hold.until === undefined ? null : Date.parse(assigned.hold.until);
      await heedWhileHeld(device, instructions, product, assigned.channel);
      results.push(await held(device, product, assigned.hold.reason, until));
      continue;
    }
    const candidate = await orRefused(device, product, assigned.release.version, results, async () => {
      const found = await loadAssigned(instructions, assigned);
      await device.entitled(found.manifest);
      return found;
    });
    if (candidate !== null) offers.push({ assigned, candidate });
  }
  const { ordered, circular } = inOrder(offers);
  for (const { offer, error } of circular)
    await orRefused(device, offer.assigned.product, offer.candidate.manifest.version, results, async () => {
      throw error;
    });
  for (const { assigned, candidate } of ordered) {
    const { product } = assigned;
    const result = await orRefused(device, product, candidate.manifest.version, results, () =>
      apply(device, instructions, assigned, candidate),
    );
    if (result === null) continue;
    results.push(result);
    if (
      result.result === "refused" &&
      result.code !== null &&
      !STAYS.has(result.code) &&
      device.find(product)?.attempt?.end?.code !== result.code
    )
      await device.alarm(
        `refused ${product} ${result.code} ${result.to ?? ""}`,
        result.code,
        result.reason,
        product,
      );
    // What only this machine can mend, and only people can see to.
    if (result.result === "waiting" && result.code !== null && needsSomebody(result.code))
      await device.alarm(`waits ${product} ${result.code}`, result.code, result.reason, product);
    else await device.clear(`waits ${product} `);
    if (result.result === "current" || result.result === "updated") await device.clear(`refused ${product} `);
  }
  return results;
}

/** Runs the action; an error of ours becomes a refusal of this component, with an alarm. Stopping and interruptions go through. */
async function orRefused<T>(
  device: Device,
  product: string,
  version: string,
  results: ComponentResult[],
  action: () => Promise<T>,
): Promise<T | null> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof UpkeepError) || error.code === "agent/stopping") throw error;
    const [code, reason] = [error.code, sentenceOf(error)];
    const component = device.find(product);
    const running = component === undefined ? null : await component.running();
    // What could not be had is waited for; what cannot be believed is refused.
    const transient = code === "agent/interrupted" || outcomeOf(error) === "transient";
    const result = transient ? "waiting" : "refused";
    results.push({ product, result, from: running, to: version, running, code, reason, until: null });
    device.log({ level: "error", event: "refused", product, version, code, message: reason });
    await device.alarm(`refused ${product} ${code} ${version}`, code, reason, product);
    return null;
  }
}

async function apply(
  device: Device,
  instructions: Instructions,
  assigned: AssignedRelease,
  aim: Offer["candidate"],
): Promise<ComponentResult> {
  const { product, channel: name } = assigned;
  const component = await device.open(product);
  const channel = await loadChannel(instructions, product, name);
  await heed(device.update(component), channel);
  const { releases } = instructions;
  let candidate = aim;
  for (let steps = 0; steps < MAX_STEPS; steps++) {
    const result = await updateComponent(device.update(component), { releases, channel, candidate });
    if ("step" in result) {
      candidate = await loadRelease(instructions, product, result.step.version);
      continue;
    }
    device.log({ level: result.code === null ? "info" : "warn", event: "component", ...result });
    // A step on the way was taken: on to the next one, or to the aim.
    if (result.result === "updated" && candidate !== aim) candidate = aim;
    else return result;
  }
  throw new AgentError(
    "agent/refused",
    `The channel leads ${product} through more than ${MAX_STEPS} steps.`,
    { product },
  );
}

/** What the channel says of versions that are here; what waits to install a recalled one ends. Errors: `agent/interrupted`, `disk/*`. */
async function heed(update: Update, channel: ChannelPointer): Promise<void> {
  const { component } = update;
  await heedChannel(component, channel);
  const trouble = recallTrouble(component);
  if (trouble !== null && component.openAttempt?.activating === false)
    await finish(update, "superseded", trouble);
}

/** Also what is held back heeds recalls; a channel that cannot be had now is read at the next check. */
async function heedWhileHeld(
  device: Device,
  instructions: Instructions,
  product: string,
  channel: string,
): Promise<void> {
  const component = device.find(product);
  if (component === undefined) return;
  let pointer: ChannelPointer;
  try {
    pointer = await loadChannel(instructions, product, channel);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    device.log({
      level: "warn",
      event: "channel-not-read",
      product,
      channel,
      code: error.code,
      message: sentenceOf(error),
    });
    return;
  }
  await heed(device.update(component), pointer);
}

/** What is installed and no longer spoken about: it stays, and who asks is told why. */
async function unassigned(device: Device, { components }: Instructions): Promise<ComponentResult[]> {
  const spoken = new Set(components.map(({ product }) => product));
  const results: ComponentResult[] = [];
  for (const component of device.components()) {
    const { product } = component;
    if (component.uninstalled !== null) continue;
    if (!spoken.has(product)) results.push(await held(device, product, "not-assigned", null));
  }
  return results;
}

/** The decision of the device's owner is stronger than any assignment. */
function uninstalled(product: string, decision: Uninstalled): ComponentResult {
  const reason = uninstalledSentence(product, decision);
  const code = "agent/uninstalled";
  return { product, result: "held", from: null, to: null, running: null, code, reason, until: null };
}

async function held(
  device: Device,
  product: string,
  hold: string,
  until: Instant | null,
): Promise<ComponentResult> {
  const running = (await device.find(product)?.running()) ?? null;
  const reason = HOLD_SENTENCES[hold] ?? `The server holds it back (${hold}).`;
  return { product, result: "held", from: running, to: null, running, code: null, reason, until };
}

const HOLD_SENTENCES: { readonly [reason: string]: string } = {
  paused: "The rollout is paused by its operator.",
  "not-your-turn": "The rollout has not reached this device yet.",
  recalled: "The release was recalled.",
  halted: "The rollout was halted because devices failed.",
  "no-release": "The channel has no release.",
  "not-assigned": "The server assigns no release of it to this device; what is installed stays.",
  unavailable: "The server could not say what this device should run.",
};
