// The gate before a slot: each refusal by itself, at its very bounds.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EntryGate, type EntryHead, type EntryKind } from "./entry-path.ts";

const LIMITS = { bytes: 100, entries: 5 };
const head = (path: string, kind: EntryKind = "file", more: Partial<EntryHead> = {}): EntryHead => ({
  path,
  kind,
  size: 0,
  executable: false,
  target: "",
  ...more,
});
const admit = (...entries: readonly EntryHead[]): (string | null)[] => {
  const gate = new EntryGate(LIMITS);
  return entries.map((entry) => gate.admit(entry));
};
const link = (path: string, target: string): EntryHead => head(path, "link", { target });
const refused = (why: RegExp | string, code = "slot/unsafe-entry") => ({
  name: "SlotError",
  code,
  message: typeof why === "string" ? new RegExp(why.replaceAll(/[.()]/g, String.raw`\$&`)) : why,
});

describe("the name of an entry", () => {
  for (const [path, kind, clean] of [
    ["./a", "file", "a"],
    ["././a/b", "file", "a/b"],
    ["d/", "directory", "d"],
    ["./", "directory", null],
    [".", "directory", null],
    ["", "directory", null],
    [".upkeep", "file", ".upkeep"],
    ["d/.upkeep-x", "file", "d/.upkeep-x"],
    ["..a", "file", "..a"],
    ["é€😀", "file", "é€😀"],
    [`${"n".repeat(200)}`, "file", "n".repeat(200)],
    [`${"é".repeat(100)}`, "file", "é".repeat(100)],
    [`${"n/".repeat(512)}`.slice(0, 1023), "file", "n/".repeat(512).slice(0, 1023)],
    [`n${"/n".repeat(511)}m`, "file", `n${"/n".repeat(511)}m`],
  ] as const) {
    it(`${JSON.stringify(path.slice(0, 20))} of a ${kind} becomes ${JSON.stringify(clean?.slice(0, 20) ?? null)}`, () => {
      assert.deepEqual(admit(head(path, kind)), [clean]);
    });
  }

  for (const [what, path, why, kind = "file"] of [
    ["a NUL", "a\0b", "a control character"],
    ["an absolute path", "/etc/passwd", "its path is absolute"],
    ["a drive", "c:/evil", "its path is absolute"],
    ["a drive alone", "c:", "its path is absolute"],
    ["a place on a drive", "c:evil", "Windows allows no : in a name"],
    ["a backslash", String.raw`a\b`, /Windows allows no \\ in a name/],
    ["an escape sequence", "a\u001b[2J", "a control character"],
    ["an escape sequence of Latin-1", "a\u009b2J", "a control character"],
    ["a DEL", "a\u007f", "a control character"],
    ["half a surrogate pair", "a\ud800", "its name is not UTF-8"],
    ["a byte that is not UTF-8", "Gr\udcfc", /"Gr\\xFC": its name is not UTF-8/],
    ["no name for a file", "./", "it has no name"],
    ["no name for a link", "", "it has no name", "link"],
    ["a dot for a file", ".", "it has no name"],
    ["..", "..", 'its path holds ".."'],
    [".. behind the dot", "./../a", 'its path holds ".."'],
    [".. in the middle", "a/../b", 'its path holds ".."'],
    ["a file that ends like a folder", "a/", "an empty part"],
    ["a folder that ends twice", "d//", "an empty part", "directory"],
    ["an empty part", "a//b", "an empty part"],
    ["a dot in the middle", "a/./b", "an empty part"],
    ["a name of 201 bytes", "n".repeat(201), "longer than 200 bytes"],
    ["a name of 101 letters and 202 bytes", "é".repeat(101), "longer than 200 bytes"],
    ["a path of 1025 bytes", `${"n/".repeat(512)}n`, "longer than 1024 bytes"],
    ["a reserved name", ".upkeep-slot.json", "are taken"],
    ["a reserved name in capitals", "./.UPKEEP-slot.json", "are taken"],
    ["something below a reserved name", ".upkeep-x/a", "are taken"],
  ] as const) {
    it(`is refused with ${what}`, () => {
      assert.throws(() => admit(head(path, kind)), refused(why));
    });
  }
});

describe("for devices with Linux only", () => {
  const onLinux = (...entries: readonly EntryHead[]): (string | null)[] => {
    const gate = new EntryGate({ ...LIMITS, names: "linux" });
    return entries.map((entry) => gate.admit(entry));
  };

  it("a name may hold what Windows and macOS could not hold", () => {
    for (const path of ["ab:c", "1:b", "c:evil", "c:/evil", String.raw`a\b`, "con", "dot."])
      assert.deepEqual(onLinux(head(path)), [path]);
    assert.deepEqual(onLinux(head("Readme"), head("README")), ["Readme", "README"]);
    assert.deepEqual(onLinux(link("l", "1:b"), link("m", "c:/x")), ["l", "m"]);
  });

  it("what leaves the slot or steers a terminal is refused all the same", () => {
    for (const path of [
      "/etc/passwd",
      "a/../b",
      "a\u001b[2J",
      "a\0b",
      "Gr\udcfc",
      ".UPKEEP-x",
      "n".repeat(201),
    ])
      assert.throws(() => onLinux(head(path)), refused(/./), path);
    for (const target of ["..", "/etc/passwd", "x/../y", "a\0b", "\udcfc"])
      assert.throws(() => onLinux(link("l", target)), refused(/./), target);
  });
});

