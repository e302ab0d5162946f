// The tables of rollouts, as the step that made them.

import type { RawBuilder, SchemaModule } from "kysely";

export interface RolloutTables {
  rollout: {
    id: string;
    product: string;
    version: string;
    state: string;
    created: number;
    body_json: string;
  };
  rollout_device: {
    rollout: string;
    device: string;
    phase: number;
    offered: number;
    result: string;
    at: number | null;
    sequence: number;
    code: string | null;
    step: string | null;
    first_error: string | null;
  };
}

export async function makeRolloutTables(
  { schema: table }: { readonly schema: SchemaModule },
  text: "text" | RawBuilder<unknown>,
): Promise<void> {
  await table
    .createTable("rollout")
    .addColumn("id", text, (c) => c.primaryKey())
    .addColumn("product", text, (c) => c.notNull())
    .addColumn("version", text, (c) => c.notNull())
    .addColumn("state", text, (c) => c.notNull())
    .addColumn("created", "bigint", (c) => c.notNull())
    .addColumn("body_json", text, (c) => c.notNull())
    .execute();
  await table.createIndex("rollout_by_product").on("rollout").columns(["product", "created"]).execute();
  await table
    .createTable("rollout_device")
    .addColumn("rollout", text, (c) => c.notNull().references("rollout.id"))
    // No reference: an offer may be written down after its device was removed, and is then a row that concerns no device.
    .addColumn("device", text, (c) => c.notNull())
    .addColumn("phase", "integer", (c) => c.notNull())
    .addColumn("offered", "bigint", (c) => c.notNull())
    .addColumn("result", text, (c) => c.notNull())
    .addColumn("at", "bigint")
    .addColumn("sequence", "bigint", (c) => c.notNull())
    .addColumn("code", text)
    .addColumn("step", text)
    .addColumn("first_error", text)
    .addPrimaryKeyConstraint("rollout_device_key", ["rollout", "device"])
    .execute();
  await table.createIndex("rollout_by_device").on("rollout_device").column("device").execute();
  await table
    .createIndex("component_by_product")
    .on("device_component")
    .columns(["product", "device"])
    .execute();
  await table.createIndex("audit_by_subject").on("audit").columns(["subject", "sequence"]).execute();
}
