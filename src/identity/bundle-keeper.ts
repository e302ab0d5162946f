// The trust bundle that holds here: kept byte for byte in one file of its own, and never replaced by an older one.

import { equalBytes } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { checkFollows, parseTrustBundle, TRUST_BUNDLE_LIMIT, type TrustBundle } from "./trust-bundle.ts";

export type BundleKeeper = {
  /** Null before the first one, and while the file is damaged. */
  readonly bundle: TrustBundle | null;
  /** SHA-256 of its bytes. */
  readonly sha256: string | null;
  /** Why the file that lies there cannot be used; nobody may be believed then until `take` replaced it. */
  readonly damage: UpkeepError | null;
  /**
   * Makes these bytes the bundle that holds; false when they are already. Only bytes that TUF verified belong here. On the disk before it holds.
   * Errors: those of `parseTrustBundle` and `checkFollows`, `disk/*`; what held before holds on.
   */
  take(bytes: Uint8Array): Promise<boolean>;
};

/** Errors: `disk/*`. */
export async function openBundleKeeper(disk: Disk, path: string): Promise<BundleKeeper> {
  let held: { readonly bytes: Uint8Array; readonly bundle: TrustBundle } | null = null;
  let damage: UpkeepError | null = null;
  const found = await readOrNull(disk, path, TRUST_BUNDLE_LIMIT);
  if (found !== null) {
    try {
      held = { bytes: found, bundle: parseTrustBundle(found) };
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      damage = error;
    }
  }
  return {
    get bundle() {
      return held?.bundle ?? null;
    },
    get sha256() {
      return held === null ? null : sha256Hex(held.bytes);
    },
    get damage() {
      return damage;
    },
    take: async (bytes) => {
      if (held !== null && equalBytes(held.bytes, bytes)) return false;
      const bundle = parseTrustBundle(bytes);
      // After damage the number is unknown; that TUF never goes back stands behind it (TUF 5.5.5).
      if (held !== null) checkFollows(held.bundle, bundle);
      await writeAtomic(disk, path, bytes, 0o600);
      held = { bytes, bundle };
      damage = null;
      return true;
    },
  };
}
