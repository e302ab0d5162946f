// Every digest under which the audit log may know a file: of its bytes, by its format's rules, of what an ELF signature covers.

import { basename } from "node:path";
import { toHex } from "../../../core/bytes.ts";
import { digestContent } from "../../../artifact/content-digest.ts";
import { readContainer } from "../../../artifact/elf/container.ts";
import { ArtifactError } from "../../../artifact/errors.ts";
import type { Format } from "../../../artifact/format.ts";
import { formatOf } from "../../../artifact/formats.ts";
import { readLayout } from "../../../artifact/pe/layout.ts";
import { scanImage } from "../../../artifact/pe/scan.ts";
import type { ByteSource } from "../../../artifact/source.ts";
import { DerError } from "../../../der/errors.ts";
import { openSource } from "../../../io/source/file.ts";
import { toBeSigned } from "./to-be-signed.ts";

const HASHES = ["sha256", "sha384", "sha512"] as const;

export async function digestsOfFile(path: string): Promise<readonly string[]> {
  const source = await openSource(path);
  try {
    const found = new Set<string>();
    const add = async (length: number): Promise<void> => {
      const digests = await digestContent(source, length, HASHES);
      for (const hash of HASHES) found.add(toHex(digests.of(hash)!));
    };
    await add(source.size);
    for (const digest of await formatDigests(source, basename(path))) found.add(digest);
    const container = await readContainer(source);
    if (container !== null) await add(container.contentSize);
    return [...found];
  } finally {
    await source.close();
  }
}

/** By the rules of the format, whatever signature the file has now; none for a file of no such format, or a broken one. */
async function formatDigests(source: ByteSource, name: string): Promise<readonly string[]> {
  try {
    const format = await formatOf(source, name);
    // Programs are large, and one pass makes all of their digests.
    if (format.name === "pe") {
      const scan = await scanImage(source, await readLayout(source), HASHES);
      return [...scan.digests.values()].map(toHex);
    }
    const found: string[] = [];
    for (const options of variantsOf(format)) {
      for (const hash of HASHES) {
        const what = await toBeSigned(format, source, { hash, options });
        if (what.kind === "authenticode") found.push(toHex(what.digest));
      }
    }
    return found;
  } catch (error) {
    // Its bytes as they are may still be what the log knows.
    if (error instanceof ArtifactError || error instanceof DerError) return [];
    throw error;
  }
}

function variantsOf({ name }: Format): readonly { readonly installerMetadata?: boolean }[] {
  if (name === "elf") return [];
  return name === "msi" ? [{}, { installerMetadata: true }] : [{}];
}
