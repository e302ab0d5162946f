// Follows the list of locations: the next version is verified, its hosts are probed, and only then it holds, on trial.

import { UpkeepError } from "../core/errors.ts";
import type { Instant } from "../core/instant.ts";
import { checkNext, LOCATION_LIMIT, locationTarget, openLocations } from "../identity/locations.ts";
import type { LocationPlace, Locations } from "../identity/locations.ts";
import { LocationError } from "../identity/location-errors.ts";
import { MirrorError } from "../mirror/errors.ts";
import { keysFor, type TrustedKeys } from "../release/trusted-keys.ts";
import { sentenceOf } from "./errors.ts";
import type { DeviceLocations } from "./locations.ts";
import type { Notice } from "./ports.ts";

/** Versions that are followed in one check: a device that was away for years comes to the newest in a few. */
const STEPS = 32;

export type LocationsPort = {
  readonly held: DeviceLocations;
  /** SHA-256 of the repository's first root. */
  readonly fleet: string;
  /**
   * Asks one host as if it were the device's server: name and authority as always, signed metadata from the device's own root on, never older
   * than what is known, an answer to the device's certificate. Throws what is wrong: `location/behind`, `location/bad-place`, `repository/*`, `server/*`, `mirror/*`.
   */
  readonly probe: (place: LocationPlace, signal: AbortSignal) => Promise<void>;
  /** Hosts changed: the agent begins anew with them, and what runs goes on running. */
  readonly changed: () => void;
};

/** A small target of the top-level role; null when the repository lists none of that name. */
export type FindTarget = (name: string, limit: number) => Promise<Uint8Array | null>;

/** Of one refreshed state of the repository. Returns what people should know; a check goes on after it, with the hosts that hold. */
export async function followLocations(
  port: LocationsPort,
  find: FindTarget,
  trusted: TrustedKeys,
  now: Instant,
  signal: AbortSignal,
): Promise<readonly Notice[]> {
  const notices: Notice[] = [];
  const { held } = port;
  if (held.tampered !== null) notices.push(noticeOf(held.tampered));
  try {
    const back = await held.judgeTrial(now);
    if (back !== null) {
      notices.push(noticeOf(back));
      port.changed();
    }
    let taken = 0;
    while (taken < STEPS && (await followOne(port, find, trusted, now, signal))) taken++;
    if (taken > 0) port.changed();
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    notices.push(noticeOf(error));
  }
  return notices;
}

/** True when a version was taken over. */
async function followOne(
  { held, fleet, probe }: LocationsPort,
  find: FindTarget,
  trusted: TrustedKeys,
  now: Instant,
  signal: AbortSignal,
): Promise<boolean> {
  // 1. The next version, and no other: one that is missing is waited for.
  const bytes = await find(locationTarget(held.held.version + 1), LOCATION_LIMIT);
  if (bytes === null) return false;
  // 2. Signed by enough of the location keys that signed metadata names now.
  const keys = keysFor(trusted, "location", null);
  const { document } = openLocations(bytes, keys);
  // 3. It follows what was followed before, is for this fleet, and in time; unless a later one takes its place anyway.
  const later = (await find(locationTarget(held.held.version + 2), LOCATION_LIMIT)) !== null;
  checkNext(document, held.held, { fleet, now: later ? null : now });
  // 4. Its hosts are what they should be; of one that is passed through, nobody asks.
  if (!later) await probeAll(document, probe, signal);
  // 5. It holds, on trial.
  await held.adopt(bytes, keys);
  return true;
}

/** One host that answers well is enough, and one that answers wrongly is too many. */
async function probeAll(
  { servers, version }: Locations,
  probe: LocationsPort["probe"],
  signal: AbortSignal,
): Promise<void> {
  let good = 0;
  let away: UpkeepError | null = null;
  for (const place of servers) {
    try {
      await probe(place, signal);
      good++;
    } catch (error) {
      if (!(error instanceof UpkeepError) || signal.aborted) throw error;
      if (error.nature !== "transient") throw error;
      away ??= error;
    }
  }
  if (good > 0) return;
  throw new LocationError(
    "location/unreachable",
    `None of the hosts of version ${version} of the list of locations can be reached from here: ${sentenceOf(away)} The hosts before stay in use.`,
    { version },
    { cause: away },
  );
}

function noticeOf(error: UpkeepError): Notice {
  const { code } = error;
  // What could not be fetched comes with the next check; all else is for people.
  return { code, about: "locations", message: sentenceOf(error), alarm: !(error instanceof MirrorError) };
}
