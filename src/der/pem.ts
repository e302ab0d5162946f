// PEM: base64 between two lines (RFC 7468), one or several in a text.

import { DerError } from "./errors.ts";

export type PemBlock = { readonly label: string; readonly der: Uint8Array };

const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n([A-Za-z0-9+/=\s]*?)-----END \1-----/g;

/** All blocks of a text, explanatory text around them ignored. Errors: `der/bad-pem` for a block that is broken. */
export function parsePem(text: string): readonly PemBlock[] {
  const blocks = [...text.matchAll(BLOCK)].map((match) => {
    const base64 = match[2]!.replace(/\s+/g, "");
    const der = Buffer.from(base64, "base64");
    if (der.toString("base64") !== base64)
      throw new DerError("der/bad-pem", `The PEM block "${match[1]!}" is not canonical base64.`, {
        label: match[1]!,
      });
    return { label: match[1]!, der: new Uint8Array(der) };
  });
  const begun = text.split("-----BEGIN ").length - 1;
  if (begun !== blocks.length)
    throw new DerError(
      "der/bad-pem",
      "A PEM block is broken: its lines of begin and end do not match, or it holds other characters than base64.",
      { begun, read: blocks.length },
    );
  return blocks;
}

/** The blocks of one label. Errors: `der/bad-pem` if there is none. */
export function pemBlocks(text: string, label: string): readonly Uint8Array[] {
  const found = parsePem(text).filter((block) => block.label === label);
  if (found.length === 0)
    throw new DerError("der/bad-pem", `The text holds no PEM block "${label}".`, { label });
  return found.map((block) => block.der);
}

/** RFC 7468: 64 characters a line, closed by a line feed. */
export function toPem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("base64");
  return `-----BEGIN ${label}-----\n${base64.replace(/.{1,64}/g, "$&\n")}-----END ${label}-----\n`;
}
