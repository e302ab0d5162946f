// trust/bundle.json: the authorities that server and devices know each other by, numbered; itself a TUF target (spec/trust-bundle.md).

import { equalBytes, fromBase64, toBase64 } from "../core/bytes.ts";
import { formatInstant } from "../core/instant.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, instantSchema, sha256Schema, z } from "../core/schema.ts";
import { stableJsonFile } from "../core/stable-json.ts";
import { isSelfIssued, isSignedBy, parseCertificate, type Certificate } from "../der/x509.ts";
import {
  AUTHORITY_STATES,
  canBecome,
  moved,
  type AuthorityMove,
  type AuthorityState,
} from "./authority-states.ts";
import { spkiDigest } from "./authority.ts";
import { IdentityError } from "./errors.ts";

/** Largest trust/bundle.json that is read. */
export const TRUST_BUNDLE_LIMIT = 512 * 1024;
/** Of one kind. None is ever taken from the list, so that a revoked one stays known as that; a rotation a year lasts for decades. */
export const AUTHORITIES_LIMIT = 64;

/** `server`: devices know the server by it. `device`: the server knows devices by it. */
export const AUTHORITY_KINDS = ["server", "device"] as const;
export type AuthorityKind = (typeof AUTHORITY_KINDS)[number];

export type ListedAuthority = {
  readonly kind: AuthorityKind;
  readonly certificate: Certificate;
  /** SHA-256 of its SubjectPublicKeyInfo, hex. */
  readonly spkiSha256: string;
  readonly state: AuthorityState;
};

export type TrustBundle = {
  /** Rises with every change. */
  readonly seq: number;
  readonly authorities: readonly ListedAuthority[];
};

const authoritySchema = z.strictObject({
  /** DER in base64. */
  certificate: z.string().check(z.minLength(1), z.maxLength(8 * 1024)),
  spkiSha256: sha256Schema,
  state: z.enum(["prepared", "active", "tainted", "revoked"]),
  notAfter: instantSchema,
});
const listSchema = z.array(authoritySchema).check(z.minLength(1), z.maxLength(AUTHORITIES_LIMIT));
const bundleSchema = z.strictObject({
  format: z.literal(1),
  seq: z.number().check(z.int(), z.minimum(1), z.maximum(2 ** 31)),
  serverCAs: listSchema,
  deviceCAs: listSchema,
});

/**
 * Errors: `json/*`, `schema/invalid`, and `identity/bad-bundle` for a certificate that is no authority signed by itself, one whose key or
 * end is not the one beside it, a key that is listed twice (also in both lists), and a list without exactly one active authority.
 */
export function parseTrustBundle(bytes: Uint8Array): TrustBundle {
  const value = checkSchema(bundleSchema, parseJson(bytes), "trust bundle (trust/bundle.json)");
  const authorities = [
    ...value.serverCAs.map((row) => readAuthority("server", row)),
    ...value.deviceCAs.map((row) => readAuthority("device", row)),
  ];
  const seen = new Set<string>();
  for (const { spkiSha256 } of authorities) {
    if (seen.has(spkiSha256)) throw bad(`the key ${spkiSha256} is listed twice`);
    seen.add(spkiSha256);
  }
  for (const kind of AUTHORITY_KINDS) {
    const active = authorities.filter((one) => one.kind === kind && one.state === "active").length;
    if (active !== 1) throw bad(`${active} authorities of the kind ${kind} are active, and it has to be one`);
  }
  return { seq: value.seq, authorities };
}

function readAuthority(kind: AuthorityKind, row: z.infer<typeof authoritySchema>): ListedAuthority {
  let certificate: Certificate;
  try {
    certificate = parseCertificate(fromBase64(row.certificate));
  } catch (cause) {
    throw bad(`the certificate of ${row.spkiSha256} cannot be read`, cause);
  }
  if (spkiDigest(certificate.spki) !== row.spkiSha256)
    throw bad(`the certificate of ${row.spkiSha256} has another key`);
  if (certificate.extensions.basicConstraints?.ca !== true)
    throw bad(`the certificate of ${row.spkiSha256} is no authority's`);
  if (!isSelfIssued(certificate) || !isSignedBy(certificate, certificate))
    throw bad(`the certificate of ${row.spkiSha256} is not signed by its own key`);
  if (formatInstant(certificate.notAfter) !== row.notAfter)
    throw bad(`the certificate of ${row.spkiSha256} does not end at ${row.notAfter}`);
  return { kind, certificate, spkiSha256: row.spkiSha256, state: row.state };
}

/** One spelling per bundle; what it writes can be read. Errors: those of `parseTrustBundle`. */
export function serialiseTrustBundle(bundle: TrustBundle): Uint8Array {
  const rows = (kind: AuthorityKind) =>
    bundle.authorities
      .filter((one) => one.kind === kind)
      .map(({ certificate, spkiSha256, state }) => ({
        certificate: toBase64(certificate.der),
        spkiSha256,
        state,
        notAfter: formatInstant(certificate.notAfter),
      }));
  const bytes = stableJsonFile({
    format: 1,
    seq: bundle.seq,
    serverCAs: rows("server"),
    deviceCAs: rows("device"),
  });
  parseTrustBundle(bytes);
  return bytes;
}

