// Instants: whole seconds in UTC, written one way only: 2026-11-21T04:00:00Z.

import { REFUSED, UpkeepError, type Traits } from "./errors.ts";

/** Milliseconds since 1970-01-01T00:00:00Z, as `Date.now()` counts. */
export type Instant = number;

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export type InstantErrorCode = "instant/malformed";
export const INSTANT_ERRORS = {
  "instant/malformed": REFUSED,
} satisfies Traits<InstantErrorCode>;

export class InstantError extends UpkeepError<InstantErrorCode> {
  protected override get traits(): Traits<InstantErrorCode> {
    return INSTANT_ERRORS;
  }
}

const FORM = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z$/;

/** Documents of one moment say the same few instants again and again, and each is read more than once. */
const recent = new Map<string, Instant>();
const RECENT = 64;

/** TUF 4.2.1 date form, the only one accepted anywhere. A date that does not exist is refused. Throws `instant/malformed`. */
export function parseInstant(text: string): Instant {
  const known = recent.get(text);
  if (known !== undefined) return known;
  const ms = FORM.test(text) ? Date.parse(text) : Number.NaN;
  // Date.parse rolls 24:00:00 over and refuses 30 February; the round trip catches what it lets through.
  if (Number.isNaN(ms) || formatInstant(ms) !== text) {
    throw new InstantError(
      "instant/malformed",
      `"${text.slice(0, 40)}" is not a UTC time of the form 2026-11-21T04:00:00Z.`,
      {
        text: text.slice(0, 40),
      },
    );
  }
  if (recent.size >= RECENT) recent.clear();
  // Under a text of its own: a part of a parsed document would keep the document.
  recent.set(formatInstant(ms), ms);
  return ms;
}

/** Drops fractions of a second. */
export function formatInstant(instant: Instant): string {
  return new Date(Math.floor(instant / SECOND) * SECOND).toISOString().replace(".000Z", "Z");
}
