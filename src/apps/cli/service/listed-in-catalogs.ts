// Catalogs in the audit log that list a file: the log keeps each request with the list that came in it.

import { fromBase64, toHex } from "../../../core/bytes.ts";
import type { FileStore } from "../../../core/disk.ts";
import { isJsonObject, parseJson } from "../../../core/json.ts";
import { UpkeepError } from "../../../core/errors.ts";
import type { Catalog, CatalogMember } from "../../../artifact/cat/catalog.ts";
import type { AuditEntry } from "../../../signing/audit/entry.ts";
import { blobPath } from "../../../signing/audit/files.ts";
import { catalogOf } from "../../../signing/request/catalog-list.ts";
import { readKeptRequest } from "../../../signing/request/request.ts";

export type ListedIn = { readonly files: number; readonly members: readonly CatalogMember[] };

/**
 * The members of this entry's catalog with one of these digests (hex), and how many files it lists; null if the entry keeps no request
 * for a catalog whose list came along, or one of another time that is not read any more. Errors: those of reading the kept document.
 */
export async function listedIn(
  disk: FileStore,
  folder: string,
  entry: AuditEntry,
  digests: readonly string[],
): Promise<ListedIn | null> {
  if (!("document" in entry) || !("operation" in entry) || entry.operation !== "authenticode/cat")
    return null;
  const { inline, sha256, length } = entry.document;
  const kept = inline === undefined ? await disk.read(blobPath(folder, sha256), length) : fromBase64(inline);
  const catalog = catalogIn(kept);
  if (catalog === null) return null;
  return {
    files: catalog.members.length,
    members: catalog.members.filter(({ digest }) => digests.includes(toHex(digest))),
  };
}

function catalogIn(kept: Uint8Array): Catalog | null {
  try {
    const envelope = parseJson(kept);
    if (!isJsonObject(envelope) || typeof envelope["payload"] !== "string") return null;
    return catalogOf(readKeptRequest(fromBase64(envelope["payload"])).operation);
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}
