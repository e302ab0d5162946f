// Which operating system an ELF file is for: its identification says so only sometimes, its segments and notes say the rest.

/** System V ABI, chapter 4: e_ident[EI_OSABI]. Most Linux files say 0, "no extensions"; so do those of OpenBSD and NetBSD. */
const SYSTEMS: { readonly [abi: number]: string } = {
  0: "linux",
  2: "netbsd",
  3: "linux",
  6: "sunos",
  9: "freebsd",
  12: "openbsd",
};

/** OpenBSD sys/exec_elf.h: PT_OPENBSD_MUTABLE, _RANDOMIZE, _WXNEEDED, _NOBTCFI, _SYSCALLS, _BOOTDATA. */
const OPENBSD_SEGMENTS: ReadonlySet<number> = new Set([
  0x65a3dbe5, 0x65a3dbe6, 0x65a3dbe7, 0x65a3dbe8, 0x65a3dbe9, 0x65a41be6,
]);

/** The notes by which kernels of the BSDs know their own. */
const NOTES: { readonly [section: string]: string } = {
  ".note.openbsd.ident": "openbsd",
  ".note.netbsd.ident": "netbsd",
};

/** By Node's names; `abi-N` for one without a name. A file that says nothing anywhere is one for Linux. */
export function systemOf(
  abi: number,
  segments: readonly { readonly type: number }[],
  sections: readonly { readonly name: string }[],
): string {
  if (abi !== 0) return SYSTEMS[abi] ?? `abi-${abi}`;
  if (segments.some((segment) => OPENBSD_SEGMENTS.has(segment.type))) return "openbsd";
  const noted = sections.map((section) => NOTES[section.name]).find((system) => system !== undefined);
  return noted ?? "linux";
}
