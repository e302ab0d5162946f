// The audit log of a signer that does not run, opened by a command that has the unlock secret.

import { createPrivateKey } from "node:crypto";
import { equalBytes, fromBase64 } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import type { Disk } from "../../core/disk.ts";
import { localSigner } from "../../keys/signer.ts";
import { AuditLog } from "../../signing/audit/log.ts";
import { noteKeyFromSpki } from "../../signing/audit/note.ts";
import { openKey, parseSealedKey, wrappingKey } from "../../signing/custody/custody.ts";
import { SigningError } from "../../signing/errors.ts";
import type { LogHome } from "./log-home.ts";
import { LOG_KEY, logOrigin, type SignerFolder } from "./settings.ts";

/**
 * The caller holds the folder's lock, or knows that nobody else sees it, and has the right to write `home`.
 * Errors: `signing/locked`, `signing/log-damaged`, `disk/*`, `signing/store-unavailable`.
 */
export async function openOwnLog(
  disk: Disk,
  clock: Clock,
  folder: SignerFolder,
  home: Pick<LogHome, "files" | "folder">,
  name: string,
  secret: Uint8Array,
): Promise<AuditLog> {
  const sealed = parseSealedKey(await disk.read(folder.key(LOG_KEY), 64 * 1024));
  const plain = openKey(wrappingKey(secret, LOG_KEY), sealed);
  const signer = localSigner(
    createPrivateKey({ key: Buffer.from(plain), format: "der", type: "pkcs8" }),
    "ed25519",
  );
  plain.fill(0);
  const { spki } = signer.publicKey;
  if (!equalBytes(spki, fromBase64(sealed.spki ?? "")))
    throw new SigningError(
      "signing/locked",
      "The key of the audit log is not the one that its file names.",
      {},
    );
  const { log } = await AuditLog.open({
    disk: home.files,
    clock,
    folder: home.folder,
    key: noteKeyFromSpki(logOrigin(name), spki),
    sign: (message) => signer.sign(message, "ed25519"),
  });
  return log;
}
