// Makes what Upkeep itself is released as: source archive, bill of materials, provenance; the same bytes from every clone of a commit.
//
//   node tools/own-release.ts OUT [--source URL] [--builder ID]
//
// Nothing of the work tree goes in: files, modes and the lock file are read from the commit.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { makeProvenance } from "../src/release/attestation.ts";
import { tarEnd, tarHeader, tarPadding } from "../src/release/tar-writer.ts";

const root = new URL("..", import.meta.url).pathname;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    source: { type: "string", default: "urn:upkeep:source" },
    builder: { type: "string", default: "urn:upkeep:own-release" },
  },
});
const out = positionals[0];
if (out === undefined) {
  console.error("Usage: node tools/own-release.ts OUT [--source URL] [--builder ID]");
  process.exit(2);
}

const commit = git("rev-parse", "HEAD").toString().trim();
const { version } = JSON.parse(git("cat-file", "blob", "HEAD:package.json").toString()) as {
  version: string;
};
const name = `upkeep-${version}`;
const archive = sourceArchive();
const sbom = billOfMaterials(sha256(archive));
const file = `${name}.tar.gz`;
const provenance = makeProvenance({
  artifacts: [
    { file, sha256: sha256(archive) },
    { file: `${name}.sbom.json`, sha256: sha256(sbom) },
  ],
  source: values.source,
  commit,
  builder: values.builder,
});
mkdirSync(out, { recursive: true });
const made = [
  [file, archive],
  [`${name}.sbom.json`, sbom],
  [`${name}.provenance.json`, provenance],
] as const;
for (const [path, bytes] of made) writeFileSync(join(out, path), bytes);
const sums = made.map(([path, bytes]) => `${sha256(bytes)}  ${path}\n`).join("");
writeFileSync(join(out, "SHA256SUMS"), sums);
process.stdout.write(sums);

/** Every file of the commit, sorted by name, without owner and time. */
function sourceArchive(): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const line of git("ls-tree", "-r", "-z", "HEAD").toString().split("\0")) {
    const match = /^(\d{6}) (\w+) ([0-9a-f]+)\t(.+)$/s.exec(line);
    if (match === null) continue;
    const [, mode, kind, id, path] = match as unknown as readonly [string, string, string, string, string];
    if (kind !== "blob" || mode === "120000")
      throw new Error(`${path} is neither a plain file nor a program`);
    const content = git("cat-file", "blob", id);
    parts.push(
      tarHeader({
        kind: "file",
        path: `${name}/${path}`,
        size: content.length,
        executable: mode === "100755",
      }),
      content,
      tarPadding(content.length),
    );
  }
  parts.push(tarEnd());
  return gzipSync(Buffer.concat(parts), { level: 9 });
}

type Locked = {
  readonly name?: string;
  readonly version?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
};

/** CycloneDX 1.6 of everything that the lock file pins. No time and no random number: they would differ. */
function billOfMaterials(archiveSha256: string): Uint8Array {
  const lock = JSON.parse(git("cat-file", "blob", "HEAD:package-lock.json").toString()) as {
    readonly packages: { readonly [path: string]: Locked };
  };
  const components = Object.entries(lock.packages).flatMap(([path, locked]) => {
    // Packages only: this one, and the folder that lists what a checkout brings along, are no packages.
    if (locked.version === undefined || !path.includes("node_modules/")) return [];
    const called = locked.name ?? path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    const purl = `pkg:npm/${called.replace("@", "%40")}@${locked.version}`;
    return [
      {
        type: "library",
        "bom-ref": `${purl}#${path}`,
        name: called,
        version: locked.version,
        purl,
        // CycloneDX: excluded is what serves development and tests only.
        scope: locked.dev === true ? "excluded" : locked.optional === true ? "optional" : "required",
        ...(locked.license === undefined ? {} : { licenses: [{ expression: locked.license }] }),
        hashes: (locked.integrity ?? "").split(" ").flatMap((word) => {
          const [algorithm, digest] = word.split("-");
          if (algorithm !== "sha512" || digest === undefined) return [];
          return [{ alg: "SHA-512", content: Buffer.from(digest, "base64").toString("hex") }];
        }),
      },
    ];
  });
  const bom = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        type: "application",
        "bom-ref": `pkg:generic/upkeep@${version}`,
        name: "upkeep",
        version,
        hashes: [{ alg: "SHA-256", content: archiveSha256 }],
      },
    },
    components,
  };
  return Buffer.from(`${JSON.stringify(bom, null, 1)}\n`);
}

function git(...args: string[]): Buffer {
  return execFileSync("git", args, { cwd: root, maxBuffer: 1 << 28 });
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
