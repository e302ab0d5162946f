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

/** Formats whose names promise a signature inside. Linux gives its programs and libraries any name, and linker scripts theirs. */
const WINDOWS: readonly Format[] = FORMATS.filter((format) => format !== elfFormat);

/** The format of a file. Errors: `artifact/unknown-format`, `artifact/unsupported`, `artifact/malformed` for what is not what its name says. */
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
  // What a name promises, Windows and people expect inside: a signature beside such a file would look like one and protect nobody.
  const promised = WINDOWS.find((format) => format.extensions.some((extension) => name.endsWith(extension)));
  if (promised !== undefined)
    throw new ArtifactError(
      "artifact/malformed",
      `By its name the file is a ${promised.title}, by its content it is none.`,
      { format: promised.name },
      { hint: "Look at how it was made. To sign it as it is, with the signature beside it: --as detached." },
    );
  throw new ArtifactError(
    "artifact/unknown-format",
    "The file is of no format that carries a signature.",
    {},
    { hint: `Known formats: ${FORMATS.map((format) => format.title).join(", ")}.` },
  );
}
