// What a device keeps of its licenses: one file, twice, so that a power cut or a bad block leaves one that is whole.

import { fromBase64, toBase64 } from "../core/bytes.ts";
import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { sha256Hex } from "../core/digest.ts";
import { parseJson, type Json } from "../core/json.ts";
import { checkSchema, nameSchema, sha256Schema, z } from "../core/schema.ts";
import { stableJson, stableJsonFile } from "../core/stable-json.ts";
import { base64Schema } from "../message/common.ts";
import { claimSchema } from "./device-documents.ts";
import { knownTimeSchema } from "./known-time.ts";
import { count, LICENSE_LIMIT, licenseIdSchema, tokenSchema } from "./terms.ts";

const STATE_LIMIT = 4 * 1024 * 1024;
const counters = z.record(nameSchema, count(0, Number.MAX_SAFE_INTEGER));

const heldSchema = z.strictObject({
  license: base64Schema(LICENSE_LIMIT),
  lease: base64Schema(LICENSE_LIMIT),
  /** Written before a renewal is sent: a lost answer is asked for again by the same id. */
  asked: z.nullable(z.strictObject({ requestId: tokenSchema, clientNonce: tokenSchema })),
  used: counters,
  refused: counters,
});
export type Held = Readonly<z.infer<typeof heldSchema>>;

const wishSchema = z.strictObject({
  product: nameSchema,
  claim: z.exactOptional(claimSchema),
  license: z.exactOptional(licenseIdSchema),
  requestId: tokenSchema,
  clientNonce: tokenSchema,
});
export type Wish = Readonly<z.infer<typeof wishSchema>>;

const stateSchema = z.strictObject({
  format: z.literal(1),
  /** By product. */
  held: z.record(nameSchema, heldSchema),
  /** Activations that were asked for and not answered. */
  wishes: z.array(wishSchema).check(z.maxLength(16)),
  /** Receipts of seats that were given back, until the server has them. */
  receipts: z.array(base64Schema(LICENSE_LIMIT)).check(z.maxLength(64)),
  time: z.nullable(knownTimeSchema),
});
export type DeviceState = Readonly<z.infer<typeof stateSchema>>;

export const EMPTY_STATE: DeviceState = { format: 1, held: {}, wishes: [], receipts: [], time: null };

const fileSchema = z.strictObject({ sha256: sha256Schema, state: z.unknown() });

export type Loaded = {
  readonly state: DeviceState;
  /** What was found instead of a whole file: `copy` was used, or nothing was left. */
  readonly damage: "copy" | "lost" | null;
};

const FILES = ["state.json", "state.copy.json"] as const;

/** Errors: `disk/*` where a file is there and cannot be read at all. */
export async function loadState(disk: Disk, folder: string): Promise<Loaded> {
  let damaged = false;
  for (const name of FILES) {
    const bytes = await readOrNull(disk, `${folder}/${name}`, STATE_LIMIT);
    if (bytes === null) continue;
    const state = read(bytes);
    if (state !== null) return { state, damage: damaged ? "copy" : null };
    damaged = true;
  }
  return { state: EMPTY_STATE, damage: damaged ? "lost" : null };
}

/** The copy first: while the one is written, the other is whole. Errors: `disk/*`. */
export async function saveState(disk: Disk, folder: string, state: DeviceState): Promise<void> {
  const bytes = stableJsonFile({
    sha256: digestOf(state as unknown as Json),
    state: state as unknown as Json,
  });
  for (const name of FILES.toReversed()) await writeAtomic(disk, `${folder}/${name}`, bytes, 0o600);
}

function read(bytes: Uint8Array): DeviceState | null {
  try {
    const file = checkSchema(fileSchema, parseJson(bytes), "state of the licenses");
    const state = checkSchema(stateSchema, file.state as Json, "state of the licenses");
    return file.sha256 === digestOf(file.state as Json) ? state : null;
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return null;
  }
}

function digestOf(state: Json): string {
  return sha256Hex(stableJson(state));
}

export const heldBytes = ({ license, lease }: Pick<Held, "license" | "lease">) => ({
  license: fromBase64(license),
  lease: fromBase64(lease),
});
export const heldOf = (documents: { readonly license: Uint8Array; readonly lease: Uint8Array }): Held => ({
  license: toBase64(documents.license),
  lease: toBase64(documents.lease),
  asked: null,
  used: {},
  refused: {},
});
