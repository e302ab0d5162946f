// What shows licenses: `license list`, `show` and `export`.

import { resolve } from "node:path";
import { formatInstant, type Instant } from "../../../core/instant.ts";
import type { Json } from "../../../core/json.ts";
import { stableJsonFile } from "../../../core/stable-json.ts";
import { licenseIn } from "../../../fleet/licenses/activate.ts";
import { needLicense } from "../../../fleet/licenses/books.ts";
import type { Activation, LicenseRow } from "../../../fleet/license-records.ts";
import type { FleetReads } from "../../../fleet/store.ts";
import type { Call, Result } from "../../framework/command.ts";
import { columns } from "../../framework/style.ts";
import { limitOf } from "../fleet/naming.ts";
import { readFleet } from "../records/open-store.ts";
import { describe, writeNew } from "./issue.ts";

const at = (instant: Instant | null): string | null => (instant === null ? null : formatInstant(instant));

function stateOf({ revokedAt }: LicenseRow, expires: string | null, now: Instant): string {
  if (revokedAt !== null) return revokedAt <= now ? "revoked" : `revoked from ${formatInstant(revokedAt)} on`;
  return expires !== null && Date.parse(expires) <= now ? "expired" : "valid";
}

export async function licenseList(call: Call): Promise<Result> {
  const [product, customer] = [call.text("product"), call.text("customer")];
  const filter = {
    limit: limitOf(call),
    ...(product === undefined ? {} : { product }),
    ...(customer === undefined ? {} : { customer }),
  };
  const found = await readFleet(call, async (records, now) => {
    const rows = await records.licenses(filter);
    return Promise.all(
      rows.map(async (row) => ({
        row,
        taken: await records.seatsTaken(row.id),
        license: licenseIn(row),
        now,
      })),
    );
  });
  const table = found.map(({ row, taken, license, now }) => [
    row.id,
    row.product,
    row.customer,
    row.kind,
    `${taken}/${license.seats.max}`,
    license.expires ?? "-",
    stateOf(row, license.expires, now),
  ]);
  return {
    text:
      table.length === 0
        ? "There are no licenses."
        : columns(
            [["LICENSE", "PRODUCT", "CUSTOMER", "KIND", "SEATS", "ENDS", "STATE"], ...table],
            call.context.width,
          ),
    json: {
      licenses: found.map(({ row, taken, license, now }) => ({
        license: row.id,
        rev: row.rev,
        product: row.product,
        customer: row.customer,
        kind: row.kind,
        seats: { taken, max: license.seats.max },
        expires: license.expires,
        state: stateOf(row, license.expires, now),
      })),
    },
  };
}

export async function licenseShow(call: Call): Promise<Result> {
  const found = await readFleet(call, (records, now) => all(records, call.argument(0), now));
  const { license, row, activations, state } = found;
  const lines = [
    describe(license),
    `State: ${state}${row.reason === null ? "" : ` (${row.reason})`}. Options: ${row.options.join(", ") || "none"} of ${Object.keys(license.options ?? {}).join(", ") || "none"}.`,
    `Features: ${amounts(license.features)}. Fallback: ${amounts(license.fallback.features)}.`,
    `Updates: until ${license.updates.until ?? "no end"}; editions ${license.updates.editions.join(", ") || "none"}.`,
  ];
  const rows = activations.map((one) => [
    one.device,
    one.status,
    one.slot === null ? "-" : String(one.slot),
    formatInstant(one.leaseEnds),
    one.heldUntil === null ? "online" : "by file",
    one.cloned === null ? "-" : "two machines",
  ]);
  if (rows.length > 0)
    lines.push(
      "",
      columns([["DEVICE", "STATE", "SEAT", "LEASE ENDS", "WAY", "CLONE"], ...rows], call.context.width),
    );
  return { text: lines.join("\n"), json: shown(found) };
}

/** Everything about a license, or about all of a customer, for the customer and for audits. */
export async function licenseExport(call: Call): Promise<Result> {
  const out = call.argument(0);
  const customer = call.text("customer");
  const id = call.text("license");
  const found = await readFleet(call, async (records, now) => {
    const ids =
      id === undefined
        ? (await records.licenses({ limit: 100_000, ...(customer === undefined ? {} : { customer }) })).map(
            (row) => row.id,
          )
        : [id];
    const wanted = new Set(ids);
    const trail = [];
    for (let after = 0; ;) {
      const rows = await records.audit(after, 1000);
      for (const row of rows) {
        after = row.sequence;
        if (wanted.has(row.subject)) trail.push({ ...row, at: formatInstant(row.at) });
      }
      if (rows.length < 1000) break;
    }
    const licenses = [];
    for (const one of ids)
      licenses.push({
        ...shown(await all(records, one, now)),
        envelope: (await records.license(one))!.envelope,
      });
    return { format: "upkeep licenses 1", licenses, audit: trail };
  });
  await writeNew(call, out, stableJsonFile(found as unknown as Json));
  return {
    text: `${out} holds ${found.licenses.length} license(s) and ${found.audit.length} row(s) of the audit log.`,
    json: { file: resolve(out), licenses: found.licenses.length, audit: found.audit.length },
  };
}

async function all(records: FleetReads, id: string, now: Instant) {
  const { row, license } = await needLicense(records, id);
  const activations = await records.activations(id);
  return { row, license, activations, state: stateOf(row, license.expires, now) };
}

function shown({ row, license, activations, state }: Awaited<ReturnType<typeof all>>) {
  return {
    license,
    state,
    options: row.options,
    revoked: row.revokedAt === null ? null : { at: at(row.revokedAt), reason: row.reason },
    activations: activations.map((one: Activation) => ({
      activation: one.id,
      device: one.device,
      status: one.status,
      seat: one.slot,
      seq: one.seq,
      started: at(one.started),
      leaseEnds: at(one.leaseEnds),
      heldUntil: at(one.heldUntil),
      cloned: at(one.cloned),
      restrictAt: at(one.restrictAt),
      released: at(one.released),
      used: one.used,
      refused: one.refused,
    })),
  };
}

function amounts(features: Readonly<Record<string, true | number>>): string {
  const words = Object.entries(features).map(([name, value]) => (value === true ? name : `${name}=${value}`));
  return words.length === 0 ? "none" : words.join(", ");
}
