// What `sign`, `timestamp` and `remove` do.

import { resolve } from "node:path";
import { toHex } from "../../../core/bytes.ts";
import { formatInstant } from "../../../core/instant.ts";
import { formatName } from "../../../der/names.ts";
import type { Certificate } from "../../../der/x509.ts";
import { withLegacyTimestamp, valueToStamp } from "../../../artifact/authenticode-sign.ts";
import type { SigningHash } from "../../../artifact/cms-build.ts";
import { ArtifactError, type Finding } from "../../../artifact/errors.ts";
import type { Format, SignJob, SignOutcome } from "../../../artifact/format.ts";
import { formatOf } from "../../../artifact/formats.ts";
import { makeSignature, type SignatureMaker } from "../../../artifact/make-signature.ts";
import { isTrustFinding, type FileReport } from "../../../artifact/report.ts";
import type { ByteSource } from "../../../artifact/source.ts";
import {
  requestLegacyTimestamp,
  requestTimestamp,
  type TimestampWish,
} from "../../../artifact/timestamp-request.ts";
import { replaceFile, withFileSource } from "../../../io/source/file.ts";
import { proxiesFrom } from "../../../io/connection/proxies.ts";
import { httpTimestamps } from "../../../io/signing/timestamp-transport.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { signOptions } from "../files/format-options.ts";
import { expandFiles, forEachFile, type Outcome } from "../files/many-files.ts";
import { signBeside } from "./detached.ts";
import { openIdentity, type OpenIdentity } from "./signing-identity.ts";

/** What is written is read again and verified up to this size; above, the one pass that hashes and copies has to do. */
const RECHECK_LIMIT = 64 * 1024 * 1024;

export async function sign(call: Call): Promise<Result> {
  if (call.flag("dry-run")) return (await import("./dry-run.ts")).drySign(call);
  const files = expandFiles(call.argumentsFrom(0));
  if (call.flag("replace") && call.flag("append")) throw usage("--replace and --append exclude each other.");
  if (call.text("output") !== undefined && files.length !== 1)
    throw usage("--output goes with one file only.");
  const identity = await openIdentity(call);
  try {
    return await forEachFile(call, files, (file) => signOne(call, file, identity));
  } finally {
    await identity.close();
  }
}

/** Whether the signature is to be beside the file, whatever the file is. */
export function isBeside(call: Call): boolean {
  return call.flag("detached") || call.text("as") === "detached";
}

async function signOne(call: Call, file: string, identity: OpenIdentity): Promise<Outcome> {
  const { context } = call;
  if (isBeside(call)) return signBeside(call, file, makerOf(call, identity));
  const path = resolve(file);
  const output = resolve(call.text("output") ?? file);
  const format = await withFileSource(path, (source) => formatOf(source, file));
  if (call.flag("skip-signed") && (await withFileSource(path, (source) => format.isSigned(source)))) {
    return {
      text: `${context.style.faint("-")} ${file}: signed already, left alone`,
      json: { file, ok: true, status: "skipped", format: format.name },
    };
  }
  const hash =
    (call.text("hash") as SigningHash | undefined) ??
    format.hashFor?.(identity.signer.publicKey.scheme) ??
    hashForKey(identity.signer.publicKey.scheme);
  const maker = makerOf(call, identity);
  const legacy = call.text("legacy-timestamp-url");
  const outcome = await replaceFile(path, output, async (source, sink, written) => {
    const done = await format.sign({
      source,
      sink,
      mode: call.flag("replace") ? "replace" : call.flag("append") ? "append" : "new",
      hash,
      ...pageHashes(call),
      options: signOptions(call),
      makeSignature: async (what) => {
        const cms = await makeSignature(what, maker);
        return legacy === undefined
          ? cms
          : withLegacyTimestamp(
              cms,
              await requestLegacyTimestamp(valueToStamp(cms), stampWish(call, [legacy])),
            );
      },
    });
    const warnings = await recheck(call, file, format.verify, source, written(), identity.certificate);
    return { ...done, warnings: [...(done.warnings ?? []), ...warnings] };
  });
  return signedOutcome(call, file, output, format.name, hash, identity, outcome);
}

/**
 * The new file has to hold what was meant before it takes the place of the old one. Trust is the verifier's matter: here the signature has
 * to be intact. What is appended is judged, not what others wrote before: their faults may stay, and none may come in.
 */
async function recheck(
  call: Call,
  file: string,
  verify: Format["verify"],
  before: ByteSource,
  after: Promise<ByteSource>,
  certificate: Certificate,
): Promise<readonly string[]> {
  const written = await after;
  if (written.size > RECHECK_LIMIT && !call.flag("recheck")) return [];
  const policy = { roots: [], now: call.context.clock.now(), certificates: [certificate] };
  const report = await verify(written, policy);
  const old = call.flag("append") ? await verify(before, policy).catch(() => null) : null;
  const kept = old === null ? [] : faultsOf(old);
  const wrong = notAmong(kept, faultsOf(report));
  if (wrong.length > 0 || report.signatures.length <= (old?.signatures.length ?? 0)) {
    throw new ArtifactError(
      "artifact/bad-signature",
      `What was written for ${file} does not verify, so nothing was changed: ${wrong.map((finding) => finding.message).join(" ")}`,
      { codes: wrong.map((finding) => finding.code) },
    );
  }
  return kept.length === 0
    ? []
    : [`The signature that was there does not hold: ${kept.map((finding) => finding.message).join(" ")}`];
}

