// What is asked of the signing service for a file: the operation, and what stays here and is put back into the reply.

import { basename } from "node:path";
import { toBase64, toHex } from "../../../core/bytes.ts";
import { sha256Hex } from "../../../core/digest.ts";
import { parseDer } from "../../../der/reader.ts";
import { readIndirectData } from "../../../artifact/authenticode.ts";
import { CTL_OID } from "../../../artifact/cat/catalog.ts";
import { digestContent } from "../../../artifact/content-digest.ts";
import { readManifest } from "../../../artifact/elf/manifest.ts";
import { ArtifactError } from "../../../artifact/errors.ts";
import type { AuthenticodeToBeSigned, Format, ToBeSigned } from "../../../artifact/format.ts";
import { formatOf } from "../../../artifact/formats.ts";
import { readPages } from "../../../artifact/pe/indirect.ts";
import type { ByteSource } from "../../../artifact/source.ts";
import type { SignWish } from "../../../io/signing/client.ts";
import type { Scheme } from "../../../keys/scheme.ts";
import { MAX_LIST } from "../../../signing/request/catalog-list.ts";
import { SigningError } from "../../../signing/errors.ts";
import type { Operation } from "../../../signing/request/operation.ts";
import { usage } from "../../framework/errors.ts";
import { contentHash, formatJob, type Plan } from "./plan.ts";
import { toBeSigned } from "../files/to-be-signed.ts";

/** A TUF file and its kind; larger things are not for raw signing. */
const MAX_RAW = 512 * 1024;
/** A larger table of page hashes goes beside the request: with its envelopes it would grow by 137 % in it. */
export const MAX_TABLE_INSIDE: number = 192 * 1024;

/** How a file is signed: inside by its format, beside it, or as bare bytes. */
export type Kind = Format | "detached" | "raw";
export type Wanted = Pick<SignWish, "operation" | "indirectData" | "table">;
type Authenticode = Extract<Operation, { kind: "authenticode" }>;

/** The kind as messages and results name it. */
export function nameOf(kind: Kind): string {
  return typeof kind === "object" ? kind.name : kind;
}

/** Files of no format that carries signatures get theirs beside them. Errors: `artifact/unsupported`. */
export async function kindOf(source: ByteSource, path: string, as: Plan["as"]): Promise<Kind> {
  if (as !== "auto") return as;
  try {
    return await formatOf(source, basename(path));
  } catch (error) {
    if (error instanceof ArtifactError && error.code === "artifact/unknown-format") return "detached";
    throw error;
  }
}

export function hashFor(kind: Kind, plan: Plan, scheme: string): Plan["algorithm"] {
  return typeof kind === "object" && kind.name !== "elf" ? plan.algorithm : contentHash(plan, scheme);
}

/** What would be asked for the file as it is, whatever signature it has now. `scheme` is that of the key. */
export async function wantedFor(kind: Kind, source: ByteSource, plan: Plan, scheme: string): Promise<Wanted> {
  const hash = hashFor(kind, plan, scheme);
  if (typeof kind === "object") {
    const job = formatJob(plan, hash);
    return wantedOf(await toBeSigned(kind, source, { ...job, mode: "replace" }), plan);
  }
  if (kind === "detached") {
    const digests = await digestContent(source, source.size, [hash]);
    const digest = toHex(digests.of(hash)!);
    return { operation: { kind: "cms", algorithm: hash, digest, timestamp: plan.timestamp } };
  }
  if (source.size > MAX_RAW) throw usage(`Raw signing is for at most ${MAX_RAW} bytes.`);
  const message = new Uint8Array(source.size);
  await source.read(0, message);
  const purpose = plan.options["purpose"];
  if (purpose === undefined) throw usage("Raw signing needs a --purpose, such as tuf/targets.");
  const wanted = (plan.options["scheme"] ?? scheme) as Scheme;
  return { operation: { kind: "raw", scheme: wanted, message: toBase64(message), purpose } };
}

/** What a format wants signed, as the service is asked for it. */
export function wantedOf(what: ToBeSigned, plan: Plan): Wanted {
  if (what.kind === "authenticode") return authenticode(what, plan);
  if (what.kind === "plain" || what.manifest === null) {
    throw new SigningError("signing/refused", "The signing service makes no signatures of this form.");
  }
  const manifest = readManifest(what.manifest);
  const digest = toHex(what.digests.of(what.hash)!);
  const { timestamp } = plan;
  return { operation: { kind: "elf", algorithm: what.hash, digest, timestamp, manifest } };
}

function authenticode(what: AuthenticodeToBeSigned, { timestamp, options }: Plan): Wanted {
  const { description, url } = options;
  const { members, table } = contentOf(what);
  return {
    operation: {
      kind: "authenticode",
      format: what.format as Authenticode["format"],
      algorithm: what.hash,
      digest: toHex(what.digest),
      timestamp,
      ...members,
      ...(description === undefined ? {} : { description }),
      ...(url === undefined ? {} : { url }),
      ...(what.sequenceNumber === null ? {} : { sequence: what.sequenceNumber }),
    },
    indirectData: what.indirectData,
    ...(table === undefined ? {} : { table }),
  };
}

/** What the signer cannot make itself: page hashes, the indirect data of most formats, the type of a catalog's list. */
function contentOf(what: AuthenticodeToBeSigned): {
  readonly members: Partial<Authenticode>;
  readonly table?: Uint8Array;
} {
  if (what.contentType === CTL_OID) {
    const list = what.indirectData.length > MAX_LIST ? {} : { list: toBase64(what.indirectData) };
    return { members: { contentType: CTL_OID, ...list } };
  }
  if (what.format !== "pe") return { members: { indirectData: toBase64(what.indirectData) } };
  const pages = readPages(readIndirectData(parseDer(what.indirectData)).value);
  if (pages === null) return { members: {} };
  const { algorithm, table } = pages;
  if (table.length <= MAX_TABLE_INSIDE)
    return { members: { pageHashes: { algorithm, table: toBase64(table) } } };
  return {
    members: { pageHashes: { algorithm, sha256: sha256Hex(table), length: table.length } },
    table,
  };
}
