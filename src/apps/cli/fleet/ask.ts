// What `fleet wake` and `fleet ask-…` do: one order for everybody, a group or a device.

import { z } from "../../../core/schema.ts";
import { findDevice } from "../../../fleet/devices.ts";
import { UpkeepError } from "../../../core/errors.ts";
import { needGroup } from "../../../fleet/groups.ts";
import { askDevices } from "../../../fleet/messages.ts";
import type { WakeScope } from "../../../fleet/records.ts";
import type { FleetReads } from "../../../fleet/store.ts";
import { lineSchema } from "../../../message/common.ts";
import { MAX_SPLAY, MESSAGE_TIMES, type MessageAsk, type MessageKind } from "../../../message/sealed/body.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { actor, withFleet } from "../records/open-store.ts";

export async function fleetWake(call: Call): Promise<Result> {
  const when = MESSAGE_TIMES.find((one) => one === call.needed("when"))!;
  const splay = call.whole("splay", 0, MAX_SPLAY) ?? 0;
  const { scope, seq, counter } = await order(call, {
    kind: "update-check",
    when,
    ...(splay === 0 ? {} : { splay }),
  });
  const text = seq === null ? `asked ${scope} to check (${when})` : `wake-up ${seq} for ${scope}`;
  return { text, json: { scope, seq, when, splay, counter } };
}

export async function fleetAsk(call: Call, kind: Exclude<MessageKind, "update-check">): Promise<Result> {
  const { scope, counter } = await order(call, { kind });
  return { text: `asked ${scope}: ${kind}`, json: { scope, kind, counter } };
}

async function order(call: Call, ask: MessageAsk) {
  const reason = reasonOf(call);
  return withFleet(call, async (records, now) =>
    askDevices(records, now, await scopeOf(call, records), ask, { actor: actor(), reason }),
  );
}

/** Error: `cli/usage`. */
export function reasonOf(call: Call): string | null {
  const reason = call.text("reason") ?? null;
  if (reason !== null && !z.safeParse(lineSchema(300), reason).success)
    throw usage("--reason takes one line of at most 300 letters.");
  return reason;
}

/** A group goes before a device of the same name; --device says which is meant. Errors: `cli/usage`, `fleet/*`. */
async function scopeOf(call: Call, records: FleetReads): Promise<WakeScope> {
  const [group, device, who] = [call.text("group"), call.text("device"), call.argumentOr(0)];
  if ([group, device, who].filter((one) => one !== undefined).length > 1)
    throw usage("Name a group or a device once.");
  if (device !== undefined) return `device:${(await findDevice(records, device)).id}`;
  if (group !== undefined) return `group:${(await needGroup(records, group)).name}`;
  if (who === undefined) return "all";
  if ((await records.group(who)) !== null) return `group:${who}`;
  try {
    return `device:${(await findDevice(records, who)).id}`;
  } catch (error) {
    if (!(error instanceof UpkeepError && error.code === "fleet/unknown-device")) throw error;
    throw usage(
      `There is neither a group nor a device "${who.slice(0, 60)}".`,
      "`upkeep group list` and `upkeep device list` show them.",
    );
  }
}
