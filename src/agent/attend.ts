// What manners ask between two checks: warnings in time, prompts for people, an old version that may not run, and an update whose turn has come.

import { compareVersions, parseVersion } from "../core/version.ts";
import { formatInstant, MINUTE, SECOND } from "../core/instant.ts";
import { KINDS } from "../manners/policy.ts";
import type { Component } from "./component.ts";
import { NO_WISH, type Looked, type Manners } from "./manners.ts";
import type { Prompter } from "./prompter.ts";
import type { World } from "./ports.ts";
import { activateReady, type ComponentResult, type Update } from "./update-component.ts";

/** What attending needs of the agent. */
export interface Attended {
  readonly world: World;
  readonly manners: Manners;
  readonly prompter: Prompter;
  /** Something of this device has to be mended before anything is updated. */
  readonly grounded: boolean;
  components(): readonly Component[];
  update(component: Component): Update;
  guarded(product: string, action: () => Promise<void>): Promise<void>;
  exclusive<T>(action: () => Promise<T>): Promise<T>;
  /** A check as by schedule; how it went does not matter here. */
  check(): Promise<unknown>;
  done(result: ComponentResult): Promise<void>;
  alarm(key: string, code: string, reason: string, product: string): Promise<void>;
  clear(prefix: string): Promise<void>;
}

/** One round over all components; each is looked at by itself. */
export async function attend(device: Attended): Promise<void> {
  for (const component of device.components())
    await device.guarded(component.product, () => attendTo(device, component));
}

async function attendTo(device: Attended, component: Component): Promise<void> {
  const { manners } = device;
  const { product } = component;
  endBlock(device, component);
  // Its owner wants none of it: nothing of it waits.
  if (component.uninstalled !== null) return manners.settled(component, "update");
  const update = manners.memory.pending.find((one) => one.product === product && one.kind !== "repair");
  if (update === undefined && component.openAttempt === null) return;
  if (update !== undefined) {
    const looked = await manners.look(component, update, "activate");
    await warn(device, looked);
    await withholdIfOverdue(device, component, looked);
    await device.prompter.askAbout(looked);
  }
  if (device.grounded || isTried(device, component) || !(await hasTurn(device, component))) return;
  tried.set(component, device.world.clock.monotonic());
  // Once more by what the server says now, if it can be reached; then by what was accepted, which is verified and durable.
  await device.check();
  if (!(await hasTurn(device, component))) return;
  const result = await device.exclusive(async () =>
    isReady(component) ? activateReady(device.update(component)) : null,
  );
  if (result !== null) await device.done(result);
}

/** What did not come to an end is tried again after a minute at the earliest: each try asks the server. */
const TRY_EVERY = MINUTE;
const tried = new WeakMap<Component, number>();

function isTried({ world }: Attended, component: Component): boolean {
  const last = tried.get(component);
  return last !== undefined && world.clock.monotonic() < last + TRY_EVERY;
}

/** All is at hand and written down, and nothing of it has begun. */
function isReady(component: Component): boolean {
  const open = component.openAttempt;
  return open !== null && open.ready !== null && open.staged && !open.activating && !component.owned;
}

async function hasTurn({ manners }: Attended, component: Component): Promise<boolean> {
  if (!isReady(component)) return false;
  return (await manners.turn(component, "activate", NO_WISH)).do === "now";
}

async function warn({ world, manners, prompter, clear, alarm }: Attended, looked: Looked): Promise<void> {
  const end = await manners.takeWarnings(looked);
  if (end === null) return;
  const { product, version } = looked.situation;
  const at = formatInstant(end);
  world.log({ level: "warn", event: "deadline-warning", product, version, deadline: at });
  await clear(`deadline ${product} `);
  await alarm(
    `deadline ${product} ${version} ${at}`,
    "manners/deadline-near",
    `${product} ${version} waits, and is activated at ${at} at the latest.`,
    product,
  );
  prompter.warn(looked, end);
}

/** After the deadline, where the signed policy says so: stopped, until the update is there. */
async function withholdIfOverdue(device: Attended, component: Component, looked: Looked): Promise<void> {
  if (component.owned) return;
  const reason = await device.manners.overdue(looked);
  const { product } = component;
  if (reason === null) {
    if (component.withheld?.why !== "overdue") return;
    component.withheld = null;
    await component.keepRunning();
    return;
  }
  if (component.withheld?.why === "overdue") return;
  component.withheld = { why: "overdue", reason };
  device.world.log({ level: "error", event: "old-version-refused", product, message: reason });
  await component.stop();
  await device.alarm(`overdue ${product}`, "manners/overdue", reason, product);
}

const blocks = new WeakMap<Component, number>();

/** At a start of the device: what its policy wants brought up to date first does not run yet. Nothing is stopped by it. */
export async function blockAtStart(world: World, manners: Manners, component: Component): Promise<void> {
  const { product, state } = component;
  if (state.committed === null || component.openAttempt?.activating === true) return;
  const pending = manners.memory.pending.find((one) => one.product === product && one.overdue);
  if (pending !== undefined) {
    const reason = await manners.overdue(await manners.look(component, pending, "activate"));
    if (reason !== null) {
      component.withheld = { why: "overdue", reason };
      return;
    }
  }
  const lines = KINDS.map((kind) => manners.mergedFor(product, kind)).filter(
    ({ atStart }) => atStart === "block",
  );
  if (lines.length === 0) return;
  const from = lines.map(({ servesFrom }) => servesFrom).find((version) => version !== null) ?? null;
  const serves =
    from !== null && compareVersions(parseVersion(state.committed.version), parseVersion(from)) >= 0;
  await component.noticeRunning();
  if (serves || (await component.isUp())) return;
  component.withheld = {
    why: "at-start",
    reason: `${product} is brought up to date before ${state.committed.version} serves: its policy says block.`,
  };
  const seconds = lines.map(({ atStartSeconds }) => atStartSeconds);
  const limit = seconds.includes(0) ? Number.POSITIVE_INFINITY : Math.max(...seconds) * SECOND;
  blocks.set(component, world.clock.monotonic() + limit);
}

function endBlock({ world }: Attended, component: Component): void {
  const limit = blocks.get(component);
  if (component.withheld?.why !== "at-start" || limit === undefined) return;
  if (world.clock.monotonic() < limit) return;
  world.log({ level: "warn", event: "serves-old", product: component.product });
  component.withheld = null;
  component.startLater();
}

/** After a check that went through: what should be here is here, or waits for a reason of its own. */
export async function serveAfterCheck(component: Component): Promise<void> {
  if (component.withheld?.why !== "at-start" || component.owned) return;
  component.withheld = null;
  await component.keepRunning();
}