/**
 * Whether one bundle may come after another: its number is higher, no authority has gone, and each is where moves can have led it.
 * Errors: `identity/old-bundle`, `identity/bad-bundle`.
 */
export function checkFollows(before: TrustBundle, after: TrustBundle): void {
  if (after.seq <= before.seq) {
    throw new IdentityError(
      "identity/old-bundle",
      `The list of authorities has the number ${after.seq}, and number ${before.seq} is known here: either you are under attack, or a copy of an older repository was published.`,
      { found: after.seq, known: before.seq },
    );
  }
  for (const known of before.authorities) {
    const now = after.authorities.find(
      (one) => one.spkiSha256 === known.spkiSha256 && one.kind === known.kind,
    );
    if (now === undefined || !equalBytes(now.certificate.der, known.certificate.der))
      throw bad(`the authority ${known.spkiSha256} is missing or has another certificate than before`);
    if (!canBecome(known.state, now.state))
      throw bad(`the authority ${known.spkiSha256} was ${known.state} and cannot be ${now.state} again`);
  }
}

/** The first bundle: two authorities that are in use already. */
export function firstBundle(server: Certificate, device: Certificate): TrustBundle {
  return {
    seq: 1,
    authorities: [
      { kind: "server", certificate: server, spkiSha256: spkiDigest(server.spki), state: "active" },
      { kind: "device", certificate: device, spkiSha256: spkiDigest(device.spki), state: "active" },
    ],
  };
}

/** Lists one more authority, as prepared. Errors: `identity/bad-move` when the list is full or holds it. */
export function withPrepared(
  bundle: TrustBundle,
  kind: AuthorityKind,
  certificate: Certificate,
): TrustBundle {
  const spkiSha256 = spkiDigest(certificate.spki);
  const full = bundle.authorities.filter((one) => one.kind === kind).length >= AUTHORITIES_LIMIT;
  if (full || bundle.authorities.some((one) => one.spkiSha256 === spkiSha256)) {
    const why = full
      ? `${AUTHORITIES_LIMIT} authorities are listed, which is the most`
      : "it is listed already";
    throw new IdentityError("identity/bad-move", `No authority was prepared: ${why}.`, { kind, spkiSha256 });
  }
  const added: ListedAuthority = { kind, certificate, spkiSha256, state: "prepared" };
  return { seq: bundle.seq + 1, authorities: [...bundle.authorities, added] };
}

/** Moves one authority by the table; what was active stands by when another is activated. Errors: `identity/bad-move`, `identity/unknown-authority`. */
export function moveAuthority(bundle: TrustBundle, move: AuthorityMove, spkiSha256: string): TrustBundle {
  const meant = findAuthorityIn(bundle, spkiSha256);
  const state = moved(move, meant.state);
  return {
    seq: bundle.seq + 1,
    authorities: bundle.authorities.map((one) => {
      if (one === meant) return { ...one, state };
      const gives = move === "activate" && one.kind === meant.kind && one.state === "active";
      return gives ? { ...one, state: "prepared" as const } : one;
    }),
  };
}

/** The one whose key's SHA-256 begins with these digits, at least 8. Errors: `identity/unknown-authority`. */
export function findAuthorityIn(bundle: TrustBundle, start: string): ListedAuthority {
  const found = bundle.authorities.filter((one) => start.length >= 8 && one.spkiSha256.startsWith(start));
  if (found.length === 1) return found[0]!;
  throw new IdentityError(
    "identity/unknown-authority",
    `${found.length === 0 ? "No authority has" : "More than one authority has"} a key whose SHA-256 begins with "${start.slice(0, 64)}".`,
    { start: start.slice(0, 64) },
    { hint: "upkeep ca list shows them; name at least the first 8 digits." },
  );
}

/** The one that issues. */
export function activeOf(bundle: TrustBundle, kind: AuthorityKind): ListedAuthority {
  return bundle.authorities.find((one) => one.kind === kind && AUTHORITY_STATES[one.state].issues)!;
}

/** Those whose certificates are believed. */
export function believedOf(bundle: TrustBundle, kind: AuthorityKind): readonly ListedAuthority[] {
  return bundle.authorities.filter((one) => one.kind === kind && AUTHORITY_STATES[one.state].believed);
}

/** The listed authority that issued a certificate; null when none did. */
export function issuerIn(
  bundle: TrustBundle,
  kind: AuthorityKind,
  leaf: Certificate,
): ListedAuthority | null {
  return (
    bundle.authorities.find(
      (one) =>
        one.kind === kind &&
        equalBytes(one.certificate.subject.der, leaf.issuer.der) &&
        isSignedBy(leaf, one.certificate),
    ) ?? null
  );
}

function bad(what: string, cause?: unknown): IdentityError {
  return new IdentityError(
    "identity/bad-bundle",
    `The list of authorities is refused: ${what}.`,
    {},
    { cause },
  );
}
