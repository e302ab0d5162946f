// Versions: SemVer 2.0.0, parsed strictly and totally ordered, and the ranges that dependencies use.

import { USAGE, UpkeepError, type Traits } from "./errors.ts";

export type VersionErrorCode = "version/malformed" | "version/bad-range";
export const VERSION_ERRORS = {
  "version/malformed": USAGE,
  "version/bad-range": USAGE,
} satisfies Traits<VersionErrorCode>;

export class VersionError extends UpkeepError<VersionErrorCode> {
  protected override get traits(): Traits<VersionErrorCode> {
    return VERSION_ERRORS;
  }
}

/** A version that was parsed; `text` is its one spelling. */
export type Version = {
  readonly text: string;
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  readonly pre: readonly (string | number)[];
  readonly build: string;
};

// SemVer 2.0.0, "Is there a suggested regular expression": numeric identifiers have no leading zeros.
const FORM =
  /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$/;

/** At most 128 characters, numbers below 2^53. Throws `version/malformed`. */
export function parseVersion(text: string): Version {
  const version = read(text);
  if (version === null) throw malformed(text);
  return version;
}

export function isVersion(text: string): boolean {
  return read(text) !== null;
}

function read(text: string): Version | null {
  const match = text.length <= 128 ? FORM.exec(text) : null;
  if (match === null) return null;
  const [major, minor, patch] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const pre = (match[4] ?? "")
    .split(".")
    .filter((part) => part !== "")
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
  const numbers = [major, minor, patch, ...pre].filter((part) => typeof part === "number");
  if (!numbers.every(Number.isSafeInteger)) return null;
  return { text, major, minor, patch, pre, build: match[5] ?? "" };
}

/** SemVer 2.0.0 section 11 precedence; build metadata does not count. */
export function compareVersions(a: Version, b: Version): number {
  const core = a.major - b.major || a.minor - b.minor || a.patch - b.patch;
  if (core !== 0) return Math.sign(core);
  // 11.3: a pre-release is lower than its release.
  if (a.pre.length === 0 || b.pre.length === 0) return Math.sign(b.pre.length - a.pre.length);
  for (let i = 0; i < Math.min(a.pre.length, b.pre.length); i++) {
    const [x, y] = [a.pre[i]!, b.pre[i]!];
    if (x === y) continue;
    // 11.4.3: numeric identifiers are lower than alphanumeric ones.
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    return x < y ? -1 : 1;
  }
  return Math.sign(a.pre.length - b.pre.length);
}

type Comparator = { readonly op: ">=" | "<=" | ">" | "<" | "="; readonly version: Version };

/** A conjunction of comparators such as `>=1.2.0 <2.0.0`, separated by single spaces; `*` is any version. */
export type VersionRange = { readonly text: string; readonly all: readonly Comparator[] };

/** Throws `version/bad-range`. */
export function parseRange(text: string): VersionRange {
  if (text === "*") return { text, all: [] };
  const all = text.split(" ").map((word): Comparator => {
    const match = /^(>=|<=|>|<|=)?(.+)$/.exec(word);
    if (match === null || !isVersion(match[2]!)) {
      throw new VersionError(
        "version/bad-range",
        `"${text.slice(0, 80)}" is not a version range; write comparators such as ">=1.2.0 <2.0.0", or "*".`,
        { range: text.slice(0, 80) },
      );
    }
    return { op: (match[1] ?? "=") as Comparator["op"], version: parseVersion(match[2]!) };
  });
  return { text, all };
}

export function inRange(version: Version, range: VersionRange): boolean {
  return range.all.every(({ op, version: bound }) => {
    const c = compareVersions(version, bound);
    if (op === ">=") return c >= 0;
    if (op === "<=") return c <= 0;
    if (op === ">") return c > 0;
    if (op === "<") return c < 0;
    return c === 0;
  });
}

function malformed(text: string): VersionError {
  return new VersionError(
    "version/malformed",
    `"${text.slice(0, 80)}" is not a SemVer 2.0.0 version such as 1.4.0.`,
    {
      version: text.slice(0, 80),
    },
  );
}
