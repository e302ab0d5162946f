// Where a key really is: a sealed file, a token behind PKCS#11, or a key service; all behind the Signer port.

import { createPrivateKey } from "node:crypto";
import { fromBase64 } from "../../core/bytes.ts";
import { localSigner, type Signer } from "../../keys/signer.ts";
import type { KeyConfig } from "../../signing/policy/config.ts";
import type { SealedKey } from "../../signing/custody/custody.ts";
import { SigningError } from "../../signing/errors.ts";
import { proxiesFrom } from "../connection/proxies.ts";

export type Custody = { readonly signer: Signer; readonly close: () => Promise<void> };

const close = async (): Promise<void> => {};

/** `secret` is what was sealed: a private key, a PIN, or credentials. Nothing here ever gives a private key back. */
export async function openCustody(
  name: string,
  config: KeyConfig,
  sealed: SealedKey,
  secret: Uint8Array,
): Promise<Custody> {
  switch (config.custody) {
    case "file": {
      if (sealed.holds !== "pkcs8") throw wrongKind(name);
      const key = createPrivateKey({ key: Buffer.from(secret), format: "der", type: "pkcs8" });
      return { signer: localSigner(key, config.scheme), close };
    }
    case "pkcs11": {
      const { openToken } = await import("./pkcs11.ts");
      const pin = Buffer.from(secret).toString("utf8");
      return openToken({ module: config.module, token: config.token, key: config.label, pin });
    }
    default: {
      const { kmsSigner } = await import("./kms.ts");
      // Without the public key nobody could tell whether the service signed with the right one.
      if (sealed.spki === undefined || sealed.holds !== "secret") throw wrongKind(name);
      const text = Buffer.from(secret).toString("utf8");
      const proxies = proxiesFrom(process.env);
      const signer = kmsSigner(config, fromBase64(sealed.spki), text, { proxies });
      return { signer, close };
    }
  }
}

function wrongKind(name: string): SigningError {
  return new SigningError(
    "signing/locked",
    `The sealed file of the key ${name} holds something else than its configuration says.`,
    {
      key: name,
    },
  );
}
