// The list of keys that documents are trusted by, read and changed as a publication of the targets role.

import { TRUSTED_KEYS_TARGET } from "../../../release/target-names.ts";
import { parseTrustedKeys, type TrustedKeys } from "../../../release/trusted-keys.ts";
import type { Draft } from "../../../repository/publish/draft.ts";
import { putTrustedKeys } from "../../../repository/publish/new-repository.ts";
import { readTargetOf, type Outcome } from "../../../repository/publish/publisher.ts";
import type { Operator } from "./operator.ts";

/** As of the last publication. */
export async function currentTrust(operator: Operator): Promise<TrustedKeys> {
  const draft = await operator.look();
  return parseTrustedKeys(
    await readTargetOf(operator.releases.disk, operator.folder, draft, TRUSTED_KEYS_TARGET, 1 << 20),
  );
}

/** `change` gets what is listed and returns what shall be. Errors: `publisher/*`, `release/bad-keys`. */
export async function changeTrust(
  operator: Operator,
  change: (trusted: TrustedKeys, draft: Draft) => Promise<TrustedKeys>,
): Promise<Outcome> {
  return operator.publisher.change(async (draft) => {
    const bytes = await readTargetOf(
      operator.releases.disk,
      operator.folder,
      draft,
      TRUSTED_KEYS_TARGET,
      1 << 20,
    );
    const placed = await putTrustedKeys(draft, await change(parseTrustedKeys(bytes), draft));
    await operator.publisher.placeBytes(placed.name, placed.file, placed.bytes);
  });
}
