// What the files of a repository are called on disk: the plain names that a web server decodes a URL to.

import type { TargetFile } from "../metadata.ts";
import { parseTargetName } from "../names.ts";
import { PublisherError } from "./publisher-errors.ts";
import { strongHashes } from "../trusted-set.ts";

/** `7.product.shop.json`, or `timestamp.json` without a version. Throws `publisher/bad-input` for a role that no file can be named after. */
export function roleFileName(role: string, version?: number): string {
  if (/[/\\\0]/.test(role)) {
    throw new PublisherError(
      "publisher/bad-input",
      `No file can be named after the role ${JSON.stringify(role.slice(0, 80))}.`,
      { role: role.slice(0, 80) },
    );
  }
  return version === undefined ? `${role}.json` : `${version}.${role}.json`;
}

/** Role and version of a metadata file's name; null for one without a version. */
export function parseRoleFileName(name: string): { readonly role: string; readonly version: number } | null {
  const match = /^([1-9]\d{0,15})\.(.+)\.json$/.exec(name);
  const version = Number(match?.[1]);
  return match === null || !Number.isSafeInteger(version) ? null : { role: match[2]!, version };
}

/** What stands behind a target's file name in the name of its zstd form, which nothing lists. */
export const ZSTD_SUFFIX = ".zst";

/** The path of the target that a path may be the zstd form of; else the path itself. */
export function withoutForm(path: string): string {
  return path.startsWith("targets/") && path.endsWith(ZSTD_SUFFIX)
    ? path.slice(0, -ZSTD_SUFFIX.length)
    : path;
}

/** Where a target's bytes lie below the repository's folder: with its digest in front of the last segment in consistent snapshots. */
export function targetFilePath(name: string, file: TargetFile, consistent: boolean): string {
  const segments: string[] = parseTargetName(name).split("/");
  if (consistent) segments.push(`${strongHashes(name, file.hashes)[0]![1]}.${segments.pop()!}`);
  return `targets/${segments.join("/")}`;
}
