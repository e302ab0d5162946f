// Groups, desired state, tokens, wake-ups and settings, in the store.

import type { Kysely } from "kysely";
import { policyKey } from "../../fleet/policies.ts";
import type { WakeScope } from "../../fleet/records.ts";
import type { FleetRecords } from "../../fleet/store.ts";
import { desiredOf, groupOf, tokenOf } from "./_rows.ts";
import type { Tables } from "./schema.ts";

type StateRecords = Pick<
  FleetRecords,
  | "group"
  | "groups"
  | "putGroup"
  | "dropGroup"
  | "desired"
  | "allDesired"
  | "putDesired"
  | "dropDesired"
  | "token"
  | "tokens"
  | "addToken"
  | "dropToken"
  | "openTokens"
  | "changeToken"
  | "wakes"
  | "putWake"
  | "setting"
  | "putSetting"
>;

export function stateRecords(tx: Kysely<Tables>): StateRecords {
  return {
    group: async (name) => {
      const row = await tx.selectFrom("fleet_group").selectAll().where("name", "=", name).executeTakeFirst();
      return row === undefined ? null : groupOf(row);
    },
    groups: async () =>
      (await tx.selectFrom("fleet_group").selectAll().orderBy("name").execute()).map(groupOf),
    putGroup: async (g) => {
      await tx
        .insertInto("fleet_group")
        .values({ name: g.name, interval_seconds: g.interval, created: g.created })
        .onConflict((o) => o.column("name").doUpdateSet({ interval_seconds: g.interval }))
        .execute();
    },
    dropGroup: async (name) => {
      await tx.deleteFrom("desired").where("group_name", "=", name).execute();
      for (const table of ["wake", "message_order"] as const)
        await tx.deleteFrom(table).where("scope", "=", `group:${name}`).execute();
      await tx
        .deleteFrom("setting")
        .where("name", "in", [`announced:${name}`, policyKey(name)])
        .execute();
      await tx.deleteFrom("fleet_group").where("name", "=", name).execute();
    },
    desired: async (group) =>
      (
        await tx
          .selectFrom("desired")
          .selectAll()
          .where("group_name", "=", group)
          .orderBy("product")
          .execute()
      ).map(desiredOf),
    allDesired: async () =>
      (await tx.selectFrom("desired").selectAll().orderBy("group_name").orderBy("product").execute()).map(
        desiredOf,
      ),
    putDesired: async (d) => {
      const values = {
        channel: d.channel,
        version: d.version,
        hold: d.hold,
        hold_until: d.holdUntil,
        changed: d.changed,
      };
      await tx
        .insertInto("desired")
        .values({ group_name: d.group, product: d.product, ...values })
        .onConflict((o) => o.columns(["group_name", "product"]).doUpdateSet(values))
        .execute();
    },
    dropDesired: async (group, product) => {
      const { numDeletedRows } = await tx
        .deleteFrom("desired")
        .where("group_name", "=", group)
        .where("product", "=", product)
        .executeTakeFirst();
      return numDeletedRows > 0n;
    },
    token: async (id) => {
      const row = await tx.selectFrom("token").selectAll().where("id", "=", id).executeTakeFirst();
      return row === undefined ? null : tokenOf(row);
    },
    tokens: async (limit) =>
      (
        await tx
          .selectFrom("token")
          .selectAll()
          .orderBy("created", "desc")
          .orderBy("id")
          .limit(limit)
          .execute()
      ).map(tokenOf),
    addToken: async (t) => {
      await tx
        .insertInto("token")
        .values({
          id: t.id,
          secret_sha256: t.secretSha256,
          group_name: t.group,
          created: t.created,
          expires: t.expires,
          failures: t.failures,
          used: t.used,
          used_by: t.usedBy,
          uses: t.uses,
          used_count: t.usedCount,
          approval: t.approval ? 1 : 0,
        })
        .execute();
    },
    dropToken: async (id) => {
      await tx.deleteFrom("token").where("id", "=", id).execute();
    },
    openTokens: async (group, now) =>
      (
        await tx
          .selectFrom("token")
          .selectAll()
          .where("group_name", "=", group)
          .where((e) => e("used_count", "<", e.ref("uses")))
          .where("expires", ">", now)
          .orderBy("id")
          .execute()
      ).map(tokenOf),
    changeToken: async (id, p) => {
      const change = {
        ...(p.failures === undefined ? {} : { failures: p.failures }),
        ...(p.used === undefined ? {} : { used: p.used }),
        ...(p.usedBy === undefined ? {} : { used_by: p.usedBy }),
        ...(p.usedCount === undefined ? {} : { used_count: p.usedCount }),
      };
      await tx.updateTable("token").set(change).where("id", "=", id).execute();
    },
    wakes: async () => {
      const rows = await tx.selectFrom("wake").selectAll().execute();
      return new Map(rows.map((row) => [row.scope as WakeScope, row.seq]));
    },
    putWake: async (scope, seq) => {
      await tx
        .insertInto("wake")
        .values({ scope, seq })
        .onConflict((o) => o.column("scope").doUpdateSet({ seq }))
        .execute();
    },
    setting: async (name) =>
      (await tx.selectFrom("setting").select("value").where("name", "=", name).executeTakeFirst())?.value ??
      null,
    putSetting: async (name, value) => {
      await tx
        .insertInto("setting")
        .values({ name, value })
        .onConflict((o) => o.column("name").doUpdateSet({ value }))
        .execute();
    },
  };
}
