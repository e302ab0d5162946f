// Tests of lists of files, in the encodings that shells write.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { expandFiles, harmless } from "./many-files.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-list-"));
after(() => rmSync(folder, { recursive: true, force: true }));

describe("a list of files", () => {
  const listed = (bytes: Uint8Array): readonly string[] => {
    const path = join(folder, "list.txt");
    writeFileSync(path, bytes);
    return expandFiles([`@${path}`]);
  };
  const text = "a.exe\r\n# no file\r\nGrüße.dll\r\n";

  it("may be UTF-8 with a mark or without, or UTF-16 as PowerShell 5 writes it", () => {
    const utf16 = Buffer.from(`\ufeff${text}`, "utf16le");
    for (const bytes of [Buffer.from(text), Buffer.from(`\ufeff${text}`), utf16, Buffer.from(utf16).swap16()])
      assert.deepEqual(listed(bytes), ["a.exe", "Grüße.dll"]);
  });
});

describe("a name with control characters", () => {
  it("reaches no terminal as it is, neither alone nor within a path", () => {
    const name = "out/a\u001b]0;owned\u0007\n.exe";
    assert.equal(harmless(`ok ${name}: signed\n  as b`, name), "ok out/a?]0;owned??.exe: signed\n  as b");
    assert.equal(harmless("in a\u001b]0;owned\u0007\n.exe", name), "in a?]0;owned??.exe");
    assert.equal(harmless("\u001b[32mok\u001b[0m x.exe", "x.exe"), "\u001b[32mok\u001b[0m x.exe");
  });
});
