// Which releases come with a license: editions and dates; a release that closes a security hole always does.

import { parseInstant } from "../core/instant.ts";
import type { ReleaseManifest } from "../release/manifest.ts";
import { LicenseError } from "./errors.ts";
import type { Updates } from "./terms.ts";

/** What is asked of a release; `license` is absent where it is free to everyone. */
export type Gated = Pick<ReleaseManifest, "published" | "security" | "license">;

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

/** The refusal, in the words that device and server share. `eligible`: the newest version that comes with the license; null for none. */
export function notEntitled(
  { product, version }: Pick<ReleaseManifest, "product" | "version">,
  missing: "license" | "edition" | "date",
  eligible: string | null,
): LicenseError {
  const why = {
    license: "it comes with a license, and this device has none",
    edition: "the license is for another edition",
    date: "the license covers earlier releases only",
  }[missing];
  return new LicenseError(
    "license/not-entitled",
    `${product} ${version} is not for this device: ${why}.${eligible === null ? "" : ` The newest version that is: ${eligible}.`}`,
    { product, version, missing, eligible },
  );
}
