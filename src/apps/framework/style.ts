// Colour and alignment of what people read.

import { styleText } from "node:util";
import { DAY, HOUR, MINUTE } from "../../core/instant.ts";

export type Style = {
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly warn: (text: string) => string;
  readonly strong: (text: string) => string;
  readonly faint: (text: string) => string;
};

export function styler(colour: boolean): Style {
  const paint =
    (format: "green" | "red" | "yellow" | "bold" | "dim") =>
    (text: string): string =>
      colour ? styleText(format, text, { validateStream: false }) : text;
  return {
    good: paint("green"),
    bad: paint("red"),
    warn: paint("yellow"),
    strong: paint("bold"),
    faint: paint("dim"),
  };
}

/** Rows as aligned columns, two spaces between; the last column is not padded. Cells hold no colour. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** `1 file`, `2 files`. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** Bytes for people: 512 B, 3.4 KiB, 12.0 MiB. */
export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes;
  for (const unit of ["KiB", "MiB", "GiB"]) {
    value /= 1024;
    if (value < 1024 || unit === "GiB") return `${value.toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

/** Whole days from three on, and hours or minutes below: "0 d" would be said of what is good until tomorrow. */
export function timeLeft(left: number): string {
  if (left <= 0) return "none";
  if (left < HOUR) return `${Math.max(1, Math.floor(left / MINUTE))} min`;
  if (left < 3 * DAY) return `${Math.floor(left / HOUR)} h`;
  return `${Math.floor(left / DAY)} d`;
}
