// What the first bytes of a program say about the platform it was built for: ELF, PE and Mach-O.

import { formatSelector, type Selector } from "./platform.ts";

/** As many bytes of a file as `programPlatform` wants to see. */
export const PROGRAM_HEAD = 4096;

type Found = Pick<Selector, "os" | "arch" | "libc">;

/** Null for scripts, data, and machines that no platform of ours stands for. */
export function programPlatform(head: Uint8Array): Found | null {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length < 64) return null;
  if (view.getUint32(0) === 0x7f454c46) return elf(head, view);
  if (view.getUint16(0) === 0x4d5a) return pe(view);
  return machO(view);
}

/** Null when the program can run where the artifact is said to be for; else what it is really for. */
export function contradiction(head: Uint8Array, selector: Selector): string | null {
  const foreign = foreignSystem(head);
  if (foreign !== null) return foreign;
  const found = programPlatform(head);
  if (found === null) return null;
  const fits =
    (selector.os === "any" || selector.os === found.os) &&
    (selector.arch === "any" || found.arch === "any" || selector.arch === found.arch) &&
    (selector.libc === undefined || found.libc === undefined || selector.libc === found.libc) &&
    // A program for one machine is not for any.
    !(selector.os === "any") &&
    !(selector.arch === "any" && found.arch !== "any");
  return fits ? null : formatSelector(found);
}

/** Systems of ELF files that no platform of ours stands for. gABI: EI_OSABI at 7; OpenBSD and NetBSD leave it 0 and have notes instead. */
function foreignSystem(head: Uint8Array): string | null {
  if (head.length < 64 || !Buffer.from(head.subarray(0, 4)).equals(Buffer.from("\x7fELF"))) return null;
  const named = { 2: "netbsd", 6: "sunos", 9: "freebsd", 12: "openbsd" }[head[7]!];
  if (named !== undefined) return named;
  const text = Buffer.from(head).toString("latin1");
  if (text.includes("\x08\0\0\0\x04\0\0\0\x01\0\0\0OpenBSD\0") || text.includes("/usr/libexec/ld.so\0"))
    return "openbsd";
  return text.includes("\x07\0\0\0\x04\0\0\0\x01\0\0\0NetBSD\0") ? "netbsd" : null;
}

function elf(head: Uint8Array, view: DataView): Found | null {
  if (foreignSystem(head) !== null) return null;
  // gABI: EI_CLASS 2 is 64 bit, EI_DATA 1 is little endian; e_machine stands at 18.
  if (head[4] !== 2 || head[5] !== 1) return null;
  const arch = { 62: "x64", 183: "arm64" }[view.getUint16(18, true)] as "x64" | "arm64" | undefined;
  if (arch === undefined) return null;
  // The interpreter's path follows the program headers at once in what linkers write.
  const text = Buffer.from(head).toString("latin1");
  const libc = text.includes("/ld-musl-") ? "musl" : text.includes("/ld-linux-") ? "glibc" : undefined;
  return { os: "linux", arch, ...(libc === undefined ? {} : { libc }) };
}

function pe(view: DataView): Found | null {
  const at = view.getUint32(0x3c, true);
  if (at + 6 > view.byteLength || view.getUint32(at) !== 0x50450000) return null;
  const arch = { 0x8664: "x64", 0xaa64: "arm64" }[view.getUint16(at + 4, true)] as
    | "x64"
    | "arm64"
    | undefined;
  return arch === undefined ? null : { os: "windows", arch };
}

function machO(view: DataView): Found | null {
  // mach-o/fat.h: several machines in one file. mach-o/loader.h: 64 bit, little endian.
  if (view.getUint32(0) === 0xcafebabe && view.getUint32(4) < 16) return { os: "darwin", arch: "any" };
  if (view.getUint32(0) !== 0xcffaedfe) return null;
  const arch = { 0x01000007: "x64", 0x0100000c: "arm64" }[view.getUint32(4, true)] as
    | "x64"
    | "arm64"
    | undefined;
  return arch === undefined ? null : { os: "darwin", arch };
}
