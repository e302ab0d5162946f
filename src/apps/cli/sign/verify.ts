// What `verify` does with files that carry signatures; folders and listed files go to run-verify.ts.

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { getCACertificates } from "node:tls";
import { parseInstant } from "../../../core/instant.ts";
import { parseRevocationList, CRL_LIMIT, type RevocationList } from "../../../der/crl.ts";
import { DerError } from "../../../der/errors.ts";
import { formatName } from "../../../der/names.ts";
import { parsePem } from "../../../der/pem.ts";
import { fingerprint, parseCertificate, type Certificate } from "../../../der/x509.ts";
import { ArtifactError } from "../../../artifact/errors.ts";
import { formatOf } from "../../../artifact/formats.ts";
import { readKeyMaterial } from "../../../artifact/identity.ts";
import type { FileReport, SignatureReport, VerifyPolicy } from "../../../artifact/report.ts";
import { withFileSource } from "../../../io/source/file.ts";
import type { Call, Result } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { expectation } from "../files/format-options.ts";
import { expandFiles, forEachFile, type Outcome } from "../files/many-files.ts";
import { verifyInCatalog } from "./catalog.ts";
import { besideOf, verifyBeside } from "./detached.ts";
import { layoutPicture, reportJson, reportText } from "../files/signature-text.ts";

const ROOTS_LIMIT = 4 * 1024 * 1024;

