// The parsers of binary formats and documents of the upper rooms, as fuzz targets.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readElfHeader } from "../../src/artifact/elf/header.ts";
import { readSignedElf } from "../../src/artifact/elf/verify.ts";
import { readLayout } from "../../src/artifact/pe/layout.ts";
import { bytesSource } from "../../src/artifact/source.ts";
import { fromUtf8, toUtf8 } from "../../src/core/bytes.ts";
import { encoded, parseDer } from "../../src/der/reader.ts";
import { pemBlocks } from "../../src/der/pem.ts";
import { parseCertificate } from "../../src/der/x509.ts";
import { formatToken, parseToken } from "../../src/identity/token.ts";
import { parseRelease, serialiseRelease } from "../../src/release/manifest.ts";
import { parseJournal } from "../../src/slot/journal.ts";
import { readTar } from "../../src/slot/tar.ts";
import { paxRecord, tarOf } from "../../src/slot/_tar-writer.ts";
import { tinyPe } from "../../src/testing/tiny-pe.ts";
import type { FuzzTarget } from "./targets.ts";

const vector = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(new URL(`../vectors/${name}`, import.meta.url)));

export function formatTargets(): readonly FuzzTarget[] {
  const certificates = ["tls/server.pem", "tls/ca.pem", "elf-signature/signer-kernel-form.pem"].map(
    (name) => pemBlocks(fromUtf8(vector(name)), "CERTIFICATE")[0]!,
  );
  const manifest = {
    product: "shop",
    version: "1.1.0",
    channel: "stable",
    published: "2026-11-21T04:00:00Z",
    security: false,
    artifacts: [
      {
        os: "linux",
        arch: "x64",
        target: "products/shop/1.1.0/shop-linux-x64.tar.gz",
        format: "tar.gz",
        length: 1000,
        sha256: "a".repeat(64),
        sha512: "b".repeat(128),
        pieceSize: 1 << 20,
        merkleRoot: "c".repeat(64),
        unpackedLength: 3000,
        deltas: [],
      },
    ],
    entryPoint: { command: ["bin/shop", "--serve"], env: { MODE: "production" } },
    health: {
      kind: "http",
      path: "/health",
      port: { env: "PORT" },
      startSeconds: 10,
      intervalSeconds: 5,
      timeoutSeconds: 5,
      successes: 2,
      failures: 3,
      probationSeconds: 60,
    },
    dependencies: [],
  };
  const archive = tarOf([
    { name: "bin/", type: "5", mode: 0o755 },
    { name: "bin/shop", body: "#!/bin/sh\nexit 0\n", mode: 0o755 },
    { name: "pax", type: "x", body: paxRecord("path", "lib/a-long-name") },
    { name: "short", body: "content" },
    { name: "link", type: "2", link: "bin/shop" },
  ]);
  return [
    {
      name: "DER",
      seeds: certificates,
      // One spelling: what is read is, byte for byte, what would be written.
      run: (bytes) => assert.deepEqual(encoded(parseDer(bytes)), bytes),
    },
    { name: "certificate", seeds: certificates, run: (bytes) => void parseCertificate(bytes) },
    {
      name: "signed ELF",
      seeds: [vector("elf-signature/valid.elf"), vector("elf-signature/valid-two-signers.elf")],
      run: async (bytes) => {
        const { container } = await readSignedElf(bytesSource(bytes));
        assert.ok(container.contentSize < bytes.length);
      },
    },
    {
      name: "ELF header",
      seeds: [vector("elf-signature/unsigned.elf"), vector("elf-signature/valid-kernel-form.elf")],
      run: async (bytes) => void (await readElfHeader(bytesSource(bytes))),
    },
    {
      name: "PE layout",
      seeds: [tinyPe(), tinyPe({ plus: false, overlay: 100 })],
      run: async (bytes) => {
        const { table } = await readLayout(bytesSource(bytes));
        assert.ok(table === null || table.offset + table.size <= bytes.length);
      },
    },
    {
      name: "tar",
      seeds: [archive, tarOf([{ name: "a", body: "b" }])],
      run: async (bytes) => {
        const source = async function* (): AsyncGenerator<Uint8Array> {
          yield bytes;
        };
        let total = 0;
        for await (const entry of readTar(source())) {
          for await (const part of entry.content) total += part.length;
          // No archive of this form holds more than its own size.
          assert.ok(total <= bytes.length);
        }
      },
    },
    {
      name: "journal",
      seeds: [toUtf8('0000000000000000 1 {"kind":"begin"}\n\0\0\0')],
      run: (bytes) => void parseJournal(bytes),
    },
    {
      name: "release manifest",
      seeds: [toUtf8(JSON.stringify(manifest))],
      run: (bytes) => {
        const once = serialiseRelease(parseRelease(bytes));
        assert.deepEqual(serialiseRelease(parseRelease(once)), once);
      },
    },
    {
      name: "enrollment token",
      seeds: [toUtf8(`upkeep1.${"0a".repeat(8)}.${"A".repeat(43)}.${"B".repeat(42)}A.${"C".repeat(42)}A`)],
      run: (bytes) => {
        const text = fromUtf8(bytes);
        assert.equal(formatToken(parseToken(text)), text.trim());
      },
    },
  ];
}
