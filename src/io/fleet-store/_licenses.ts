// Licenses, seats, activations and plans, in the store.

import { sql, type Kysely } from "kysely";
import type {
  Activation,
  ActivationStatus,
  LicenseRecords,
  LicenseRow,
} from "../../fleet/license-records.ts";
import type { Advance, Fork } from "../../license/chain.ts";
import type { LicenseKind } from "../../license/terms.ts";
import type { Tables } from "./schema.ts";

export function licenseRecords(tx: Kysely<Tables>): LicenseRecords {
  const all = (): ReturnType<typeof selectActivations> => selectActivations(tx);
  return {
    license: async (id) =>
      licenseOrNull(await tx.selectFrom("license").selectAll().where("id", "=", id).executeTakeFirst()),
    licenseByClaim: async (claim) =>
      licenseOrNull(
        await tx.selectFrom("license").selectAll().where("claim_sha256", "=", claim).executeTakeFirst(),
      ),
    licenses: async ({ product, customer, limit }) => {
      let query = tx.selectFrom("license").selectAll();
      if (product !== undefined) query = query.where("product", "=", product);
      if (customer !== undefined) query = query.where("customer", "=", customer);
      const rows = await query.orderBy("created", "desc").orderBy("id").limit(limit).execute();
      return rows.map(licenseOf);
    },
    putLicense: async (row) => {
      const { id, options, claimSha256, revokedAt, ...same } = row;
      const values = {
        ...same,
        options_json: JSON.stringify(options),
        claim_sha256: claimSha256,
        revoked_at: revokedAt,
      };
      await tx
        .insertInto("license")
        .values({ id, ...values })
        .onConflict((o) => o.column("id").doUpdateSet(values))
        .execute();
    },
    putSeats: async (license, slots) => {
      const { most } = await tx
        .selectFrom("license_seat")
        .select(sql<number>`coalesce(max(slot), 0)`.as("most"))
        .where("license", "=", license)
        .executeTakeFirstOrThrow();
      for (let from = most + 1; from <= slots; from += 500) {
        const to = Math.min(slots, from + 499);
        const values = Array.from({ length: to - from + 1 }, (_, at) => ({
          license,
          slot: from + at,
          activation: null,
        }));
        await tx.insertInto("license_seat").values(values).execute();
      }
      await tx
        .deleteFrom("license_seat")
        .where("license", "=", license)
        .where("slot", ">", slots)
        .where("activation", "is", null)
        .execute();
    },
    changeFreeSeat: async (license, activation) => {
      const lowest = tx
        .selectFrom("license_seat")
        .select("slot")
        .where("license", "=", license)
        .where("activation", "is", null)
        .orderBy("slot")
        .limit(1);
      const row = await tx
        .updateTable("license_seat")
        .set({ activation })
        .where("license", "=", license)
        .where("slot", "=", lowest)
        .where("activation", "is", null)
        .returning("slot")
        .executeTakeFirst();
      return row?.slot ?? null;
    },
    dropSeat: async (license, activation) => {
      await tx
        .updateTable("license_seat")
        .set({ activation: null })
        .where("license", "=", license)
        .where("activation", "=", activation)
        .execute();
    },
    seatsTaken: async (license) => {
      const { taken } = await tx
        .selectFrom("license_seat")
        .select(sql<number>`count(*)`.as("taken"))
        .where("license", "=", license)
        .where("activation", "is not", null)
        .executeTakeFirstOrThrow();
      return taken;
    },
    activation: async (id) => activationOrNull(await all().where("id", "=", id).executeTakeFirst()),
    activationByRequest: async (license, requestId) =>
      activationOrNull(
        await all().where("license", "=", license).where("request_id", "=", requestId).executeTakeFirst(),
      ),
    activations: async (license) =>
      (await all().where("license", "=", license).orderBy("started").orderBy("id").execute()).map(
        activationOf,
      ),
    activationsOf: async (device) =>
      (await all().where("device", "=", device).orderBy("started").orderBy("id").execute()).map(activationOf),
    putActivation: async (row) => {
      const { id, ...values } = activationValues(row);
      await tx
        .insertInto("license_activation")
        .values({ id, ...values })
        .onConflict((o) => o.column("id").doUpdateSet(values))
        .execute();
    },
    addChallenge: async (nonce, device, expires) => {
      await tx.insertInto("license_challenge").values({ nonce, device, expires }).execute();
    },
    dropChallenge: async (nonce, device, now) => {
      const found = await tx
        .selectFrom("license_challenge")
        .selectAll()
        .where("nonce", "=", nonce)
        .executeTakeFirst();
      await tx
        .deleteFrom("license_challenge")
        .where((e) => e.or([e("nonce", "=", nonce), e("expires", "<=", now)]))
        .execute();
      return found !== undefined && found.device === device && found.expires > now;
    },
    trial: async (product, spki) => {
      const row = await tx
        .selectFrom("license_trial")
        .select(["license", "started"])
        .where("product", "=", product)
        .where("spki_sha256", "=", spki)
        .executeTakeFirst();
      return row ?? null;
    },
    addTrial: async (product, spki, license, device, started) => {
      await tx
        .insertInto("license_trial")
        .values({ product, spki_sha256: spki, license, device, started })
        .execute();
    },
    plan: async (name) =>
      (await tx.selectFrom("license_plan").selectAll().where("name", "=", name).executeTakeFirst()) ?? null,
    plans: () => tx.selectFrom("license_plan").selectAll().orderBy("name").execute(),
    putPlan: async ({ name, ...values }) => {
      await tx
        .insertInto("license_plan")
        .values({ name, ...values })
        .onConflict((o) => o.column("name").doUpdateSet(values))
        .execute();
    },
    dropPlan: async (name) => {
      const { numDeletedRows } = await tx
        .deleteFrom("license_plan")
        .where("name", "=", name)
        .executeTakeFirst();
      return numDeletedRows > 0n;
    },
    webhookEvent: async (id) =>
      (await tx.selectFrom("license_event").select("id").where("id", "=", id).executeTakeFirst()) !==
      undefined,
    addWebhookEvent: async (id, at) => {
      await tx.insertInto("license_event").values({ id, at }).execute();
    },
  };
}

