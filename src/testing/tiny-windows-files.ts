// The smallest cabinet, installer package, catalog and scripts that are still worth signing.

import { sha256 } from "../core/digest.ts";
import { concat, toUtf8 } from "../core/bytes.ts";
import { writeCatalog } from "../artifact/cat/catalog.ts";
import { unsignedCatalog } from "../artifact/cat/format.ts";
import type { Storage, Stream } from "../artifact/msi/compound.ts";
import { writeCompound } from "../artifact/msi/compound-write.ts";
import { writeRewrite } from "../artifact/rewrite.ts";
import { bytesSource, MemorySink } from "../artifact/source.ts";

/** One folder, one stored file. [MS-CAB] 2.1 to 2.4. */
export function tinyCab(name: string, content: Uint8Array): Uint8Array {
  const header = Buffer.alloc(36);
  const folder = Buffer.alloc(8);
  const file = Buffer.alloc(16);
  const data = Buffer.alloc(8);
  const label = toUtf8(`${name}\0`);
  const dataAt = 36 + 8 + 16 + label.length;
  header.write("MSCF", 0, "latin1");
  header.writeUInt32LE(dataAt + 8 + content.length, 8);
  header.writeUInt32LE(44, 16);
  header.set([3, 1, 1, 0, 1, 0], 24);
  header.writeUInt16LE(0x1234, 32);
  folder.writeUInt32LE(dataAt, 0);
  folder.writeUInt16LE(1, 4);
  file.writeUInt32LE(content.length, 0);
  file.writeUInt16LE(0x20, 14);
  data.writeUInt16LE(content.length, 4);
  data.writeUInt16LE(content.length, 6);
  return concat([header, folder, file, label, data, content]);
}

export function testStream(name: string, content: Uint8Array): Stream {
  return {
    kind: "stream",
    name: new Uint8Array(Buffer.from(name, "utf16le")),
    clsid: new Uint8Array(16),
    stateBits: new Uint8Array(4),
    times: new Uint8Array(16),
    size: content.length,
    pieces: [content],
  };
}

export function testStorage(
  name: string,
  children: Storage["children"],
  clsid = new Uint8Array(16),
): Storage {
  const { stateBits, times } = testStream(name, new Uint8Array(0));
  return {
    kind: "storage",
    name: new Uint8Array(Buffer.from(name, "utf16le")),
    clsid,
    stateBits,
    times,
    children,
  };
}

/** Class of an installer package. */
const PACKAGE = new Uint8Array(Buffer.from("84100c0000000000c000000000000046", "hex"));

/** Small and large streams, an empty one, one in a storage. */
export async function tinyMsi(majorVersion: 3 | 4 = 3, more: readonly Stream[] = []): Promise<Uint8Array> {
  const root = testStorage(
    "Root Entry",
    [
      testStream("\u0005SummaryInformation", new Uint8Array(300).fill(1)),
      testStream("\u4840\u3f3f", new Uint8Array(5000).fill(2)),
      testStream("Empty", new Uint8Array(0)),
      testStorage("Inner", [
        testStream("A", new Uint8Array(70).fill(3)),
        testStream("AB", new Uint8Array(4096).fill(4)),
      ]),
      ...Array.from({ length: 9 }, (_, i) => testStream(`Table${i}`, new Uint8Array(64 * i + 1).fill(i))),
      ...more,
    ],
    PACKAGE,
  );
  const sink = new MemorySink();
  await writeRewrite(
    bytesSource(new Uint8Array(0)),
    writeCompound({ majorVersion, root, unowned: [] }),
    sink,
  );
  return sink.bytes;
}

export function tinyCat(): Uint8Array {
  const member = (name: string, kind: "file" | "image"): Parameters<typeof writeCatalog>[0][number] => ({
    name,
    kind,
    algorithm: "sha256",
    digest: sha256(toUtf8(name)),
  });
  const list = writeCatalog(
    [member("driver.sys", "image"), member("driver.inf", "file")],
    new Uint8Array(16).fill(9),
    Date.UTC(2026, 10, 21),
  );
  return unsignedCatalog(list);
}

const SCRIPT = '# greets\r\nWrite-Host "Grüße, 世界"\r\n';

export const SCRIPTS: { readonly [encoding: string]: Uint8Array } = {
  ascii: toUtf8(SCRIPT.replace("Grüße, 世界", "Hello")),
  "utf-8-bom": toUtf8(`\ufeff${SCRIPT}`),
  "utf-16le": new Uint8Array(Buffer.from(`\ufeff${SCRIPT}`, "utf16le")),
  "line feeds, no last one": toUtf8(`\ufeff${SCRIPT.replaceAll("\r\n", "\n")}`.trimEnd()),
};
