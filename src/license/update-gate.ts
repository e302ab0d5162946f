// Which releases come with a license: editions and dates; a release that closes a security hole always does.

import { parseInstant } from "../core/instant.ts";
import type { ReleaseManifest } from "../release/manifest.ts";
import type { Updates } from "./terms.ts";

/** What is asked of a release; `license` is absent where the product is free to everyone. */
export type Gated = Pick<ReleaseManifest, "published" | "security"> & {
  readonly license?: { readonly editions?: readonly string[]; readonly backdatedTo?: string };
};

/** Null when the release comes with these rights, else which of them is missing. `updates`: null for a device without a license. */
export function missingRight(release: Gated, updates: Updates | null): "license" | "edition" | "date" | null {
  const { license } = release;
  // Automated security updates are for all.
  if (license === undefined || release.security) return null;
  if (updates === null) return "license";
  if (!(license.editions ?? []).every((edition) => updates.editions.includes(edition))) return "edition";
  if (updates.until === null) return null;
  const published = parseInstant(release.published);
  const counted =
    license.backdatedTo === undefined ? published : Math.min(published, parseInstant(license.backdatedTo));
  return counted <= parseInstant(updates.until) ? null : "date";
}
