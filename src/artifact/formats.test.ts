// Tests of what a file is taken for: by its content; and refused where its name promises what it is not.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { tinyPe } from "../testing/tiny-pe.ts";
import { formatOf } from "./formats.ts";
import { bytesSource } from "./source.ts";

const text = toUtf8("only text\n");
const of = (bytes: Uint8Array, name: string) => formatOf(bytesSource(bytes), name);

describe("a file", () => {
  it("that is none of what its Windows name says is refused by that name, in any case, empty ones included", async () => {
    for (const name of ["app.exe", "APP.DLL", "disk.sys", "setup.msi", "data.cab", "driver.cat", "boot.efi"])
      for (const bytes of [text, new Uint8Array(0)])
        await assert.rejects(of(bytes, name), { code: "artifact/malformed", hint: /--as detached/ }, name);
  });

  it("is what its content says, whatever its name is", async () => {
    assert.equal((await of(tinyPe(), "program")).name, "pe");
    assert.equal((await of(tinyPe(), "setup.msi")).name, "pe");
  });

  it("with a name that promises nothing has no format", async () => {
    for (const name of ["notes.txt", "libc.so", "exe", "app.exe.txt"])
      await assert.rejects(of(text, name), { code: "artifact/unknown-format" }, name);
  });
});
