// Signing requests: what a client asks for, signed by its own key, bound to one session and one signer.

import { canonicalJson } from "../../core/canonical-json.ts";
import { fromBase64, toHex } from "../../core/bytes.ts";
import { merkleLeaf, merkleRoot, sha256Hex } from "../../core/digest.ts";
import { signEnvelope, verifyEnvelope, type DsseSigner, type DsseVerifier } from "../../core/dsse.ts";
import { MINUTE, parseInstant, SECOND, type Instant } from "../../core/instant.ts";
import { isJsonObject, parseJson, type Json } from "../../core/json.ts";
import { checkSchema, instantSchema, lengthSchema, nameSchema, sha256Schema, z } from "../../core/schema.ts";
import { ArtifactError } from "../../artifact/errors.ts";
import { checkPageRows, PageRows } from "../../artifact/pe/page-rows.ts";
import { lineSchema } from "../audit/entry.ts";
import { verifyInclusion } from "../audit/proof.ts";
import { catalogOf } from "./catalog-list.ts";
import { digestWord, idSchema, operationSchema, type Operation, type OperationKind } from "./operation.ts";
import { SigningError } from "../errors.ts";

/** A whole request with its envelope; page-hash tables and TUF metadata are what makes one large. */
export const MAX_REQUEST = 768 * 1024;
/** No request is good for longer, whoever made it; waiting for approvals has its own limit. */
export const MAX_LIFETIME = 15 * MINUTE;
/** Clocks of client and signer may differ by this much. */
const SKEW = 60 * SECOND;

/** A place in a release's file list, so that one approval covers all of it. */
const membershipSchema = z.strictObject({
  root: sha256Schema,
  size: z.number().check(z.int(), z.minimum(1), z.maximum(100_000)),
  index: lengthSchema,
  proof: z.array(sha256Schema).check(z.maxLength(20)),
  /** Makes the list one of its own: the same files in a later call are another list, which wants approvals of its own. */
  nonce: z.optional(idSchema),
});
export type Membership = z.infer<typeof membershipSchema>;

const requestSchema = z.strictObject({
  version: z.literal(1),
  id: idSchema,
  requester: lineSchema,
  certificate: nameSchema,
  operation: operationSchema,
  file: z.strictObject({ name: lineSchema, length: lengthSchema, sha256: sha256Schema }),
  release: z.optional(membershipSchema),
  created: instantSchema,
  expires: instantSchema,
  /** TLS exporter value of the inner session (RFC 9266 in spirit): a request cannot be lifted into another session. */
  session: sha256Schema,
  /** Name of the signer that may obey it. */
  signer: nameSchema,
});
export type SigningRequest = z.infer<typeof requestSchema>;

/**
 * What approvals cover and what makes two submissions the same request: everything but the session it came through and the time of this
 * copy, so that a client may submit it again after a broken connection, or after a crash of its own.
 */
export function requestHash(request: SigningRequest): string {
  const { session: _session, signer: _signer, created: _created, expires: _expires, ...rest } = request;
  return sha256Hex(canonicalJson(rest as unknown as Json));
}

/** One line of a release's file list. */
export type ListedFile = {
  readonly certificate: string;
  readonly operation: OperationKind;
  readonly name: string;
  readonly digest: string;
};

export function listedFileOf(request: SigningRequest): ListedFile {
  return {
    certificate: request.certificate,
    operation: request.operation.kind,
    name: request.file.name,
    digest: digestWord(request.operation),
  };
}

/** `nonce` is the list's. */
export function listLeaf(file: ListedFile, nonce?: string): Uint8Array {
  return merkleLeaf(canonicalJson({ ...file, ...(nonce === undefined ? {} : { nonce }) } as unknown as Json));
}

export function listRoot(files: readonly ListedFile[], nonce?: string): string {
  return toHex(merkleRoot(files.map((file) => listLeaf(file, nonce))));
}

export function signRequest(request: SigningRequest, signer: DsseSigner): Promise<Uint8Array> {
  return signEnvelope("signing-request", canonicalJson(request as unknown as Json), [signer]);
}

/** What a request must agree with before anybody looks at what it asks for. */
export type RequestContext = {
  readonly key: DsseVerifier;
  readonly user: string;
  readonly session: string;
  readonly signer: string;
  readonly now: Instant;
};

/**
 * The request, once it is known to be this user's, of this session, for this signer and in time.
 * Errors: `dsse/*`, `json/*`, `schema/invalid`, `signing/bad-request`, `signing/expired`.
 */
