// The smallest PE file worth signing, built from its fields, so that tests need no binary beside them.

export type TinyPe = {
  /** PE32+ (default) or PE32. */
  readonly plus?: boolean;
  /** Bytes of each section. */
  readonly sections?: readonly number[];
  /** Bytes behind the last section. */
  readonly overlay?: number;
  readonly machine?: number;
  readonly sectionAlignment?: number;
  /** Makes the content differ. */
  readonly seed?: number;
};

export function tinyPe(wish: TinyPe = {}): Uint8Array {
  const plus = wish.plus ?? true;
  const sections = wish.sections ?? [1024, 512];
  const headerOffset = 0x80;
  const optionalSize = plus ? 240 : 224;
  const sizeOfHeaders = 1024;
  const raw = sections.reduce((sum, size) => sum + size, 0);
  const bytes = new Uint8Array(sizeOfHeaders + raw + (wish.overlay ?? 0));
  let state = wish.seed ?? 1;
  for (let i = sizeOfHeaders; i < bytes.length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = state >>> 24;
  }
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x5a4d, true);
  view.setUint32(0x3c, headerOffset, true);
  view.setUint32(headerOffset, 0x4550, true);
  view.setUint16(headerOffset + 4, wish.machine ?? (plus ? 0x8664 : 0x14c), true);
  view.setUint16(headerOffset + 6, sections.length, true);
  view.setUint16(headerOffset + 20, optionalSize, true);
  view.setUint16(headerOffset + 22, 0x22, true);
  const optional = headerOffset + 24;
  view.setUint16(optional, plus ? 0x20b : 0x10b, true);
  const alignment = wish.sectionAlignment ?? 4096;
  view.setUint32(optional + 32, alignment, true);
  view.setUint32(optional + 36, 512, true);
  view.setUint32(optional + 56, alignment * (sections.length + 1), true);
  view.setUint32(optional + 60, sizeOfHeaders, true);
  view.setUint16(optional + 68, 3, true);
  view.setUint32(optional + (plus ? 108 : 92), 16, true);
  let at = sizeOfHeaders;
  sections.forEach((size, i) => {
    const entry = optional + optionalSize + i * 40;
    bytes.set(new TextEncoder().encode(`.s${i}`), entry);
    view.setUint32(entry + 8, size, true);
    view.setUint32(entry + 12, alignment * (i + 1), true);
    view.setUint32(entry + 16, size, true);
    view.setUint32(entry + 20, at, true);
    view.setUint32(entry + 36, 0x6000_0020, true);
    at += size;
  });
  return bytes;
}
