// The record through which ELF files are known to the rest of the house.

import type { Facts } from "../../core/errors.ts";
import * as oids from "../../der/oids.ts";
import { editUnsigned } from "../authenticode.ts";
import { valueToStamp } from "../authenticode-sign.ts";
import { attribute } from "../cms-build.ts";
import { hashForScheme } from "../content-sign.ts";
import { signatureReports } from "../content-verify.ts";
import { ArtifactError, type ArtifactErrorCode } from "../errors.ts";
import type { Format, Region, SignJob, SignOutcome, StampJob } from "../format.ts";
import type { FileReport, VerifyPolicy } from "../report.ts";
import { writeRewrite } from "../rewrite.ts";
import type { ByteSource } from "../source.ts";
import { readContainer, TRAILER_SIZE, writeContainer } from "./container.ts";
import { looksLikeElf, readElfHeader } from "./header.ts";
import type { Manifest } from "./manifest.ts";
import { removeFromElf, signElf } from "./sign.ts";
import { verifyElf } from "./verify.ts";

export const elfFormat: Format = {
  name: "elf",
  title: "Linux program (ELF)",
  extensions: [".elf", ".so", ".ko", ".node"],
  matches: looksLikeElf,
  hashFor: hashForScheme,
  sign,
  verify,
  remove: async (source, sink) => {
    await writeRewrite(source, await removeFromElf(source), sink);
    return [];
  },
  stamp,
  isSigned: async (source) => (await readContainer(source)) !== null,
  explain,
};

async function sign(job: SignJob): Promise<SignOutcome> {
  const { identity, plain = false, requireStripped = false } = job.options ?? {};
  if (identity === undefined && !plain) {
    throw new ArtifactError(
      "artifact/bad-manifest",
      "A signature on a Linux program says which product, version and release it is; these were not given.",
      {},
      {
        hint: "Give --product, --release-version and --release-number, or --kernel for the form without a manifest.",
      },
    );
  }
  const signed = await signElf(job.source, {
    identity: plain ? null : identity!,
    hashes: [job.hash],
    makeSignature: (what) => job.makeSignature(what),
    mode: job.mode,
    requireStripped,
  });
  await writeRewrite(job.source, signed.rewrite, job.sink);
  return { digest: signed.digest, warnings: signed.warnings };
}

async function stamp(job: StampJob): Promise<void> {
  const container = await readContainer(job.source);
  if (container === null)
    throw new ArtifactError("artifact/not-signed", "The file has no signature to put a timestamp on.", {});
  const token = await job.makeToken(valueToStamp(container.cms));
  // A second stamp would leave open which one counts; the new one takes the place of the old one.
  const cms = editUnsigned(container.cms, () => [attribute(oids.timeStampToken, token)]);
  await writeRewrite(job.source, [{ offset: 0, size: container.contentSize }, writeContainer(cms)], job.sink);
}

/** Refusals about the place of the signature, which are a verdict about a file and no failure of the reader. */
const VERDICTS: ReadonlySet<ArtifactErrorCode> = new Set<ArtifactErrorCode>([
  "artifact/not-signed",
  "artifact/truncated",
  "artifact/points-beyond",
  "artifact/trailing-bytes",
  "artifact/doubled-signature",
  "artifact/bad-signature",
]);

async function verify(source: ByteSource, policy: VerifyPolicy): Promise<FileReport> {
  try {
    const report = await verifyElf(source, {
      ...policy,
      ...policy.expect,
      ...(policy.certificates === undefined ? {} : { plainCertificates: policy.certificates }),
    });
    return {
      format: "elf",
      signed: true,
      valid: report.believed,
      signatures: signatureReports(report),
      findings: report.findings,
      ...(report.manifest === null ? {} : { about: aboutOf(report.manifest) }),
    };
  } catch (error) {
    if (!(error instanceof ArtifactError) || !VERDICTS.has(error.code)) throw error;
    const { code, message, facts } = error;
    return {
      format: "elf",
      signed: code !== "artifact/not-signed",
      valid: false,
      signatures: [],
      findings: [{ level: "error", code, message, facts }],
    };
  }
}

function aboutOf(manifest: Manifest): Facts {
  return { ...manifest };
}

async function explain(source: ByteSource): Promise<readonly Region[]> {
  const container = await readContainer(source);
  const end = container?.contentSize ?? source.size;
  const header = await readElfHeader(source, end);
  const regions: Region[] = [
    { from: 0, to: header.end, what: `${header.type} for ${header.os} on ${header.arch}`, covered: true },
  ];
  if (end > header.end)
    regions.push({ from: header.end, to: end, what: "behind the program's own bytes", covered: true });
  if (container === null) return regions.map((region) => ({ ...region, covered: false }));
  return [
    ...regions,
    { from: end, to: source.size - TRAILER_SIZE, what: "signature", covered: false },
    { from: source.size - TRAILER_SIZE, to: source.size, what: "trailer", covered: false },
  ];
}
