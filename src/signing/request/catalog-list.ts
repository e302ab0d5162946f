// What a catalog lists, read from the request that carries its list: for policy, log and search.

import { equalBytes, fromBase64, fromHex } from "../../core/bytes.ts";
import { digest } from "../../artifact/cms-build.ts";
import { readCatalog, type Catalog } from "../../artifact/cat/catalog.ts";
import { ArtifactError } from "../../artifact/errors.ts";
import { DerError } from "../../der/errors.ts";
import { content, parseDer } from "../../der/reader.ts";
import type { Operation } from "./operation.ts";

/** A longer list stays with the client, of which the signer then sees the digest alone: with its envelopes it would grow by 137 %. */
export const MAX_LIST: number = 192 * 1024;

const read = new WeakMap<Operation, Catalog>();

/**
 * The catalog that a request is about; null if it is about none, or its list did not come along.
 * Errors: `artifact/malformed` for what is no list of files, and for a list that is not the one to be signed.
 */
export function catalogOf(operation: Operation): Catalog | null {
  if (operation.kind !== "authenticode" || operation.list === undefined) return null;
  const known = read.get(operation);
  if (known !== undefined) return known;
  const catalog = readList(fromBase64(operation.list), operation);
  read.set(operation, catalog);
  return catalog;
}

function readList(
  list: Uint8Array,
  { algorithm, digest: hex }: Extract<Operation, { kind: "authenticode" }>,
): Catalog {
  if (list.length > MAX_LIST) throw malformed(`its list has more than ${MAX_LIST} bytes`);
  try {
    // The content octets are what a signature covers.
    if (!equalBytes(digest(algorithm, content(parseDer(list))), fromHex(hex)))
      throw malformed("its list is not the one whose digest is to be signed");
  } catch (cause) {
    if (cause instanceof DerError) throw malformed("its list is not DER", cause);
    throw cause;
  }
  const catalog = readCatalog(list);
  if (catalog.members.length === 0) throw malformed("it lists no file");
  return catalog;
}

function malformed(what: string, cause?: unknown): ArtifactError {
  return new ArtifactError(
    "artifact/malformed",
    `The catalog is malformed: ${what}.`,
    { format: "cat", what },
    { cause },
  );
}
