// The record through which the PE format is known to the rest of the house.

import type { Format, Region } from "../format.ts";
import type { ByteSource } from "../source.ts";
import { imageEnd, readLayout } from "./layout.ts";
import { removePe, signPe, stampPe } from "./sign.ts";
import { verifyPe } from "./verify.ts";

export const peFormat: Format = {
  name: "pe",
  title: "Windows program (PE)",
  extensions: [".exe", ".dll", ".sys", ".efi", ".ocx", ".scr", ".cpl", ".drv", ".com", ".mui"],
  matches: (head) => head[0] === 0x4d && head[1] === 0x5a,
  sign: signPe,
  verify: verifyPe,
  remove: removePe,
  stamp: stampPe,
  isSigned: async (source) => (await readLayout(source)).table !== null,
  explain: explainPe,
};

/** The file from its first to its last byte. */
async function explainPe(source: ByteSource): Promise<readonly Region[]> {
  const layout = await readLayout(source);
  const { checksumOffset, directoryOffset, sizeOfHeaders, table, size } = layout;
  const end = imageEnd(layout);
  const regions: Region[] = [
    { from: 0, to: checksumOffset, what: "headers", covered: true },
    { from: checksumOffset, to: checksumOffset + 4, what: "checksum", covered: false },
    { from: checksumOffset + 4, to: directoryOffset, what: "headers", covered: true },
    { from: directoryOffset, to: directoryOffset + 8, what: "where the signature is", covered: false },
  ];
  let at = Math.max(directoryOffset + 8, Math.min(sizeOfHeaders, end));
  regions.push({ from: directoryOffset + 8, to: at, what: "headers and section table", covered: true });
  for (const section of layout.sections
    .filter((each) => each.size > 0)
    .toSorted((a, b) => a.offset - b.offset)) {
    const [from, to] = [Math.max(at, section.offset), Math.min(end, section.offset + section.size)];
    if (to <= from) continue;
    if (from > at) regions.push({ from: at, to: from, what: "between sections", covered: true });
    regions.push({ from, to, what: `section ${section.name}`, covered: true });
    at = to;
  }
  if (end > at) regions.push({ from: at, to: end, what: "behind the last section", covered: true });
  if (table !== null)
    regions.push({
      from: table.offset,
      to: table.offset + table.size,
      what: "certificate table",
      covered: false,
    });
  const last = table === null ? end : table.offset + table.size;
  if (size > last)
    regions.push({ from: last, to: size, what: "behind the certificate table", covered: false });
  return regions.filter((region) => region.to > region.from);
}
