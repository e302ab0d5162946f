// Lengths of time as people write them: 45s, 30m, 12h, 2d.

import { DAY, HOUR, MINUTE, SECOND } from "./instant.ts";

const UNITS = { s: SECOND, m: MINUTE, h: HOUR, d: DAY } as const;

/** Milliseconds; null for anything else. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,6})([smhd])$/.exec(text.trim());
  return match === null ? null : Number(match[1]) * UNITS[match[2] as keyof typeof UNITS];
}

/** The largest unit that leaves no rest. */
export function formatDuration(ms: number): string {
  const unit = (["d", "h", "m"] as const).find((one) => ms >= UNITS[one] && ms % UNITS[one] === 0) ?? "s";
  return `${Math.round(ms / UNITS[unit])}${unit}`;
}