export async function verify(call: Call): Promise<Result> {
  const words = call.argumentsFrom(0);
  const [first] = words;
  if (
    words.length === 1 &&
    first !== undefined &&
    call.text("catalog") === undefined &&
    (call.text("repository") !== undefined ||
      isFolder(first) ||
      ((await isUnsignable(first)) && (await besideOf(call, first, async () => true)) === null))
  ) {
    return (await import("../repo/verify-listed.ts")).verifyListed(call, first);
  }
  const policy = await policyOf(call);
  return forEachFile(call, expandFiles(words), (file) =>
    verifyFile(call, file, policy).catch((error: unknown) => unverifiable(call, file, error)),
  );
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Of files that are of no format that carries signatures, or not of the one that their name says: theirs may be beside them. */
const UNSIGNABLE: readonly string[] = ["artifact/unknown-format", "artifact/malformed"];

/** A file of no format that carries signatures, or none at all. */
async function isUnsignable(path: string): Promise<boolean> {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return !/^@|[*?[{]/.test(path);
  try {
    await withFileSource(resolve(path), (source) => formatOf(source, path));
    return false;
  } catch (error) {
    return error instanceof ArtifactError && UNSIGNABLE.includes(error.code);
  }
}

async function verifyFile(call: Call, file: string, policy: VerifyPolicy): Promise<Outcome> {
  const { context } = call;
  const catalog = call.text("catalog");
  const beside = catalog === undefined ? await besideOf(call, file, () => isUnsignable(file)) : null;
  if (catalog !== undefined || beside !== null) {
    const found =
      catalog === undefined
        ? verifyBeside(call, file, beside!, policy)
        : verifyInCatalog(file, catalog, policy);
    const report = demand(call, await found);
    const title = catalog === undefined ? "signature beside the file" : `by the catalog ${catalog}`;
    return {
      text: reportText(file, title, report, context.style),
      json: reportJson(file, report),
      exit: report.valid ? EXIT.ok : EXIT["verify-failed"],
    };
  }
  return withFileSource(resolve(file), async (source) => {
    const format = await formatOf(source, file);
    const report = demand(call, await format.verify(source, policy));
    const picture = call.flag("explain") ? await format.explain(source) : null;
    const text = reportText(file, format.title, report, context.style);
    return {
      text: picture === null ? text : `${text}\n${layoutPicture(picture)}`,
      json: { ...reportJson(file, report), ...(picture === null ? {} : { layout: picture }) },
      exit: report.valid ? EXIT.ok : EXIT["verify-failed"],
    };
  });
}

/** A file that cannot be judged does not verify; that it could not be read, or that this version does not support it, is another matter. */
function unverifiable(call: Call, file: string, error: unknown): Outcome {
  if (!(error instanceof ArtifactError) || UNJUDGED.has(error.code)) throw error;
  return {
    text: `${call.context.style.bad("✗")} ${file}: ${error.message} (${error.code})`,
    json: { file, ok: false, valid: false, error: error.toJSON() },
    exit: EXIT["verify-failed"],
  };
}

const UNJUDGED: ReadonlySet<string> = new Set([
  "artifact/unreadable",
  "artifact/changed",
  "artifact/unsupported",
]);

/** What the caller wants of the signer beyond validity. */
function demand(call: Call, report: FileReport): FileReport {
  const [subject, sha1, root] = [call.text("subject"), call.text("sha1"), call.text("root-subject")];
  if (subject === undefined && sha1 === undefined && root === undefined) return report;
  const holds = (certificate: Certificate | undefined, part: string): boolean =>
    certificate !== undefined && formatName(certificate.subject).toLowerCase().includes(part.toLowerCase());
  const fits = (signature: SignatureReport): boolean =>
    signature.valid &&
    (subject === undefined || holds(signature.path[0], subject)) &&
    (sha1 === undefined ||
      (signature.path[0] !== undefined &&
        fingerprint(signature.path[0], "sha1") === sha1.replace(/[\s:]/g, "").toLowerCase())) &&
    (root === undefined || holds(signature.path.at(-1), root));
  if (!report.valid || report.signatures.some(fits)) return report;
  const finding = {
    level: "error",
    code: "signature/other-signer",
    message: "None of the valid signatures is by the signer that was asked for.",
  } as const;
  return { ...report, valid: false, findings: [...report.findings, finding] };
}

async function policyOf(call: Call): Promise<VerifyPolicy> {
  const at = call.text("at");
  const now = at === undefined ? call.context.clock.now() : parseInstant(at);
  const roots = call.list("root");
  const timestampRoots = call.list("timestamp-root");
  const signers = call.list("signer-cert");
  const lists = (await Promise.all(call.list("crl").map((path) => readLists(call, path)))).flat();
  const required = call.flag("require-revocation");
  const trusted = roots.length > 0 ? await readCertificates(call, roots) : systemRoots();
  return {
    roots: trusted,
    ...(timestampRoots.length === 0 ? {} : { timestampRoots: await readCertificates(call, timestampRoots) }),
    now,
    ...(lists.length === 0 && !required ? {} : { revocation: { lists, required, now } }),
    requireTimestamp: call.flag("require-timestamp"),
    strict: call.flag("strict"),
    expect: expectation(call),
    ...(signers.length === 0 ? {} : { certificates: await readCertificates(call, signers) }),
    efi: call.flag("efi"),
  };
}

async function readCertificates(call: Call, paths: readonly string[]): Promise<readonly Certificate[]> {
  const found = await Promise.all(
    paths.map(async (path) => {
      const { certificates } = await readKeyMaterial(
        await call.context.disk.read(resolve(path), ROOTS_LIMIT),
        () => Promise.reject(usage(`${path} is encrypted; roots are public.`)),
      );
      if (certificates.length === 0)
        throw new CliError("cli/not-found", `${path} holds no certificate.`, { path });
      return certificates;
    }),
  );
  return found.flat();
}

/** Those of the operating system: made for web servers, and good enough for many publishers. A root that cannot be read is left out. */
function systemRoots(): readonly Certificate[] {
  const roots = new Map<string, Certificate>();
  for (const pem of new Set(getCACertificates("system"))) {
    try {
      for (const block of parsePem(pem)) {
        const certificate = parseCertificate(block.der);
        roots.set(fingerprint(certificate), certificate);
      }
    } catch (error) {
      if (!(error instanceof DerError)) throw error;
    }
  }
  return [...roots.values()];
}

async function readLists(call: Call, path: string): Promise<readonly RevocationList[]> {
  const bytes = await call.context.disk.read(resolve(path), CRL_LIMIT);
  const text = Buffer.from(bytes.subarray(0, 64)).toString("latin1");
  if (!text.includes("-----BEGIN ")) return [parseRevocationList(bytes)];
  return parsePem(Buffer.from(bytes).toString("latin1")).map((block) => parseRevocationList(block.der));
}
