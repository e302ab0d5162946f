// The step that brings keys for messages, what was asked of whom, and what owners say of updates.

import type { Kysely } from "kysely";
import type { TextType } from "./_text-type.ts";

export async function messagesStep<T>(tx: Kysely<T>, text: TextType): Promise<void> {
  await tx.schema.alterTable("device").addColumn("standing", text).execute();
  await tx.schema
    .createTable("message_key")
    .addColumn("device", text, (c) => c.primaryKey().references("device.id"))
    .addColumn("key_hex", text, (c) => c.notNull())
    .addColumn("taken", "bigint", (c) => c.notNull())
    .execute();
  await tx.schema
    .createTable("message_order")
    .addColumn("scope", text, (c) => c.notNull())
    .addColumn("kind", text, (c) => c.notNull())
    .addColumn("counter", "bigint", (c) => c.notNull())
    .addColumn("when_word", text)
    .addColumn("splay", "integer", (c) => c.notNull())
    .addColumn("made", "bigint", (c) => c.notNull())
    .addColumn("expires", "bigint", (c) => c.notNull())
    .addColumn("seq", "bigint")
    .addPrimaryKeyConstraint("message_order_key", ["scope", "kind"])
    .execute();
}
