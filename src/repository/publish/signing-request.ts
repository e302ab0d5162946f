// Signing requests as files: what several people sign on machines that never meet, and the signatures that come back.

import { sha256Hex } from "../../core/digest.ts";
import { fromBase64, fromUtf8, toBase64, toUtf8 } from "../../core/bytes.ts";
import { formatInstant, type Instant } from "../../core/instant.ts";
import { parseJson, type Json } from "../../core/json.ts";
import { checkSchema, instantSchema, sha256Schema, z } from "../../core/schema.ts";
import type { TufKey } from "../../keys/public-key.ts";
import { describeChange } from "./describe-change.ts";
import type { Trace } from "./draft.ts";
import type { Root, Signature, Signed, Targets } from "../metadata.ts";
import { parseRoot, parseTargets } from "../parse-metadata.ts";
import type { Part } from "./publication.ts";
import { findDelegator, repositoryId, topDelegator, type Published, type RoleView } from "./published.ts";
import { keyNames, policyExtra } from "./publisher-policy.ts";
import { PublisherError } from "./publisher-errors.ts";
import { keyOf, quorumOf, signersFor, type KeyRing } from "./quorum.ts";
import type { Delegator } from "../trusted-set.ts";
import { writeMetadata } from "./write-metadata.ts";

/** Largest request or signature file that is read. */
export const REQUEST_LIMIT = 256 * 1024 * 1024;
export const SIGNATURES_LIMIT = 1024 * 1024;

const partSchema = z.strictObject({
  role: z.string().check(z.maxLength(255)),
  /** SHA-256 of the file that is published now; null when there is none. */
  base: z.nullable(sha256Schema),
  /** That file, byte for byte, base64: signers compare its digest with what they know. */
  before: z.nullable(z.string()),
  metadata: z.unknown(),
  /** Who must sign, for those who have nothing else to go by; the collector asks the published metadata instead. */
  needs: z
    .array(
      z.strictObject({
        threshold: z.number().check(z.int(), z.minimum(1), z.maximum(1024)),
        keys: z
          .array(
            z.strictObject({ keyid: z.string().check(z.maxLength(128)), name: z.string(), key: z.unknown() }),
          )
          .check(z.maxLength(1024)),
      }),
    )
    .check(z.minLength(1), z.maxLength(4)),
});
const requestSchema = z.strictObject({
  format: z.literal("upkeep-metadata-request-1"),
  repository: z.nullable(sha256Schema),
  made: instantSchema,
  reason: z.string().check(z.maxLength(500)),
  /** For a recovery: the last good version of roles whose later ones are passed over; null for an ordinary change. */
  /** What the change does, for the audit log of the one who made the request; a signer reads `parts`. Absent in older requests. */
  traces: z.exactOptional(
    z
      .array(
        z.strictObject({
          action: z.string().check(z.maxLength(100)),
          subject: z.string().check(z.maxLength(300)),
          facts: z.record(z.string(), z.unknown()),
        }),
      )
      .check(z.maxLength(4096)),
  ),
  recovery: z.nullable(
    z
      .array(
        z.strictObject({
          role: z.string().check(z.maxLength(255)),
          version: z.number().check(z.int(), z.minimum(1)),
        }),
      )
      .check(z.maxLength(1024)),
  ),
  parts: z.array(partSchema).check(z.minLength(1), z.maxLength(65536)),
});

const signaturesSchema = z.strictObject({
  format: z.literal("upkeep-metadata-signatures-1"),
  /** `requestId` of what was signed. */
  request: sha256Schema,
  signatures: z
    .array(
      z.strictObject({
        role: z.string().check(z.maxLength(255)),
        keyid: z.string().check(z.maxLength(128)),
        sig: z.string().check(z.regex(/^([0-9a-f]{2})+$/, "expected hex"), z.maxLength(20000)),
      }),
    )
    .check(z.minLength(1), z.maxLength(4096)),
});

export type RequestPart = {
  readonly role: string;
  readonly base: string | null;
  readonly before: Signed<Root> | Signed<Targets> | null;
  readonly metadata: Signed<Root> | Signed<Targets>;
  readonly needs: readonly Delegator[];
};

/** A change that waits for signatures. */
export type SigningRequest = {
  readonly repository: string | null;
  readonly made: string;
  readonly reason: string;
  /** Not null when it is made on what recovery put together, with the last good versions that were named. */
  readonly recovery: ReadonlyMap<string, number> | null;
  readonly traces: readonly Trace[];
  readonly parts: readonly RequestPart[];
};

export type PartSignature = Signature & { readonly role: string };

