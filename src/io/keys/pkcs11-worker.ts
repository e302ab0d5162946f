// The process that loads a token's library: opens one key, signs what it is told to, ends when its parent is gone.

import { createPublicKey, hash } from "node:crypto";
import { hashIdentifier } from "../../der/algorithms.ts";
import { parseDer, readOctets } from "../../der/reader.ts";
import { bitOctets, oid, octets, sequence, unsigned } from "../../der/writer.ts";
import { SCHEMES, type Scheme } from "../../keys/scheme.ts";
import { openSession, type Session } from "./_cryptoki.ts";
import type { FromWorker, ToWorker, TokenWish } from "./pkcs11.ts";

let open: { readonly session: Session; readonly key: bigint; readonly rsa: boolean } | null = null;

process.on("message", (message: ToWorker) => {
  const id = message.kind === "sign" ? message.id : null;
  handle(message).then(
    (reply) => process.send?.(reply),
    (error: unknown) =>
      process.send?.({
        kind: "failed",
        id,
        message: error instanceof Error ? error.message : String(error),
      } satisfies FromWorker),
  );
});
process.on("disconnect", () => {
  open?.session.close();
  process.exit(0);
});

async function handle(message: ToWorker): Promise<FromWorker> {
  if (message.kind === "sign")
    return { kind: "signed", id: message.id, signature: signMessage(message.scheme, message.message) };
  return openKey(message.wish);
}

/** PKCS#11 v2.40, object classes, attributes and key types. */
const CKA = {
  class: 0x0,
  label: 0x3,
  value: 0x11,
  keyType: 0x100,
  id: 0x102,
  modulus: 0x120,
  publicExponent: 0x122,
  ecParams: 0x180,
  ecPoint: 0x181,
} as const;
const CKO = { certificate: 1, publicKey: 2, privateKey: 3 } as const;
const CKK = { rsa: 0, ec: 3 } as const;
const CKM = { rsaPkcs: 0x1, ecdsa: 0x1041 } as const;

async function openKey(wish: TokenWish): Promise<FromWorker> {
  const session = await openSession(wish.module, wish.token, wish.pin);
  const objects = session.objects().map((handle) => ({
    handle,
    class: session.number(handle, CKA.class),
    label: text(session.attribute(handle, CKA.label)),
    id: session.attribute(handle, CKA.id),
  }));
  const keys = objects.filter(
    (object) => object.class === CKO.privateKey && (wish.key === undefined || object.label === wish.key),
  );
  if (keys.length !== 1) {
    const labels = objects
      .filter((object) => object.class === CKO.privateKey)
      .map((object) => `"${object.label}"`);
    throw new Error(
      `${keys.length === 0 ? "No" : "More than one"} private key on the token fits; it has ${labels.length === 0 ? "none" : labels.join(", ")}.`,
    );
  }
  const key = keys[0]!;
  const rsa = session.number(key.handle, CKA.keyType) === CKK.rsa;
  if (!rsa && session.number(key.handle, CKA.keyType) !== CKK.ec)
    throw new Error("The key on the token is neither RSA nor EC.");
  const twin = objects.find(
    (object) =>
      object.class === CKO.publicKey &&
      object.label === key.label &&
      Buffer.compare(object.id ?? new Uint8Array(0), key.id ?? new Uint8Array(0)) === 0,
  );
  const spki = rsa ? rsaSpki(session, key.handle) : ecSpki(session, twin?.handle ?? key.handle);
  open = { session, key: key.handle, rsa };
  const certificates = objects
    .filter((object) => object.class === CKO.certificate)
    .flatMap((object) => session.attribute(object.handle, CKA.value) ?? []);
  return { kind: "opened", spki, scheme: schemeOf(spki, rsa), certificates };
}

function rsaSpki(session: Session, handle: bigint): Uint8Array {
  const [modulus, exponent] = [
    session.attribute(handle, CKA.modulus),
    session.attribute(handle, CKA.publicExponent),
  ];
  if (modulus === null || exponent === null)
    throw new Error("The token does not give out the public half of the key.");
  return sequence(
    sequence(oid("1.2.840.113549.1.1.1"), Uint8Array.of(5, 0)),
    bitOctets(sequence(unsigned(modulus), unsigned(exponent))),
  );
}

/** CKA_EC_POINT is an OCTET STRING around the point; some tokens leave the wrapping out, which the length of points tells. */
function ecSpki(session: Session, handle: bigint): Uint8Array {
  const [parameters, wrapped] = [
    session.attribute(handle, CKA.ecParams),
    session.attribute(handle, CKA.ecPoint),
  ];
  if (parameters === null || wrapped === null)
    throw new Error("The token does not give out the public half of the key.");
  const point = [65, 97, 133].includes(wrapped.length) ? wrapped : readOctets(parseDer(wrapped));
  return sequence(sequence(oid("1.2.840.10045.2.1"), parameters), bitOctets(point));
}

function schemeOf(spki: Uint8Array, rsa: boolean): Scheme {
  if (rsa) return "rsa-pkcs1v15-sha256";
  const curve = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" }).asymmetricKeyDetails
    ?.namedCurve;
  const found = (Object.keys(SCHEMES) as Scheme[]).find(
    (scheme) => SCHEMES[scheme].curve === curve && curve !== undefined,
  );
  if (found === undefined) throw new Error(`The key's curve ${curve ?? ""} is not supported.`);
  return found;
}

/** The digest is made here and only it goes to the token: every token can do that. */
function signMessage(scheme: Scheme, message: Uint8Array): Uint8Array {
  if (open === null) throw new Error("No key is open.");
  const { session, key, rsa } = open;
  const info = SCHEMES[scheme];
  if (
    info.hash === undefined ||
    (rsa ? info.keytype !== "rsa" || info.pss === true : info.keytype !== "ecdsa")
  )
    throw new Error(`The token's key cannot sign with ${scheme}.`);
  const digest = hash(info.hash, message, "buffer");
  // RFC 8017 9.2: DigestInfo.
  if (rsa) return session.sign(key, CKM.rsaPkcs, sequence(hashIdentifier(info.hash), octets(digest)));
  const raw = session.sign(key, CKM.ecdsa, digest);
  const half = raw.length / 2;
  return sequence(unsigned(raw.subarray(0, half)), unsigned(raw.subarray(half)));
}

function text(bytes: Uint8Array | null): string {
  return bytes === null ? "" : Buffer.from(bytes).toString("utf8");
}
