// While no server can be reached: the last assignment says which channels may be followed, the channels say what to run, for a time that both are signed for.

import { UpkeepError } from "../core/errors.ts";
import { mayFollow, openKeptAssignment, type AssignedComponent } from "../message/assignment.ts";
import { keysFor } from "../release/trusted-keys.ts";
import { loadChannel, type Signed } from "./load-channel.ts";
import { sentenceOf } from "./errors.ts";
import type { DeviceIdentity, KeptAssignment, World } from "./ports.ts";

/** True if the server could not be asked, or could not answer for itself; what it answered with a no is an answer. */
export function isAway(error: unknown): boolean {
  if (!(error instanceof UpkeepError)) return false;
  const { code, facts } = error;
  if (/^(?:server|mirror)\/(?:unreachable|slow)$/.test(code)) return true;
  // A balancer without a server behind it, or a server without its database.
  return code === "server/refused" && typeof facts["status"] === "number" && facts["status"] >= 500;
}

/**
 * What may be run without asking: for each component that the last assignment lets follow its channel, the release that the channel's pointer
 * names now. The bounds are signed ones: `followUntil` of the assignment, and the end of the repository's timestamp, without which `releases` would not be there.
 * Holds hold on, a release that was pinned stays. Empty when nothing may be followed, or what was kept cannot be trusted. Errors: `mirror/*`, `disk/*`.
 */
export async function followAlone(
  asking: {
    readonly world: World;
    readonly identity: DeviceIdentity;
    readonly kept: KeptAssignment;
  },
  signed: Signed,
): Promise<readonly AssignedComponent[]> {
  const { world, identity, kept } = asking;
  const warn = (event: string, error: UpkeepError, product?: string): void =>
    world.log({
      level: "warn",
      event,
      code: error.code,
      message: sentenceOf(error),
      ...(product === undefined ? {} : { product }),
    });
  const envelope = await kept.load();
  if (envelope === null) return [];
  const now = world.clock.now();
  const followed: AssignedComponent[] = [];
  let assignment;
  try {
    // Judged by the keys of today: a director that was replaced meanwhile has no say any more.
    const { keys } = keysFor(signed.trusted, "assignment", null);
    assignment = openKeptAssignment(envelope, { keys, device: identity.device, now, known: signed.known });
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    warn("kept-assignment-refused", error);
    return [];
  }
  for (const component of assignment.components) {
    if (mayFollow(assignment, component, now) === null) continue;
    const { product, channel } = component;
    try {
      const { version, sha256 } = await loadChannel(signed, product, channel);
      followed.push({ product, channel, release: { version, manifestSha256: sha256 } });
    } catch (error) {
      if (!(error instanceof UpkeepError) || error.code === "agent/stopping") throw error;
      warn("channel-not-followed", error, product);
    }
  }
  if (followed.length > 0)
    world.log({ level: "info", event: "following-alone", products: followed.map(({ product }) => product) });
  return followed;
}
