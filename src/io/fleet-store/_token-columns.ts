// What tokens can do since they have several uses and may ask for approval, as the step that added it.

import type { SchemaModule } from "kysely";

export interface TokenColumns {
  /** How many devices it may enroll. */
  uses: number;
  used_count: number;
  /** 1: a device that it enrolls waits until a person approves it. */
  approval: number;
}

/** Tokens from before enroll one device each. */
export async function addTokenColumns({ schema }: { readonly schema: SchemaModule }): Promise<void> {
  const table = schema.alterTable("token");
  await table.addColumn("uses", "integer", (c) => c.notNull().defaultTo(1)).execute();
  await schema
    .alterTable("token")
    .addColumn("used_count", "integer", (c) => c.notNull().defaultTo(0))
    .execute();
  await schema
    .alterTable("token")
    .addColumn("approval", "integer", (c) => c.notNull().defaultTo(0))
    .execute();
}
