// DSSE: the one envelope for every signed document that is not TUF metadata.

import { fromBase64, toBase64, toUtf8, concat } from "./bytes.ts";
import { REFUSED, UpkeepError, type Traits } from "./errors.ts";
import { isJsonObject, parseJson, type Json } from "./json.ts";

export type DsseErrorCode =
  | "dsse/malformed"
  | "dsse/wrong-type"
  | "dsse/no-valid-signature"
  | "dsse/too-large";
export const DSSE_ERRORS = {
  "dsse/malformed": REFUSED,
  "dsse/wrong-type": REFUSED,
  "dsse/no-valid-signature": REFUSED,
  "dsse/too-large": REFUSED,
} satisfies Traits<DsseErrorCode>;

export class DsseError extends UpkeepError<DsseErrorCode> {
  protected override get traits(): Traits<DsseErrorCode> {
    return DSSE_ERRORS;
  }
}

/** The document kinds of Upkeep; a document of one kind offered as another is refused by type. */
export type DocumentKind =
  | "release"
  | "channel"
  | "assignment"
  | "report"
  | "license"
  | "lease"
  | "activation-request"
  | "deactivation-receipt"
  | "usage-report"
  | "license-revocations"
  | "location"
  | "message"
  | "signing-request"
  | "approval";

export type PayloadType = `application/vnd.upkeep.${DocumentKind}.v1+json`;

export function payloadType(kind: DocumentKind): PayloadType {
  return `application/vnd.upkeep.${kind}.v1+json`;
}

/** What verifying needs of a key; `PublicKey` of the keys room is one. */
export interface DsseVerifier {
  /** SubjectPublicKeyInfo: the same key under two ids counts once. */
  readonly spki: Uint8Array;
  readonly keyid: string;
  verify(message: Uint8Array, signature: Uint8Array): boolean;
}

/** What signing needs of a key; `Signer` of the keys room is one. */
export interface DsseSigner {
  readonly publicKey: DsseVerifier;
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** DSSE protocol: PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body. */
export function preAuthEncoding(type: string, body: Uint8Array): Uint8Array {
  const name = toUtf8(type);
  return concat([toUtf8(`DSSEv1 ${name.length} `), name, toUtf8(` ${body.length} `), body]);
}

/** Signs `body` with each signer; returns the envelope's bytes. */
export async function signEnvelope(
  kind: DocumentKind,
  body: Uint8Array,
  signers: readonly DsseSigner[],
): Promise<Uint8Array> {
  const type = payloadType(kind);
  const message = preAuthEncoding(type, body);
  const signatures: { keyid: string; sig: string }[] = [];
  for (const signer of signers) {
    signatures.push({ keyid: signer.publicKey.keyid, sig: toBase64(await signer.sign(message)) });
  }
  return toUtf8(`${JSON.stringify({ payloadType: type, payload: toBase64(body), signatures })}\n`);
}

/** The payload whose signature was checked, and who signed it. */
export type VerifiedPayload = { readonly body: Uint8Array; readonly keyids: readonly string[] };

/**
 * The only way to the payload. Checks, in order: size, form, type, signatures of `threshold` different keys.
 * Errors: `dsse/too-large`, `dsse/malformed`, `dsse/wrong-type`, `dsse/no-valid-signature`.
 */
export function verifyEnvelope(
  bytes: Uint8Array,
  kind: DocumentKind,
  keys: readonly DsseVerifier[],
  options: { limit: number; threshold?: number },
): VerifiedPayload {
  const { limit, threshold = 1 } = options;
  if (bytes.length > limit) {
    throw new DsseError("dsse/too-large", `The ${kind} is larger than the allowed ${limit} bytes.`, {
      limit,
      length: bytes.length,
    });
  }
  const envelope = parseEnvelope(bytes, kind);
  const type = payloadType(kind);
  if (envelope.payloadType !== type) {
    throw new DsseError(
      "dsse/wrong-type",
      `A signed document of type ${envelope.payloadType} was offered as a ${kind}.`,
      {
        expected: type,
        found: envelope.payloadType,
      },
    );
  }
  const message = preAuthEncoding(type, envelope.payload);
  const good = new Map<string, string>();
  for (const { keyid, sig } of envelope.signatures) {
    const key = keys.find((candidate) => candidate.keyid === keyid);
    if (key !== undefined && key.verify(message, sig)) good.set(toBase64(key.spki), keyid);
  }
  if (good.size < threshold) {
    throw new DsseError(
      "dsse/no-valid-signature",
      `The ${kind} does not carry ${threshold} valid signature(s) of keys trusted for it: it was changed, or somebody else made it.`,
      { kind, threshold, valid: good.size, offered: envelope.signatures.map((s) => s.keyid) },
    );
  }
  return { body: envelope.payload, keyids: [...good.values()] };
}

type Envelope = {
  readonly payloadType: string;
  readonly payload: Uint8Array;
  readonly signatures: readonly { readonly keyid: string; readonly sig: Uint8Array }[];
};

/** Key ids an envelope names, before anything is trusted. For choosing which keys to load. Throws `dsse/malformed`. */
export function unverifiedKeyids(bytes: Uint8Array): readonly string[] {
  return parseEnvelope(bytes, "document").signatures.map((s) => s.keyid);
}

function parseEnvelope(bytes: Uint8Array, kind: string): Envelope {
  const bad = (what: string, cause?: unknown): DsseError =>
    new DsseError("dsse/malformed", `The signed ${kind} is malformed: ${what}.`, { kind }, { cause });
  let value: Json;
  try {
    value = parseJson(bytes);
  } catch (cause) {
    throw bad("it is not strict JSON", cause);
  }
  if (!isJsonObject(value)) throw bad("it is not an object");
  const names = Object.keys(value).sort().join(",");
  if (names !== "payload,payloadType,signatures")
    throw bad("it has other members than payload, payloadType and signatures");
  const { payload, payloadType, signatures } = value;
  if (typeof payload !== "string" || typeof payloadType !== "string" || !Array.isArray(signatures)) {
    throw bad("a member has the wrong type");
  }
  if (signatures.length === 0 || signatures.length > 16) throw bad("it has no signature, or more than 16");
  const parsed = (signatures as readonly Json[]).map((entry) => {
    if (!isJsonObject(entry) || Object.keys(entry).sort().join(",") !== "keyid,sig")
      throw bad("a signature has other members than keyid and sig");
    const { keyid, sig } = entry;
    if (typeof keyid !== "string" || typeof sig !== "string")
      throw bad("a signature has a member of the wrong type");
    return { keyid, sig: decode(sig, bad) };
  });
  return { payloadType, payload: decode(payload, bad), signatures: parsed };
}

function decode(text: string, bad: (what: string, cause?: unknown) => DsseError): Uint8Array {
  try {
    return fromBase64(text);
  } catch (cause) {
    throw bad("a member is not canonical base64", cause);
  }
}
