// Keys for messages and what was asked of whom, in the store.

import type { Kysely } from "kysely";
import type { WakeScope } from "../../fleet/records.ts";
import type { FleetRecords } from "../../fleet/store.ts";
import type { MessageKind, MessageTime } from "../../message/sealed/body.ts";
import type { Tables } from "./schema.ts";

type MessageRecords = Pick<
  FleetRecords,
  "messageKey" | "putMessageKey" | "messageOrders" | "putMessageOrder"
>;

export function messageRecords(tx: Kysely<Tables>): MessageRecords {
  return {
    messageKey: async (device) => {
      const row = await tx
        .selectFrom("message_key")
        .selectAll()
        .where("device", "=", device)
        .executeTakeFirst();
      return row === undefined ? null : { device, key: row.key_hex, taken: row.taken };
    },
    putMessageKey: async ({ device, key, taken }) => {
      const values = { key_hex: key, taken };
      await tx
        .insertInto("message_key")
        .values({ device, ...values })
        .onConflict((o) => o.column("device").doUpdateSet(values))
        .execute();
    },
    messageOrders: async () =>
      (await tx.selectFrom("message_order").selectAll().execute()).map((row) => ({
        scope: row.scope as WakeScope,
        kind: row.kind as MessageKind,
        counter: row.counter,
        when: row.when_word as MessageTime | null,
        splay: row.splay,
        made: row.made,
        expires: row.expires,
        seq: row.seq,
      })),
    putMessageOrder: async ({ scope, kind, when, ...rest }) => {
      const values = { ...rest, when_word: when };
      await tx
        .insertInto("message_order")
        .values({ scope, kind, ...values })
        .onConflict((o) => o.columns(["scope", "kind"]).doUpdateSet(values))
        .execute();
    },
  };
}
