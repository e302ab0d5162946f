// Names of the TUF targets that make up releases and channels; made here and read back here, nowhere else.

import { nameSchema, z } from "../core/schema.ts";
import { isVersion } from "../core/version.ts";
import { ReleaseError } from "./errors.ts";

export const TRUSTED_KEYS_TARGET = "trust/keys.json";
export const TRUST_BUNDLE_TARGET = "trust/bundle.json";
/** PEM certificates below which the publishers that releases pin must stand. */
export const PUBLISHER_ROOTS_TARGET = "trust/publishers.pem";
export const PUBLISHER_ROOTS_LIMIT = 512 * 1024;

/** Names that are no artifact's. */
const RESERVED: ReadonlySet<string> = new Set(["release.json", "sbom.json", "provenance.json"]);

/** The TUF role that a product's files are delegated to. */
export function productRole(product: string): string {
  return `product.${checkName(product)}`;
}

/** The one path pattern of that role. */
export function productPaths(product: string): string {
  return `products/${checkName(product)}/*/*`;
}

export function channelTarget(product: string, channel: string): string {
  return `products/${checkName(product)}/channels/${checkName(channel)}.json`;
}

/** Which numbers of a product are used up because they were recalled; for those who publish, devices read the channel. */
export function recalledTarget(product: string): string {
  return `products/${checkName(product)}/recalled/list.json`;
}

export function releaseTarget(product: string, version: string): string {
  return `products/${checkName(product)}/${checkVersion(version)}/release.json`;
}

/** Throws `release/bad-name` for a file name that could mean something else on some disk or in some URL. */
export function artifactTarget(product: string, version: string, file: string): string {
  checkName(product);
  if (!isFileName(file) || RESERVED.has(file)) {
    throw new ReleaseError(
      "release/bad-name",
      `"${file.slice(0, 80)}" cannot name an artifact; use letters, digits, dots, dashes, plus and underscores, at most 128.`,
      { name: file.slice(0, 80) },
    );
  }
  return `products/${checkName(product)}/${checkVersion(version)}/${file}`;
}

/** A document about the release, such as its bill of materials; no artifact has such a name. */
export function attestationTarget(product: string, version: string, kind: "sbom" | "provenance"): string {
  return `products/${checkName(product)}/${checkVersion(version)}/${kind}.json`;
}

export type ParsedTarget =
  | { readonly kind: "channel"; readonly product: string; readonly channel: string }
  | { readonly kind: "release"; readonly product: string; readonly version: string }
  | { readonly kind: "artifact"; readonly product: string; readonly version: string; readonly file: string };

/** What a target's name says, or null when it is none of ours. */
export function parseTargetName(name: string): ParsedTarget | null {
  const [root, product, middle, file, ...rest] = name.split("/");
  if (root !== "products" || product === undefined || middle === undefined || file === undefined) return null;
  if (rest.length > 0 || !isName(product) || !isFileName(file)) return null;
  if (middle === "channels") {
    const channel = file.endsWith(".json") ? file.slice(0, -5) : "";
    return isName(channel) ? { kind: "channel", product, channel } : null;
  }
  if (!isVersion(middle)) return null;
  return file === "release.json"
    ? { kind: "release", product, version: middle }
    : { kind: "artifact", product, version: middle, file };
}

/** A file name that is safe on every disk and in every URL without escaping. */
export function isFileName(text: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}$/.test(text) && !text.endsWith(".") && !isDeviceName(text);
}

/** Windows: device names are reserved whatever follows the first dot. */
function isDeviceName(text: string): boolean {
  return /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i.test(text);
}

export function isName(text: string): boolean {
  return z.safeParse(nameSchema, text).success;
}

function checkName(text: string): string {
  if (isDeviceName(text)) {
    throw new ReleaseError(
      "release/bad-name",
      `"${text.slice(0, 80)}" cannot name a product or channel: Windows keeps ${text.split(".")[0]!} for a device, with any ending.`,
      { name: text.slice(0, 80) },
    );
  }
  if (isName(text)) return text;
  throw new ReleaseError(
    "release/bad-name",
    `"${text.slice(0, 80)}" is not a name of a product or channel; use lower-case letters, digits, dots and dashes, at most 64.`,
    { name: text.slice(0, 80) },
  );
}

function checkVersion(text: string): string {
  if (isVersion(text)) return text;
  throw new ReleaseError(
    "release/bad-name",
    `"${text.slice(0, 80)}" is not a version such as 1.4.0; releases are ordered by SemVer.`,
    { version: text.slice(0, 80) },
  );
}
