// Reports, alarms and the audit log, in the store.

import type { Kysely } from "kysely";
import type { FleetRecords } from "../../fleet/store.ts";
import { alarmOf, auditOf, reportOf } from "./_rows.ts";
import type { Tables } from "./schema.ts";

type TrailRecords = Pick<
  FleetRecords,
  | "report"
  | "addReport"
  | "reports"
  | "pruneReports"
  | "alarm"
  | "putAlarm"
  | "dropAlarm"
  | "alarmsOf"
  | "alarmed"
  | "alarms"
  | "alarmCounts"
  | "lastAudit"
  | "addAudit"
  | "auditOf"
  | "audit"
>;

export function trailRecords(tx: Kysely<Tables>): TrailRecords {
  return {
    report: async (device, id) => {
      const row = await tx
        .selectFrom("report")
        .selectAll()
        .where("device", "=", device)
        .where("id", "=", id)
        .executeTakeFirst();
      return row === undefined ? null : reportOf(row);
    },
    addReport: async (r) => {
      const { from: from_version, to: to_version, payloadSha256: payload_sha256, ...same } = r;
      await tx
        .insertInto("report")
        .values({ ...same, from_version, to_version, payload_sha256 })
        .execute();
    },
    reports: async ({ device, product, outcome, limit }) => {
      let query = tx
        .selectFrom("report")
        .selectAll()
        .orderBy("received", "desc")
        .orderBy("device")
        .orderBy("sequence", "desc")
        .limit(limit);
      if (device !== undefined) query = query.where("device", "=", device);
      if (product !== undefined) query = query.where("product", "=", product);
      if (outcome !== undefined) query = query.where("outcome", "=", outcome);
      return (await query.execute()).map(reportOf);
    },
    pruneReports: async (device, keep) => {
      const oldest = await tx
        .selectFrom("report")
        .select("sequence")
        .where("device", "=", device)
        .orderBy("sequence", "desc")
        .offset(keep)
        .limit(1)
        .executeTakeFirst();
      if (oldest === undefined) return;
      await tx
        .deleteFrom("report")
        .where("device", "=", device)
        .where("sequence", "<=", oldest.sequence)
        .execute();
    },
    alarm: async (device, code, about) => {
      const row = await tx
        .selectFrom("alarm")
        .selectAll()
        .where("device", "=", device)
        .where("code", "=", code)
        .where("about", "=", about)
        .executeTakeFirst();
      return row === undefined ? null : alarmOf(row);
    },
    putAlarm: async (a) => {
      const { device, code, about, acknowledgedBy, acknowledgedAt, ...same } = a;
      const values = { ...same, acknowledged_by: acknowledgedBy, acknowledged_at: acknowledgedAt };
      await tx
        .insertInto("alarm")
        .values({ device, code, about, ...values })
        .onConflict((o) => o.columns(["device", "code", "about"]).doUpdateSet(values))
        .execute();
    },
    dropAlarm: async (device, code, about) => {
      await tx
        .deleteFrom("alarm")
        .where("device", "=", device)
        .where("code", "=", code)
        .where("about", "=", about)
        .execute();
    },
    alarmsOf: async (device) =>
      (await tx.selectFrom("alarm").selectAll().where("device", "=", device).execute()).map(alarmOf),
    alarmed: async () => {
      const rows = await tx
        .selectFrom("alarm")
        .select("device")
        .distinct()
        .where("ended", "is", null)
        .execute();
      return new Set(rows.map(({ device }) => device));
    },
    alarms: async (limit, ended = false) => {
      let query = tx
        .selectFrom("alarm")
        .selectAll()
        .orderBy("last", "desc")
        .orderBy("device")
        .orderBy("code")
        .orderBy("about")
        .limit(limit);
      if (!ended) query = query.where("ended", "is", null);
      return (await query.execute()).map(alarmOf);
    },
    alarmCounts: async () => {
      const counts: { code: string; acknowledged: boolean; count: number }[] = [];
      for (const acknowledged of [false, true]) {
        const rows = await tx
          .selectFrom("alarm")
          .select((e) => ["code" as const, e.fn.countAll<number>().as("count")])
          .where("ended", "is", null)
          .where("acknowledged_at", acknowledged ? "is not" : "is", null)
          .groupBy("code")
          .execute();
        for (const { code, count } of rows) counts.push({ code, acknowledged, count: Number(count) });
      }
      return counts;
    },
    lastAudit: async () => {
      const row = await tx
        .selectFrom("audit")
        .selectAll()
        .orderBy("sequence", "desc")
        .limit(1)
        .executeTakeFirst();
      return row === undefined ? null : auditOf(row);
    },
    addAudit: async (row) => {
      const { facts, ...same } = row;
      await tx
        .insertInto("audit")
        .values({ ...same, facts_json: JSON.stringify(facts) })
        .execute();
    },
    auditOf: async (subject, limit) =>
      (
        await tx
          .selectFrom("audit")
          .selectAll()
          .where("subject", "=", subject)
          .orderBy("sequence", "desc")
          .limit(limit)
          .execute()
      )
        .map(auditOf)
        .toReversed(),
    audit: async (after, limit) =>
      (
        await tx
          .selectFrom("audit")
          .selectAll()
          .where("sequence", ">", after)
          .orderBy("sequence")
          .limit(limit)
          .execute()
      ).map(auditOf),
  };
}
