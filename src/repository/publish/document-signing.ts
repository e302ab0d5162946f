// What every change of releases and channels needs: the tools, the keys that sign documents, and a channel put in place.

import type { Disk } from "../../core/disk.ts";
import type { Instant } from "../../core/instant.ts";
import type { DsseSigner } from "../../core/dsse.ts";
import { signChannel, type ChannelPointer } from "../../release/channel.ts";
import { channelTarget, productRole } from "../../release/target-names.ts";
import { keysFor, type DocumentKeys, type TrustedKeys } from "../../release/trusted-keys.ts";
import type { Draft } from "./draft.ts";
import { targetFileOf } from "./new-repository.ts";
import { PublisherError } from "./publisher-errors.ts";
import type { Publisher } from "./publisher.ts";
import type { KeyRing } from "./quorum.ts";

export type ReleaseTools = {
  readonly publisher: Publisher;
  readonly disk: Disk;
  readonly folder: string;
  readonly ring: KeyRing;
  readonly now: () => Instant;
};

/** Signers for a document; `what` names it. Throws `publisher/no-quorum` when too few keys are here. */
export async function documentSigners(
  trusted: DocumentKeys,
  ring: KeyRing,
  what: string,
): Promise<readonly DsseSigner[]> {
  const signers = await ring(trusted.keys);
  if (signers.length >= trusted.threshold) return signers;
  throw new PublisherError(
    "publisher/no-quorum",
    `Documents for ${what} need ${trusted.threshold} signature(s), and ${signers.length} of the trusted keys are here.`,
    { have: signers.length, need: trusted.threshold, keys: trusted.keys.map((key) => key.keyid) },
    { hint: "Run the command where the release key is, or bring its key file." },
  );
}

/** Signs a pointer, made from what stood there before, and puts it where devices look for it. Errors: `publisher/no-quorum`, `release/wrong-document`. */
export async function putChannel(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  pointer: ChannelPointer,
  from: ChannelPointer | null,
): Promise<void> {
  const keys = keysFor(trusted, "channel", pointer.product);
  const signers = await documentSigners(keys, tools.ring, `channels of ${pointer.product}`);
  const bytes = await signChannel(pointer, signers, from);
  const file = targetFileOf(bytes);
  const target = channelTarget(pointer.product, pointer.channel);
  await tools.publisher.placeBytes(target, file, bytes);
  await draft.changeTargets(productRole(pointer.product), { put: new Map([[target, file]]) });
}
