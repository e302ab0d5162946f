// Devices and what they run, in the store.

import type { Kysely } from "kysely";
import type { Program } from "../../core/growth.ts";
import { MINUTE } from "../../core/instant.ts";
import type { Lines } from "../../fleet/clone.ts";
import type { FleetRecords } from "../../fleet/store.ts";
import { componentOf, deviceOf } from "./_rows.ts";
import type { Tables } from "./schema.ts";

type DeviceRecords = Pick<
  FleetRecords,
  | "device"
  | "deviceBySpki"
  | "deviceByReportKey"
  | "devices"
  | "devicesLike"
  | "addDevice"
  | "dropDevice"
  | "groupSizes"
  | "lines"
  | "putLines"
  | "changeDevice"
  | "sight"
  | "components"
  | "allComponents"
  | "putComponent"
  | "dropComponents"
>;

function agentText(agent: Program | null | undefined): string | null {
  return agent === null || agent === undefined ? null : JSON.stringify(agent);
}

export function deviceRecords(tx: Kysely<Tables>): DeviceRecords {
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
    devicesLike: async (text, limit) => {
      const named = await tx
        .selectFrom("device")
        .selectAll()
        .where("name", "=", text)
        .orderBy("id")
        .limit(limit)
        .execute();
      // Ids are of these letters alone, so that no sign of a pattern is among them.
      const prefixed = !/^[0-9a-f-]{1,36}$/.test(text)
        ? []
        : await tx
            .selectFrom("device")
            .selectAll()
            .where("id", ">=", text)
            .where("id", "<", `${text}g`)
            .orderBy("id")
            .limit(limit)
            .execute();
      return { named: named.map(deviceOf), prefixed: prefixed.map(deviceOf) };
    },
    dropDevice: async (id) => {
      for (const table of [
        "device_component",
        "check_in_line",
        "report",
        "alarm",
        "rollout_device",
        "message_key",
        "device_label",
      ] as const)
        await tx.deleteFrom(table).where("device", "=", id).execute();
      for (const table of ["wake", "message_order"] as const)
        await tx.deleteFrom(table).where("scope", "=", `device:${id}`).execute();
      await tx.deleteFrom("device").where("id", "=", id).execute();
    },
    groupSizes: async () => {
      const rows = await tx
        .selectFrom("device")
        .select((e) => ["group_name" as const, e.fn.countAll<number>().as("count")])
        .groupBy("group_name")
        .execute();
      return new Map(rows.map(({ group_name, count }) => [group_name, Number(count)]));
    },
    lines: async (device) => {
      const row = await tx
        .selectFrom("check_in_line")
        .select("lines_json")
        .where("device", "=", device)
        .executeTakeFirst();
      return row === undefined ? [] : (JSON.parse(row.lines_json) as Lines);
    },
    putLines: async (device, lines) => {
      const lines_json = JSON.stringify(lines);
      await tx
        .insertInto("check_in_line")
        .values({ device, lines_json })
        .onConflict((o) => o.column("device").doUpdateSet({ lines_json }))
        .execute();
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
          agent_json: agentText(d.agent),
          standing: d.standing ?? null,
          timestamp_sha256: d.timestamp,
          last_sequence: d.lastSequence,
          last_report: d.lastReport,
        })
        .execute();
    },
    changeDevice: async (id, p) => {
      const change = {
        ...(p.name === undefined ? {} : { name: p.name }),
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
          .set({
            last_seen: s.at,
            claimed_json: JSON.stringify(s.claimed),
            agent_json: agentText(s.agent),
            standing: s.standing ?? null,
            timestamp_sha256: s.timestamp,
          })
          .where("id", "=", s.device)
          // Another server may have written a later one meanwhile; a time far ahead is that of a clock that was wrong.
          .where((e) =>
            e.or([
              e("last_seen", "is", null),
              e("last_seen", "<=", s.at),
              e("last_seen", ">", s.at + MINUTE),
            ]),
          )
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
