// The online lease key of a data folder: the newest of those that the repository trusts, or the one that was named.

import { UpkeepError } from "../../../core/errors.ts";
import type { Signer } from "../../../keys/signer.ts";
import type { Call } from "../../framework/command.ts";
import { keysOf } from "../key/keys.ts";
import { operatorOf } from "./operator.ts";
import { currentTrust } from "./trust-change.ts";

/** Null where no trusted lease key is here: then nothing is leased. Errors: `key/*` for one that was named. */
export async function leaseSigner(call: Call): Promise<Signer | null> {
  const named = call.text("lease-key");
  if (named !== undefined) return keysOf(call).signer(named);
  try {
    const trusted = await currentTrust(operatorOf(call));
    const ids = [
      ...new Set(trusted.grants.filter(({ kind }) => kind === "lease").flatMap(({ keyids }) => keyids)),
    ];
    if (ids.length === 0) return null;
    const wanted = ids.map((id) => trusted.keys.get(id)!);
    const here = await keysOf(call).signersFor(wanted);
    // A key that `repo rotate leases` put beside the one before stands last, and is the one to use.
    return (
      wanted
        .toReversed()
        .flatMap((key) => here.filter(({ publicKey }) => publicKey.keyid === key.keyid))[0] ?? null
    );
  } catch (error) {
    if (error instanceof UpkeepError && error.code.startsWith("publisher/")) return null;
    throw error;
  }
}
