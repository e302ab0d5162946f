// Says before a channel moves which platforms the new release leaves behind.

import { droppedPlatforms, type Selector } from "../../../release/platform.ts";
import { UpkeepError } from "../../../core/errors.ts";
import { readChannel, readRelease, trustedKeys } from "../../../repository/publish/release-reader.ts";
import type { Call } from "../../framework/command.ts";
import type { Operator } from "../repo/operator.ts";

type Move = { readonly product: string; readonly version: string; readonly channel: string };

/** The platforms of the release that the channel points to now for which the next one, listed or about to be added, has nothing. */
export async function noteDropped(
  call: Call,
  operator: Operator,
  { product, version, channel }: Move,
  artifacts?: readonly Selector[],
): Promise<readonly string[]> {
  const draft = await operator.look();
  let dropped: readonly string[];
  let before: string;
  try {
    const trusted = await trustedKeys(operator.releases, draft);
    const current = await readChannel(operator.releases, draft, trusted, product, channel);
    if (current === null || current.version === version) return [];
    before = current.version;
    const selectorsOf = async (one: string): Promise<readonly Selector[]> =>
      (await readRelease(operator.releases, draft, trusted, product, one)).manifest.artifacts;
    dropped = droppedPlatforms(await selectorsOf(before), artifacts ?? (await selectorsOf(version)));
  } catch (error) {
    // What cannot be read is said by the change itself, which reads it again.
    if (error instanceof UpkeepError) return [];
    throw error;
  }
  if (dropped.length > 0)
    call.context.note(
      `${product} ${version} has nothing for ${dropped.join(", ")}, which ${before} on ${channel} has: those devices stay where they are`,
    );
  return dropped;
}
