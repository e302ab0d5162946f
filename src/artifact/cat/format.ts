// The record through which catalogs are known to the rest of the house: a catalog is itself the CMS around its list.

import { content, encoded, type Der } from "../../der/reader.ts";
import { oid } from "../../der/writer.ts";
import { appendNested, nestedSignatures } from "../authenticode.ts";
import { valueToStamp, withTimestamp } from "../authenticode-sign.ts";
import { judgeSignature, type OpenedSignature } from "../authenticode-verify.ts";
import { digest, signedData } from "../cms-build.ts";
import { parseSignedData, type SignedData } from "../cms.ts";
import { ArtifactError, Findings } from "../errors.ts";
import type { Format, SignJob, SignOutcome, StampJob } from "../format.ts";
import { verdict, type FileReport, type SignatureReport, type VerifyPolicy } from "../report.ts";
import { writeRewrite } from "../rewrite.ts";
import { readRange, type ByteSink, type ByteSource } from "../source.ts";
import { CTL_OID, readCatalog, type Catalog } from "./catalog.ts";

/** The catalogs of whole systems have some MB. */
export const MAX_CATALOG: number = 32 * 1024 * 1024;
const NESTED_LIMIT = 16;

export const catFormat: Format = {
  name: "cat",
  title: "Security catalog (CAT)",
  extensions: [".cat"],
  // A CMS that says within its first bytes that it is about a trust list.
  matches: (head) =>
    head[0] === 0x30 && Buffer.from(head.subarray(0, 256)).includes(Buffer.from(oid(CTL_OID))),
  sign,
  verify,
  remove,
  stamp,
  isSigned: async (source) => (await open(source)).signed.signers.length > 0,
  explain: async (source) => {
    const { signed, list } = await open(source);
    const [from, to] = [list.start, list.end];
    return [
      { from: 0, to: from, what: "frame", covered: false },
      { from, to, what: "list of files", covered: signed.signers.length > 0 },
      { from: to, to: source.size, what: "certificates and signatures", covered: false },
    ];
  },
};

type Open = {
  readonly bytes: Uint8Array;
  readonly signed: SignedData;
  /** The list as written. */
  readonly list: Der;
  readonly catalog: Catalog;
};

/** Errors: `artifact/too-large`, `artifact/malformed`, `artifact/bad-signature` (no CMS at all). */
async function open(source: ByteSource): Promise<Open> {
  const bytes = await readRange(source, 0, source.size, "catalog", MAX_CATALOG);
  const signed = parseSignedData(bytes);
  return { bytes, signed, ...listOf(signed) };
}

function listOf(signed: SignedData): { list: Der; catalog: Catalog } {
  if (signed.contentType !== CTL_OID || signed.content === null) {
    throw new ArtifactError(
      "artifact/malformed",
      `The catalog holds ${signed.contentType}, not a list of files.`,
      {
        contentType: signed.contentType,
      },
    );
  }
  return { list: signed.content, catalog: readCatalog(encoded(signed.content)) };
}

async function sign(job: SignJob): Promise<SignOutcome> {
  const { bytes, signed, list } = await open(job.source);
  const there = signed.signers.length > 0;
  if (there && job.mode === "new") {
    throw new ArtifactError(
      "artifact/already-signed",
      "The catalog is signed already.",
      {},
      { hint: "Say whether to replace the signature (--replace) or to add another one (--append)." },
    );
  }
  const present = there && job.mode === "append" ? bytes : null;
  const own = digest(job.hash, content(list));
  const cms = await job.makeSignature({
    kind: "authenticode",
    format: "cat",
    hash: job.hash,
    digest: own,
    indirectData: encoded(list),
    contentType: CTL_OID,
    sequenceNumber: present === null ? null : nestedSignatures(signed.signers[0]!).length + 1,
  });
  await writeRewrite(job.source, [present === null ? cms : appendNested(present, cms)], job.sink);
  return { digest: own };
}

/** The list in its frame, as a maker of catalogs leaves it. */
export function unsignedCatalog(list: Uint8Array): Uint8Array {
  return signedData({
    version: 1,
    digests: [],
    contentType: CTL_OID,
    content: list,
    certificates: [],
    signers: [],
  });
}

async function remove(source: ByteSource, sink: ByteSink): Promise<readonly string[]> {
  const { signed, list } = await open(source);
  if (signed.signers.length === 0) throw notSigned();
  await writeRewrite(source, [unsignedCatalog(encoded(list))], sink);
  return [];
}

async function stamp(job: StampJob): Promise<void> {
  const { bytes, signed } = await open(job.source);
  if (signed.signers.length === 0) throw notSigned();
  const stamped = withTimestamp(bytes, await job.makeToken(valueToStamp(bytes)));
  await writeRewrite(job.source, [stamped], job.sink);
}

/** The trust decision about a catalog, as a list. Errors: those of reading it; all else is a finding. */
async function verify(source: ByteSource, policy: VerifyPolicy): Promise<FileReport> {
  const findings = new Findings();
  const { signed, list, catalog } = await open(source);
  const there = signed.signers.length > 0;
  const signatures: SignatureReport[] = [];
  if (!there) findings.error("cat/not-signed", "The catalog is not signed.");
  else {
    for (const opened of openAll(signed, findings)) {
      // Every signature, nested ones too, carries a list; all of them have to be the one that is read.
      const actual = digest(opened.indirect.hash, content(list));
      signatures.push(judgeSignature(opened, actual, { own: CTL_OID }, policy));
    }
  }
  return {
    format: "cat",
    signed: there,
    valid: there && verdict(findings.list, signatures),
    signatures,
    findings: findings.list,
    about: { files: catalog.members.length },
  };
}

function openAll(signed: SignedData, findings: Findings): readonly OpenedSignature[] {
  try {
    const first = openOne(signed, "signature");
    const nested = nestedSignatures(first.signer);
    if (nested.length > NESTED_LIMIT) {
      throw new ArtifactError("artifact/bad-signature", `The signature holds ${nested.length} others.`, {});
    }
    return [first, ...nested.map((der, i) => openOne(parseSignedData(der), `nested signature ${i + 1}`))];
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
    findings.error("cms/malformed", error.message);
    return [];
  }
}

function openOne(signed: SignedData, place: string): OpenedSignature {
  const [signer] = signed.signers;
  if (signer === undefined || signed.signers.length > 1) {
    throw new ArtifactError(
      "artifact/bad-signature",
      `The ${place} has ${signed.signers.length} signers.`,
      {},
    );
  }
  const { list } = listOf(signed);
  const findings = new Findings();
  findings.list.push(...signed.findings);
  const hash = signer.digest;
  const indirect = { type: CTL_OID, value: null, hash, digest: digest(hash, content(list)) };
  return { place, signed, signer, indirect, findings };
}

function notSigned(): ArtifactError {
  return new ArtifactError("artifact/not-signed", "The catalog has no signature.", {});
}
