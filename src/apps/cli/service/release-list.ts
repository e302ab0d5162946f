// All files of a call as one release: each file's place in the list, so that one approval covers them.

import { basename } from "node:path";
import { toHex } from "../../../core/bytes.ts";
import { merkleRoot } from "../../../core/digest.ts";
import type { Random } from "../../../core/random.ts";
import { withFileSource } from "../../../io/source/file.ts";
import { inclusionProof } from "../../../signing/audit/proof.ts";
import { digestWord } from "../../../signing/request/operation.ts";
import { listLeaf, listRoot, type ListedFile, type Membership } from "../../../signing/request/request.ts";
import { kindOf, wantedFor } from "./operation.ts";
import type { Plan } from "./plan.ts";

/** `scheme` is that of the key; each list is one of its own, by its nonce. Errors: those of reading the files. */
export async function releaseOf(
  files: readonly { readonly path: string; readonly plan: Plan }[],
  scheme: string,
  random: Random,
): Promise<readonly Membership[]> {
  const listed: ListedFile[] = [];
  for (const { path, plan } of files) {
    const { operation } = await withFileSource(path, async (source) =>
      wantedFor(await kindOf(source, path, plan.as), source, plan, scheme),
    );
    listed.push({
      certificate: plan.cert,
      operation: operation.kind,
      name: basename(path),
      digest: digestWord(operation),
    });
  }
  const nonce = toHex(random.bytes(16));
  const leaves = listed.map((file) => listLeaf(file, nonce));
  const subtree = (level: number, index: number): Uint8Array =>
    merkleRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level));
  const root = listRoot(listed, nonce);
  return listed.map((_, index) => ({
    root,
    size: listed.length,
    index,
    proof: inclusionProof(subtree, index, listed.length).map(toHex),
    nonce,
  }));
}
