// A table of page hashes as a program of many pages has it, without the program.

import { rowLength, type PageHash } from "../artifact/pe/page-hashes.ts";

export const PAGE = 4096;

/** Rows for the headers, `rows - 2` pages of 4 KiB, and the end; the digests are any bytes. */
export function pageTable(rows: number, algorithm: PageHash = "sha256"): Uint8Array {
  const row = rowLength(algorithm);
  const table = Uint8Array.from({ length: rows * row }, (_, i) => ((i * 31) % 251) + 1);
  const view = new DataView(table.buffer);
  for (let n = 0; n < rows; n++) view.setUint32(n * row, n * PAGE, true);
  table.fill(0, (rows - 1) * row + 4);
  return table;
}

/** Bytes of a file that has such a table. */
export function lengthFor(rows: number): number {
  return rows * PAGE;
}
