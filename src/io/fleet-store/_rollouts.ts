// Rollouts and what became of devices in them, in the store.

import type { Kysely } from "kysely";
import { platformWord } from "../../fleet/platform-word.ts";
import { NO_LABELS, type Labels } from "../../fleet/label-record.ts";
import type { RosterDevice, Rollout, RolloutDevice, RolloutResult } from "../../fleet/rollout-record.ts";
import type { RolloutRecords } from "../../fleet/rollout-store.ts";
import type { PlatformFacts } from "../../message/common.ts";
import type { Tables } from "./schema.ts";

const OVER = ["done", "aborted", "recalled"];
const STOPPED = ["aborted", "recalled"];
/** Rows of one statement: each has ten values, and databases bound how many there may be. */
const BATCH = 500;

function rolloutOf(row: Pick<Tables["rollout"], "body_json">): Rollout {
  return JSON.parse(row.body_json) as Rollout;
}

function deviceRowOf({ first_error, result, ...same }: Tables["rollout_device"]): RolloutDevice {
  return { ...same, result: result as RolloutResult, firstError: first_error };
}

function valuesOf({ firstError, ...same }: RolloutDevice): Tables["rollout_device"] {
  return { ...same, first_error: firstError };
}

export function rolloutRecords(tx: Kysely<Tables>): RolloutRecords {
  return {
    rollout: async (id) => {
      const row = await tx.selectFrom("rollout").select("body_json").where("id", "=", id).executeTakeFirst();
      return row === undefined ? null : rolloutOf(row);
    },
    rollouts: async ({ product, under }) => {
      let query = tx.selectFrom("rollout").select("body_json").orderBy("created").orderBy("id");
      if (product !== undefined) query = query.where("product", "=", product);
      if (under !== undefined) query = query.where("state", "not in", OVER);
      return (await query.execute()).map(rolloutOf);
    },
    rolloutsInForce: async (limit) => {
      const open = tx.selectFrom("rollout").select("body_json").where("state", "not in", OVER);
      const stopped = tx
        .selectFrom("rollout")
        .select("body_json")
        .where("state", "in", STOPPED)
        .orderBy("created", "desc")
        .limit(limit);
      return [...(await open.execute()), ...(await stopped.execute())].map(rolloutOf);
    },
    putRollout: async (rollout) => {
      const { id, product, version, state, created } = rollout;
      const values = { product, version, state, created, body_json: JSON.stringify(rollout) };
      await tx
        .insertInto("rollout")
        .values({ id, ...values })
        .onConflict((o) => o.column("id").doUpdateSet(values))
        .execute();
    },
    rolloutDevice: async (rollout, device) => {
      const row = await tx
        .selectFrom("rollout_device")
        .selectAll()
        .where("rollout", "=", rollout)
        .where("device", "=", device)
        .executeTakeFirst();
      return row === undefined ? null : deviceRowOf(row);
    },
    putRolloutDevice: async (row) => {
      const { rollout: _rollout, device: _device, ...values } = valuesOf(row);
      await tx
        .insertInto("rollout_device")
        .values(valuesOf(row))
        .onConflict((o) => o.columns(["rollout", "device"]).doUpdateSet(values))
        .execute();
    },
    addRolloutDevices: async (rows) => {
      for (let at = 0; at < rows.length; at += BATCH) {
        await tx
          .insertInto("rollout_device")
          .values(rows.slice(at, at + BATCH).map(valuesOf))
          .onConflict((o) => o.columns(["rollout", "device"]).doNothing())
          .execute();
      }
    },
    rolloutDevices: async (rollout, after, limit) =>
      (
        await tx
          .selectFrom("rollout_device")
          .selectAll()
          .where("rollout", "=", rollout)
          .where("device", ">", after)
          .orderBy("device")
          .limit(limit)
          .execute()
      ).map(deviceRowOf),
    rolloutsOf: async (device) =>
      (
        await tx
          .selectFrom("rollout_device")
          .selectAll()
          .where("device", "=", device)
          .orderBy("offered")
          .execute()
      ).map(deviceRowOf),
    labels: async (device) => {
      const row = await tx
        .selectFrom("device_label")
        .select("labels_json")
        .where("device", "=", device)
        .executeTakeFirst();
      return labelsOf(row?.labels_json ?? null);
    },
    putLabels: async (device, labels) => {
      const labels_json = JSON.stringify(labels);
      await tx
        .insertInto("device_label")
        .values({ device, labels_json })
        .onConflict((o) => o.column("device").doUpdateSet({ labels_json }))
        .execute();
    },
    roster: async (after, limit) => {
      const rows = await tx
        .selectFrom("device")
        .leftJoin("device_label", "device_label.device", "device.id")
        .select([
          "id",
          "name",
          "group_name",
          "status",
          "enrolled",
          "last_seen",
          "platform_json",
          "labels_json",
        ])
        .where("id", ">", after)
        .orderBy("id")
        .limit(limit)
        .execute();
      return rows.map((row) => ({
        id: row.id,
        name: row.name,
        group: row.group_name,
        status: row.status as RosterDevice["status"],
        enrolled: row.enrolled,
        lastSeen: row.last_seen,
        platform: wordOf(row.platform_json),
        labels: labelsOf(row.labels_json),
      }));
    },
    arrivals: async (product, version) => {
      const rows = await tx
        .selectFrom("report")
        .select((e) => e.fn.min<number>("received").as("first"))
        .where("product", "=", product)
        .where("to_version", "=", version)
        .where("outcome", "=", "success")
        .groupBy("device")
        .execute();
      return rows.map(({ first }) => Number(first));
    },
    runningOf: async (product, after, limit) => {
      const rows = await tx
        .selectFrom("device_component")
        .select(["device", "running"])
        .where("product", "=", product)
        .where("device", ">", after)
        .where("running", "is not", null)
        .orderBy("device")
        .limit(limit)
        .execute();
      return rows.map(({ device, running }) => ({ device, running: running! }));
    },
  };
}

function labelsOf(json: string | null): Labels {
  return json === null ? NO_LABELS : (JSON.parse(json) as Labels);
}

/** A fleet has few kinds of machines, and each is spelled one way. */
const words = new Map<string, string>();

function wordOf(json: string): string {
  const known = words.get(json);
  if (known !== undefined) return known;
  const word = platformWord(JSON.parse(json) as PlatformFacts);
  if (words.size >= 1000) words.clear();
  words.set(json, word);
  return word;
}
