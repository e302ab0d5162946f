// The locations document: from which hosts a fleet gets its updates, signed by several people's offline keys. Transport, and never trust.

import { toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { verifyEnvelope } from "../core/dsse.ts";
import { checkWritten, growing, needing, readGrowing } from "../core/growth.ts";
import { DAY, parseInstant, type Instant } from "../core/instant.ts";
import { parseJson } from "../core/json.ts";
import { instantSchema, sha256Schema, z } from "../core/schema.ts";
import type { DocumentKeys } from "../release/trusted-keys.ts";
import { LocationError } from "./location-errors.ts";

export const LOCATION_LIMIT = 16 * 1024;
const PLACES = 8;

/** Where version N is published: every version stays, so that a device that was away follows all of them. */
export function locationTarget(version: number): string {
  return `trust/locations/${version}.json`;
}

/** A host and a port, as a device dials it. */
const placeSchema = z.strictObject({
  host: z.string().check(z.minLength(1), z.maxLength(253)),
  port: z.number().check(z.int(), z.minimum(1), z.maximum(65_535)),
});
export type LocationPlace = z.infer<typeof placeSchema>;

const locationSchema = growing({
  ...needing,
  /** SHA-256 of the repository's first root: the document of another fleet is nothing here. */
  fleet: sha256Schema,
  version: z.number().check(z.int(), z.minimum(1), z.maximum(1_000_000)),
  /** SHA-256 of the envelope of the version before; null in the first. */
  previous: z.nullable(sha256Schema),
  issued: instantSchema,
  expires: instantSchema,
  /** Update servers, in the order in which they are asked. */
  servers: z.array(placeSchema).check(z.minLength(1), z.maxLength(PLACES)),
  /** Copies of the repository, over https. */
  mirrors: z.array(z.string().check(z.maxLength(1024))).check(z.maxLength(PLACES)),
  /** Hosts that are given up: devices ask them no more once this version is settled, not even as a last resort. */
  retire: z.exactOptional(z.array(placeSchema).check(z.maxLength(PLACES))),
  /** How long both the old and the new hosts are good, and how many check-ins at the new ones settle it. */
  trial: z.strictObject({
    seconds: z.number().check(z.int(), z.minimum(10), z.maximum(90 * 86_400)),
    successes: z.number().check(z.int(), z.minimum(1), z.maximum(1000)),
  }),
});
export type Locations = z.infer<typeof locationSchema>;

/** Strict both ways: what is written is what is read. Errors: `schema/invalid`, `location/bad-place`. */
export function writeLocations(document: Locations): Uint8Array {
  checkPlaces(checkWritten(locationSchema, document, "list of locations"));
  return toUtf8(JSON.stringify(document));
}

export type OpenedLocations = { readonly document: Locations; readonly sha256: string };

/**
 * The one place where a locations document is believed, as far as its bytes go: enough of the location keys signed it, and it says nothing
 * that no such document says. Errors: `dsse/*`, `json/*`, `growth/needs-newer`, `schema/invalid`, `location/bad-place`.
 */
export function openLocations(
  envelope: Uint8Array,
  { keys, threshold }: DocumentKeys,
  known?: readonly string[],
): OpenedLocations {
  const { body } = verifyEnvelope(envelope, "location", keys, { limit: LOCATION_LIMIT, threshold });
  return { document: readLocations(body, known), sha256: sha256Hex(envelope) };
}

/** What a document says, its signatures not looked at. Errors: as `openLocations`, but `dsse/*`. */
export function readLocations(body: Uint8Array, known?: readonly string[]): Locations {
  const document = readGrowing(locationSchema, parseJson(body), "list of locations", known);
  checkPlaces(document);
  return document;
}

/**
 * A document follows the one that holds: by one in number, with its digest, for this fleet, and in time.
 * Errors: `location/other-fleet`, `location/not-next`, `location/expired`.
 */
export function checkNext(
  document: Locations,
  held: { readonly version: number; readonly sha256: string | null },
  /** `now` is null for a version that a later one replaces anyway. */
  facts: { readonly fleet: string; readonly now: Instant | null },
): void {
  const { version, previous, expires, issued } = document;
  if (document.fleet !== facts.fleet)
    throw new LocationError(
      "location/other-fleet",
      "The list of locations is for another fleet: its repository began with another root.",
      { fleet: document.fleet },
    );
  if (version !== held.version + 1 || previous !== held.sha256)
    throw new LocationError(
      "location/not-next",
      `The list of locations has version ${version}, and does not follow version ${held.version}, which holds here: either it is an old one, or one in between is missing.`,
      { version, held: held.version },
    );
  if (facts.now === null) return;
  if (parseInstant(expires) <= facts.now)
    throw new LocationError(
      "location/expired",
      `Version ${version} of the list of locations ended at ${expires}.`,
      {
        version,
        expires,
      },
    );
  if (parseInstant(issued) > facts.now + DAY)
    throw new LocationError(
      "location/expired",
      `Version ${version} of the list of locations begins at ${issued}, which is more than a day ahead: one of the clocks is wrong.`,
      { version, issued },
    );
}

/** Names of hosts, of this machine, and addresses: what a list for a fleet cannot point to. Error: `location/bad-place`. */
function checkPlaces({ servers, mirrors, retire = [] }: Locations): void {
  for (const { host } of [...servers, ...retire]) {
    const fault = hostFault(host);
    if (fault !== null) throw badPlace(host, fault);
  }
  for (const mirror of mirrors) {
    const fault = mirrorFault(mirror);
    if (fault !== null) throw badPlace(mirror, fault);
  }
  const names = servers.map(({ host, port }) => `${host}:${port}`);
  if (new Set(names).size !== names.length) throw badPlace(names[0]!, "a server appears twice");
}

const HOST = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;

/** What is wrong with a host's form, whatever a device's own settings say. Whether its address is private is seen when it is dialed. */
function hostFault(host: string): string | null {
  if (isAddress(host)) return null;
  if (!HOST.test(host)) return "it is no name of a host in lower-case letters";
  return null;
}

function mirrorFault(text: string): string | null {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return "it is no address";
  }
  if (url.protocol !== "https:") return "it is not https";
  if (url.username !== "" || url.password !== "") return "it names a user";
  if (url.hash !== "" || url.search !== "") return "it has a query or a fragment";
  if (!url.pathname.endsWith("/")) return "it does not end with a slash";
  if (url.href !== text) return `it is spelled otherwise (${url.href.slice(0, 100)})`;
  return hostFault(url.hostname.replace(/^\[|\]$/g, ""));
}

function badPlace(place: string, what: string): LocationError {
  return new LocationError(
    "location/bad-place",
    `The list of locations names ${JSON.stringify(place.slice(0, 200))}: ${what}.`,
    { place: place.slice(0, 200) },
  );
}

/** Hosts that only a device's own settings may allow: addresses, and names of this machine. Null when there is nothing against it. */
export function privateFault(host: string): string | null {
  if (isAddress(host)) return "it is an address, not a name";
  if (host === "localhost" || host.endsWith(".localhost")) return "it is this machine";
  return null;
}

/** An IP address; rooms below io know of no network. */
function isAddress(host: string): boolean {
  return /^[0-9.]+$/.test(host) || host.includes(":");
}
