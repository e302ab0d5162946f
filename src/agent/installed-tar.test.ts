// What a publisher packed, a device makes again byte for byte from what it installed.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { concat } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { packArtifact } from "../io/archive/artifact-packer.ts";
import { zipReader } from "../io/archive/unpack-zip.ts";
import { systemDisk } from "../io/system/disk.ts";
import { makeComponent, stage } from "../slot/install.ts";
import { layoutOf, slotPath } from "../slot/layout.ts";
import { readRecord } from "../slot/record.ts";
import { countingRandom } from "../testing/operator-world.ts";
import { installedTar, installedTarLength } from "./installed-tar.ts";

const root = mkdtempSync(join(tmpdir(), "upkeep-installed-tar-"));
after(() => rmSync(root, { recursive: true, force: true }));

/** Packs the folder and installs it; returns the published digest and what is installed. */
async function installed(name: string, source: string) {
  const packed = await packArtifact(source, {
    disk: systemDisk,
    random: countingRandom(),
    staging: join(root, `staging-${name}`),
    pieceSize: 1 << 18,
    names: "linux",
  });
  assert.equal(packed.format, "tar");
  const layout = layoutOf(join(root, `component-${name}`));
  await makeComponent(systemDisk, layout);
  const id = { version: "1.0.0", sha256: packed.sha256 };
  await stage(
    systemDisk,
    layout,
    {
      product: "shop",
      id,
      artifact: packed.path,
      artifactLength: packed.length,
      format: { kind: "tar" },
      limits: { bytes: packed.unpackedLength, entries: 1000, names: "linux" },
      manifestSha256: "0".repeat(64),
      run: {},
      entry: null,
    },
    zipReader,
  );
  const { files } = await readRecord(systemDisk, layout, id);
  return { packed, slot: slotPath(layout, id), files };
}

function folder(name: string): string {
  const at = join(root, name);
  for (const below of ["bin", "empty/inner", "a", "a.b/deep/er"])
    mkdirSync(join(at, below), { recursive: true });
  writeFileSync(join(at, "bin/shop"), "#!/bin/sh\n");
  chmodSync(join(at, "bin/shop"), 0o755);
  symlinkSync("shop", join(at, "bin/alias"));
  // Sorted by whole paths, `a-b` would come between `a` and what is in it.
  writeFileSync(join(at, "a-b"), "beside");
  writeFileSync(join(at, "a/x"), "inside");
  writeFileSync(join(at, "a.b/deep/er/none"), "");
  writeFileSync(join(at, `${"long-".repeat(30)}ünï.txt`), "x".repeat(1000));
  symlinkSync(`../${"long-".repeat(30)}ünï.txt`, join(at, "bin/long"));
  writeFileSync(join(at, "big"), Buffer.alloc(1_200_000, 7));
  writeFileSync(join(at, "block"), Buffer.alloc(512, 1));
  return at;
}

describe("what is installed from a folder", () => {
  it("gives the very tar that was signed", async () => {
    const { packed, slot, files } = await installed("all", folder("all"));
    const parts: Uint8Array[] = [];
    for await (const part of installedTar(systemDisk, slot, files)) parts.push(part);
    const bytes = concat(parts);
    assert.equal(installedTarLength(files), packed.length);
    assert.equal(bytes.length, packed.length);
    assert.equal(sha256Hex(bytes), packed.sha256);
  });

  it("gives other bytes when a file was changed, so that nobody takes them for the signed ones", async () => {
    const { packed, slot, files } = await installed("changed", folder("changed"));
    chmodSync(join(slot, "a/x"), 0o644);
    writeFileSync(join(slot, "a/x"), "inSide");
    const parts: Uint8Array[] = [];
    for await (const part of installedTar(systemDisk, slot, files)) parts.push(part);
    assert.notEqual(sha256Hex(concat(parts)), packed.sha256);
  });

  it("is refused when a file became shorter", async () => {
    const { slot, files } = await installed("short", folder("short"));
    chmodSync(join(slot, "a/x"), 0o644);
    writeFileSync(join(slot, "a/x"), "in");
    await assert.rejects(
      async () => {
        for await (const _ of installedTar(systemDisk, slot, files));
      },
      { code: "slot/damaged" },
    );
  });
});
