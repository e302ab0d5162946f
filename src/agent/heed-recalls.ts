// What a channel says about versions that are here already: recalls are remembered, floors lifted, and what waits for a recalled version ends.

import { recallOf, type ChannelPointer } from "../release/channel.ts";
import { namedSlots, recalledHere, withoutFloorsOf } from "../slot/state.ts";
import type { Trouble } from "./attempt-table.ts";
import type { Component } from "./component.ts";

/** Remembered, so that nobody goes back to a recalled version without a network. Errors: `disk/*`. */
export async function heedChannel(component: Component, channel: ChannelPointer): Promise<void> {
  const { state, openAttempt } = component;
  // Nothing is written over what was lost.
  if (component.blocked !== null) return;
  const here = new Set(namedSlots(state).map(({ version }) => version));
  if (openAttempt !== null) here.add(openAttempt.begin.to.version);
  const recalled = channel.recalled
    .filter(({ version }) => here.has(version))
    .map(({ version, reason }) => ({ version, reason }));
  const lifted = channel.recalled.filter(({ liftsFloor }) => liftsFloor).map(({ version }) => version);
  const next = withoutFloorsOf(state, new Set(lifted));
  if (next !== state) {
    const { product } = component;
    component.world.log({ level: "warn", event: "floor-lifted", product, from: state.floor, to: next.floor });
  }
  const known = JSON.stringify({ name: channel.channel, recalled });
  if (next === state && JSON.stringify(state.channel) === known) return;
  await component.remember({ ...next, channel: { name: channel.channel, recalled } });
}

/** Why the open attempt is not gone on with; null if nothing speaks against it. */
export function recallTrouble(component: Component): Trouble | null {
  const to = component.openAttempt?.begin.to.version;
  const found = to === undefined ? undefined : recalledHere(component.state, to);
  return found === undefined ? null : troubleOf(found);
}

/** The same by a channel document, for an attempt under way. */
export function recallTroubleBy(component: Component, channel: ChannelPointer): Trouble | null {
  const found = recallOf(channel.recalled, component.openAttempt?.begin.to.version ?? null);
  return found === undefined ? null : troubleOf(found);
}

function troubleOf({ version, reason }: { readonly version: string; readonly reason: string }): Trouble {
  return { code: "release/recalled", reason: `${version} was recalled: ${reason}` };
}
