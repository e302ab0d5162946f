// Whether an ELF file may be believed: every check in one list, each with a refusal of its own.

import { equalBytes } from "../../core/bytes.ts";
import { encoded } from "../../der/reader.ts";
import type { Certificate } from "../../der/x509.ts";
import { guarded, parseSignedData, signedAttribute, type SignedData } from "../cms.ts";
import { digestContent, type ContentDigests } from "../content-digest.ts";
import { verifyContent, type ContentPolicy, type ContentReport } from "../content-verify.ts";
import { ArtifactError, Findings, type ArtifactErrorCode, type Finding } from "../errors.ts";
import { readRange, type ByteSource } from "../source.ts";
import { readContainer, type Container } from "./container.ts";
import { readElfHeader, strippableSections, type ElfHeader } from "./header.ts";
import { MANIFEST_OID, PIECE_SIZE, readManifest, type ElfExpectation, type Manifest } from "./manifest.ts";

export type ElfPolicy = ContentPolicy &
  ElfExpectation & {
    /** Accept the kernel's form, which has no manifest; its signer's certificate has to be among these. */
    readonly plainCertificates?: readonly Certificate[];
  };

export type ElfReport = ContentReport & {
  readonly form: "full" | "plain";
  readonly header: ElfHeader;
  /** What every signer says; null in the plain form, or if they disagree. */
  readonly manifest: Manifest | null;
  /** Bytes that are signed, and bytes of the signature. */
  readonly layout: { readonly content: number; readonly signature: number };
};

/** A signed file after its structure was read and before anything is believed. */
export type ReadElf = {
  readonly container: Container;
  readonly header: ElfHeader;
  readonly signed: SignedData;
  readonly form: "full" | "plain";
};

/**
 * Errors: `artifact/not-signed`, `artifact/truncated`, `artifact/points-beyond`, `artifact/trailing-bytes`,
 * `artifact/doubled-signature`, `artifact/malformed`, `artifact/bad-signature` (it cannot be read).
 */
export async function readSignedElf(source: ByteSource): Promise<ReadElf> {
  const container = await readContainer(source);
  if (container === null) throw await explainMissing(source);
  const header = await readElfHeader(source, container.contentSize);
  const signed = parseSignedData(container.cms);
  const form = signed.signers.every((signer) => signer.signedAttributes === null) ? "plain" : "full";
  return { container, header, signed, form };
}

/**
 * Reads the whole file once and checks everything; what is wrong is in the findings, with the code of its refusal.
 * Errors: those of `readSignedElf`.
 */
export async function verifyElf(source: ByteSource, policy: ElfPolicy): Promise<ElfReport> {
  const read = await readSignedElf(source);
  const size = read.container.contentSize;
  const plain = read.form === "plain";
  const digests = await digestContent(
    source,
    plain ? 0 : size,
    read.signed.signers.map((signer) => signer.digest),
    PIECE_SIZE,
  );
  return judgeElf(read, policy, digests, source);
}

/** As `verifyElf`, and throws the first reason not to believe the file, by its own code. */
export async function requireElf(source: ByteSource, policy: ElfPolicy): Promise<ElfReport> {
  const report = await verifyElf(source, policy);
  const refusal = firstRefusal(report);
  if (refusal !== null) throw refusal;
  return report;
}

/** The first reason not to believe, or null. The signature itself comes before what it says. */
export function firstRefusal(report: ElfReport): ArtifactError | null {
  if (report.believed) return null;
  const errors = (findings: readonly Finding[]): readonly Finding[] =>
    findings.filter((finding) => finding.level === "error");
  const own = errors(report.findings);
  const specific = own.find((finding) => finding.code.startsWith("artifact/"));
  const signer = report.signers.flatMap((one) => errors(one.findings));
  const broken = report.signers.some((one) => !one.intact) || report.signers.length === 0;
  if (broken || specific === undefined) {
    const all = [...signer, ...own];
    return new ArtifactError(
      "artifact/bad-signature",
      all.map((finding) => finding.message).join(" ") || "The signature is not trusted.",
      { findings: all.map((finding) => finding.code) },
    );
  }
  return new ArtifactError(specific.code as ArtifactErrorCode, specific.message, specific.facts ?? {});
}

/**
 * The trust decision about a file, as a list. `digests` without a Merkle root leaves out the comparison of the pieces:
 * the caller has then proven the content otherwise.
 */
export async function judgeElf(
  read: ReadElf,
  policy: ElfPolicy,
  digests: ContentDigests,
  source: ByteSource,
): Promise<ElfReport> {
  const findings = new Findings();
  const size = read.container.contentSize;
  const content = await verifyContent(
    read.signed,
    digests,
    policy,
    read.form === "plain" ? { source, size, certificates: policy.plainCertificates ?? [] } : undefined,
  );
  findings.list.push(...content.findings);
  checkForm(read, policy, findings);
  const manifest = read.form === "plain" ? null : oneManifest(read.signed, findings);
  if (manifest !== null) {
    checkContent(manifest, size, digests, findings);
    checkMachine(manifest, read.header, findings);
    checkProduct(manifest, policy, findings);
    checkRelease(manifest, policy, findings);
  }
  checkPlatform(read.header, policy, findings);
  checkStripped(read.header, policy, findings);
  return {
    signers: content.signers,
    form: read.form,
    header: read.header,
    manifest,
    layout: { content: size, signature: read.container.cms.length },
    believed: content.believed && !findings.failed,
    findings: findings.list,
  };
}

