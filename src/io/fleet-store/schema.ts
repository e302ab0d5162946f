// The tables of the fleet and how they came to be: each step is applied once, in order, all in one transaction.

import { sql, type Kysely } from "kysely";
import { FleetError } from "../../fleet/errors.ts";
import { messagesStep } from "./_step-messages.ts";
import type { TextType } from "./_text-type.ts";
import { makeLabelTables, type LabelTables } from "./_label-tables.ts";
import { makeRolloutTables, type RolloutTables } from "./_rollout-tables.ts";
import { addTokenColumns, type TokenColumns } from "./_token-columns.ts";
import { licenseStep, LICENSE_TABLES, type LicenseTables } from "./schema-licenses.ts";

/** Instants are milliseconds; texts ending in `_json` hold JSON that this program wrote. */
export interface Tables extends LabelTables, RolloutTables, LicenseTables {
  schema_step: { step: number };
  device: {
    id: string;
    name: string;
    group_name: string;
    status: string;
    enrolled: number;
    token: string;
    platform_json: string;
    report_key: string;
    spki: string;
    next_spki: string | null;
    certificate_ends: number;
    last_seen: number | null;
    claimed_json: string;
    agent_json: string | null;
    standing: string | null;
    timestamp_sha256: string | null;
    last_sequence: number;
    last_report: string | null;
  };
  device_component: {
    device: string;
    product: string;
    running: string | null;
    manifest_sha256: string | null;
    committed: string | null;
    floor_version: string | null;
    sequence: number;
    at: number;
  };
  fleet_group: { name: string; interval_seconds: number; created: number };
  desired: {
    group_name: string;
    product: string;
    channel: string;
    version: string | null;
    hold: string | null;
    hold_until: number | null;
    changed: number;
  };
  token: TokenColumns & {
    id: string;
    secret_sha256: string;
    group_name: string;
    created: number;
    expires: number;
    failures: number;
    used: number | null;
    used_by: string | null;
  };
  report: {
    device: string;
    id: string;
    sequence: number;
    kind: string;
    received: number;
    issued: number;
    product: string | null;
    from_version: string | null;
    to_version: string | null;
    outcome: string | null;
    code: string | null;
    step: string | null;
    reason: string | null;
    payload_sha256: string;
    envelope: string;
  };
  alarm: {
    device: string;
    code: string;
    about: string;
    first: number;
    last: number;
    count: number;
    detail: string;
    acknowledged_by: string | null;
    acknowledged_at: number | null;
    ended: number | null;
  };
  check_in_line: { device: string; lines_json: string };
  audit: {
    sequence: number;
    at: number;
    actor: string;
    action: string;
    subject: string;
    facts_json: string;
    previous: string;
    hash: string;
  };
  wake: { scope: string; seq: number };
  message_key: { device: string; key_hex: string; taken: number };
  message_order: {
    scope: string;
    kind: string;
    counter: number;
    when_word: string | null;
    splay: number;
    made: number;
    expires: number;
    seq: number | null;
  };
  setting: { name: string; value: string };
}

type Step = (tx: Kysely<Tables>, text: TextType) => Promise<void>;

