// The self-check of a running program: at every start what costs nothing, on demand all of its bytes.

import { readOctets } from "../../der/reader.ts";
import * as oids from "../../der/oids.ts";
import { guarded, signedAttribute, type SignedData } from "../cms.ts";
import type { ContentDigests } from "../content-digest.ts";
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "../source.ts";
import {
  firstRefusal,
  judgeElf,
  readSignedElf,
  verifyElf,
  type ElfPolicy,
  type ElfReport,
} from "./verify.ts";

export type SelfCheck = {
  /** Null if the structure could not even be read. */
  readonly report: ElfReport | null;
  /** Why the image is not to be believed; null if it is. */
  readonly refusal: ArtifactError | null;
};

/**
 * At every start: trailer, headers, signature value, manifest, platform, chain. The content is not read, so this takes
 * a few milliseconds whatever the size; it finds another file in this one's place, a removed or foreign signature,
 * an older release. It does not find changed bytes: that is `checkWholeSelf`.
 * A program that was replaced by an attacker does not check itself; whoever starts it has to.
 * `source` is the running image itself (on Linux `/proc/self/exe`), not the path it was started by. Errors: those of the disk.
 */
export function checkSelf(source: ByteSource, policy: ElfPolicy): Promise<SelfCheck> {
  return settle(async () => {
    const read = await readSignedElf(source);
    if (read.form === "plain") {
      throw new ArtifactError(
        "artifact/bad-manifest",
        "The program is signed in the kernel's form, which cannot be checked without reading all of it.",
        {},
      );
    }
    return judgeElf(read, policy, statedDigests(read.signed, read.container.contentSize), source);
  });
}

/** The same, and every byte: some hundred milliseconds for a program of 100 MB. After an update, and now and then. */
export function checkWholeSelf(source: ByteSource, policy: ElfPolicy): Promise<SelfCheck> {
  return settle(() => verifyElf(source, policy));
}

async function settle(check: () => Promise<ElfReport>): Promise<SelfCheck> {
  try {
    const report = await check();
    return { report, refusal: firstRefusal(report) };
  } catch (error) {
    if (error instanceof ArtifactError) return { report: null, refusal: error };
    throw error;
  }
}

/** What the first signer of each algorithm says the digest is: others who say otherwise are found out by the comparison. */
function statedDigests(signed: SignedData, length: number): ContentDigests {
  return {
    length,
    merkleRoot: null,
    of: (algorithm) => {
      const signer = signed.signers.find((one) => one.digest === algorithm);
      const value = signer === undefined ? null : signedAttribute(signer, oids.messageDigest);
      return value === null ? null : guarded(() => readOctets(value));
    },
  };
}
