// A format whose signature is one Authenticode CMS over a digest of the file: everything but how that file is laid out.

import type { HashName } from "../der/algorithms.ts";
import { DerError } from "../der/errors.ts";
import { Fields, parseDer, parseDerPrefix, readOctets } from "../der/reader.ts";
import { INTEGER, OCTET_STRING } from "../der/tags.ts";
import { integer, octets, sequence } from "../der/writer.ts";
import { appendNested, buildIndirectData, nestedSignatures } from "./authenticode.ts";
import { valueToStamp, withTimestamp } from "./authenticode-sign.ts";
import {
  judgeSignature,
  openSignatures,
  type IndirectType,
  type OpenedSignature,
} from "./authenticode-verify.ts";
import { parseSignedData } from "./cms.ts";
import { ArtifactError, Findings } from "./errors.ts";
import type { Format, Region, SignJob, SignOptions, SignOutcome, StampJob } from "./format.ts";
import { verdict, type FileReport, type SignatureReport, type VerifyPolicy } from "./report.ts";
import { writeRewrite, type Rewrite } from "./rewrite.ts";
import type { ByteSource } from "./source.ts";

/** Type of the indirect data of formats that a "subject interface package" takes care of: SpcSipInfo. */
export const SPC_SIP_INFO = "1.3.6.1.4.1.311.2.1.30";

/** A file as read. */
export type SignableFile = {
  /** The signature with whatever pads it; null without one. */
  readonly cms: Uint8Array | null;
  /**
   * What a signature by this digest is over, and how it is put into the file.
   * `keep`: as the signature that is there has it; otherwise as the options wish.
   */
  plan(hash: HashName, wish: { readonly keep: boolean; readonly options?: SignOptions }): Promise<Plan>;
  /** The file without a signature. */
  remove(): Rewrite;
  readonly regions: readonly Region[];
  /** Refuses to sign what verifies here and means something else elsewhere. Errors: `artifact/unsupported`. */
  refuseToSign?(): void;
  /** What else there is to say about the file and a signature by this digest. */
  inspect?(hash: HashName, findings: Findings): Promise<void>;
};
export type Plan = { readonly digest: Uint8Array; readonly attach: (cms: Uint8Array) => Rewrite };

export type IndirectFormat = Pick<Format, "name" | "title" | "extensions" | "matches"> & {
  /** Type and value of the indirect data. */
  readonly type: string;
  readonly value: Uint8Array;
  /** Types that genuine files of this format have instead. */
  readonly foreignTypes?: readonly string[];
  read(source: ByteSource): Promise<SignableFile>;
};

/** SpcSipInfo with the number and the class that the format has; the rest is reserved. */
export function sipInfo(version: number, guid: Uint8Array): Uint8Array {
  const zero = integer(0);
  return sequence(integer(version), octets(guid), zero, zero, zero, zero, zero);
}

export function indirectFormat(spec: IndirectFormat): Format {
  return {
    name: spec.name,
    title: spec.title,
    extensions: spec.extensions,
    matches: (head, name) => spec.matches(head, name),
    sign: (job) => sign(spec, job),
    verify: (source, policy) => verify(spec, source, policy),
    remove: async (source, sink) => {
      const file = await spec.read(source);
      if (file.cms === null) throw notSigned();
      await writeRewrite(source, file.remove(), sink);
      return [];
    },
    stamp: (job) => stamp(spec, job),
    isSigned: async (source) => (await spec.read(source)).cms !== null,
    explain: async (source) => (await spec.read(source)).regions,
  };
}

async function sign(spec: IndirectFormat, job: SignJob): Promise<SignOutcome> {
  const { source, sink, mode, hash, options } = job;
  const file = await spec.read(source);
  if (file.cms !== null && mode === "new") {
    throw new ArtifactError(
      "artifact/already-signed",
      "The file is signed already.",
      {},
      { hint: "Say whether to replace the signature (--replace) or to add another one (--append)." },
    );
  }
  file.refuseToSign?.();
  const present = file.cms === null || mode === "replace" ? null : unpadded(file.cms);
  const plan = await file.plan(hash, {
    keep: present !== null,
    ...(options === undefined ? {} : { options }),
  });
  const cms = await job.makeSignature({
    kind: "authenticode",
    format: spec.name,
    hash,
    digest: plan.digest,
    indirectData: buildIndirectData({ type: spec.type, value: spec.value, hash, digest: plan.digest }),
    sequenceNumber:
      present === null ? null : nestedSignatures(parseSignedData(present).signers[0]!).length + 1,
  });
  await writeRewrite(source, plan.attach(present === null ? cms : appendNested(present, cms)), sink);
  return { digest: plan.digest };
}

