// Every digest under which the audit log may know a file: of its bytes, of its image, of what an ELF signature covers.

import { toHex } from "../../core/bytes.ts";
import { digestContent } from "../../artifact/content-digest.ts";
import { readContainer } from "../../artifact/elf/container.ts";
import { scanImage } from "../../artifact/pe/scan.ts";
import { readLayout } from "../../artifact/pe/layout.ts";
import { openSource } from "../../io/file-source.ts";

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
    const head = new Uint8Array(Math.min(4, source.size));
    await source.read(0, head);
    if (head[0] === 0x4d && head[1] === 0x5a) {
      const scan = await scanImage(source, await readLayout(source), HASHES);
      for (const digest of scan.digests.values()) found.add(toHex(digest));
    }
    const container = await readContainer(source);
    if (container !== null) await add(container.contentSize);
    return [...found];
  } finally {
    await source.close();
  }
}
