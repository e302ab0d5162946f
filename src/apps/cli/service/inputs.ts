// The two files a client of the signing service needs, read strictly; a fault names the file.

import { createPrivateKey, type KeyObject } from "node:crypto";
import { fromUtf8 } from "../../../core/bytes.ts";
import { sha256Hex } from "../../../core/digest.ts";
import type { Disk } from "../../../core/disk.ts";
import { SigningError } from "../../../signing/errors.ts";
import {
  MAX_DESCRIPTION,
  parseDescription,
  type ServiceDescription,
} from "../../../signing/wire/description.ts";
import { privateHint } from "../../../io/system/platform.ts";
import { CliError } from "../../framework/errors.ts";

/** Errors: `signing/bad-config` for a file that is no service description, `disk/*`. */
export async function readDescription(disk: Disk, path: string): Promise<ServiceDescription> {
  const bytes = await disk.read(path, MAX_DESCRIPTION);
  try {
    return parseDescription(bytes);
  } catch (cause) {
    throw new SigningError(
      "signing/bad-config",
      `${path} is not a description of a signing service.`,
      { path },
      { cause, hint: '"upkeep signer describe" writes one on the signer\'s host.' },
    );
  }
}

/** What a client or gateway is known by: the SHA-256 of its public key. */
export function identitySpki(key: KeyObject): string {
  return sha256Hex(new Uint8Array(key.export({ type: "spki", format: "der" })));
}

/** The client's own key; a file that others may read is not used. Errors: `cli/no-secret`, `disk/*`. */
export async function readIdentity(disk: Disk, path: string): Promise<KeyObject> {
  const { mode } = await disk.stat(path);
  if ((mode & 0o077) !== 0) {
    throw new CliError(
      "cli/no-secret",
      `${path} may be read by others, so it is not used.`,
      { path },
      { hint: privateHint(path) },
    );
  }
  const bytes = await disk.read(path, 64 * 1024);
  try {
    return createPrivateKey(fromUtf8(bytes));
  } catch {
    // The cause is left out: it may quote what stands in the file.
    throw new CliError(
      "cli/no-secret",
      `${path} holds no private key that can be read.`,
      { path },
      { hint: '"upkeep signer identity FILE" makes one.' },
    );
  }
}
