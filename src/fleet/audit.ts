// The audit log: every change of the fleet as one row that carries the hash of the row before, so that a removed or altered row shows.

import { canonicalJson } from "../core/canonical-json.ts";
import { sha256Hex } from "../core/digest.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import type { Json } from "../core/json.ts";
import { FleetError } from "./errors.ts";
import type { AuditRow } from "./records.ts";
import type { FleetRecords } from "./store.ts";

export type AuditEntry = Pick<AuditRow, "actor" | "action" | "subject" | "facts">;

const FIRST = "0".repeat(64);

/** Appends inside the caller's transaction, so a change and its trace are one. */
export async function appendAudit(records: FleetRecords, now: Instant, entry: AuditEntry): Promise<AuditRow> {
  const last = await records.lastAudit();
  const row = chainRow(last, now, entry);
  await records.addAudit(row);
  return row;
}

/** The row that follows `last`. */
export function chainRow(last: AuditRow | null, now: Instant, entry: AuditEntry): AuditRow {
  const open = { ...entry, sequence: (last?.sequence ?? 0) + 1, at: now, previous: last?.hash ?? FIRST };
  return { ...open, hash: hashRow(open) };
}

/**
 * Checks rows in order. `before` is the last row already checked, null at the start of the log.
 * Error: `fleet/audit-broken` with the sequence where the chain does not fit.
 */
export function checkChain(before: AuditRow | null, rows: readonly AuditRow[]): AuditRow | null {
  let last = before;
  for (const row of rows) {
    const fits =
      row.sequence === (last?.sequence ?? 0) + 1 &&
      row.previous === (last?.hash ?? FIRST) &&
      row.hash === hashRow(row);
    if (!fits) {
      throw new FleetError(
        "fleet/audit-broken",
        `The audit log does not fit together at row ${row.sequence}: a row was changed, removed or put in afterwards.`,
        { sequence: row.sequence },
      );
    }
    last = row;
  }
  return last;
}

function hashRow(row: Omit<AuditRow, "hash">): string {
  const { sequence, at, actor, action, subject, facts, previous } = row;
  const value = { sequence, at: formatInstant(at), actor, action, subject, facts: facts as Json, previous };
  return sha256Hex(canonicalJson(value));
}
