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

const GAP = 2;

/**
 * Rows as aligned columns, two spaces between; the last column is not padded. Cells hold no colour. A table wider than `width` (null in
 * pipes: programs want one line a row) is made narrower: cells go on below themselves, broken between words and never inside one.
 */
export function columns(rows: readonly (readonly string[])[], width: number | null = null): string {
  const widths: number[] = [];
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  if (width !== null) narrow(widths, rows, width);
  return rows.flatMap((row) => linesOf(row, widths, width !== null)).join("\n");
}

function linesOf(row: readonly string[], widths: readonly number[], wrap: boolean): readonly string[] {
  const cells = row.map((cell, i) => (wrap ? wrapped(cell, widths[i]!) : [cell]));
  const height = Math.max(1, ...cells.map((lines) => lines.length));
  return Array.from({ length: height }, (_, at) =>
    cells
      .map((lines, i) => (i === row.length - 1 ? (lines[at] ?? "") : (lines[at] ?? "").padEnd(widths[i]!)))
      .join(" ".repeat(GAP))
      .trimEnd(),
  );
}

/** Takes from the widest column until all fit, but no column below its longest word. */
function narrow(widths: number[], rows: readonly (readonly string[])[], width: number): void {
  const least = widths.map((_, i) =>
    Math.max(0, ...rows.flatMap((row) => (row[i] ?? "").split(" ").map((word) => word.length))),
  );
  let over = widths.reduce((sum, one) => sum + one + GAP, -GAP) - width;
  while (over > 0) {
    let widest = -1;
    for (const [i, one] of widths.entries())
      if (one > least[i]! && (widest < 0 || one > widths[widest]!)) widest = i;
    if (widest < 0) return;
    widths[widest]!--;
    over--;
  }
}

function wrapped(cell: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of cell.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
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
