// Versions of the conversation between client and signer: what each can say, and what a client does about an older signer.

import { SigningError } from "../errors.ts";
import { tableReference, type Operation } from "../request/operation.ts";
import type { Membership } from "../request/request.ts";

/** Spoken here, the best first. A client names all it speaks; a signer answers with the best that it speaks as well. */
export const VERSIONS = [2, 1] as const;
export type Version = (typeof VERSIONS)[number];

/**
 * The version with which something came. Whoever adds a member, a call or a form of a request gives it a line here and, once a version was
 * released, a version of its own: both sides read strictly, so an older one refuses what it does not know.
 */
export const SINCE = {
  catalogs: 2,
  "page-hash tables beside the request": 2,
  "lists of one call": 2,
  "dry runs": 2,
  "the word that nothing was signed": 2,
} as const satisfies { readonly [what: string]: Version };
export type Feature = keyof typeof SINCE;

/** The best version that both speak; null if there is none. */
export function commonVersion(offered: readonly number[]): Version | null {
  return VERSIONS.find((version) => offered.includes(version)) ?? null;
}

export function speaks(version: Version, feature: Feature): boolean {
  return version >= SINCE[feature];
}

/** What a signer has to understand to be asked for this. */
export function neededFor(operation: Operation, release?: Membership): readonly Feature[] {
  const needed: Feature[] = [];
  if (operation.kind === "authenticode" && operation.contentType !== undefined) needed.push("catalogs");
  if (tableReference(operation) !== null) needed.push("page-hash tables beside the request");
  if (release?.nonce !== undefined) needed.push("lists of one call");
  return needed;
}

/** Why a signer of this version cannot be asked for it; null if it can. */
export function tooOld(signer: string, version: Version, needed: readonly Feature[]): SigningError | null {
  const lacking = needed.filter((feature) => !speaks(version, feature));
  if (lacking.length === 0) return null;
  const wanted = Math.max(...lacking.map((feature) => SINCE[feature]));
  return new SigningError(
    "signing/old-signer",
    `The signer ${signer} is older than this client: it speaks version ${version} of the protocol, and ${lacking.join(" and ")} came with version ${wanted}.`,
    { signer, version, needs: wanted, lacking },
    { hint: "Update that signer, or name one that is newer with --signer. Nothing was sent to it." },
  );
}