function selectActivations(tx: Kysely<Tables>) {
  return tx.selectFrom("license_activation").selectAll();
}

function licenseOrNull(row: Tables["license"] | undefined): LicenseRow | null {
  return row === undefined ? null : licenseOf(row);
}

function licenseOf(row: Tables["license"]): LicenseRow {
  const { options_json, claim_sha256, revoked_at, kind, ...same } = row;
  return {
    ...same,
    kind: kind as LicenseKind,
    options: JSON.parse(options_json) as string[],
    claimSha256: claim_sha256,
    revokedAt: revoked_at,
  };
}

function activationOrNull(row: Tables["license_activation"] | undefined): Activation | null {
  return row === undefined ? null : activationOf(row);
}

function activationOf(row: Tables["license_activation"]): Activation {
  return {
    id: row.id,
    license: row.license,
    device: row.device,
    spkiSha256: row.spki_sha256,
    status: row.status as ActivationStatus,
    slot: row.slot,
    requestId: row.request_id,
    started: row.started,
    seq: row.seq,
    nonce: row.nonce,
    previousNonce: row.previous_nonce,
    previousRequest: row.previous_request,
    lease: row.lease,
    leaseEnds: row.lease_ends,
    heldUntil: row.held_until,
    history: JSON.parse(row.history_json) as Advance[],
    forks: JSON.parse(row.forks_json) as Fork[],
    cloned: row.cloned,
    restrictAt: row.restrict_at,
    released: row.released,
    used: JSON.parse(row.used_json) as Record<string, number>,
    refused: JSON.parse(row.refused_json) as Record<string, number>,
  };
}

function activationValues(row: Activation): Tables["license_activation"] {
  return {
    id: row.id,
    license: row.license,
    device: row.device,
    spki_sha256: row.spkiSha256,
    status: row.status,
    slot: row.slot,
    request_id: row.requestId,
    started: row.started,
    seq: row.seq,
    nonce: row.nonce,
    previous_nonce: row.previousNonce,
    previous_request: row.previousRequest,
    lease: row.lease,
    lease_ends: row.leaseEnds,
    held_until: row.heldUntil,
    history_json: JSON.stringify(row.history),
    forks_json: JSON.stringify(row.forks),
    cloned: row.cloned,
    restrict_at: row.restrictAt,
    released: row.released,
    used_json: JSON.stringify(row.used),
    refused_json: JSON.stringify(row.refused),
  };
}
