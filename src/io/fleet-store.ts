// The fleet's store on a database: one query layer, in the words that SQLite and PostgreSQL share.

import type { Kysely, Transaction } from "kysely";
import type { Alarm, WakeScope } from "../fleet/records.ts";
import type { FleetRecords, FleetStore } from "../fleet/store.ts";
import { auditOf, componentOf, desiredOf, deviceOf, groupOf, reportOf, tokenOf } from "./_fleet-rows.ts";
import { migrate, type Tables } from "./fleet-schema.ts";
import { openSqlite } from "./sqlite.ts";

/** Opens the store of one machine. Errors: `fleet/store-*`. */
export async function openFleetStore(path: string): Promise<FleetStore> {
  const { db, dataVersion, close } = openSqlite<Tables>(path);
  try {
    await migrate(db);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    transaction: (work) => transaction(db, work),
    foreignChanges: dataVersion,
    close,
  };
}

function transaction<T>(db: Kysely<Tables>, work: (records: FleetRecords) => Promise<T>): Promise<T> {
  return db.transaction().execute((tx) => work(recordsOf(tx)));
}

function recordsOf(tx: Transaction<Tables>): FleetRecords {
  return { ...deviceRecords(tx), ...stateRecords(tx), ...trailRecords(tx) };
}

type DeviceRecords = Pick<
  FleetRecords,
  | "device"
  | "deviceBySpki"
  | "deviceByReportKey"
  | "devices"
  | "addDevice"
  | "changeDevice"
  | "sight"
  | "components"
  | "allComponents"
  | "putComponent"
  | "dropComponents"
>;

function deviceRecords(tx: Transaction<Tables>): DeviceRecords {
  return {
    device: async (id) => {
      const row = await tx.selectFrom("device").selectAll().where("id", "=", id).executeTakeFirst();
      return row === undefined ? null : deviceOf(row);
    },
    deviceBySpki: async (spki) => {
      const row = await tx
        .selectFrom("device")
        .selectAll()
        .where((e) => e.or([e("spki", "=", spki), e("next_spki", "=", spki)]))
        .executeTakeFirst();
      return row === undefined ? null : deviceOf(row);
    },
    deviceByReportKey: async (reportKey) => {
      const row = await tx
        .selectFrom("device")
        .selectAll()
        .where("report_key", "=", reportKey)
        .executeTakeFirst();
      return row === undefined ? null : deviceOf(row);
    },
    devices: async ({ group, after, limit }) => {
      let query = tx.selectFrom("device").selectAll().orderBy("id").limit(limit);
      if (group !== undefined) query = query.where("group_name", "=", group);
      if (after !== undefined) query = query.where("id", ">", after);
      return (await query.execute()).map(deviceOf);
    },
    addDevice: async (d) => {
      await tx
        .insertInto("device")
        .values({
          id: d.id,
          name: d.name,
          group_name: d.group,
          status: d.status,
          enrolled: d.enrolled,
          token: d.token,
          platform_json: JSON.stringify(d.platform),
          report_key: d.reportKey,
          spki: d.spki,
          next_spki: d.nextSpki,
          certificate_ends: d.certificateEnds,
          last_seen: d.lastSeen,
          claimed_json: JSON.stringify(d.claimed),
          timestamp_sha256: d.timestamp,
          last_sequence: d.lastSequence,
          last_report: d.lastReport,
        })
        .execute();
    },
    changeDevice: async (id, p) => {
      const change = {
        ...(p.group === undefined ? {} : { group_name: p.group }),
        ...(p.status === undefined ? {} : { status: p.status }),
        ...(p.spki === undefined ? {} : { spki: p.spki }),
        ...(p.nextSpki === undefined ? {} : { next_spki: p.nextSpki }),
        ...(p.certificateEnds === undefined ? {} : { certificate_ends: p.certificateEnds }),
        ...(p.lastSequence === undefined ? {} : { last_sequence: p.lastSequence }),
        ...(p.lastReport === undefined ? {} : { last_report: p.lastReport }),
      };
      if (Object.keys(change).length === 0) return;
      await tx.updateTable("device").set(change).where("id", "=", id).execute();
    },
    sight: async (sightings) => {
      for (const s of sightings) {
        await tx
          .updateTable("device")
          .set({ last_seen: s.at, claimed_json: JSON.stringify(s.claimed), timestamp_sha256: s.timestamp })
          .where("id", "=", s.device)
          .execute();
      }
    },
    components: async (device) =>
      (
        await tx
          .selectFrom("device_component")
          .selectAll()
          .where("device", "=", device)
          .orderBy("product")
          .execute()
      ).map(componentOf),
    allComponents: async (after, limit) => {
      let query = tx
        .selectFrom("device_component")
        .selectAll()
        .orderBy("device")
        .orderBy("product")
        .limit(limit);
      if (after !== null) {
        query = query.where((e) =>
          e.or([
            e("device", ">", after.device),
            e.and([e("device", "=", after.device), e("product", ">", after.product)]),
          ]),
        );
      }
      return (await query.execute()).map(componentOf);
    },
    putComponent: async (c) => {
      const values = {
        running: c.running,
        manifest_sha256: c.manifestSha256,
        committed: c.committed,
        floor_version: c.floor,
        sequence: c.sequence,
        at: c.at,
      };
      await tx
        .insertInto("device_component")
        .values({ device: c.device, product: c.product, ...values })
        .onConflict((o) => o.columns(["device", "product"]).doUpdateSet(values))
        .execute();
    },
    dropComponents: async (device, keep) => {
      let query = tx.deleteFrom("device_component").where("device", "=", device);
      if (keep.length > 0) query = query.where("product", "not in", [...keep]);
      await query.execute();
    },
  };
}

type StateRecords = Pick<
  FleetRecords,
  | "group"
  | "groups"
  | "putGroup"
  | "desired"
  | "allDesired"
  | "putDesired"
  | "dropDesired"
  | "token"
  | "tokens"
  | "addToken"
  | "changeToken"
  | "wakes"
  | "putWake"
  | "setting"
  | "putSetting"
>;

function stateRecords(tx: Transaction<Tables>): StateRecords {
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
        })
        .execute();
    },
    changeToken: async (id, p) => {
      const change = {
        ...(p.failures === undefined ? {} : { failures: p.failures }),
        ...(p.used === undefined ? {} : { used: p.used }),
        ...(p.usedBy === undefined ? {} : { used_by: p.usedBy }),
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

type TrailRecords = Pick<
  FleetRecords,
  | "report"
  | "addReport"
  | "reports"
  | "pruneReports"
  | "alarm"
  | "putAlarm"
  | "alarms"
  | "lastAudit"
  | "addAudit"
  | "audit"
>;

function trailRecords(tx: Transaction<Tables>): TrailRecords {
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
    alarm: async (device, code) => {
      const row = await tx
        .selectFrom("alarm")
        .selectAll()
        .where("device", "=", device)
        .where("code", "=", code)
        .executeTakeFirst();
      return row === undefined ? null : { ...row };
    },
    putAlarm: async (a) => {
      const { device, code, ...values } = a;
      await tx
        .insertInto("alarm")
        .values({ device, code, ...values })
        .onConflict((o) => o.columns(["device", "code"]).doUpdateSet(values))
        .execute();
    },
    alarms: async (limit) =>
      (
        await tx
          .selectFrom("alarm")
          .selectAll()
          .orderBy("last", "desc")
          .orderBy("device")
          .orderBy("code")
          .limit(limit)
          .execute()
      ).map((row): Alarm => ({ ...row })),
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
