// Platforms: what a device is, what an artifact is for, and which artifact of a release fits best.

import { z } from "../core/schema.ts";
import { ReleaseError } from "./errors.ts";

export type Os = "linux" | "windows" | "darwin";
export type Arch = "x64" | "arm64";
export type Libc = "glibc" | "musl";

/** What a device says of itself, found by looking at the running system, never read from a document. */
export type Platform = {
  readonly os: Os;
  readonly arch: Arch;
  /** Null where the question makes no sense. */
  readonly libc: Libc | null;
  /** Kernel version on Linux, product version elsewhere: dotted numbers. Null when unknown. */
  readonly osVersion: string | null;
  /** Hardware id given at enrolment or by the board, null when it has none. */
  readonly hardware: string | null;
};

/** Dotted whole numbers, at most four, such as `5.10` or `10.0.17763`. */
export const osVersionSchema = z
  .string()
  .check(z.regex(/^(0|[1-9]\d{0,8})(\.(0|[1-9]\d{0,8})){0,3}$/, "expected dotted numbers such as 5.10"));

/** What an artifact is for; as it stands in a signed manifest. */
export const selectorShape = {
  os: z.enum(["linux", "windows", "darwin", "any"]),
  arch: z.enum(["x64", "arm64", "any"]),
  /** Absent: does not matter. */
  libc: z.exactOptional(z.enum(["glibc", "musl"])),
  /** Lowest version of the operating system; absent: does not matter. */
  minimumOs: z.exactOptional(osVersionSchema),
  /** Hardware ids it is for; absent: all. */
  hardware: z.exactOptional(
    z
      .array(z.string().check(z.regex(/^[A-Za-z0-9._:-]{1,64}$/, "expected 1 to 64 of A-Z a-z 0-9 . _ : -")))
      .check(z.minLength(1), z.maxLength(64)),
  ),
};
export const selectorSchema = z.strictObject(selectorShape);
export type Selector = Readonly<z.infer<typeof selectorSchema>>;

/** Why an artifact is not for a device. */
export type Misfit = "os" | "arch" | "libc" | "os-too-old" | "os-version-unknown" | "hardware";

/** Null when the artifact is for this device; unknown facts never count as a fit. */
export function misfit(selector: Selector, platform: Platform): Misfit | null {
  if (selector.os !== "any" && selector.os !== platform.os) return "os";
  if (selector.arch !== "any" && selector.arch !== platform.arch) return "arch";
  if (selector.libc !== undefined && selector.libc !== platform.libc) return "libc";
  if (selector.minimumOs !== undefined) {
    if (platform.osVersion === null) return "os-version-unknown";
    if (compareOsVersions(platform.osVersion, selector.minimumOs) < 0) return "os-too-old";
  }
  if (
    selector.hardware !== undefined &&
    (platform.hardware === null || !selector.hardware.includes(platform.hardware))
  ) {
    return "hardware";
  }
  return null;
}

/** The fitting artifact that says most about whom it is for; null when none fits. */
export function bestFit<T extends Selector>(artifacts: readonly T[], platform: Platform): T | null {
  let best: T | null = null;
  for (const artifact of artifacts) {
    if (misfit(artifact, platform) !== null) continue;
    if (best === null || compareSpecificity(artifact, best) > 0) best = artifact;
  }
  return best;
}

/** The platforms of `before` that nothing of `after` is for: their devices would be left behind. */
export function droppedPlatforms(before: readonly Selector[], after: readonly Selector[]): readonly string[] {
  const dropped = before.filter((old) => !after.some((next) => covers(next, old)));
  return [...new Set(dropped.map(formatSelector))];
}

function covers(next: Selector, old: Selector): boolean {
  return (
    (next.os === "any" || next.os === old.os) &&
    (next.arch === "any" || next.arch === old.arch) &&
    (next.libc === undefined || next.libc === old.libc) &&
    (next.hardware === undefined || (old.hardware?.every((id) => next.hardware!.includes(id)) ?? false))
  );
}

/** Two artifacts with the same key could not be told apart by any device. */
export function selectorKey(selector: Selector): string {
  const { os, arch, libc = "any", minimumOs = "0", hardware = ["any"] } = selector;
  return [os, arch, libc, minimumOs, [...hardware].sort().join(",")].join("/");
}

function compareSpecificity(a: Selector, b: Selector): number {
  const flags = (s: Selector): readonly number[] => [
    s.hardware === undefined ? 0 : 1,
    s.os === "any" ? 0 : 1,
    s.arch === "any" ? 0 : 1,
    s.libc === undefined ? 0 : 1,
  ];
  const [x, y] = [flags(a), flags(b)];
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return x[i]! - y[i]!;
  return compareOsVersions(a.minimumOs ?? "0", b.minimumOs ?? "0");
}

/** Numeric, missing parts count as zero. */
export function compareOsVersions(a: string, b: string): number {
  const [x, y] = [a.split(".").map(Number), b.split(".").map(Number)];
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const difference = (x[i] ?? 0) - (y[i] ?? 0);
    if (difference !== 0) return Math.sign(difference);
  }
  return 0;
}

/** Reads `linux-x64`, `linux-x64-musl`, `windows-arm64`, `linux`, `any`. Throws `release/bad-platform`. */
export function parseSelector(text: string): Selector {
  const [os, arch = "any", libc, ...rest] = text.split("-");
  const value = { os, arch, ...(libc === undefined ? {} : { libc }) };
  const result = z.safeParse(selectorSchema, value);
  if (!result.success || rest.length > 0 || (libc !== undefined && os !== "linux")) {
    throw new ReleaseError(
      "release/bad-platform",
      `"${text.slice(0, 60)}" is not a platform; write for example linux-x64, linux-x64-musl, windows-arm64 or any.`,
      { platform: text.slice(0, 60) },
    );
  }
  return result.data;
}

export function formatSelector(selector: Selector): string {
  const parts: string[] = [selector.os];
  if (selector.arch !== "any" || selector.libc !== undefined) parts.push(selector.arch);
  if (selector.libc !== undefined) parts.push(selector.libc);
  return parts.join("-");
}