function checkForm(read: ReadElf, policy: ElfPolicy, findings: Findings): void {
  if (read.form === "plain" && policy.plainCertificates === undefined) {
    findings.error(
      "artifact/bad-manifest",
      "The file is signed in the kernel's form, which says nothing about product, version or platform.",
    );
  }
  if (read.form === "full" && read.signed.signers.some((signer) => signer.signedAttributes === null)) {
    findings.error("artifact/bad-signature", "The signature mixes signers with and without a manifest.");
  }
}

/** The manifest that every signer signed; signers who disagree cannot all be right. */
function oneManifest(signed: SignedData, findings: Findings): Manifest | null {
  let first: Uint8Array | null = null;
  try {
    for (const signer of signed.signers) {
      const value = signedAttribute(signer, MANIFEST_OID);
      if (value === null) {
        findings.error(
          "artifact/bad-manifest",
          "A signer does not say what the file is: there is no manifest.",
        );
        return null;
      }
      const der = encoded(value);
      if (first !== null && !equalBytes(first, der)) {
        findings.error("artifact/bad-manifest", "The signers say different things about the file.");
        return null;
      }
      first = der;
    }
    return first === null ? null : guarded(() => readManifest(first!));
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
    findings.error("artifact/bad-manifest", error.message);
    return null;
  }
}

function checkContent(manifest: Manifest, size: number, digests: ContentDigests, findings: Findings): void {
  if (manifest.length !== size) {
    findings.error(
      "artifact/bad-manifest",
      `The manifest is about ${manifest.length} bytes, the file has ${size}.`,
    );
  }
  if (digests.merkleRoot !== null && digests.merkleRoot !== manifest.merkleRoot) {
    findings.error("artifact/bad-manifest", "The pieces of the file are not those of the manifest.");
  }
}

/** What the manifest says is compared with what the file is. */
function checkMachine(manifest: Manifest, header: ElfHeader, findings: Findings): void {
  if (manifest.os !== header.os || manifest.arch !== header.arch) {
    findings.error(
      "artifact/foreign-architecture",
      `The manifest says ${manifest.os} on ${manifest.arch}, the file is for ${header.os} on ${header.arch}.`,
      { manifest: `${manifest.os}/${manifest.arch}`, file: `${header.os}/${header.arch}` },
    );
  }
}

function checkPlatform(header: ElfHeader, policy: ElfPolicy, findings: Findings): void {
  const { platform } = policy;
  if (platform !== undefined && (platform.os !== header.os || platform.arch !== header.arch)) {
    findings.error(
      "artifact/foreign-architecture",
      `The file is for ${header.os} on ${header.arch}, this device is ${platform.os} on ${platform.arch}.`,
      { device: `${platform.os}/${platform.arch}`, file: `${header.os}/${header.arch}` },
    );
  }
}

function checkProduct(manifest: Manifest, policy: ElfPolicy, findings: Findings): void {
  const wanted = { product: policy.product ?? manifest.product, version: policy.version ?? manifest.version };
  if (manifest.product !== wanted.product || manifest.version !== wanted.version) {
    findings.error(
      "artifact/wrong-product",
      `The file is ${manifest.product} ${manifest.version}, not ${wanted.product} ${wanted.version}: either you are under attack, or somebody mixed up two files.`,
      { expected: `${wanted.product} ${wanted.version}`, found: `${manifest.product} ${manifest.version}` },
    );
  }
}

function checkRelease(manifest: Manifest, policy: ElfPolicy, findings: Findings): void {
  if (policy.minimumRelease !== undefined && manifest.release < policy.minimumRelease) {
    findings.error(
      "artifact/older-release",
      `The file is release ${manifest.release} of ${manifest.product}, ${policy.minimumRelease} is the lowest allowed: either you are under attack, or an old version is being installed.`,
      { release: manifest.release, minimum: policy.minimumRelease },
    );
  }
}

function checkStripped(header: ElfHeader, policy: ElfPolicy, findings: Findings): void {
  const names = strippableSections(header);
  if (names.length === 0) return;
  const message = `The file has symbols or debug information (${names.slice(0, 4).join(", ")}).`;
  if (policy.requireStripped === true)
    findings.error("artifact/not-stripped", message, { sections: names.slice(0, 40) });
  else findings.note("artifact/not-stripped", message);
}

/** SEQUENCE, OBJECT IDENTIFIER of signedData: how every CMS begins, after its length. */
const CMS_START = Buffer.from("06092a864886f70d010702", "hex");

/** Why there is no trailer: cut off, or never there, or taken away by a tool that rewrote the file. */
async function explainMissing(source: ByteSource): Promise<ArtifactError> {
  let header: ElfHeader;
  try {
    header = await readElfHeader(source);
  } catch (cause) {
    if (cause instanceof ArtifactError && cause.code === "artifact/points-beyond") {
      return new ArtifactError("artifact/truncated", `The file was cut off: ${cause.message}`, cause.facts, {
        cause,
      });
    }
    throw cause;
  }
  const window = Math.min(source.size - header.end, 320 * 1024);
  const tail = Buffer.from(await readRange(source, source.size - window, window, "end"));
  const at = tail.indexOf(CMS_START);
  // A length before it: 30 82 xx xx, the form of every signature between 256 bytes and 64 KiB; or 30 81, 30 83.
  if (at >= 3 && [2, 3, 4, 5].some((back) => tail[at - back] === 0x30)) {
    return new ArtifactError("artifact/truncated", "The file ends inside its signature: it was cut off.", {
      length: source.size,
    });
  }
  return new ArtifactError(
    "artifact/not-signed",
    "The file has no signature: it was never signed, or something rewrote it afterwards; strip and objcopy drop the signature without a word.",
    { format: "elf" },
    { hint: "Strip first, sign last." },
  );
}
