// A table of page hashes without its program: what can be told of it is checked.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { lengthFor, PAGE, pageTable } from "../../testing/page-table.ts";
import { tinyPe } from "../../testing/tiny-pe.ts";
import { bytesSource } from "../source.ts";
import { readLayout } from "./layout.ts";
import { pageHashTable } from "./page-hashes.ts";
import { checkPageRows, PageRows } from "./page-rows.ts";

const ROWS = 40;
const size = lengthFor(ROWS);
const changed = (edit: (view: DataView, table: Uint8Array) => void): Uint8Array => {
  const table = pageTable(ROWS);
  edit(new DataView(table.buffer), table);
  return table;
};
const refused = (table: Uint8Array, what: RegExp, length = size): void =>
  assert.throws(() => checkPageRows("sha256", table, length), { code: "artifact/malformed", message: what });

describe("rows of page hashes", () => {
  it("as they are made of a program are in order, in both digests, for one without sections too", async () => {
    const program = tinyPe();
    const source = bytesSource(program);
    const layout = await readLayout(source);
    for (const algorithm of ["sha1", "sha256"] as const) {
      checkPageRows(algorithm, await pageHashTable(source, layout, algorithm), program.length);
      checkPageRows(algorithm, pageTable(ROWS, algorithm), size);
    }
    const bare = await pageHashTable(source, { ...layout, sections: [] }, "sha256");
    checkPageRows("sha256", bare, program.length);
  });

  it("are read in parts of any size", () => {
    const table = pageTable(ROWS);
    for (const step of [1, 35, 36, 37, 100, table.length]) {
      const rows = new PageRows("sha256", table.length, size);
      for (let at = 0; at < table.length; at += step) rows.push(table.subarray(at, at + step));
      rows.end();
    }
  });

  it("are refused when they cannot be those of a file of this length", () => {
    refused(
      pageTable(ROWS),
      /row 39 is for the offset 159744, beyond the file's 159743 bytes/,
      (ROWS - 1) * PAGE - 1,
    );
    refused(pageTable(ROWS), /beyond the file's 8192 bytes/, 2 * PAGE);
    refused(pageTable(600), /600 rows, more than a file of 100 bytes has pages/, 100);
    refused(pageTable(1), /two of them at least/);
    refused(pageTable(ROWS).subarray(0, -1), /rows of 36 bytes/);
  });

  it("are refused out of order, twice, without a digest, without an end, or with an end in the middle", () => {
    refused(
      changed((view) => view.setUint32(0, 1, true)),
      /first row is not that of the headers/,
    );
    refused(
      changed((view) => view.setUint32(36 * 5, 4 * PAGE, true)),
      /row 5 is for the offset 16384, which is not after 16384/,
    );
    refused(
      changed((view) => view.setUint32(36 * 5, 7 * PAGE, true)),
      /row 6 .* not after/,
    );
    refused(
      changed((_, table) => table.fill(0, 36 * 7 + 4, 36 * 8)),
      /row 7 has no digest/,
    );
    refused(
      changed((_, table) => table.fill(1, -1)),
      /the end, has a digest/,
    );
    refused(pageTable(ROWS).subarray(0, 36 * 20), /the end, has a digest/);
    const rows = new PageRows("sha256", 36 * ROWS, size);
    rows.push(pageTable(ROWS).subarray(0, 36 * 10));
    assert.throws(() => rows.end(), { code: "artifact/malformed" });
    const more = new PageRows("sha256", 36 * 2, size);
    more.push(pageTable(2));
    assert.throws(() => more.push(new Uint8Array(36)), { code: "artifact/malformed" });
  });
});
