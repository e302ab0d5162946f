// Tests of the system that an ELF file is for.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { systemOf } from "./system.ts";

const system = (abi: number, segments: readonly number[] = [], sections: readonly string[] = []): string =>
  systemOf(
    abi,
    segments.map((type) => ({ type })),
    sections.map((name) => ({ name })),
  );

describe("an ELF file", () => {
  it("that names no system is one for Linux", () => {
    assert.equal(system(0, [1, 2, 4, 0x6474e551], [".text", ".note.gnu.build-id"]), "linux");
    assert.equal(system(3), "linux");
  });

  it("of OpenBSD is known by its segments or by its note, though its identification says nothing", () => {
    assert.equal(system(0, [1, 0x65a3dbe6]), "openbsd");
    assert.equal(system(0, [1], [".note.openbsd.ident"]), "openbsd");
    assert.equal(system(12), "openbsd");
  });

  it("of another system is named, or numbered", () => {
    assert.equal(system(0, [], [".note.netbsd.ident"]), "netbsd");
    assert.deepEqual(
      [2, 6, 9, 200].map((abi) => system(abi)),
      ["netbsd", "sunos", "freebsd", "abi-200"],
    );
    // A segment number of OpenBSD means nothing to a system that says its name.
    assert.equal(system(9, [0x65a3dbe6]), "freebsd");
  });
});
