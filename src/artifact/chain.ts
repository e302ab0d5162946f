// From a certificate up to a root that the caller trusts, at one instant, for one purpose (RFC 5280 section 6, and what Windows adds).

import { equalBytes, toHex } from "../core/bytes.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import { isStrongHash } from "../der/algorithms.ts";
import type { RevocationList } from "../der/crl.ts";
import { DerError } from "../der/errors.ts";
import { formatName, sameName } from "../der/names.ts";
import * as oids from "../der/oids.ts";
import { isSignedBy, publicKeyOfCertificate, type Certificate } from "../der/x509.ts";
import type { Finding } from "./errors.ts";
import { Findings } from "./errors.ts";

/** What a certificate is used for: signing code or stamping time. */
export type Purpose = "codeSigning" | "timeStamping";

export type ChainWish = {
  readonly leaf: Certificate;
  /** Certificates that came along; none of them is trusted. */
  readonly bag: readonly Certificate[];
  readonly roots: readonly Certificate[];
  readonly purpose: Purpose;
  /** When the signature was made, as far as that is proven; else now. */
  readonly at: Instant;
  readonly revocation?: Revocation;
};

export type Revocation = {
  readonly lists: readonly RevocationList[];
  /** True: a certificate about which no list speaks is refused. */
  readonly required: boolean;
  /** To tell stale lists. */
  readonly now: Instant;
};

export type ChainResult = {
  /** Leaf first, root last; the longest one found if none reaches a root. */
  readonly path: readonly Certificate[];
  /** Whether the path ends in a root of the caller. */
  readonly anchored: boolean;
  readonly findings: readonly Finding[];
};

const MAX_LENGTH = 10;
/** Signature checks spent on one search; a hostile bag must not buy more. */
const MAX_CHECKS = 64;

/** Finds the best path and says what is wrong with it: without findings of level `error` the leaf may be believed for the purpose. Never throws. */
export function checkChain(wish: ChainWish): ChainResult {
  const search: Search = { wish, checks: 0, best: null };
  extend(search, [wish.leaf]);
  const best = search.best!;
  return { path: best.path, anchored: best.anchored, findings: best.findings };
}

type Candidate = {
  readonly path: readonly Certificate[];
  readonly anchored: boolean;
  readonly findings: readonly Finding[];
  readonly rank: number;
};
type Search = { readonly wish: ChainWish; checks: number; best: Candidate | null };

/** Depth first; stops at the first path without fault, keeps the least bad one otherwise. */
function extend(search: Search, path: readonly Certificate[]): boolean {
  const last = path[path.length - 1]!;
  const { roots, bag } = search.wish;
  if (roots.some((root) => equalBytes(root.der, last.der))) return judge(search, path, true);
  let extended = false;
  if (path.length < MAX_LENGTH) {
    for (const issuer of issuersOf(last, [...roots, ...bag])) {
      if (
        path.some(
          (member) => equalBytes(member.spki, issuer.spki) && sameName(member.subject, issuer.subject),
        )
      )
        continue;
      if (search.checks++ >= MAX_CHECKS) break;
      if (!isSignedBy(last, issuer)) continue;
      extended = true;
      if (extend(search, [...path, issuer])) return true;
    }
  }
  return extended ? false : judge(search, path, false);
}

/** Certificates that may have issued this one, those with the right key identifier first. */
function issuersOf(certificate: Certificate, among: readonly Certificate[]): readonly Certificate[] {
  const wanted = certificate.extensions.authorityKeyIdentifier;
  const rank = (issuer: Certificate): number => {
    const offered = issuer.extensions.subjectKeyIdentifier;
    return wanted !== null && offered !== null && equalBytes(wanted, offered) ? 0 : 1;
  };
  return among
    .filter((issuer) => sameName(issuer.subject, certificate.issuer))
    .filter((issuer, i, all) => all.findIndex((other) => equalBytes(other.der, issuer.der)) === i)
    .toSorted((a, b) => rank(a) - rank(b));
}

function judge(search: Search, path: readonly Certificate[], anchored: boolean): boolean {
  const findings = new Findings();
  checkPath(search.wish, path, anchored, findings);
  const errors = findings.list.filter((finding) => finding.level === "error").length;
  const rank = (anchored ? 1000 : 0) + path.length - 10 * errors;
  if (search.best === null || rank > search.best.rank || (errors === 0 && anchored))
    search.best = { path, anchored, findings: findings.list, rank };
  return anchored && errors === 0;
}

