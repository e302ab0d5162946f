// Names of targets and roles, and the one way each becomes a path: what escapes nowhere on any server or disk.

import { sha256Hex } from "../core/digest.ts";
import { toUtf8 } from "../core/bytes.ts";
import { RepositoryError } from "./errors.ts";

declare const brand: unique symbol;
/** A target name that was checked by `parseTargetName`: relative, `/`-separated, without tricks. */
export type TargetName = string & { readonly [brand]: "TargetName" };
/** A role name that was checked by `parseRoleName`. May contain anything printable; paths come from `roleFile` only. */
export type RoleName = string & { readonly [brand]: "RoleName" };

/** The four names a delegated role cannot have. */
export const TOP_ROLES = ["root", "timestamp", "snapshot", "targets"] as const;

const MAX_TARGET_NAME = 1024;
/** A file name is at most 255 bytes; 64 hex digits of SHA-256 or 128 of SHA-512 and dots go in front. */
const MAX_SEGMENT = 255;

/** Throws `repository/bad-name` with what is wrong. */
export function parseTargetName(text: string): TargetName {
  const bad = targetNameProblem(text);
  if (bad !== null) {
    throw new RepositoryError("repository/bad-name", `The target name ${show(text)} is refused: ${bad}.`, {
      name: text.slice(0, 80),
    });
  }
  return text as TargetName;
}

export function isTargetName(text: string): text is TargetName {
  return targetNameProblem(text) === null;
}

function targetNameProblem(text: string): string | null {
  if (text === "") return "it is empty";
  if (text.length > MAX_TARGET_NAME) return `it is longer than ${MAX_TARGET_NAME} characters`;
  if (!text.isWellFormed()) return "it has half a surrogate pair";
  if (text.includes("\\")) return "it has a backslash";
  if (hasControl(text)) return "it has a control character";
  for (const segment of text.split("/")) {
    if (segment === "") return "it begins or ends with a slash, or has two in a row";
    if (segment === "." || segment === "..") return 'it has a "." or ".." segment';
    if (toUtf8(segment).length > MAX_SEGMENT) return `a segment is longer than ${MAX_SEGMENT} bytes`;
  }
  return null;
}

/** Throws `repository/bad-name` with what is wrong; also for the names of the four top roles. */
export function parseRoleName(text: string): RoleName {
  const bad = roleNameProblem(text);
  if (bad !== null) {
    throw new RepositoryError("repository/bad-name", `The role name ${show(text)} is refused: ${bad}.`, {
      name: text.slice(0, 80),
    });
  }
  return text as RoleName;
}

/** What is wrong with a delegated role's name, or null. */
export function roleNameProblem(text: string): string | null {
  if (text === "") return "it is empty";
  if ((TOP_ROLES as readonly string[]).includes(text)) return "it is the name of a top-level role";
  if (!text.isWellFormed()) return "it has half a surrogate pair";
  if (hasControl(text)) return "it has a control character";
  // "<version>." in front and ".json" behind must fit into a file name too.
  if (encodeSegment(text).length > MAX_SEGMENT - 24) return "it is too long for a file name";
  return null;
}

/** RFC 3986 section 2.3: everything but unreserved characters is percent-encoded, a slash included. */
export function encodeSegment(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** The file of a role: `timestamp.json`, or `7.product.x.json` with a version. A path for `Source.open` and a file name. */
export function roleFile(role: string, version?: number): string {
  const name = `${encodeSegment(role)}.json`;
  return version === undefined ? name : `${version}.${name}`;
}

/** The path of a target for `Source.open`; with a digest in consistent snapshots (TUF 5.7.3: DIGEST.FILENAME in the last segment). */
export function targetPath(name: TargetName, digest?: string): string {
  const segments = name.split("/").map(encodeSegment);
  if (digest !== undefined) segments.push(`${digest}.${segments.pop()!}`);
  return segments.join("/");
}

/** TUF 5.6.7.2: hash bins are chosen by the SHA-256 of the target name's UTF-8 bytes, hex. */
export function targetNameHash(name: string): string {
  return sha256Hex(toUtf8(name));
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 0x20 || (c >= 0x7f && c < 0xa0)) return true;
  }
  return false;
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
