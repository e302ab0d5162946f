// A table of page hashes, row by row, for whoever is to sign it and does not have the program.

import { ArtifactError } from "../errors.ts";
import { rowLength, type PageHash } from "./page-hashes.ts";

/** The smallest page that page hashes are defined for: a program has no more rows than such pages, and one for each section's rest. */
const SMALLEST_PAGE = 512;
/** PE/COFF "COFF File Header": what the Windows loader takes. */
const MOST_SECTIONS = 96;

/**
 * Reads a table in parts of any size. Well formed is: the headers' row at offset 0, then rows at growing offsets, each with a digest, then the
 * end of the last section with a digest of zeros, which is no further than the file. A program without sections ends at 0.
 */
export class PageRows {
  readonly #row: number;
  readonly #rows: number;
  readonly #fileLength: number;
  readonly #held: Uint8Array;
  #filled = 0;
  #read = 0;
  #last = -1;

  /** `length`: bytes of the whole table. `fileLength`: bytes of the program. Errors: `artifact/malformed`. */
  constructor(algorithm: PageHash, length: number, fileLength: number) {
    this.#row = rowLength(algorithm);
    this.#rows = length / this.#row;
    this.#fileLength = fileLength;
    this.#held = new Uint8Array(this.#row);
    if (!Number.isInteger(this.#rows) || this.#rows < 2)
      throw malformed(`it has rows of ${this.#row} bytes, and two of them at least`);
    if (this.#rows > Math.ceil(fileLength / SMALLEST_PAGE) + MOST_SECTIONS + 2)
      throw malformed(`it has ${this.#rows} rows, more than a file of ${fileLength} bytes has pages`);
  }

  /** Errors: `artifact/malformed`. */
  push(part: Uint8Array): void {
    for (let at = 0; at < part.length;) {
      if (this.#filled === 0 && part.length - at >= this.#row) {
        this.#check(part.subarray(at, at + this.#row));
        at += this.#row;
        continue;
      }
      const piece = part.subarray(at, at + this.#row - this.#filled);
      this.#held.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      if (this.#filled < this.#row) return;
      this.#check(this.#held);
      this.#filled = 0;
    }
  }

  /** That the last row was seen, and nothing after it. Errors: `artifact/malformed`. */
  end(): void {
    if (this.#filled !== 0 || this.#read !== this.#rows) throw malformed("it ends before its last row");
  }

  #check(row: Uint8Array): void {
    const n = this.#read++;
    if (n >= this.#rows) throw malformed("it goes on after its last row");
    const offset = (row[0]! | (row[1]! << 8) | (row[2]! << 16) | (row[3]! << 24)) >>> 0;
    const empty = row.subarray(4).every((byte) => byte === 0);
    const last = n === this.#rows - 1;
    if (n === 0 && offset !== 0) throw malformed("its first row is not that of the headers");
    if (empty !== last)
      throw malformed(last ? "its last row, the end, has a digest" : `its row ${n} has no digest`);
    // The end of a program without sections is 0, the offset of the headers.
    if (offset <= this.#last && !(last && n === 1 && offset === 0))
      throw malformed(`its row ${n} is for the offset ${offset}, which is not after ${this.#last}`);
    if (offset > this.#fileLength)
      throw malformed(
        `its row ${n} is for the offset ${offset}, beyond the file's ${this.#fileLength} bytes`,
      );
    this.#last = offset;
  }
}

/** Errors: `artifact/malformed`. */
export function checkPageRows(algorithm: PageHash, table: Uint8Array, fileLength: number): void {
  const rows = new PageRows(algorithm, table.length, fileLength);
  rows.push(table);
  rows.end();
}

function malformed(what: string): ArtifactError {
  return new ArtifactError("artifact/malformed", `The table of page hashes is malformed: ${what}.`, {
    format: "pe",
    what,
  });
}