/** The trust decision about a path, as a list. */
function checkPath(
  wish: ChainWish,
  path: readonly Certificate[],
  anchored: boolean,
  findings: Findings,
): void {
  if (!anchored) checkUnanchored(path, findings);
  path.forEach((certificate, i) => {
    const root = anchored && i === path.length - 1;
    checkValidity(certificate, wish.at, findings);
    checkKnownExtensions(certificate, root, findings);
    checkKey(certificate, findings);
    if (!root) checkSignatureStrength(certificate, findings);
    if (i === 0) checkLeafUsage(certificate, wish.purpose, findings);
    else checkAuthority(certificate, i - 1, wish.purpose, findings);
    if (!root && wish.revocation !== undefined)
      checkRevocation(certificate, path[i + 1], wish, wish.revocation, findings);
  });
}

/**
 * What no chain can heal: for these reasons every verification refuses what the certificate signs, whoever issued it and whenever.
 * A self-signed one may be named as root itself, where its own signature decides nothing.
 */
export function faultsOfLeaf(certificate: Certificate, purpose: Purpose): readonly Finding[] {
  const findings = new Findings();
  const root = sameName(certificate.issuer, certificate.subject);
  checkKnownExtensions(certificate, root, findings);
  checkKey(certificate, findings);
  if (!root) checkSignatureStrength(certificate, findings);
  checkLeafUsage(certificate, purpose, findings);
  return findings.list.filter((finding) => finding.level === "error");
}

function checkUnanchored(path: readonly Certificate[], findings: Findings): void {
  const last = path[path.length - 1]!;
  const what = sameName(last.issuer, last.subject)
    ? `The chain ends in "${formatName(last.subject)}", which is not among the trusted roots.`
    : `The chain is incomplete: the issuer "${formatName(last.issuer)}" is neither beside the signature nor among the trusted roots.`;
  findings.error("chain/untrusted", what);
}

// RFC 5280 6.1.3 (a)(2).
function checkValidity(certificate: Certificate, at: Instant, findings: Findings): void {
  const name = formatName(certificate.subject);
  if (at < certificate.notBefore)
    findings.error(
      "chain/not-yet-valid",
      `"${name}" is valid from ${formatInstant(certificate.notBefore)} only, the signature is of ${formatInstant(at)}.`,
    );
  if (at > certificate.notAfter)
    findings.error(
      "chain/expired",
      `"${name}" was valid until ${formatInstant(certificate.notAfter)}, and nothing proves that the signature is older: it counts as made on ${formatInstant(at)}.`,
    );
}

/**
 * RFC 5280 4.2: an unknown critical extension makes a certificate unusable. RFC 5280 6.1.1 (d): of a root that the caller named, its name
 * and its key count. Debian's Secure Boot authority has a critical Netscape certificate type, and all that Debian signs hangs on it.
 */
function checkKnownExtensions(certificate: Certificate, root: boolean, findings: Findings): void {
  for (const name of certificate.extensions.unknownCritical) {
    const what = `"${formatName(certificate.subject)}" has the critical extension ${name}, which is not understood here`;
    if (root)
      findings.note(
        "chain/unknown-critical-extension",
        `${what}; it is trusted because it was named as root.`,
      );
    else findings.error("chain/unknown-critical-extension", `${what}.`);
  }
}

function checkKey(certificate: Certificate, findings: Findings): void {
  try {
    const key = publicKeyOfCertificate(certificate);
    const bits = key.asymmetricKeyDetails?.modulusLength;
    if (bits !== undefined && bits < 2048)
      findings.error(
        "chain/weak-key",
        `The RSA key of "${formatName(certificate.subject)}" has ${bits} bits, which is too few.`,
      );
  } catch (error) {
    if (!(error instanceof DerError)) throw error;
    findings.error("chain/bad-key", error.message);
  }
}

function checkSignatureStrength(certificate: Certificate, findings: Findings): void {
  const { hash } = certificate.signatureAlgorithm;
  if (hash !== null && !isStrongHash(hash))
    findings.error(
      "chain/weak-digest",
      `The certificate of "${formatName(certificate.subject)}" rests on ${hash.toUpperCase()}, which can be forged.`,
    );
}

