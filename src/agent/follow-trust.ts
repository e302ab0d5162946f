// Takes over the repository's list of authorities; whatever is wrong with it, those that were believed before are believed on.

import { UpkeepError } from "../core/errors.ts";
import { MirrorError } from "../mirror/errors.ts";
import { sentenceOf } from "./errors.ts";
import type { Notice, Releases, ServerTrust } from "./ports.ts";

/** Of one refreshed state of the repository. Returns what people should know; a check goes on after it. */
export async function followTrust(
  trust: ServerTrust,
  releases: Pick<Releases, "trustBundle">,
): Promise<readonly Notice[]> {
  try {
    const bundle = await releases.trustBundle(trust.bundleSha256);
    if (bundle !== null) await trust.take(bundle);
    return [];
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    const message = `The list of authorities was not taken over; the previous authorities stay trusted: ${sentenceOf(error)}`;
    // What could not be fetched comes with the next check; what was fetched and refused is for people.
    return [{ code: error.code, about: "authorities", message, alarm: !(error instanceof MirrorError) }];
  }
}
