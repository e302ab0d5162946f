// The operator's key store, with passphrases asked for in the ways the command line allows.

import { openKeyStore, type KeyStore } from "../../io/key-store.ts";
import type { Call } from "./command.ts";

export function keysOf(call: Call): KeyStore {
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
