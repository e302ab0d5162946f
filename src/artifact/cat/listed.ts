// Files and catalogs: what a catalog says about a file, and whether to believe it.

import type { HashName } from "../../der/algorithms.ts";
import { encoded } from "../../der/reader.ts";
import { parseSignedData } from "../cms.ts";
import { ArtifactError, type Finding } from "../errors.ts";
import { readLayout } from "../pe/layout.ts";
import { scanImage } from "../pe/scan.ts";
import type { FileReport, VerifyPolicy } from "../report.ts";
import { hashRange, readRange, type ByteSource } from "../source.ts";
import { lists, readCatalog, type Catalog, type CatalogMember } from "./catalog.ts";
import { catFormat, MAX_CATALOG } from "./format.ts";

/** How a catalog knows a file: a Windows program by its image, whatever signature is in it, anything else by all of its bytes. */
export async function memberOf(
  source: ByteSource,
  algorithm: HashName,
): Promise<Pick<CatalogMember, "kind" | "algorithm" | "digest">> {
  const head = await readRange(source, 0, Math.min(2, source.size), "beginning of the file");
  if (head[0] === 0x4d && head[1] === 0x5a) {
    const scan = await scanImage(source, await readLayout(source), [algorithm]);
    return { kind: "image", algorithm, digest: scan.digests.get(algorithm)! };
  }
  return { kind: "file", algorithm, digest: await hashRange(source, 0, source.size, algorithm) };
}

/**
 * Verifies a file by a catalog: the catalog is believed as any signed file is, and it lists the file.
 * Errors: those of reading the two; all else is a finding.
 */
export async function verifyByCatalog(
  source: ByteSource,
  catalog: ByteSource,
  policy: VerifyPolicy,
): Promise<FileReport> {
  const report = await catFormat.verify(catalog, policy);
  const list = await readList(catalog);
  const algorithms = new Set(list.members.map((member) => member.algorithm));
  const findings: Finding[] = [...report.findings];
  let listed = false;
  for (const algorithm of algorithms) {
    // A list by a digest that can be forged lists nothing.
    if (algorithm === "md5" || algorithm === "sha1") continue;
    const { kind, digest } = await memberOf(source, algorithm);
    listed ||= lists(list, kind, algorithm, digest);
  }
  if (!listed) {
    findings.push({
      level: "error",
      code: "cat/not-listed",
      message: "The catalog does not list the file: it was changed, or it belongs to something else.",
    });
  }
  return { ...report, valid: report.valid && listed, findings };
}

async function readList(catalog: ByteSource): Promise<Catalog> {
  const signed = parseSignedData(await readRange(catalog, 0, catalog.size, "catalog", MAX_CATALOG));
  if (signed.content === null) throw new ArtifactError("artifact/malformed", "The catalog is empty.", {});
  return readCatalog(encoded(signed.content));
}
