// Tests of reading what a program was built for from its first bytes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSelector } from "./platform.ts";
import { contradiction, programPlatform } from "./program-header.ts";

function head(edit: (view: DataView, bytes: Uint8Array) => void): Uint8Array {
  const bytes = new Uint8Array(512);
  edit(new DataView(bytes.buffer), bytes);
  return bytes;
}
const elf = (machine: number, interpreter = ""): Uint8Array =>
  head((view, bytes) => {
    view.setUint32(0, 0x7f454c46);
    bytes.set([2, 1], 4);
    view.setUint16(18, machine, true);
    bytes.set(Buffer.from(interpreter), 200);
  });
const pe = (machine: number): Uint8Array =>
  head((view) => {
    view.setUint16(0, 0x4d5a);
    view.setUint32(0x3c, 128, true);
    view.setUint32(128, 0x50450000);
    view.setUint16(132, machine, true);
  });
const machO = (cpu: number): Uint8Array =>
  head((view) => {
    view.setUint32(0, 0xcffaedfe);
    view.setUint32(4, cpu, true);
  });

describe("a program's first bytes", () => {
  it("name its platform", () => {
    assert.deepEqual(programPlatform(elf(62)), { os: "linux", arch: "x64" });
    assert.deepEqual(programPlatform(elf(183, "/lib/ld-musl-aarch64.so.1")), {
      os: "linux",
      arch: "arm64",
      libc: "musl",
    });
    assert.deepEqual(programPlatform(elf(62, "/lib64/ld-linux-x86-64.so.2"))?.libc, "glibc");
    assert.deepEqual(programPlatform(pe(0x8664)), { os: "windows", arch: "x64" });
    assert.deepEqual(programPlatform(machO(0x0100000c)), { os: "darwin", arch: "arm64" });
  });

  it("say nothing when they are a script, too short, or of a machine that nobody has", () => {
    assert.equal(programPlatform(Buffer.from("#!/bin/sh\n".padEnd(100))), null);
    assert.equal(programPlatform(new Uint8Array(10)), null);
    assert.equal(programPlatform(elf(8)), null);
    assert.equal(programPlatform(head((view) => view.setUint16(0, 0x4d5a))), null);
  });

  it("contradict a platform that is said to be another one (wrong software)", () => {
    assert.equal(contradiction(elf(62), parseSelector("linux-x64")), null);
    assert.equal(contradiction(elf(62), parseSelector("linux-arm64")), "linux-x64");
    assert.equal(contradiction(elf(62), parseSelector("any")), "linux-x64");
    assert.equal(contradiction(elf(62), parseSelector("linux")), "linux-x64");
    assert.equal(contradiction(pe(0x8664), parseSelector("linux-x64")), "windows-x64");
    assert.equal(
      contradiction(elf(62, "/lib/ld-musl-x86_64.so.1"), parseSelector("linux-x64-glibc")),
      "linux-x64-musl",
    );
    assert.equal(contradiction(Buffer.from("#!/bin/sh\n".padEnd(100)), parseSelector("any")), null);
  });
});

describe("a program of a system that no platform stands for", () => {
  const foreign = (abi: number, text = ""): Uint8Array => {
    const bytes = elf(62, text);
    bytes[7] = abi;
    return bytes;
  };
  const openbsd = "\x08\0\0\0\x04\0\0\0\x01\0\0\0OpenBSD\0";

  it("is not taken for one of Linux, whether its identification names the system or its note", () => {
    for (const [bytes, name] of [
      [foreign(0, openbsd), "openbsd"],
      [foreign(0, "/usr/libexec/ld.so\0"), "openbsd"],
      [foreign(0, "\x07\0\0\0\x04\0\0\0\x01\0\0\0NetBSD\0"), "netbsd"],
      [foreign(9), "freebsd"],
      [foreign(12), "openbsd"],
    ] as const) {
      assert.equal(programPlatform(bytes), null);
      assert.equal(contradiction(bytes, parseSelector("linux-x64")), name);
    }
    assert.equal(contradiction(foreign(3, "OpenBSD"), parseSelector("linux-x64")), null);
  });
});