/** `bigint` is 64 bits in SQLite and PostgreSQL alike. Never change a step that was released; add one. */
const STEPS: readonly Step[] = [
  async (tx, text) => {
    const table = tx.schema;
    await table
      .createTable("device")
      .addColumn("id", text, (c) => c.primaryKey())
      .addColumn("name", text, (c) => c.notNull())
      .addColumn("group_name", text, (c) => c.notNull())
      .addColumn("status", text, (c) => c.notNull())
      .addColumn("enrolled", "bigint", (c) => c.notNull())
      .addColumn("token", text, (c) => c.notNull())
      .addColumn("platform_json", text, (c) => c.notNull())
      .addColumn("report_key", text, (c) => c.notNull().unique())
      .addColumn("spki", text, (c) => c.notNull().unique())
      .addColumn("next_spki", text, (c) => c.unique())
      .addColumn("certificate_ends", "bigint", (c) => c.notNull())
      .addColumn("last_seen", "bigint")
      .addColumn("claimed_json", text, (c) => c.notNull())
      .addColumn("timestamp_sha256", text)
      .addColumn("last_sequence", "bigint", (c) => c.notNull())
      .addColumn("last_report", text)
      .execute();
    await table.createIndex("device_by_group").on("device").columns(["group_name", "id"]).execute();
    await table
      .createTable("device_component")
      .addColumn("device", text, (c) => c.notNull().references("device.id"))
      .addColumn("product", text, (c) => c.notNull())
      .addColumn("running", text)
      .addColumn("manifest_sha256", text)
      .addColumn("committed", text)
      .addColumn("floor_version", text)
      .addColumn("sequence", "bigint", (c) => c.notNull())
      .addColumn("at", "bigint", (c) => c.notNull())
      .addPrimaryKeyConstraint("device_component_key", ["device", "product"])
      .execute();
    await table
      .createTable("fleet_group")
      .addColumn("name", text, (c) => c.primaryKey())
      .addColumn("interval_seconds", "integer", (c) => c.notNull())
      .addColumn("created", "bigint", (c) => c.notNull())
      .execute();
    await table
      .createTable("desired")
      .addColumn("group_name", text, (c) => c.notNull())
      .addColumn("product", text, (c) => c.notNull())
      .addColumn("channel", text, (c) => c.notNull())
      .addColumn("version", text)
      .addColumn("hold", text)
      .addColumn("hold_until", "bigint")
      .addColumn("changed", "bigint", (c) => c.notNull())
      .addPrimaryKeyConstraint("desired_key", ["group_name", "product"])
      .execute();
    await table
      .createTable("token")
      .addColumn("id", text, (c) => c.primaryKey())
      .addColumn("secret_sha256", text, (c) => c.notNull())
      .addColumn("group_name", text, (c) => c.notNull())
      .addColumn("created", "bigint", (c) => c.notNull())
      .addColumn("expires", "bigint", (c) => c.notNull())
      .addColumn("failures", "integer", (c) => c.notNull())
      .addColumn("used", "bigint")
      .addColumn("used_by", text)
      .execute();
    await table
      .createTable("report")
      .addColumn("device", text, (c) => c.notNull().references("device.id"))
      .addColumn("id", text, (c) => c.notNull())
      .addColumn("sequence", "bigint", (c) => c.notNull())
      .addColumn("kind", text, (c) => c.notNull())
      .addColumn("received", "bigint", (c) => c.notNull())
      .addColumn("issued", "bigint", (c) => c.notNull())
      .addColumn("product", text)
      .addColumn("from_version", text)
      .addColumn("to_version", text)
      .addColumn("outcome", text)
      .addColumn("code", text)
      .addColumn("step", text)
      .addColumn("reason", text)
      .addColumn("payload_sha256", text, (c) => c.notNull())
      .addColumn("envelope", text, (c) => c.notNull())
      .addPrimaryKeyConstraint("report_key", ["device", "id"])
      .execute();
    await table
      .createIndex("report_by_time")
      .on("report")
      .columns(["received", "device", "sequence"])
      .execute();
    await table.createIndex("report_by_device").on("report").columns(["device", "sequence"]).execute();
    await table
      .createTable("alarm")
      .addColumn("device", text, (c) => c.notNull())
      .addColumn("code", text, (c) => c.notNull())
      .addColumn("first", "bigint", (c) => c.notNull())
      .addColumn("last", "bigint", (c) => c.notNull())
      .addColumn("count", "integer", (c) => c.notNull())
      .addColumn("detail", text, (c) => c.notNull())
      .addPrimaryKeyConstraint("alarm_key", ["device", "code"])
      .execute();
    await table
      .createTable("audit")
      .addColumn("sequence", "bigint", (c) => c.primaryKey())
      .addColumn("at", "bigint", (c) => c.notNull())
      .addColumn("actor", text, (c) => c.notNull())
      .addColumn("action", text, (c) => c.notNull())
      .addColumn("subject", text, (c) => c.notNull())
      .addColumn("facts_json", text, (c) => c.notNull())
      .addColumn("previous", text, (c) => c.notNull())
      .addColumn("hash", text, (c) => c.notNull())
      .execute();
    await table
      .createTable("wake")
      .addColumn("scope", text, (c) => c.primaryKey())
      .addColumn("seq", "bigint", (c) => c.notNull())
      .execute();
    await table
      .createTable("setting")
      .addColumn("name", text, (c) => c.primaryKey())
      .addColumn("value", text, (c) => c.notNull())
      .execute();
  },
  async (tx, text) => {
    const table = tx.schema;
    await table.alterTable("alarm").renameTo("alarm_1").execute();
    await table
      .createTable("alarm")
      .addColumn("device", text, (c) => c.notNull())
      .addColumn("code", text, (c) => c.notNull())
      .addColumn("about", text, (c) => c.notNull())
      .addColumn("first", "bigint", (c) => c.notNull())
      .addColumn("last", "bigint", (c) => c.notNull())
      .addColumn("count", "integer", (c) => c.notNull())
      .addColumn("detail", text, (c) => c.notNull())
      .addColumn("acknowledged_by", text)
      .addColumn("acknowledged_at", "bigint")
      .addColumn("ended", "bigint")
      .addPrimaryKeyConstraint("alarm_subject_key", ["device", "code", "about"])
      .execute();
    await sql`insert into alarm (device, code, about, first, last, count, detail)
      select device, code, '', first, last, count, detail from alarm_1`.execute(tx);
    await table.dropTable("alarm_1").execute();
    await table
      .createTable("check_in_line")
      .addColumn("device", text, (c) => c.primaryKey().references("device.id"))
      .addColumn("lines_json", text, (c) => c.notNull())
      .execute();
  },
  async (tx, text) => {
    await tx.schema.alterTable("device").addColumn("agent_json", text).execute();
  },
  makeRolloutTables,
  licenseStep,
  messagesStep,
  makeLabelTables,
  async (tx) => {
    await addTokenColumns(tx);
    // Those that were used are used up.
    await tx.updateTable("token").set({ used_count: 1 }).where("used_by", "is not", null).execute();
  },
];