function checkLeafUsage(certificate: Certificate, purpose: Purpose, findings: Findings): void {
  const { keyUsage, extKeyUsage, basicConstraints } = certificate.extensions;
  const name = formatName(certificate.subject);
  // RFC 5280 4.2.1.3: digitalSignature, or nonRepudiation for time stamps.
  if (
    keyUsage !== null &&
    !keyUsage.has("digitalSignature") &&
    !(purpose === "timeStamping" && keyUsage.has("nonRepudiation"))
  ) {
    findings.error(
      "chain/key-usage",
      `The key of "${name}" may not make signatures (its key usage lacks digitalSignature).`,
    );
  }
  const purposes = extKeyUsage?.purposes ?? [];
  if (purpose === "timeStamping") {
    // RFC 3161 2.3: exactly one purpose, so that the key stamps time and does nothing else.
    if (purposes.length !== 1 || purposes[0] !== oids.timeStamping) {
      findings.error(
        "chain/extended-key-usage",
        `"${name}" is no timestamp authority: its certificate has to have timeStamping as the only extended key usage.`,
      );
    } else if (extKeyUsage?.critical !== true) {
      // And critical, it says. Microsoft's authorities issued until 2023 did not mark it so; the purpose is the same one.
      findings.note(
        "chain/usage-not-critical",
        `The extended key usage of "${name}" is not marked as critical, as RFC 3161 asks for.`,
      );
    }
    return;
  }
  if (!purposes.includes(oids.codeSigning)) {
    findings.error(
      "chain/extended-key-usage",
      `"${name}" may not sign code (its certificate lacks the extended key usage codeSigning).`,
    );
  }
  if (basicConstraints?.ca === true)
    findings.warning(
      "chain/authority-signs-code",
      `"${name}" is a certificate authority and signs code itself.`,
    );
}

function checkAuthority(certificate: Certificate, below: number, purpose: Purpose, findings: Findings): void {
  const { basicConstraints, keyUsage, extKeyUsage } = certificate.extensions;
  const name = formatName(certificate.subject);
  // RFC 5280 6.1.4 (k), (l), (m), (n). Version 1 roots have no extensions; they are trusted by the caller's choice, not by what they say.
  if (certificate.version === 3 && basicConstraints?.ca !== true)
    findings.error(
      "chain/not-an-authority",
      `"${name}" issued a certificate without being a certificate authority.`,
    );
  if (certificate.version !== 3 && !sameName(certificate.issuer, certificate.subject))
    findings.error("chain/not-an-authority", `"${name}" is an authority of version ${certificate.version}.`);
  const limit = basicConstraints?.pathLength ?? null;
  if (limit !== null && below > limit)
    findings.error(
      "chain/path-too-long",
      `"${name}" may have ${limit} authorities below it, and has ${below}.`,
    );
  if (keyUsage !== null && !keyUsage.has("keyCertSign"))
    findings.error("chain/key-usage", `The key of "${name}" may not sign certificates.`);
  // Windows and every code signing authority: extended key usages of an authority limit what is below it.
  const wanted = purpose === "codeSigning" ? oids.codeSigning : oids.timeStamping;
  if (
    extKeyUsage !== null &&
    !extKeyUsage.purposes.includes(wanted) &&
    !extKeyUsage.purposes.includes(oids.anyExtendedKeyUsage)
  ) {
    findings.error("chain/extended-key-usage", `"${name}" may not issue certificates for ${purpose}.`);
  }
}

function checkRevocation(
  certificate: Certificate,
  issuer: Certificate | undefined,
  wish: ChainWish,
  revocation: Revocation,
  findings: Findings,
): void {
  const name = formatName(certificate.subject);
  const lists =
    issuer === undefined
      ? []
      : revocation.lists.filter((list) => sameName(list.issuer, issuer.subject) && list.isSignedBy(issuer));
  const newest = lists.toSorted((a, b) => b.thisUpdate - a.thisUpdate)[0];
  if (newest === undefined) {
    if (revocation.required)
      findings.error("chain/revocation-unknown", `No revocation list speaks about "${name}".`);
    return;
  }
  if (newest.nextUpdate === null || newest.nextUpdate < revocation.now) {
    const what = `The revocation list for "${name}" is out of date since ${newest.nextUpdate === null ? "ever" : formatInstant(newest.nextUpdate)}.`;
    if (revocation.required) findings.error("chain/revocation-stale", what);
    else findings.warning("chain/revocation-stale", what);
  }
  for (const list of lists) {
    const revoked = list.revoked.get(toHex(certificate.serial));
    // RFC 5280 5.3.1: removeFromCRL (8) is no revocation.
    if (revoked === undefined || revoked.reason === 8) continue;
    if (revoked.at <= wish.at) {
      findings.error(
        "chain/revoked",
        `"${name}" was revoked on ${formatInstant(revoked.at)}${revoked.reason === 1 ? " because its key was stolen" : ""}.`,
      );
    } else {
      findings.warning(
        "chain/revoked-later",
        `"${name}" was revoked on ${formatInstant(revoked.at)}, after the signature was made.`,
      );
    }
    return;
  }
}
