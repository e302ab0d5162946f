// Windows: the hours in which a rollout may offer its release, in UTC.

import { DAY, MINUTE, type Instant } from "../../core/instant.ts";
import type { Rollout, RolloutWindow } from "../rollout-record.ts";
import { FleetError } from "../errors.ts";

const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const;
const ALL = [0, 1, 2, 3, 4, 5, 6] as const;
const FORM = /^(?:([a-z,-]+) )?([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/;

/** `22:00-04:00`, `mon-fri 22:00-04:00`, `sat,sun 00:00-24:00`. Error: `fleet/bad-rollout`. */
export function parseWindow(text: string): RolloutWindow {
  const match = FORM.exec(text);
  const days = match === null ? null : parseDays(match[1]);
  if (match === null || days === null) throw badWindow(text);
  const from = Number(match[2]) * 60 + Number(match[3]);
  const to = match[4] === undefined ? 24 * 60 : Number(match[4]) * 60 + Number(match[5]);
  if (from === to) throw badWindow(text);
  return { days, from, to };
}

function parseDays(text: string | undefined): readonly number[] | null {
  if (text === undefined) return ALL;
  const days = new Set<number>();
  for (const part of text.split(",")) {
    const [first, last = first, more] = part.split("-").map((name) => DAYS.findIndex((day) => day === name));
    if (first === undefined || last === undefined || more !== undefined || first < 0 || last < 0) return null;
    for (let day = first; ; day = (day + 1) % 7) {
      days.add(day);
      if (day === last) break;
    }
  }
  return [...days].toSorted((a, b) => a - b);
}

function badWindow(text: string): FleetError {
  return new FleetError(
    "fleet/bad-rollout",
    `"${text.slice(0, 60)}" is no window.`,
    { window: text.slice(0, 60) },
    { hint: "Write it in UTC as 22:00-04:00, or with days: mon-fri 22:00-04:00, sat,sun 00:00-24:00." },
  );
}

/** As people write it; `parseWindow` reads it back. */
export function windowText({ days, from, to }: RolloutWindow): string {
  const clock = (minutes: number): string =>
    `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
  const names = days.length === 7 ? "" : `${days.map((day) => DAYS[day]).join(",")} `;
  return `${names}${clock(from)}-${clock(to)}`;
}

/** When the windows let something through next: `now` while one is open. Null where there is none that ever opens. */
export function opensAt(
  { windows, deadline }: Pick<Rollout, "windows" | "deadline">,
  now: Instant,
): Instant | null {
  if (windows.length === 0 || (deadline !== null && now >= deadline)) return now;
  const today = Math.floor(now / DAY) * DAY;
  let next: Instant | null = null;
  // From yesterday on, because a window may have begun before midnight.
  for (let offset = -1; offset <= 7; offset++) {
    const midnight = today + offset * DAY;
    const day = new Date(midnight).getUTCDay();
    for (const window of windows) {
      if (!window.days.includes(day)) continue;
      const begins = midnight + window.from * MINUTE;
      const ends = midnight + window.to * MINUTE + (window.to < window.from ? DAY : 0);
      if (begins <= now && now < ends) return now;
      if (begins > now && (next === null || begins < next)) next = begins;
    }
  }
  if (deadline !== null && (next === null || deadline < next)) return deadline;
  return next;
}
