// The operator's key store, with passphrases asked for in the ways the command line allows.

import { openKeyStore, type KeyStore } from "../../../io/keys/key-store.ts";
import { equalBytes } from "../../../core/bytes.ts";
import type { Call } from "../../framework/command.ts";

/** Keys of the data folder; with a signing service, also those that it holds for this user. */
export function keysOf(call: Call): KeyStore {
  const local = localKeys(call);
  if ((call.text("service") ?? call.context.terminal.env["UPKEEP_SERVICE"]) === undefined) return local;
  return {
    ...local,
    signersFor: async (wanted) => {
      const here = await local.signersFor(wanted);
      const missing = wanted.filter(
        (key) => !here.some((signer) => equalBytes(signer.publicKey.spki, key.spki)),
      );
      if (missing.length === 0) return here;
      const { serviceSigners } = await import("../service/client.ts");
      return [...here, ...(await serviceSigners(call, missing))];
    },
  };
}

function localKeys(call: Call): KeyStore {
  const { context } = call;
  return openKeyStore(`${context.data}/keys`, {
    disk: context.disk,
    random: context.random,
    ask: (info) =>
      context.secretOrNull({
        what: `Passphrase of the key ${info.name}`,
        env: "UPKEEP_PASSPHRASE",
        file: call.text("passphrase-file"),
        option: "--passphrase-file",
      }),
  });
}
