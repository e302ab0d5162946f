// A verified file in words and in JSON: who signed what, when, under which chain, and what is suspicious.

import { formatInstant } from "../../../core/instant.ts";
import { formatName, nameValue } from "../../../der/names.ts";
import { fingerprint, serialHex, spkiPin, type Certificate } from "../../../der/x509.ts";
import type { Region } from "../../../artifact/format.ts";
import type { Finding } from "../../../artifact/errors.ts";
import type { FileReport, SignatureReport } from "../../../artifact/report.ts";
import type { TimestampReport } from "../../../artifact/timestamp.ts";
import { columns, size, type Style } from "../../framework/style.ts";

export function reportText(file: string, title: string, report: FileReport, style: Style): string {
  const head = report.valid
    ? `${style.good("✓")} ${file}: ${validWords(report)}`
    : `${style.bad("✗")} ${file}: ${report.signed ? "the signature is not to be trusted" : "not signed"}`;
  const lines = [head, style.faint(`  ${title}`)];
  for (const [what, value] of Object.entries(report.about ?? {}))
    lines.push(`  ${what}: ${safe(String(value))}`);
  for (const signature of report.signatures)
    lines.push(...signatureLines(signature, report.signatures.length > 1, style));
  lines.push(...report.findings.map((finding) => findingLine(finding, "  ", style)));
  return lines.join("\n");
}

function validWords(report: FileReport): string {
  const first = report.signatures.find((signature) => signature.valid)!;
  const [leaf] = first.path;
  const who =
    leaf === undefined
      ? "somebody"
      : (nameValue(leaf.subject, "O") ?? nameValue(leaf.subject, "CN") ?? formatName(leaf.subject));
  const when = first.signedAt === null ? "at an unproven time" : `on ${formatInstant(first.signedAt)}`;
  return `signed by ${safe(who)} ${when}, and unchanged since`;
}

function signatureLines(signature: SignatureReport, several: boolean, style: Style): readonly string[] {
  const { path, opus, timestamps } = signature;
  const lines = [
    `  ${several ? `${signature.place}: ` : ""}${signature.hash.toUpperCase()}, ${signature.key}${several && !signature.valid ? style.bad(" (not valid)") : ""}`,
  ];
  path.forEach((certificate, i) =>
    lines.push(
      `  ${"  ".repeat(i)}${i === 0 ? "signer" : "issued by"} ${formatName(certificate.subject)} (until ${formatInstant(certificate.notAfter)})`,
    ),
  );
  for (const stamp of timestamps)
    lines.push(
      `  timestamp ${stamp.time === null ? "unreadable" : formatInstant(stamp.time)} by ${stamp.authority ?? "nobody known"}${stamp.believed ? "" : style.warn(" (not trusted)")}`,
    );
  if (opus.name !== undefined && opus.name !== "")
    lines.push(`  the publisher calls it "${safe(opus.name)}"`);
  if (opus.url !== undefined && opus.url !== "") lines.push(`  the publisher points to ${safe(opus.url)}`);
  lines.push(...signature.findings.map((finding) => findingLine(finding, "  ", style)));
  return lines;
}

function findingLine(finding: Finding, indent: string, style: Style): string {
  const mark =
    finding.level === "error"
      ? style.bad("✗")
      : finding.level === "warning"
        ? style.warn("!")
        : style.faint("·");
  return `${indent}${mark} ${finding.message} ${style.faint(`(${finding.code})`)}`;
}

/** What a publisher wrote must not steer a terminal. */
function safe(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, "?").slice(0, 300);
}

/** The whole report for programs. */
export function reportJson(file: string, report: FileReport): object {
  return {
    file,
    ok: report.valid,
    format: report.format,
    signed: report.signed,
    valid: report.valid,
    findings: report.findings,
    about: report.about ?? null,
    signatures: report.signatures.map((signature) => ({
      place: signature.place,
      valid: signature.valid,
      hash: signature.hash,
      key: signature.key,
      signedAt: instant(signature.signedAt),
      description: signature.opus.name ?? null,
      url: signature.opus.url ?? null,
      chain: signature.path.map(certificateJson),
      timestamps: signature.timestamps.map(timestampJson),
      findings: signature.findings,
    })),
  };
}

function timestampJson(stamp: TimestampReport): object {
  return {
    kind: stamp.kind,
    time: instant(stamp.time),
    believed: stamp.believed,
    hash: stamp.hash,
    authority: stamp.authority,
    chain: stamp.path.map(certificateJson),
    findings: stamp.findings,
  };
}

function certificateJson(certificate: Certificate): object {
  return {
    subject: formatName(certificate.subject),
    issuer: formatName(certificate.issuer),
    serial: serialHex(certificate),
    notBefore: formatInstant(certificate.notBefore),
    notAfter: formatInstant(certificate.notAfter),
    sha256: fingerprint(certificate),
    sha1: fingerprint(certificate, "sha1"),
    spkiSha256: spkiPin(certificate),
    extendedKeyUsage: certificate.extensions.extKeyUsage?.purposes ?? [],
  };
}

function instant(at: number | null): string | null {
  return at === null ? null : formatInstant(at);
}

/** The file from top to bottom: a bar as long as the part is large, filled where the signature covers it. */
export function layoutPicture(regions: readonly Region[]): string {
  const total = regions.at(-1)?.to ?? 0;
  const rows = regions.map((region) => {
    const share = total === 0 ? 0 : (region.to - region.from) / total;
    const bar = (region.covered ? "█" : "░").repeat(Math.max(1, Math.round(share * 32)));
    return [
      `  ${hex(region.from)}`,
      size(region.to - region.from),
      region.covered ? "covered" : "not covered",
      `${bar} ${region.what}`,
    ];
  });
  return columns(rows);
}

function hex(position: number): string {
  return `0x${position.toString(16).padStart(8, "0")}`;
}
