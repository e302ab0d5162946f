// Looks at a host that a signed list of locations names, before this device relies on it: the same trust as ever, and nothing older.

import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import type { Clock } from "../../core/clock.ts";
import type { Random } from "../../core/random.ts";
import { LocationError } from "../../identity/location-errors.ts";
import { privateFault, type LocationPlace } from "../../identity/locations.ts";
import { below } from "../../mirror/source.ts";
import { METADATA_SPEED, withSpeedFloor } from "../../mirror/speed.ts";
import { TRUSTED_KEYS_TARGET } from "../../release/target-names.ts";
import { TRUSTED_KEYS_LIMIT } from "../../release/trusted-keys.ts";
import { mirrorAt, openRepository } from "../../repository/client/client.ts";
import { memoryStore, type MetadataStore } from "../../repository/client/store.ts";
import { placeName } from "../connection/failure.ts";
import type { Proxies } from "../connection/proxies.ts";
import { httpSource } from "../source/http.ts";
import type { ServerIdentity } from "./tls.ts";

export type ProbeParts = {
  /** By which authorities the server is known now. */
  readonly server: () => Pick<ServerIdentity, "authorities" | "pins">;
  /** `1.root.json` as it was pinned at enrollment. */
  readonly root: Uint8Array;
  /** What this device trusts of the repository. */
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly proxies: Proxies;
  /** Addresses, this machine and private networks are allowed by this device's own settings. */
  readonly allowPrivate: boolean;
};

/**
 * Errors: `location/bad-place` for a host inside this machine or network, `location/behind` for metadata that is older than this device's,
 * `repository/*`, `mirror/*`.
 */
export async function probeLocation(
  parts: ProbeParts,
  place: LocationPlace,
  signal: AbortSignal,
): Promise<void> {
  // 1. No host that only this device can see.
  if (!parts.allowPrivate) await refusePrivate(place.host);
  // 2. The server's authority and name, no redirects: what answers is this host.
  const { authorities, pins } = parts.server();
  const source = httpSource(`https://${placeName(place)}/`, {
    tls: { ca: [...authorities], pins },
    proxies: parts.proxies,
    redirects: 0,
  });
  try {
    // 3. Signed metadata from this device's own root on.
    const patient = withSpeedFloor(source, parts.clock, METADATA_SPEED);
    const client = openRepository({
      mirrors: [mirrorAt(below(patient, "repository"))],
      store: memoryStore(),
      clock: parts.clock,
      random: parts.random,
      trustedRoot: parts.root,
    });
    const found = await client.refresh(signal);
    // 4. Nothing older than what is known here.
    const known = (await parts.store.loadKnownTime())?.versions ?? null;
    const older =
      known === null ? [] : (["root", "timestamp"] as const).filter((role) => found[role] < known[role]);
    // A newer root may begin the numbers of the timestamp over.
    if (older.length > 0 && !(known !== null && found.root > known.root)) {
      throw new LocationError(
        "location/behind",
        `${placeName(place)} has older metadata than this device (${older.map((role) => `${role} ${found[role]} before ${known![role]}`).join(", ")}): the hosts before stay in use.`,
        { place: placeName(place), older },
      );
    }
    // 5. A small target comes whole.
    await client.readTarget(TRUSTED_KEYS_TARGET, TRUSTED_KEYS_LIMIT, signal);
  } finally {
    source.close();
  }
}

/** IANA's special-purpose registries (RFC 6890), those that lead into a machine or its own network. */
const PRIVATE = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["224.0.0.0", 3],
] as const)
  PRIVATE.addSubnet(network, prefix, "ipv4");
for (const [network, prefix] of [
  ["::", 127],
  ["64:ff9b::", 96],
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const)
  PRIVATE.addSubnet(network, prefix, "ipv6");

/** Errors: `location/bad-place`. A name that nobody knows is not private: dialing it says so. */
async function refusePrivate(host: string): Promise<void> {
  const fault = privateFault(host) ?? (await privateAddress(host));
  if (fault === null) return;
  throw new LocationError(
    "location/bad-place",
    `The list of locations names ${host}: ${fault}. Only this device's own settings may allow that.`,
    { host },
    { hint: "If that is right here: privateLocations = true in agent.toml." },
  );
}

async function privateAddress(host: string): Promise<string | null> {
  const found = await lookup(host, { all: true }).catch(() => []);
  const inside = found.find(({ address }) => isPrivate(address));
  return inside === undefined ? null : `its address ${inside.address} is in a private network`;
}

export function isPrivate(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
  return PRIVATE.check(mapped, isIP(mapped) === 6 ? "ipv6" : "ipv4");
}
