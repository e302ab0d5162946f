// Hours of a week in an IANA time zone: whether an instant lies within them, and when that changes next.

import { DAY, MINUTE, type Instant } from "../core/instant.ts";
import { z } from "../core/schema.ts";

export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
export type Day = (typeof DAYS)[number];

/** The shortest stretch of hours: what is shorter could be passed over between two looks. */
const SHORTEST = 15;

const clockSchema = z
  .string()
  .check(z.regex(/^(?:[01]\d|2[0-3]):[0-5]\d$|^24:00$/, "expected a time of day such as 07:30"));

/** A zone that this program's own table knows; its daylight saving comes from there. */
export const zoneSchema = z
  .string()
  .check(z.maxLength(64), z.refine(isZone, "expected an IANA time zone such as Europe/Berlin"));

export const hoursSchema = z
  .strictObject({
    /** Days on which the hours begin; all when absent. */
    days: z.exactOptional(z.array(z.enum(DAYS)).check(z.minLength(1), z.maxLength(7))),
    from: clockSchema,
    /** Not after `from`: the hours end on the next day. */
    to: clockSchema,
    /** The device's own zone when absent. */
    zone: z.exactOptional(zoneSchema),
  })
  .check(
    z.refine(
      ({ from, to }) => lengthOf(minutesOf(from), minutesOf(to)) >= SHORTEST,
      `expected at least ${SHORTEST} minutes`,
    ),
  );
export type Hours = Readonly<z.infer<typeof hoursSchema>>;
export const hoursListSchema = z.array(hoursSchema).check(z.minLength(1), z.maxLength(32));

function isZone(name: string): boolean {
  // What Intl takes beside names, such as "+01:00", has no daylight saving and is no zone of a place.
  if (!/^[A-Za-z][A-Za-z0-9_+-]*(?:\/[A-Za-z0-9_+-]+)*$/.test(name)) return false;
  try {
    formatterOf(name);
    return true;
  } catch {
    return false;
  }
}

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatterOf(zone: string): Intl.DateTimeFormat {
  const known = formatters.get(zone);
  if (known !== undefined) return known;
  const made = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    weekday: "short",
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  });
  if (formatters.size > 64) formatters.clear();
  formatters.set(zone, made);
  return made;
}

type Local = { readonly day: number; readonly minute: number };

/** Weekday (0 is Monday) and minute of the day there. */
function localOf(instant: Instant, zone: string): Local {
  const parts = formatterOf(zone).formatToParts(instant);
  const of = (type: string): string => parts.find((part) => part.type === type)?.value ?? "";
  const day = DAYS.indexOf(of("weekday").toLowerCase() as Day);
  return { day, minute: Number(of("hour")) * 60 + Number(of("minute")) };
}

function minutesOf(clock: string): number {
  return Number(clock.slice(0, 2)) * 60 + Number(clock.slice(3));
}

function lengthOf(from: number, to: number): number {
  return to > from ? to - from : to + 24 * 60 - from;
}

/** Judged by the clock on the wall there, so that 07:00 is 07:00 in summer and winter. */
function isWithin({ days, from, to }: Hours, { day, minute }: Local): boolean {
  const [start, end] = [minutesOf(from), minutesOf(to)];
  const begins = (on: number): boolean => days?.includes(DAYS[on]!) !== false;
  if (end > start) return begins(day) && minute >= start && minute < end;
  // Over midnight: the evening of a day, or the morning after it.
  return (begins(day) && minute >= start) || (begins((day + 6) % 7) && minute < end);
}

/** True if the instant lies within one of the hours; `zone` is that of the device. */
export function within(list: readonly Hours[], instant: Instant, zone: string): boolean {
  return list.some((hours) => isWithin(hours, localOf(instant, hours.zone ?? zone)));
}

const STEP = 15 * MINUTE;
const HORIZON = 9 * DAY;

/** The first minute from `now` on at which `wanted` holds, null if there is none within the coming week. */
export function firstMinute(now: Instant, wanted: (instant: Instant) => boolean): Instant | null {
  if (wanted(now)) return now;
  const start = Math.ceil(now / MINUTE) * MINUTE;
  for (let at = start; at <= now + HORIZON; at += STEP) {
    if (!wanted(at)) continue;
    // Somewhere in the step before it began; zones and hours change at whole minutes.
    let [no, yes] = [Math.max(at - STEP, start - MINUTE), at];
    while (yes - no > MINUTE) {
      const middle = no + Math.floor((yes - no) / MINUTE / 2) * MINUTE;
      if (wanted(middle)) yes = middle;
      else no = middle;
    }
    return yes;
  }
  return null;
}

/** As people write it: "mon, tue 07:00-19:00 Europe/Berlin". */
export function describeHours({ days, from, to, zone }: Hours): string {
  return [
    ...(days === undefined ? [] : [days.join(",")]),
    `${from}-${to}`,
    ...(zone === undefined ? [] : [zone]),
  ].join(" ");
}

/** The same read back from a command line; null if it says something else. */
export function parseHours(text: string): Hours | null {
  const match = /^(?:(\S+)\s+)?(\d\d:\d\d)-(\d\d:\d\d)(?:\s+(\S+))?$/.exec(text.trim());
  if (match === null) return null;
  const days = match[1] === undefined ? undefined : daysOf(match[1]);
  if (days === null) return null;
  const found = {
    ...(days === undefined ? {} : { days: [...days] }),
    from: match[2]!,
    to: match[3]!,
    ...(match[4] === undefined ? {} : { zone: match[4] }),
  };
  const read = z.safeParse(hoursSchema, found);
  return read.success ? read.data : null;
}

/** "mon-fri", "sat,sun". */
function daysOf(text: string): readonly Day[] | null {
  const days: Day[] = [];
  for (const part of text.toLowerCase().split(",")) {
    const [first, last = first] = part.split("-");
    const [a, b] = [DAYS.indexOf(first as Day), DAYS.indexOf(last as Day)];
    if (a < 0 || b < 0) return null;
    for (let at = a; ; at = (at + 1) % 7) {
      if (!days.includes(DAYS[at]!)) days.push(DAYS[at]!);
      if (at === b) break;
    }
  }
  return days;
}
