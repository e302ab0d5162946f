// What the first bytes of a program say about where it runs: ELF, PE, Mach-O, and scripts with their interpreter.

import { formatSelector, type Selector } from "./platform.ts";

/** As many bytes of a file as are wanted here. */
export const PROGRAM_HEAD = 4096;

type Found = Pick<Selector, "os" | "arch" | "libc">;

/** A file as the kernel would take it when it is started. */
export type ProgramKind =
  /** `found` is null for a machine or system that no platform of ours stands for; `what` names it for people. */
  | {
      readonly kind: "native";
      readonly found: Found | null;
      readonly what: string;
      /** The loader of an ELF program, by path; null if it has none or it stands further back in the file. */
      readonly loader: string | null;
      /** Why the kernel refuses the file in spite of its header; null if nothing is seen. */
      readonly broken: string | null;
    }
  | { readonly kind: "script"; readonly interpreter: string; readonly argument: string | null }
  | { readonly kind: "unknown"; readonly what: string };

export function programKind(head: Uint8Array): ProgramKind {
  if (head.length === 0) return { kind: "unknown", what: "an empty file" };
  if (head[0] === 0x23 && head[1] === 0x21) return script(head);
  if (head.length < 64) return UNKNOWN;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (view.getUint32(0) === 0x7f454c46) return elf(head, view);
  if (view.getUint16(0) === 0x4d5a) return pe(view);
  return machO(view) ?? UNKNOWN;
}

const UNKNOWN: ProgramKind = {
  kind: "unknown",
  what: "neither a program of any system nor a script that begins with #!",
};

/** Null for scripts, data, and machines that no platform of ours stands for. */
export function programPlatform(head: Uint8Array): Found | null {
  const file = programKind(head);
  return file.kind === "native" ? file.found : null;
}

/**
 * Null when the program can run where the artifact is said to be for; else what it is really for: a platform as `formatSelector` writes it,
 * or the name of a machine that there are no platforms for.
 */
export function contradiction(head: Uint8Array, selector: Selector): string | null {
  const file = programKind(head);
  if (file.kind !== "native") return null;
  const { found } = file;
  // No device at all could run it.
  if (found === null) return file.what;
  const fits =
    (selector.os === "any" || selector.os === found.os) &&
    (selector.arch === "any" || found.arch === "any" || selector.arch === found.arch) &&
    (selector.libc === undefined || found.libc === undefined || selector.libc === found.libc) &&
    // A program for one machine is not for any.
    !(selector.os === "any") &&
    !(selector.arch === "any" && found.arch !== "any");
  return fits ? null : formatSelector(found);
}

/** Why a system of this platform cannot start the file, whatever is installed there; null if it can. */
export function cannotRun(file: ProgramKind, platform: Pick<Selector, "os" | "arch">): string | null {
  if (file.kind === "unknown") return `it is ${file.what}`;
  if (file.kind === "script") {
    if (platform.os === "windows") return "it is a script with an interpreter, which Windows does not start";
    // A carriage return is part of the name for every kernel.
    return `${file.interpreter}${file.argument ?? ""}`.endsWith("\r")
      ? "its first line ends with a carriage return, as Windows writes lines, so that its interpreter is not found"
      : null;
  }
  const { found, what, broken } = file;
  const fits =
    found !== null && found.os === platform.os && (found.arch === "any" || found.arch === platform.arch);
  if (!fits) return `it is ${what}`;
  return broken;
}

/** gABI, and the registry of e_machine that came after it. */
const MACHINES: { readonly [machine: number]: string } = {
  2: "SPARC",
  3: "32-bit x86",
  8: "MIPS",
  20: "32-bit PowerPC",
  21: "64-bit PowerPC",
  22: "s390",
  40: "32-bit ARM",
  43: "64-bit SPARC",
  50: "Itanium",
  62: "x64",
  183: "arm64",
  243: "RISC-V",
  258: "LoongArch",
};
/** EI_OSABI; 0 says nothing, 3 is Linux. */
const SYSTEMS: { readonly [abi: number]: string } = {
  2: "NetBSD",
  6: "Solaris",
  7: "AIX",
  9: "FreeBSD",
  12: "OpenBSD",
  97: "bare ARM",
};
const PT_INTERP = 3;
const PT_NOTE = 4;
/** PATH_MAX of Linux: a longer loader is refused by the kernel. */
const LONGEST_PATH = 4096;

function elf(head: Uint8Array, view: DataView): ProgramKind {
  // gABI: EI_CLASS 2 is 64 bit, EI_DATA 1 is little endian; e_type stands at 16, e_machine at 18.
  const wide = head[4] === 2;
  const little = head[5] !== 2;
  const number = view.getUint16(18, little);
  const parts = elfSegments(head, view, wide, little);
  const machine = MACHINES[number] ?? `machine ${number}`;
  const system = SYSTEMS[head[7]!] ?? parts.system ?? "Linux";
  const arch = wide && little ? ({ 62: "x64", 183: "arm64" } as const)[number] : undefined;
  const size = wide || machine.includes("-bit") ? "" : "32-bit ";
  const order = little ? "" : ", big-endian";
  const what = `an ELF program for ${system} on ${size}${machine}${order}`;
  const { loader } = parts;
  // Linkers write the loader's path behind the program headers at once; where they are not at hand, it is looked for.
  const text = loader ?? Buffer.from(head).toString("latin1");
  const libc = text.includes("/ld-musl-")
    ? ("musl" as const)
    : text.includes("/ld-linux-")
      ? ("glibc" as const)
      : undefined;
  const found =
    arch === undefined || system !== "Linux"
      ? null
      : { os: "linux" as const, arch, ...(libc === undefined ? {} : { libc }) };
  const type = view.getUint16(16, little);
  // load_elf_binary of Linux: only ET_EXEC and ET_DYN are started.
  const broken = type === 2 || type === 3 ? parts.broken : "it is an object or core file, not a program";
  return { kind: "native", found, what, loader, broken };
}

