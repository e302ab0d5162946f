// Tests of reading what a program was built for from its first bytes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSelector } from "./platform.ts";
import { cannotRun, contradiction, programKind, programPlatform } from "./program-header.ts";

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

/** An ELF file as far as the kernel reads it: class, order, system, type, machine, and segments of a type with their bytes. */
function wholeElf(
  machine: number,
  options: {
    readonly bits?: 32 | 64;
    readonly order?: "little" | "big";
    readonly abi?: number;
    readonly type?: number;
    readonly loader?: string;
    readonly note?: string;
  } = {},
): Uint8Array {
  const { bits = 64, order = "little", abi = 0, type = 2, loader, note } = options;
  const wide = bits === 64;
  const little = order === "little";
  return head((view, bytes) => {
    const word = (at: number, value: number): void =>
      wide ? view.setBigUint64(at, BigInt(value), little) : view.setUint32(at, value, little);
    view.setUint32(0, 0x7f454c46);
    bytes.set([wide ? 2 : 1, little ? 1 : 2, 1, abi], 4);
    view.setUint16(16, type, little);
    view.setUint16(18, machine, little);
    const size = wide ? 56 : 32;
    word(wide ? 32 : 28, 64);
    view.setUint16(wide ? 54 : 42, size, little);
    view.setUint16(wide ? 56 : 44, 2, little);
    const segment = (number: number, kind: number, at: number, body: Uint8Array): void => {
      const start = 64 + number * size;
      view.setUint32(start, kind, little);
      word(start + (wide ? 8 : 4), at);
      word(start + (wide ? 32 : 16), body.length);
      bytes.set(body, at);
    };
    segment(0, loader === undefined ? 1 : 3, 300, Buffer.from(loader === undefined ? "" : `${loader}\0`));
    segment(
      1,
      note === undefined ? 1 : 4,
      400,
      Buffer.from(note === undefined ? "" : `${"\0".repeat(12)}${note}\0`),
    );
  });
}

describe("what a device makes of a program before it starts it", () => {
  const here = { os: "linux", arch: "x64" } as const;
  const refused = (bytes: Uint8Array): string | null => cannotRun(programKind(bytes), here);

  it("is at ease with its own programs, and knows their loader", () => {
    assert.equal(refused(wholeElf(62)), null);
    const musl = programKind(wholeElf(62, { type: 3, loader: "/lib/ld-musl-x86_64.so.1" }));
    assert.equal(musl.kind === "native" && musl.loader, "/lib/ld-musl-x86_64.so.1");
    assert.deepEqual(musl.kind === "native" && musl.found, { os: "linux", arch: "x64", libc: "musl" });
    assert.equal(refused(Buffer.from("#!/bin/sh\necho\n")), null);
  });

  it("names what it cannot run: every machine, class and order, other systems, other formats (wrong software)", () => {
    const rows: readonly (readonly [Uint8Array, RegExp])[] = [
      [wholeElf(183), /for Linux on arm64/],
      [wholeElf(243), /RISC-V/],
      [wholeElf(40, { bits: 32 }), /32-bit ARM/],
      [wholeElf(3, { bits: 32 }), /32-bit x86/],
      [wholeElf(62, { bits: 32 }), /32-bit x64/],
      [wholeElf(22, { order: "big" }), /s390, big-endian/],
      [wholeElf(62, { order: "big" }), /big-endian/],
      [wholeElf(4242), /machine 4242/],
      [wholeElf(62, { abi: 9 }), /FreeBSD/],
      [wholeElf(62, { note: "OpenBSD" }), /OpenBSD/],
      [wholeElf(62, { loader: "/usr/libexec/ld.so" }), /BSD/],
      [pe(0x8664), /Windows on x64/],
      [pe(0x14c), /Windows on 32-bit x86/],
      [machO(0x01000007), /macOS on x64/],
      [Buffer.from("echo I am a shell script without a first line\n".padEnd(100)), /neither a program/],
      [Buffer.from("short"), /neither a program/],
      [new Uint8Array(0), /empty/],
    ];
    for (const [bytes, reason] of rows) assert.match(refused(bytes) ?? "it would be started", reason);
  });

  it("names what the kernel refuses behind a good header, where a library would hand it to a shell", () => {
    assert.match(refused(wholeElf(62, { type: 1 })) ?? "", /object or core file/);
    const headless = wholeElf(62);
    new DataView(headless.buffer).setUint16(54, 0);
    assert.match(refused(headless) ?? "", /program headers/);
    const unended = wholeElf(62, { loader: "/lib64/ld-linux-x86-64.so.2" });
    unended[300 + "/lib64/ld-linux-x86-64.so.2".length] = 0x41;
    assert.match(refused(unended) ?? "", /loader is damaged/);
  });

  it("reads a script's first line as the kernel does", () => {
    const kind = (text: string) => programKind(Buffer.from(text));
    assert.deepEqual(kind("#! /usr/bin/env -S node --x\nrest"), {
      kind: "script",
      interpreter: "/usr/bin/env",
      argument: "-S node --x",
    });
    assert.deepEqual(kind("#!/bin/sh"), { kind: "script", interpreter: "/bin/sh", argument: null });
    assert.equal(kind("#!\n").kind, "unknown");
    assert.equal(kind(`#!/${"x".repeat(300)}\n`).kind, "unknown");
    assert.match(refused(Buffer.from("#!/bin/sh\r\necho\r\n")) ?? "", /carriage return/);
  });

  it("refuses for publication what no device could run", () => {
    assert.match(contradiction(wholeElf(243), parseSelector("linux-x64")) ?? "", /RISC-V/);
    assert.match(contradiction(wholeElf(40, { bits: 32 }), parseSelector("any")) ?? "", /32-bit ARM/);
    assert.match(
      contradiction(wholeElf(62, { note: "OpenBSD" }), parseSelector("linux-x64")) ?? "",
      /OpenBSD/,
    );
  });
});