async function stamp(spec: IndirectFormat, job: StampJob): Promise<void> {
  const file = await spec.read(job.source);
  if (file.cms === null) throw notSigned();
  const cms = unpadded(file.cms);
  const stamped = withTimestamp(cms, await job.makeToken(valueToStamp(cms)));
  const plan = await file.plan(openSignatures(cms)[0]!.indirect.hash, { keep: true });
  await writeRewrite(job.source, plan.attach(stamped), job.sink);
}

/** The trust decision about the file, as a list. Errors: those of reading it; all else is a finding. */
async function verify(spec: IndirectFormat, source: ByteSource, policy: VerifyPolicy): Promise<FileReport> {
  const findings = new Findings();
  const file = await spec.read(source);
  const signatures: SignatureReport[] = [];
  const kind: IndirectType = { own: spec.type, foreign: spec.foreignTypes ?? [] };
  if (file.cms === null) findings.error(`${spec.name}/not-signed`, "The file is not signed.");
  else {
    for (const opened of openAll(file.cms, findings)) {
      const { hash } = opened.indirect;
      checkKind(spec, opened);
      await file.inspect?.(hash, opened.findings);
      signatures.push(judgeSignature(opened, await digestOf(file, opened), kind, policy));
    }
  }
  return {
    format: spec.name,
    signed: file.cms !== null,
    valid: file.cms !== null && verdict(findings.list, signatures),
    signatures,
    findings: findings.list,
  };
}

async function digestOf(file: SignableFile, opened: OpenedSignature): Promise<Uint8Array | null> {
  try {
    return (await file.plan(opened.indirect.hash, { keep: true })).digest;
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
    opened.findings.error("signature/file-changed", error.message);
    return null;
  }
}

function openAll(cms: Uint8Array, findings: Findings): readonly OpenedSignature[] {
  try {
    return openSignatures(unpadded(cms));
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
    findings.error("cms/malformed", error.message);
    return [];
  }
}

/** Several formats share the type of their indirect data; the class in its value tells them apart. */
function checkKind(spec: IndirectFormat, opened: OpenedSignature): void {
  const { value, type } = opened.indirect;
  if (spec.type !== SPC_SIP_INFO || type !== SPC_SIP_INFO) return;
  const [mine, theirs] = [guidOf(spec.value), value === null ? null : guidOf(value)];
  if (theirs === null || Buffer.compare(mine!, theirs) !== 0) {
    opened.findings.error("signature/wrong-kind", "The signature is for another kind of file.");
  }
}

function guidOf(value: Uint8Array): Uint8Array | null {
  try {
    const fields = new Fields(parseDer(value));
    fields.take(INTEGER);
    return readOctets(fields.take(OCTET_STRING));
  } catch (error) {
    if (error instanceof DerError) return null;
    throw error;
  }
}

/** CVE-2013-3900, wherever a format pads: at most seven zeros, and nothing else, follow the DER. Errors: `artifact/bad-signature`. */
function unpadded(cms: Uint8Array): Uint8Array {
  let end: number;
  try {
    end = parseDerPrefix(cms).end;
  } catch (cause) {
    if (cause instanceof DerError) {
      throw new ArtifactError(
        "artifact/bad-signature",
        `The signature cannot be read: ${cause.message}`,
        {},
        { cause },
      );
    }
    throw cause;
  }
  const rest = cms.subarray(end);
  if (rest.length > 7 || rest.some((byte) => byte !== 0)) {
    throw new ArtifactError(
      "artifact/bad-signature",
      `${rest.length} bytes follow the signature in a place that no hash covers: data was hidden there.`,
      { bytes: rest.length },
    );
  }
  return cms.subarray(0, end);
}

function notSigned(): ArtifactError {
  return new ArtifactError("artifact/not-signed", "The file has no signature.", {});
}
