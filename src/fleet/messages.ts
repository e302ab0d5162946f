// Messages as state: the newest of each kind that was asked of everybody, a group or a device; sealed only when a device is there to take it.

import type { Instant } from "../core/instant.ts";
import { MESSAGE_LIFE, MESSAGE_SKEW, type MessageAsk } from "../message/sealed/body.ts";
import { appendAudit } from "./audit.ts";
import type { Device, MessageOrder, WakeScope } from "./records.ts";
import type { FleetReads, FleetRecords } from "./store.ts";
import { wake } from "./wake.ts";

const COUNTER = "message-counter";

/** Who asks, and why, as the audit log has it. */
export type Asker = { readonly actor: string; readonly reason: string | null };

/**
 * Asks a scope for something. An update check is a wake-up as well, for devices that open no sealed messages. What people ask for is in the
 * audit log before any device hears of it.
 */
export async function askDevices(
  records: FleetRecords,
  now: Instant,
  scope: WakeScope,
  ask: MessageAsk,
  { actor, reason }: Asker,
): Promise<MessageOrder> {
  // A bare number says "now" and nothing else: what is meant for another moment is not said with it.
  const bare = ask.kind === "update-check" && ask.when === "now";
  const seq = bare ? await wake(records, scope) : null;
  const order = await putOrder(records, now, scope, ask, seq);
  await appendAudit(records, now, {
    actor,
    action: bare ? "fleet/woken" : "fleet/asked",
    subject: scope,
    facts: {
      ...(seq === null ? {} : { seq }),
      kind: ask.kind,
      ...(ask.kind === "update-check" ? { when: ask.when, splay: ask.splay ?? 0 } : {}),
      counter: order.counter,
      ...(reason === null ? {} : { reason }),
    },
  });
  return order;
}

/** A number for one message or order, above every one before it. Errors: `fleet/store-*`. */
export async function nextCounter(records: FleetRecords, now: Instant): Promise<number> {
  const last = Number((await records.setting(COUNTER)) ?? "0");
  // One from far ahead was given by a clock that was wrong: devices refused what had it.
  const counter = last > now + MESSAGE_SKEW ? now : Math.max(now, last + 1);
  await records.putSetting(COUNTER, String(counter));
  return counter;
}

async function putOrder(
  records: FleetRecords,
  now: Instant,
  scope: WakeScope,
  ask: MessageAsk,
  seq: number | null,
): Promise<MessageOrder> {
  const timed = ask.kind === "update-check" ? ask : null;
  const order: MessageOrder = {
    scope,
    kind: ask.kind,
    counter: await nextCounter(records, now),
    when: timed?.when ?? null,
    splay: timed?.splay ?? 0,
    made: now,
    expires: now + MESSAGE_LIFE,
    seq,
  };
  await records.putMessageOrder(order);
  return order;
}

/** Wake-ups that were made by whatever else (an assignment, a move, a program from before messages) as orders. Says how many there were. */
export async function orderWakeUps(records: FleetRecords, now: Instant): Promise<number> {
  const missing = await wakesWithoutOrder(records);
  for (const [scope, seq] of missing)
    await putOrder(records, now, scope, { kind: "update-check", when: "now" }, seq);
  return missing.length;
}

/** Scopes whose newest wake-up is in no order yet. */
export async function wakesWithoutOrder(
  records: Pick<FleetReads, "wakes" | "messageOrders">,
): Promise<readonly (readonly [WakeScope, number])[]> {
  const known = new Map(
    (await records.messageOrders())
      .filter(({ kind }) => kind === "update-check")
      .map(({ scope, seq }) => [scope, seq ?? 0]),
  );
  return [...(await records.wakes())].filter(([scope, seq]) => seq > (known.get(scope) ?? 0));
}

/**
 * What a device is to be told now: of each kind the newest that concerns it, was not told, and is in time; oldest first. `after`: number of
 * what was told on this stream. `checkedUpTo`: update checks up to this number were made.
 */
export function ordersFor(
  orders: readonly MessageOrder[],
  device: Pick<Device, "id" | "group">,
  now: Instant,
  { after, checkedUpTo }: { readonly after: number; readonly checkedUpTo: number },
): readonly MessageOrder[] {
  const newest = new Map<string, MessageOrder>();
  for (const order of orders) {
    const { scope, kind, counter, expires } = order;
    if (scope !== "all" && scope !== `group:${device.group}` && scope !== `device:${device.id}`) continue;
    if (counter <= after || expires <= now) continue;
    if (kind === "update-check" && counter <= checkedUpTo) continue;
    if (counter > (newest.get(kind)?.counter ?? 0)) newest.set(kind, order);
  }
  return [...newest.values()].toSorted((a, b) => a.counter - b.counter);
}

/** What an order says to a device. */
export function askOf({ kind, when, splay }: MessageOrder): MessageAsk {
  if (kind !== "update-check") return { kind };
  return { kind, when: when ?? "now", ...(splay === 0 ? {} : { splay }) };
}

/** Asks everybody, a group or a device to check now; the number of the wake-up. */
export async function wakeNow(
  records: FleetRecords,
  now: Instant,
  scope: WakeScope,
  actor = "operator",
): Promise<number> {
  const ask = { kind: "update-check", when: "now" } as const;
  return (await askDevices(records, now, scope, ask, { actor, reason: null })).seq!;
}