export async function requestFor(
  published: Published | null,
  parts: readonly Part[],
  reason: string,
  now: Instant,
  recovery: ReadonlyMap<string, number> | null = null,
  traces: readonly Trace[] = [],
): Promise<SigningRequest> {
  const out: RequestPart[] = [];
  for (const { role, signed, needs } of parts) {
    const before = published === null ? null : await publishedFile(published, role);
    out.push({
      role,
      base: before === null ? null : sha256Hex(before.bytes),
      before,
      metadata: signed,
      needs,
    });
  }
  return {
    repository: published === null ? null : repositoryId(published),
    made: formatInstant(now),
    reason,
    recovery,
    traces,
    parts: out,
  };
}

/** The same for every copy of a request, whatever signatures it carries already: what signature files refer to. */
export function requestId(request: SigningRequest): string {
  return sha256Hex(
    toUtf8(request.parts.map(({ role, metadata }) => `${role} ${sha256Hex(metadata.canonical)}`).join("\n")),
  );
}

export function writeRequest(request: SigningRequest): Uint8Array {
  const embed = (file: Signed<Root | Targets>): Json => JSON.parse(fromUtf8(file.bytes)) as Json;
  const value = {
    format: "upkeep-metadata-request-1",
    repository: request.repository,
    made: request.made,
    reason: request.reason,
    recovery:
      request.recovery === null ? null : [...request.recovery].map(([role, version]) => ({ role, version })),
    ...(request.traces.length === 0 ? {} : { traces: request.traces }),
    parts: request.parts.map(({ role, base, before, metadata, needs }) => ({
      role,
      base,
      before: before === null ? null : toBase64(before.bytes),
      metadata: embed(metadata),
      needs: needs.map((delegator) => ({
        threshold: delegator.role.threshold,
        keys: delegator.role.keyids.flatMap((keyid) => {
          const key = delegator.keys.get(keyid);
          return key === undefined ? [] : [{ keyid, name: keyNames(delegator.role).get(keyid) ?? "", key }];
        }),
      })),
    })),
  };
  return toUtf8(`${JSON.stringify(value, null, 1)}\n`);
}

/** Errors: `json/*`, `schema/invalid`, `repository/malformed`, `publisher/stale-request` when it contradicts itself. */
export function parseRequest(bytes: Uint8Array): SigningRequest {
  const value = checkSchema(requestSchema, parseJson(bytes), "signing request");
  const file = (role: string, bytes: Uint8Array): Signed<Root> | Signed<Targets> =>
    role === "root" ? parseRoot(bytes) : parseTargets(bytes);
  const published = (role: string, base: string | null, text: string | null): RequestPart["before"] => {
    const bytes = text === null ? null : fromBase64(text);
    if ((bytes === null ? null : sha256Hex(bytes)) !== base) {
      throw new PublisherError(
        "publisher/stale-request",
        `The request contradicts itself about what ${role} is now: do not sign it.`,
        { role },
      );
    }
    return bytes === null ? null : file(role, bytes);
  };
  return {
    repository: value.repository,
    made: value.made,
    reason: value.reason,
    recovery:
      value.recovery === null ? null : new Map(value.recovery.map(({ role, version }) => [role, version])),
    traces: (value.traces ?? []) as readonly Trace[],
    parts: value.parts.map(({ role, base, before, metadata, needs }) => ({
      role,
      base,
      before: published(role, base, before),
      metadata: file(role, toUtf8(JSON.stringify(metadata))),
      needs: needs.map(({ threshold, keys }) => ({
        keys: new Map(keys.map(({ keyid, key }) => [keyid, key as TufKey])),
        role: {
          keyids: keys.map(({ keyid }) => keyid),
          threshold,
          extra: policyExtra(
            null,
            new Map(keys.filter(({ name }) => name !== "").map(({ keyid, name }) => [keyid, name])),
          ),
        },
      })),
    })),
  };
}

/** Role by role, what signing it would change. */
export function describeRequest(
  request: SigningRequest,
): readonly { readonly role: string; readonly lines: readonly string[] }[] {
  return request.parts.map(({ role, before, metadata }) => ({
    role,
    lines: describeChange(role, before?.signed ?? null, metadata.signed),
  }));
}

/** Signs with every key of the ring that the request has a use for. */
export async function signRequest(request: SigningRequest, ring: KeyRing): Promise<readonly PartSignature[]> {
  const out = new Map<string, PartSignature>();
  for (const { role, metadata, needs } of request.parts) {
    for (const delegator of needs) {
      for (const signer of await signersFor(delegator, ring)) {
        const { keyid } = signer.publicKey;
        const sig = Buffer.from(await signer.sign(metadata.canonical)).toString("hex");
        out.set(`${role} ${keyid}`, { role, keyid, sig });
      }
    }
  }
  return [...out.values()];
}

export function writeSignatures(request: SigningRequest, signatures: readonly PartSignature[]): Uint8Array {
  const value = { format: "upkeep-metadata-signatures-1", request: requestId(request), signatures };
  return toUtf8(`${JSON.stringify(value, null, 1)}\n`);
}