/** Errors about what is there, whoever is trusted; a stamp that was just made has to be in order as well. */
function faultsOf(report: FileReport): readonly Finding[] {
  return [...report.findings, ...report.signatures.flatMap((signature) => signature.findings)].filter(
    (finding) =>
      finding.level === "error" &&
      !NOT_SIGNED.test(finding.code) &&
      (!isTrustFinding(finding) || finding.code === "signature/timestamp-invalid"),
  );
}

/** Of an unsigned file, to which the first signature is "appended". */
const NOT_SIGNED = /^[a-z]+\/(not-signed|leftover-entry)$/;

/** The faults of `after` that have no like in `before`. */
function notAmong(before: readonly Finding[], after: readonly Finding[]): readonly Finding[] {
  const left = before.map((finding) => `${finding.code} ${finding.message}`);
  return after.filter((finding) => {
    const at = left.indexOf(`${finding.code} ${finding.message}`);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

function signedOutcome(
  call: Call,
  file: string,
  output: string,
  format: string,
  hash: SigningHash,
  identity: OpenIdentity,
  outcome: SignOutcome,
): Outcome {
  const subject = formatName(identity.certificate.subject);
  const warnings = outcome.warnings ?? [];
  const { good, warn, faint } = call.context.style;
  const lines = [
    `${good("✓")} ${file}: signed as ${subject}`,
    ...warnings.map((warning) => `  ${warn("!")} ${warning}`),
  ];
  if (call.context.verbose) lines.push(faint(`  ${hash} ${toHex(outcome.digest)}`));
  return {
    text: lines.join("\n"),
    json: {
      file,
      ok: true,
      status: "signed",
      output,
      format,
      hash,
      digest: toHex(outcome.digest),
      subject,
      certificateEnds: formatInstant(identity.certificate.notAfter),
      warnings,
    },
  };
}

function makerOf(call: Call, identity: OpenIdentity): SignatureMaker {
  const urls = call.list("timestamp-url");
  const [name, url] = [call.text("description"), call.text("url")];
  return {
    certificate: identity.certificate,
    chain: identity.chain,
    signer: identity.signer,
    opus: { ...(name === undefined ? {} : { name }), ...(url === undefined ? {} : { url }) },
    ...(urls.length === 0
      ? {}
      : { stamp: (value: Uint8Array) => requestTimestamp(value, stampWish(call, urls)) }),
  };
}

function stampWish(call: Call, urls: readonly string[]): TimestampWish {
  for (const url of urls) {
    if (!/^https?:\/\/[^\s@]+$/.test(url))
      throw usage(`"${url.slice(0, 80)}" is not the address of a timestamp authority.`);
  }
  return {
    urls,
    hash: (call.text("timestamp-hash") ?? "sha256") as SigningHash,
    transport: httpTimestamps(proxiesFrom(call.context.terminal.env), undefined, (url) =>
      call.context.note(`waiting for the timestamp authority ${url} ...`),
    ),
    tell: (what) => call.context.note(what),
    clock: call.context.clock,
    random: call.context.random,
  };
}

function pageHashes(call: Call): Pick<SignJob, "pageHashes"> {
  if (call.flag("page-hashes-sha1")) return { pageHashes: "sha1" };
  return call.flag("page-hashes") ? { pageHashes: "sha256" } : {};
}

function hashForKey(scheme: string): SigningHash {
  return scheme === "ecdsa-sha2-nistp384" ? "sha384" : scheme === "ecdsa-sha2-nistp521" ? "sha512" : "sha256";
}

export async function timestamp(call: Call): Promise<Result> {
  const urls = call.list("timestamp-url");
  if (urls.length === 0) throw usage("--timestamp-url is needed.");
  const wish = stampWish(call, urls);
  return forEachFile(call, expandFiles(call.argumentsFrom(0)), async (file) => {
    const path = resolve(file);
    const format = await withFileSource(path, (source) => formatOf(source, file));
    await replaceFile(path, path, (source, sink) =>
      format.stamp({ source, sink, makeToken: (value) => requestTimestamp(value, wish) }),
    );
    return {
      text: `${call.context.style.good("✓")} ${file}: timestamp added`,
      json: { file, ok: true, status: "stamped", format: format.name },
    };
  });
}

export async function remove(call: Call): Promise<Result> {
  const files = expandFiles(call.argumentsFrom(0));
  if (call.text("output") !== undefined && files.length !== 1)
    throw usage("--output goes with one file only.");
  return forEachFile(call, files, async (file) => {
    const path = resolve(file);
    const format = await withFileSource(path, (source) => formatOf(source, file));
    const notes = await replaceFile(path, resolve(call.text("output") ?? file), (source, sink) =>
      format.remove(source, sink),
    );
    const { good, faint } = call.context.style;
    return {
      text: [
        `${good("✓")} ${file}: signature removed`,
        ...notes.map((note) => `  ${faint("·")} ${note}`),
      ].join("\n"),
      json: { file, ok: true, status: "removed", format: format.name, notes },
    };
  });
}