/** The step that this program's tables are at. */
export const NEWEST = STEPS.length;

type Raise = { readonly [T in keyof Tables]?: Partial<Tables[T]> };

/** What rows of a step have to be given to be rows of the next one, for what was written while that step was the newest. */
const RAISES: readonly Raise[] = [
  {},
  { alarm: { about: "", acknowledged_by: null, acknowledged_at: null, ended: null } },
  { device: { agent_json: null } },
  {},
  {},
  { device: { standing: null } },
  {},
  // One that was used is known by its device, whatever the count says.
  { token: { uses: 1, used_count: 0, approval: 0 } },
];

/** A row that was written at `step`, as a row of the newest step. */
export function raisedRow(step: number, table: keyof Tables, row: object): object {
  let raised = row;
  for (const raise of RAISES.slice(step)) raised = { ...raise[table], ...raised };
  return raised;
}

/** The tables in an order in which each comes after those it refers to. */
export const TABLES = [
  "device",
  "device_component",
  "check_in_line",
  "device_label",
  "fleet_group",
  "desired",
  "token",
  "report",
  "alarm",
  "rollout",
  "rollout_device",
  "audit",
  "wake",
  "message_key",
  "message_order",
  "setting",
  ...LICENSE_TABLES,
] as const satisfies readonly (keyof Tables)[];

/**
 * Brings the database to this program's form; the caller holds a transaction in which nobody else writes.
 * Error: `fleet/store-newer` when a later program has been here.
 */
export async function migrate(tx: Kysely<Tables>, text: TextType = "text"): Promise<void> {
  await tx.schema
    .createTable("schema_step")
    .ifNotExists()
    .addColumn("step", "integer", (c) => c.primaryKey())
    .execute();
  const last = await lastStep(tx);
  for (let step = last; step < STEPS.length; step++) {
    await STEPS[step]!(tx, text);
    await tx
      .insertInto("schema_step")
      .values({ step: step + 1 })
      .execute();
  }
}

/** The step of a database that has the table of steps. Error: `fleet/store-newer`. */
export async function lastStep(tx: Kysely<Tables>): Promise<number> {
  const { last } = await tx
    .selectFrom("schema_step")
    .select(sql<number>`coalesce(max(step), 0)`.as("last"))
    .executeTakeFirstOrThrow();
  if (last > STEPS.length) {
    throw new FleetError(
      "fleet/store-newer",
      `The database was written by a later version of Upkeep (its form is ${last}, this program knows ${STEPS.length}).`,
      { found: last, known: STEPS.length },
      { hint: "Start the later version again, or put back a backup from before the upgrade." },
    );
  }
  return last;
}