/** Errors: `publisher/stale-request` when the signatures are for another request. */
export function parseSignatures(bytes: Uint8Array, request: SigningRequest): readonly PartSignature[] {
  const value = checkSchema(signaturesSchema, parseJson(bytes), "signature file");
  if (value.request !== requestId(request)) {
    throw new PublisherError(
      "publisher/stale-request",
      "These signatures are for another request than the one that is open here.",
      { expected: requestId(request), found: value.request },
      { hint: "Ask for a signature of the current request." },
    );
  }
  return value.signatures;
}

/** Adds signatures; refuses one that does not verify, so that a wrong file is noticed when it is handed in. */
export function withSignatures(
  request: SigningRequest,
  signatures: readonly PartSignature[],
): SigningRequest {
  const parts: RequestPart[] = [];
  for (const part of request.parts) {
    const given = signatures.filter((signature) => signature.role === part.role);
    const { needs } = part;
    const all = new Map(part.metadata.signatures.map((signature) => [signature.keyid, signature]));
    for (const { keyid, sig } of given) {
      const key = needs.map(({ keys }) => keyOf(keys, keyid)).find((found) => found !== null) ?? null;
      const wanted = needs.some(({ role }) => role.keyids.includes(keyid));
      if (key === null || !wanted || !key.verify(part.metadata.canonical, Buffer.from(sig, "hex"))) {
        throw new PublisherError(
          "publisher/stale-request",
          `The signature of ${keyid.slice(0, 16)} for ${part.role} does not fit this request.`,
          { role: part.role, keyid },
        );
      }
      all.set(keyid, { keyid, sig });
    }
    const list = [...all.values()];
    const bytes = writeMetadata(part.metadata.signed, list);
    parts.push({
      ...part,
      metadata: { ...part.metadata, signatures: list, bytes } as RequestPart["metadata"],
    });
  }
  return { ...request, parts };
}

export type RequestStatus = {
  readonly role: string;
  readonly signed: readonly string[];
  readonly open: readonly string[];
  readonly missing: number;
};

/** Who has signed what, and who still can, by name where names are known. */
export function requestStatus(request: SigningRequest): readonly RequestStatus[] {
  const out: RequestStatus[] = [];
  for (const { role, metadata, needs } of request.parts) {
    for (const delegator of needs) {
      const quorum = quorumOf(metadata, delegator);
      const names = keyNames(delegator.role);
      const named = (keyid: string) => names.get(keyid) ?? keyid.slice(0, 16);
      out.push({
        role,
        signed: quorum.signed.map(named),
        open: quorum.open.map(named),
        missing: quorum.missing,
      });
    }
  }
  return out;
}

/**
 * The parts with what they need, judged by what is published now, not by what the request says of it.
 * Throws `publisher/stale-request` when a file has changed since the request was made.
 */
export async function partsOf(
  request: SigningRequest,
  published: Published | null,
): Promise<readonly Part[]> {
  if ((published === null ? null : repositoryId(published)) !== request.repository) {
    throw new PublisherError("publisher/stale-request", "The request is for another repository.", {});
  }
  const root = (request.parts.find((part) => part.role === "root")?.metadata.signed ??
    published?.root.signed) as Root;
  const view: RoleView = {
    root,
    targets: async (name) => {
      const drafted = request.parts.find((part) => part.role === name);
      if (drafted !== undefined) return drafted.metadata.signed as Targets;
      return published === null
        ? null
        : (((await publishedFile(published, name)) as Signed<Targets> | null)?.signed ?? null);
    },
  };
  const parts: Part[] = [];
  for (const { role, base, metadata } of request.parts) {
    const current = published === null ? null : await publishedFile(published, role);
    if ((current === null ? null : sha256Hex(current.bytes)) !== base) {
      throw new PublisherError(
        "publisher/stale-request",
        `The role ${role} was published again since the request was made; what was signed does not fit any more.`,
        { role, made: request.made },
        { hint: "upkeep repo cancel drops the request; then make the change again." },
      );
    }
    const delegator = role === "root" ? topDelegator(root, "root") : await findDelegator(view, role);
    if (delegator === null)
      throw new PublisherError("publisher/stale-request", `Nobody delegates to the role ${role}.`, { role });
    const old = role === "root" && published !== null ? [topDelegator(published.root.signed, "root")] : [];
    const also = role === "root" || published === null ? null : await publishedDelegator(published, role);
    parts.push({ role, signed: metadata, needs: [...old, delegator], also: also === null ? [] : [also] });
  }
  return parts;
}

async function publishedDelegator(published: Published, role: string): Promise<Delegator | null> {
  const view: RoleView = {
    root: published.root.signed,
    targets: async (name, delegator) => (await published.role(name, delegator))?.signed ?? null,
  };
  return findDelegator(view, role);
}

async function publishedFile(
  published: Published,
  role: string,
): Promise<Signed<Root> | Signed<Targets> | null> {
  if (role === "root") return published.root;
  const delegator = await publishedDelegator(published, role);
  return delegator === null ? null : published.role(role, delegator);
}
