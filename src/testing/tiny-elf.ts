// The smallest ELF file that a reader accepts, of any class, byte order and machine.

export type TinyElf = {
  readonly machine?: number;
  readonly bits?: 32 | 64;
  readonly little?: boolean;
  readonly abi?: number;
  /** Section name and content. */
  readonly sections?: readonly (readonly [name: string, type: number, content: Uint8Array])[];
};

/** Header, one segment over the whole file, sections, names, section headers. */
export function tinyElf(wish: TinyElf = {}): Uint8Array {
  const {
    machine = 62,
    bits = 64,
    little = true,
    abi = 0,
    sections = [[".text", 1, new Uint8Array(64).fill(0x90)]],
  } = wish;
  const wide = bits === 64;
  const [eh, ph, sh] = wide ? [64, 56, 64] : [52, 32, 40];
  const names = Buffer.from(`\0${[...sections.map(([name]) => name), ".shstrtab"].join("\0")}\0`, "latin1");
  const all = [...sections, [".shstrtab", 3, new Uint8Array(names)] as const];
  const contentStart = eh + ph;
  const tableStart = contentStart + all.reduce((sum, [, , content]) => sum + content.length, 0);
  const bytes = new Uint8Array(tableStart + (all.length + 1) * sh);
  const view = new DataView(bytes.buffer);
  const u16 = (at: number, value: number): void => view.setUint16(at, value, little);
  const u32 = (at: number, value: number): void => view.setUint32(at, value, little);
  const word = (at: number, value: number): void =>
    wide ? view.setBigUint64(at, BigInt(value), little) : u32(at, value);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, little ? 1 : 2, 1, abi]);
  u16(16, 2);
  u16(18, machine);
  u32(20, 1);
  word(wide ? 32 : 28, eh);
  word(wide ? 40 : 32, tableStart);
  const tail = wide ? 52 : 40;
  [eh, ph, 1, sh, all.length + 1, all.length].forEach((value, i) => u16(tail + 2 * i, value));
  u32(eh, 1);
  word(eh + (wide ? 32 : 16), bytes.length);
  let at = contentStart;
  for (const [i, [name, type, content]] of all.entries()) {
    const base = tableStart + (i + 1) * sh;
    bytes.set(content, at);
    u32(base, names.indexOf(`\0${name}\0`) + 1);
    u32(base + 4, type);
    word(base + (wide ? 24 : 16), at);
    word(base + (wide ? 32 : 20), content.length);
    at += content.length;
  }
  return bytes;
}
