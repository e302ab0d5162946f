// Heads of the audit log, signed and given to devices: who holds one can show later that the log's tail was cut off or rewritten.

import { fromBase64, toBase64, toUtf8 } from "../core/bytes.ts";
import type { DsseSigner, DsseVerifier } from "../core/dsse.ts";
import type { AuditHead } from "../message/audit-head.ts";
import type { AuditRow } from "./records.ts";
import type { FleetReads } from "./store.ts";

/** Names its purpose first, as no other document of ours begins. */
function messageOf({ sequence, hash }: Pick<AuditHead, "sequence" | "hash">): Uint8Array {
  return toUtf8(`upkeep fleet audit head\n${sequence}\n${hash}\n`);
}

/** The row that the log ends with, signed by the director. */
export async function signHead(
  row: Pick<AuditRow, "sequence" | "hash">,
  director: DsseSigner,
): Promise<AuditHead> {
  const { sequence, hash } = row;
  return { sequence, hash, signature: toBase64(await director.sign(messageOf({ sequence, hash }))) };
}

/** Was this head given out by a server of this fleet? What a device made up proves nothing. */
export function isOurs(head: AuditHead, director: DsseVerifier): boolean {
  return director.verify(messageOf(head), fromBase64(head.signature));
}

export type HeadFault = "cut" | "rewritten";

/** Does the log as it is now still hold what the head says? Null if so. */
export async function faultOf(
  records: Pick<FleetReads, "audit">,
  { sequence, hash }: Pick<AuditHead, "sequence" | "hash">,
): Promise<HeadFault | null> {
  const [row] = await records.audit(sequence - 1, 1);
  if (row === undefined || row.sequence !== sequence) return "cut";
  return row.hash === hash ? null : "rewritten";
}
