// Paths and commands inside a slot as a manifest spells them, and the bounds of its other small members.

import { z } from "../core/schema.ts";

export const seconds = (least: number, most: number) =>
  z.number().check(z.int(), z.minimum(least), z.maximum(most));
export const text = (most: number) =>
  z.string().check(z.maxLength(most), z.regex(/^[^\p{Cc}\p{Cs}]*$/u, "control characters are not allowed"));

/** Relative to the slot, forward slashes, no part that climbs or hides: the same file on every system. */
export const programSchema = z
  .string()
  .check(
    z.maxLength(512),
    z.refine(isSlotPath, "expected a path inside the slot such as bin/service, without . or .. parts"),
  );

/** Program first, then its arguments, handed over as they are: no shell, no substitution. */
export const commandSchema = z.array(text(4096)).check(
  z.minLength(1),
  z.maxLength(64),
  z.refine((command) => programSchema.safeParse(command[0]).success, {
    message: "the first word must be a path inside the slot such as bin/service",
    path: [0],
  }),
);

/** A relative path with forward slashes that stays inside and has one spelling. */
export function isSlotPath(path: string): boolean {
  return (
    !/[\\:\p{Cc}\p{Cs}]/u.test(path) &&
    path.split("/").every((part) => part !== "" && part !== "." && part !== ".." && !/[ .]$/.test(part))
  );
}
