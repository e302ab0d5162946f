// What each table of the fleet holds, column by column, for what reads rows that did not come from the database.

import { LICENSE_COLUMNS, LICENSE_KEYS } from "./schema-licenses.ts";
import type { TABLES, Tables } from "./schema.ts";

export type TableName = (typeof TABLES)[number];
type Kind = "text" | "text?" | "whole" | "whole?" | "json" | "json?";
type KindOf<T> = T extends string
  ? "text" | "json"
  : T extends number
    ? "whole"
    : null extends T
      ? "text?" | "whole?" | "json?"
      : never;

export const COLUMNS = {
  device: {
    id: "text",
    name: "text",
    group_name: "text",
    status: "text",
    enrolled: "whole",
    token: "text",
    platform_json: "json",
    report_key: "text",
    spki: "text",
    next_spki: "text?",
    certificate_ends: "whole",
    last_seen: "whole?",
    claimed_json: "json",
    agent_json: "json?",
    standing: "text?",
    timestamp_sha256: "text?",
    last_sequence: "whole",
    last_report: "text?",
  },
  device_component: {
    device: "text",
    product: "text",
    running: "text?",
    manifest_sha256: "text?",
    committed: "text?",
    floor_version: "text?",
    sequence: "whole",
    at: "whole",
  },
  fleet_group: { name: "text", interval_seconds: "whole", created: "whole" },
  desired: {
    group_name: "text",
    product: "text",
    channel: "text",
    version: "text?",
    hold: "text?",
    hold_until: "whole?",
    changed: "whole",
  },
  token: {
    id: "text",
    secret_sha256: "text",
    group_name: "text",
    created: "whole",
    expires: "whole",
    failures: "whole",
    used: "whole?",
    used_by: "text?",
    uses: "whole",
    used_count: "whole",
    approval: "whole",
  },
  report: {
    device: "text",
    id: "text",
    sequence: "whole",
    kind: "text",
    received: "whole",
    issued: "whole",
    product: "text?",
    from_version: "text?",
    to_version: "text?",
    outcome: "text?",
    code: "text?",
    step: "text?",
    reason: "text?",
    payload_sha256: "text",
    envelope: "text",
  },
  alarm: {
    device: "text",
    code: "text",
    about: "text",
    first: "whole",
    last: "whole",
    count: "whole",
    detail: "text",
    acknowledged_by: "text?",
    acknowledged_at: "whole?",
    ended: "whole?",
  },
  check_in_line: { device: "text", lines_json: "json" },
  device_label: { device: "text", labels_json: "json" },
  rollout: {
    id: "text",
    product: "text",
    version: "text",
    state: "text",
    created: "whole",
    body_json: "json",
  },
  rollout_device: {
    rollout: "text",
    device: "text",
    phase: "whole",
    offered: "whole",
    result: "text",
    at: "whole?",
    sequence: "whole",
    code: "text?",
    step: "text?",
    first_error: "text?",
  },
  audit: {
    sequence: "whole",
    at: "whole",
    actor: "text",
    action: "text",
    subject: "text",
    facts_json: "json",
    previous: "text",
    hash: "text",
  },
  wake: { scope: "text", seq: "whole" },
  message_key: { device: "text", key_hex: "text", taken: "whole" },
  message_order: {
    scope: "text",
    kind: "text",
    counter: "whole",
    when_word: "text?",
    splay: "whole",
    made: "whole",
    expires: "whole",
    seq: "whole?",
  },
  setting: { name: "text", value: "text" },
  ...LICENSE_COLUMNS,
} as const satisfies {
  readonly [T in TableName]: { readonly [C in keyof Tables[T]]: KindOf<Tables[T][C]> };
};

export const KEYS: { readonly [T in TableName]: readonly string[] } = {
  device: ["id"],
  device_component: ["device", "product"],
  fleet_group: ["name"],
  desired: ["group_name", "product"],
  token: ["id"],
  report: ["device", "id"],
  alarm: ["device", "code", "about"],
  check_in_line: ["device"],
  device_label: ["device"],
  rollout: ["id"],
  rollout_device: ["rollout", "device"],
  audit: ["sequence"],
  wake: ["scope"],
  message_key: ["device"],
  message_order: ["scope", "kind"],
  setting: ["name"],
  ...LICENSE_KEYS,
};

/** What is wrong with a row of this table, in words that follow "has"; null when nothing is. */
export function rowProblem(table: TableName, row: unknown): string | null {
  if (typeof row !== "object" || row === null || Array.isArray(row)) return "no row";
  const columns: { readonly [name: string]: Kind } = COLUMNS[table];
  const odd = Object.keys(row).find((name) => !Object.hasOwn(columns, name));
  if (odd !== undefined) return `a column that is not known in ${table}`;
  for (const [name, kind] of Object.entries(columns)) {
    if (!fits(kind, (row as { readonly [name: string]: unknown })[name])) return `a wrong ${table}.${name}`;
  }
  return null;
}

function fits(kind: Kind, value: unknown): boolean {
  if (kind.endsWith("?") && value === null) return true;
  if (kind.startsWith("whole")) return Number.isSafeInteger(value);
  // PostgreSQL has no place for a zero in a text.
  if (typeof value !== "string" || value.includes("\0")) return false;
  return !kind.startsWith("json") || isJson(value);
}

function isJson(text: string): boolean {
  try {
    return typeof JSON.parse(text) === "object";
  } catch {
    return false;
  }
}
