// The formats that can carry a signature: a format is a record; the first one that matches a file is taken.

import { cabFormat } from "./cab/format.ts";
import { catFormat } from "./cat/format.ts";
import { elfFormat } from "./elf/format.ts";
import { ArtifactError } from "./errors.ts";
import { msiFormat } from "./msi/format.ts";
import { powershellFormat } from "./powershell/format.ts";
import { peFormat } from "./pe/format.ts";
import type { Format } from "./format.ts";
import { readRange, type ByteSource } from "./source.ts";

/** In the order in which they are asked. */
export const FORMATS: readonly Format[] = [
  peFormat,
  elfFormat,
  msiFormat,
  cabFormat,
  catFormat,
  powershellFormat,
];

/** Formats that are known by name and refused by name. */
const NOT_YET: readonly { readonly title: string; matches(head: Uint8Array, name: string): boolean }[] = [
  {
    title: "MSIX and APPX packages",
    matches: (head, name) =>
      /\.(msix|appx|msixbundle|appxbundle)$/.test(name) && head[0] === 0x50 && head[1] === 0x4b,
  },
  {
    title: "Mach-O programs",
    matches: (head) => {
      const magic = head.length < 4 ? 0 : new DataView(head.buffer, head.byteOffset).getUint32(0);
      return [0xfeedface, 0xfeedfacf, 0xcefaedfe, 0xcffaedfe].includes(magic);
    },
  },
];

/** The format of a file. Errors: `artifact/unknown-format`, `artifact/unsupported`. */
export async function formatOf(source: ByteSource, fileName: string): Promise<Format> {
  const head = await readRange(source, 0, Math.min(512, source.size), "beginning of the file");
  const name = fileName.toLowerCase();
  const found = FORMATS.find((format) => format.matches(head, name));
  if (found !== undefined) return found;
  const later = NOT_YET.find((format) => format.matches(head, name));
  if (later !== undefined)
    throw new ArtifactError(
      "artifact/unsupported",
      `${later.title} cannot be signed or verified by this version.`,
      { format: later.title },
    );
  throw new ArtifactError(
    "artifact/unknown-format",
    "The file is of no format that carries a signature.",
    {},
    { hint: `Known formats: ${FORMATS.map((format) => format.title).join(", ")}.` },
  );
}
