// The channel that a component follows, as the product's keys signed it.

import { openChannel, CHANNEL_LIMIT, type ChannelPointer } from "../release/channel.ts";
import { channelTarget } from "../release/target-names.ts";
import { keysFor, type TrustedKeys } from "../release/trusted-keys.ts";
import type { Releases } from "./ports.ts";

/** What is signed now, and by whom it may be. */
export type Signed = {
  readonly releases: Releases;
  readonly trusted: TrustedKeys;
  /** Feature words that this agent knows: what needs others is refused by name. */
  readonly known: readonly string[];
};

/** The channel the component follows: its recalls and steps are signed by the product's keys, not by the server. */
export async function loadChannel(
  { releases, trusted, known }: Signed,
  product: string,
  channel: string,
): Promise<ChannelPointer> {
  const bytes = await releases.document(channelTarget(product, channel), CHANNEL_LIMIT);
  return openChannel(bytes, keysFor(trusted, "channel", product), { product, channel }, known);
}
