// The tables of licenses: a step of the fleet's schema, with their columns and keys for dumps.

import type { Kysely, RawBuilder } from "kysely";

/** Instants are milliseconds; texts ending in `_json` hold JSON that this program wrote. */
export interface LicenseTables {
  license: {
    id: string;
    product: string;
    customer: string;
    kind: string;
    rev: number;
    envelope: string;
    options_json: string;
    created: number;
    changed: number;
    claim_sha256: string | null;
    revoked_at: number | null;
    reason: string | null;
  };
  license_seat: { license: string; slot: number; activation: string | null };
  license_activation: {
    id: string;
    license: string;
    device: string;
    spki_sha256: string;
    status: string;
    slot: number | null;
    request_id: string;
    started: number;
    seq: number;
    nonce: string;
    previous_nonce: string | null;
    previous_request: string | null;
    lease: string;
    lease_ends: number;
    held_until: number | null;
    history_json: string;
    forks_json: string;
    cloned: number | null;
    restrict_at: number | null;
    released: number | null;
    used_json: string;
    refused_json: string;
  };
  license_challenge: { nonce: string; device: string; expires: number };
  license_trial: { product: string; spki_sha256: string; license: string; device: string; started: number };
  license_plan: { name: string; terms: string; changed: number };
  license_event: { id: string; at: number };
}

export const LICENSE_TABLES = [
  "license",
  "license_seat",
  "license_activation",
  "license_challenge",
  "license_trial",
  "license_plan",
  "license_event",
] as const satisfies readonly (keyof LicenseTables)[];

export const LICENSE_COLUMNS = {
  license: {
    id: "text",
    product: "text",
    customer: "text",
    kind: "text",
    rev: "whole",
    envelope: "text",
    options_json: "json",
    created: "whole",
    changed: "whole",
    claim_sha256: "text?",
    revoked_at: "whole?",
    reason: "text?",
  },
  license_seat: { license: "text", slot: "whole", activation: "text?" },
  license_activation: {
    id: "text",
    license: "text",
    device: "text",
    spki_sha256: "text",
    status: "text",
    slot: "whole?",
    request_id: "text",
    started: "whole",
    seq: "whole",
    nonce: "text",
    previous_nonce: "text?",
    previous_request: "text?",
    lease: "text",
    lease_ends: "whole",
    held_until: "whole?",
    history_json: "json",
    forks_json: "json",
    cloned: "whole?",
    restrict_at: "whole?",
    released: "whole?",
    used_json: "json",
    refused_json: "json",
  },
  license_challenge: { nonce: "text", device: "text", expires: "whole" },
  license_trial: { product: "text", spki_sha256: "text", license: "text", device: "text", started: "whole" },
  license_plan: { name: "text", terms: "text", changed: "whole" },
  license_event: { id: "text", at: "whole" },
} as const;

export const LICENSE_KEYS = {
  license: ["id"],
  license_seat: ["license", "slot"],
  license_activation: ["id"],
  license_challenge: ["nonce"],
  license_trial: ["product", "spki_sha256"],
  license_plan: ["name"],
  license_event: ["id"],
} as const;

/** Devices are named, not referred to: what was sold to a device stays when the device is removed. */
export async function licenseStep<T extends LicenseTables>(
  tx: Kysely<T>,
  text: "text" | RawBuilder<unknown>,
): Promise<void> {
  const table = tx.schema;
  await table
    .createTable("license")
    .addColumn("id", text as "text", (c) => c.primaryKey())
    .addColumn("product", text as "text", (c) => c.notNull())
    .addColumn("customer", text as "text", (c) => c.notNull())
    .addColumn("kind", text as "text", (c) => c.notNull())
    .addColumn("rev", "bigint", (c) => c.notNull())
    .addColumn("envelope", text as "text", (c) => c.notNull())
    .addColumn("options_json", text as "text", (c) => c.notNull())
    .addColumn("created", "bigint", (c) => c.notNull())
    .addColumn("changed", "bigint", (c) => c.notNull())
    .addColumn("claim_sha256", text as "text", (c) => c.unique())
    .addColumn("revoked_at", "bigint")
    .addColumn("reason", text as "text")
    .execute();
  await table
    .createTable("license_seat")
    .addColumn("license", text as "text", (c) => c.notNull().references("license.id"))
    .addColumn("slot", "bigint", (c) => c.notNull())
    .addColumn("activation", text as "text", (c) => c.unique())
    .addPrimaryKeyConstraint("license_seat_key", ["license", "slot"])
    .execute();
  await table
    .createTable("license_activation")
    .addColumn("id", text as "text", (c) => c.primaryKey())
    .addColumn("license", text as "text", (c) => c.notNull().references("license.id"))
    .addColumn("device", text as "text", (c) => c.notNull())
    .addColumn("spki_sha256", text as "text", (c) => c.notNull())
    .addColumn("status", text as "text", (c) => c.notNull())
    .addColumn("slot", "bigint")
    .addColumn("request_id", text as "text", (c) => c.notNull())
    .addColumn("started", "bigint", (c) => c.notNull())
    .addColumn("seq", "bigint", (c) => c.notNull())
    .addColumn("nonce", text as "text", (c) => c.notNull())
    .addColumn("previous_nonce", text as "text")
    .addColumn("previous_request", text as "text")
    .addColumn("lease", text as "text", (c) => c.notNull())
    .addColumn("lease_ends", "bigint", (c) => c.notNull())
    .addColumn("held_until", "bigint")
    .addColumn("history_json", text as "text", (c) => c.notNull())
    .addColumn("forks_json", text as "text", (c) => c.notNull())
    .addColumn("cloned", "bigint")
    .addColumn("restrict_at", "bigint")
    .addColumn("released", "bigint")
    .addColumn("used_json", text as "text", (c) => c.notNull())
    .addColumn("refused_json", text as "text", (c) => c.notNull())
    .addUniqueConstraint("license_activation_request", ["license", "request_id"])
    .execute();
  await table.createIndex("license_activation_by_device").on("license_activation").column("device").execute();
  await table
    .createTable("license_challenge")
    .addColumn("nonce", text as "text", (c) => c.primaryKey())
    .addColumn("device", text as "text", (c) => c.notNull())
    .addColumn("expires", "bigint", (c) => c.notNull())
    .execute();
  await table
    .createTable("license_trial")
    .addColumn("product", text as "text", (c) => c.notNull())
    .addColumn("spki_sha256", text as "text", (c) => c.notNull())
    .addColumn("license", text as "text", (c) => c.notNull())
    .addColumn("device", text as "text", (c) => c.notNull())
    .addColumn("started", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("license_trial_key", ["product", "spki_sha256"])
    .execute();
  await table
    .createTable("license_plan")
    .addColumn("name", text as "text", (c) => c.primaryKey())
    .addColumn("terms", text as "text", (c) => c.notNull())
    .addColumn("changed", "bigint", (c) => c.notNull())
    .execute();
  await table
    .createTable("license_event")
    .addColumn("id", text as "text", (c) => c.primaryKey())
    .addColumn("at", "bigint", (c) => c.notNull())
    .execute();
}