describe("an archive", () => {
  it("may hold what was declared, to the entry and to the byte", () => {
    const full = Array.from({ length: 5 }, (_, at) => head(`f${at}`, "file", { size: 20 }));
    assert.equal(admit(...full).length, 5);
  });

  it("is refused one entry beyond, folders and its own root counted (entry bomb)", () => {
    const roots = Array.from({ length: 6 }, () => head("./", "directory"));
    assert.throws(() => admit(...roots), refused("more than the declared 5 entries", "slot/too-large"));
  });

  it("is refused one byte beyond, over all entries (decompression bomb)", () => {
    const sizes = [50, 50, 1].map((size, at) => head(`f${at}`, "file", { size }));
    assert.throws(() => admit(...sizes), refused("more than the declared 100 bytes", "slot/too-large"));
  });

  it("may name a folder after what lies in it, once", () => {
    assert.deepEqual(admit(head("d/f"), head("d", "directory"), head("d/g")), ["d/f", "d", "d/g"]);
    const again = [head("d/f"), head("d", "directory"), head("d", "directory")];
    assert.throws(() => admit(...again), refused("it appears twice"));
  });

  for (const [what, entries, why] of [
    ["a file twice", [head("f"), head("f")], "it appears twice"],
    ["a folder twice", [head("d", "directory"), head("d/", "directory")], "it appears twice"],
    ["a file where a folder is implied", [head("d/f"), head("d")], "it appears twice"],
    ["a link where a folder is implied", [head("d/f"), link("d", "x")], "it appears twice"],
    ["a folder over a file", [head("d"), head("d", "directory")], "it appears twice"],
    ["a folder over a link", [link("d", "x"), head("d", "directory")], "it appears twice"],
    ["something below a file", [head("f"), head("f/g")], "which is no folder"],
    ["something below a link (write through a link)", [link("l", "d"), head("l/f")], "which is no folder"],
    ["something deep below a link", [link("a/l", "d"), head("a/l/b/c")], "which is no folder"],
    ["names that differ in case", [head("Readme"), head("README")], "in case or accents only"],
    ["folders that differ in case", [head("Lib/a"), head("lib/b")], "in case or accents only"],
    ["a link that differs in case from a folder", [head("D/a"), link("d", "x")], "in case or accents only"],
    ["names that differ in accents", [head("\u00e9"), head("e\u0301")], "in case or accents only"],
  ] as const) {
    it(`is refused with ${what}`, () => {
      assert.throws(() => admit(...entries), refused(why));
    });
  }
});

describe("the target of a link", () => {
  for (const [path, target] of [
    ["l", "a"],
    ["l", "./a//b/."],
    ["a/l", ".."],
    ["a/l", "../b"],
    ["a/b/l", "../../c"],
    ["a/b/l", ".././../c"],
    ["l", "..a"],
    ["l", "t".repeat(1024)],
    ["l", "é".repeat(512)],
  ] as const) {
    it(`${JSON.stringify(target.slice(0, 20))} of ${path} stays inside`, () => {
      assert.deepEqual(admit(link(path, target)), [path]);
    });
  }

  for (const [what, path, target, why] of [
    ["nothing", "l", "", "no clean path"],
    ["a NUL", "l", "a\0b", "no clean path"],
    ["a backslash", "l", String.raw`..\a`, "no clean path"],
    ["a DEL", "l", "a\u007f", "no clean path"],
    ["half a surrogate pair", "l", "a\ud800", "no clean path"],
    ["an absolute path", "l", "/etc/passwd", "which is absolute"],
    ["a drive", "l", "C:/a", "which is absolute"],
    ["a place on a drive", "l", "C:a", "no clean path"],
    ["1025 bytes", "l", "t".repeat(1025), "which is too long"],
    ["513 letters of two bytes", "l", "é".repeat(513), "which is too long"],
    ["the folder above the slot", "l", "..", "which leaves the slot"],
    ["one step too many from below", "a/l", "../..", "which leaves the slot"],
    ["one step too many, with dots between", "a/l", "./..//../x", "which leaves the slot"],
    // Where the way down leads through another link, the way up leads elsewhere: out of the slot.
    ["a way down and up again", "a/l", "x/..", "which goes down and up again"],
    ["a way up, down and up again", "a/b/l", "../x/../y", "which goes down and up again"],
  ] as const) {
    it(`is refused as ${what} (link escape)`, () => {
      assert.throws(() => admit(link(path, target)), refused(why));
    });
  }

  it("is looked at for links only", () => {
    assert.deepEqual(admit(head("f", "file", { target: "/etc/passwd" })), ["f"]);
  });
});