/** The parts of an ELF file that the kernel reads first, as far as they lie in the head. */
function elfSegments(
  head: Uint8Array,
  view: DataView,
  wide: boolean,
  little: boolean,
): { readonly loader: string | null; readonly system: string | null; readonly broken: string | null } {
  const word = (at: number): number =>
    wide ? Number(view.getBigUint64(at, little)) : view.getUint32(at, little);
  const [start, size, count] = wide
    ? [word(32), view.getUint16(54, little), view.getUint16(56, little)]
    : [word(28), view.getUint16(42, little), view.getUint16(44, little)];
  let loader: string | null = null;
  let system: string | null = null;
  if (size !== (wide ? 56 : 32) || count === 0 || count * size > 65_536)
    return { loader, system, broken: "its program headers are damaged" };
  for (let i = 0, at = start; i < count && at + size <= head.length; i++, at += size) {
    const type = view.getUint32(at, little);
    const [offset, length] = wide ? [word(at + 8), word(at + 32)] : [word(at + 4), word(at + 16)];
    if (type === PT_INTERP) {
      if (length < 2 || length > LONGEST_PATH)
        return { loader, system, broken: "the name of its loader is damaged" };
      if (offset + length > head.length) continue;
      if (head[offset + length - 1] !== 0)
        return { loader, system, broken: "the name of its loader is damaged" };
      loader = Buffer.from(head.subarray(offset, offset + length - 1)).toString("latin1");
    }
    if (type === PT_NOTE && offset + 20 <= head.length) {
      // A note is the length of its name, of its text, a kind, and the name: the BSDs sign their programs by it.
      const name = Buffer.from(head.subarray(offset + 12, offset + 20)).toString("latin1");
      system ??= ["OpenBSD", "NetBSD", "FreeBSD"].find((one) => name.startsWith(one)) ?? null;
    }
  }
  if (loader !== null && /^\/(?:usr\/)?libexec\//.test(loader)) system ??= "BSD";
  return { loader, system, broken: null };
}

const PE_MACHINES: { readonly [machine: number]: string } = {
  0x14c: "32-bit x86",
  0x1c0: "32-bit ARM",
  0x1c4: "32-bit ARM",
  0x8664: "x64",
  0xaa64: "arm64",
};

function pe(view: DataView): ProgramKind {
  const at = view.getUint32(0x3c, true);
  const common = { kind: "native", loader: null, broken: null } as const;
  // The first part of a PE may be longer than what is at hand; then it is Windows' all the same.
  if (at + 6 > view.byteLength)
    return { ...common, found: { os: "windows", arch: "any" }, what: "a program for Windows" };
  if (view.getUint32(at) !== 0x50450000) return { ...common, found: null, what: "a program for DOS" };
  const machine = view.getUint16(at + 4, true);
  const arch = ({ 0x8664: "x64", 0xaa64: "arm64" } as const)[machine];
  const what = `a program for Windows on ${PE_MACHINES[machine] ?? `machine ${machine}`}`;
  return { ...common, found: arch === undefined ? null : { os: "windows", arch }, what };
}

function machO(view: DataView): ProgramKind | null {
  const common = { kind: "native", loader: null, broken: null } as const;
  // mach-o/fat.h: several machines in one file; a Java class has the same first bytes and a larger number behind them.
  const magic = view.getUint32(0);
  if ((magic === 0xcafebabe || magic === 0xcafebabf) && view.getUint32(4) < 16)
    return { ...common, found: { os: "darwin", arch: "any" }, what: "a program for macOS" };
  // mach-o/loader.h: 32 bit in either order, 64 bit big endian: machines of long ago.
  if (magic === 0xcefaedfe || magic === 0xfeedface || magic === 0xfeedfacf)
    return { ...common, found: null, what: "a program for macOS on an old machine" };
  if (magic !== 0xcffaedfe) return null;
  const cpu = view.getUint32(4, true);
  const arch = ({ 0x01000007: "x64", 0x0100000c: "arm64" } as const)[cpu];
  const what = `a program for macOS on ${arch ?? `machine ${cpu}`}`;
  return { ...common, found: arch === undefined ? null : { os: "darwin", arch }, what };
}

/** BINPRM_BUF_SIZE of Linux: an interpreter that does not end within it is none. */
const FIRST_LINE = 256;

/** As fs/binfmt_script.c reads it: blanks, the interpreter, and all the rest of the line as one argument. */
function script(head: Uint8Array): ProgramKind {
  const text = Buffer.from(head.subarray(2, FIRST_LINE)).toString("latin1");
  const end = text.indexOf("\n");
  const line = (end < 0 ? text : text.slice(0, end)).replace(/^[ \t]+/, "").replace(/[ \t]+$/, "");
  const match = /^([^ \t\0]+)(?:[ \t]+([^\0]+))?/.exec(line);
  if (match === null || (end < 0 && head.length >= FIRST_LINE && match[2] === undefined))
    return { kind: "unknown", what: "a script whose first line names no interpreter" };
  return { kind: "script", interpreter: match[1]!, argument: match[2] ?? null };
}