export function openRequest(envelope: Uint8Array, context: RequestContext): SigningRequest {
  const { body } = verifyEnvelope(envelope, "signing-request", [context.key], { limit: MAX_REQUEST });
  const request = checkSchema(requestSchema, parseJson(body), "signing request");
  if (request.requester !== context.user) throw bad("it names another requester than the one who signed in");
  if (request.session !== context.session) {
    throw bad("it was made for another session: either it was replayed, or it was spliced in on its way");
  }
  if (request.signer !== context.signer) throw bad("it was made for another signer");
  const [created, expires] = [parseInstant(request.created), parseInstant(request.expires)];
  if (expires <= created || expires - created > MAX_LIFETIME) {
    throw bad(`it is meant to live longer than ${MAX_LIFETIME / MINUTE} minutes`);
  }
  if (created > context.now + SKEW)
    throw bad("it was made in the future: compare the clocks of client and signer");
  if (expires <= context.now) {
    throw new SigningError("signing/expired", `The request ${request.id} expired at ${request.expires}.`, {
      request: request.id,
      expires: request.expires,
    });
  }
  checkDigestLength(request.operation);
  checkPurpose(request.operation);
  checkContent(request);
  if (request.release !== undefined) checkMembership(request, request.release);
  return request;
}

/** The request in a kept envelope, for display and approval; its signature was checked when it was kept. */
export function readKeptRequest(body: Uint8Array): SigningRequest {
  return checkSchema(requestSchema, parseJson(body), "signing request");
}

const DIGEST_BYTES = { sha256: 32, sha384: 48, sha512: 64 } as const;

function checkDigestLength(operation: Operation): void {
  if (operation.kind === "raw") return;
  if (operation.digest.length !== 2 * DIGEST_BYTES[operation.algorithm]) {
    throw bad(`a ${operation.algorithm} digest has ${DIGEST_BYTES[operation.algorithm]} bytes`);
  }
}

/** Each format says in one way only what it holds. */
function checkContent({ operation, file }: SigningRequest): void {
  if (operation.kind !== "authenticode") return;
  const { format, pageHashes, indirectData, contentType, list } = operation;
  const fits = {
    pe: indirectData === undefined && contentType === undefined,
    cat: indirectData === undefined && pageHashes === undefined && contentType !== undefined,
    other: indirectData !== undefined && pageHashes === undefined && contentType === undefined,
  };
  if (!(format === "pe" || format === "cat" ? fits[format] : fits.other))
    throw bad(`what it says about the content does not go with the format ${format}`);
  if (list !== undefined && format !== "cat") throw bad("only a catalog has a list");
  try {
    catalogOf(operation);
  } catch (cause) {
    if (cause instanceof ArtifactError)
      throw bad(`its catalog is malformed: ${String(cause.facts["what"])}`, cause);
    throw cause;
  }
  if (pageHashes === undefined) return;
  try {
    if ("sha256" in pageHashes) void new PageRows(pageHashes.algorithm, pageHashes.length, file.length);
    else checkPageRows(pageHashes.algorithm, fromBase64(pageHashes.table), file.length);
  } catch (cause) {
    if (cause instanceof ArtifactError)
      throw bad(`its table of page hashes is malformed: ${String(cause.facts["what"])}`, cause);
    throw cause;
  }
}

/**
 * What raw bytes are, read from the bytes: `tuf/<type>` for TUF metadata, `dsse/<payload type>` for a DSSE pre-authentication encoding,
 * else null. A rule for `tuf/targets` must not be a way to sign a root.
 */
export function purposeOf(message: Uint8Array): string | null {
  const text = Buffer.from(message.buffer, message.byteOffset, message.byteLength).toString("latin1");
  const dsse = /^DSSEv1 \d+ ([\x21-\x7e]{1,200}) \d+ /.exec(text);
  if (dsse !== null) return `dsse/${dsse[1]!}`;
  if (!text.startsWith("{")) return null;
  try {
    const value = parseJson(message);
    const type = isJsonObject(value) ? value["_type"] : undefined;
    return typeof type === "string" ? `tuf/${type.slice(0, 64)}` : null;
  } catch {
    return null;
  }
}

function checkPurpose(operation: Operation): void {
  if (operation.kind !== "raw") return;
  const found = purposeOf(fromBase64(operation.message));
  const claimed = operation.purpose;
  if (found === null ? /^(tuf|dsse)\//.test(claimed) : claimed !== found) {
    throw bad(
      `it says that its bytes are ${claimed.slice(0, 80)}, but they are ${found ?? "something else"}`,
    );
  }
}

function checkMembership(request: SigningRequest, { root, size, index, proof, nonce }: Membership): void {
  const leaf = listLeaf(listedFileOf(request), nonce);
  const path = proof.map((hash) => new Uint8Array(Buffer.from(hash, "hex")));
  if (!verifyInclusion(leaf, index, size, path, new Uint8Array(Buffer.from(root, "hex")))) {
    throw bad("the file is not in the list whose root it names");
  }
}

function bad(what: string, cause?: unknown): SigningError {
  return new SigningError("signing/bad-request", `The signing request is refused: ${what}.`, {}, { cause });
}
