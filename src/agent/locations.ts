// From where this device gets its updates: a signed document at a time, tried before it is settled, and always a way back.

import { fromBase64, toBase64, toUtf8 } from "../core/bytes.ts";
import { readOrNull, writeAtomic } from "../core/disk.ts";
import { preAuthEncoding, type DsseSigner, type DsseVerifier } from "../core/dsse.ts";
import { UpkeepError } from "../core/errors.ts";
import { SECOND, type Instant } from "../core/instant.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, sha256Schema, z } from "../core/schema.ts";
import { openLocations, readLocations, type LocationPlace, type Locations } from "../identity/locations.ts";
import { LocationError } from "../identity/location-errors.ts";
import type { DocumentKeys } from "../release/trusted-keys.ts";
import { parseTufKey } from "../keys/public-key.ts";
import type { Json } from "../core/json.ts";
import { sha256Hex } from "../core/digest.ts";
import type { World } from "./ports.ts";

const LIMIT = 256 * 1024;
const whole = z.number().check(z.int(), z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER));

const heldSchema = z.strictObject({
  /** The signed envelope, byte for byte, base64. */
  envelope: z.string(),
  /** The keys that it was believed by, and how many had to sign: it is verified again at each load. */
  keys: z.array(z.custom<Json>()).check(z.minLength(1), z.maxLength(16)),
  threshold: z.number().check(z.int(), z.minimum(1), z.maximum(16)),
});
type Held = z.infer<typeof heldSchema>;

const stateSchema = z.strictObject({
  format: z.literal(1),
  current: z.nullable(heldSchema),
  /** The one before, until `current` is settled. */
  previous: z.nullable(heldSchema),
  /** While `current` is on trial: since when, and how many check-ins its hosts answered. Null when it is settled. */
  trial: z.nullable(z.strictObject({ since: whole, successes: whole })),
  /** The highest version that was ever settled or tried here, and its digest: nothing at or below it comes again. */
  highest: whole,
  sha256: z.nullable(sha256Schema),
});
type State = z.infer<typeof stateSchema>;

const EMPTY: State = { format: 1, current: null, previous: null, trial: null, highest: 0, sha256: null };

const sealedSchema = z.strictObject({ state: z.string(), seal: z.string() });

/** What an agent does with its wiring: which hosts it asks, in turn. */
export type Hosts = {
  readonly servers: readonly LocationPlace[];
  readonly mirrors: readonly string[];
};

export type LocationsParts = {
  readonly world: Pick<World, "disk" | "clock" | "log">;
  readonly folder: string;
  /** Seals what lies on the disk; its public half tells whether somebody changed it. */
  readonly key: DsseSigner & { readonly publicKey: DsseVerifier };
  /** The hosts of the enrollment: the last resort, until a settled document retires them. */
  readonly bootstrap: readonly LocationPlace[];
};

export class DeviceLocations {
  readonly #parts: LocationsParts;
  #state: State;
  /** Why the file was not believed; null when it was. */
  tampered: LocationError | null;

  constructor(parts: LocationsParts, state: State, tampered: LocationError | null) {
    this.#parts = parts;
    this.#state = state;
    this.tampered = tampered;
  }

  /** What a next document has to follow. */
  get held(): { readonly version: number; readonly sha256: string | null } {
    return { version: this.#state.highest, sha256: this.#state.sha256 };
  }

  /** The version that holds, 0 before the first; and whether it is on trial. */
  get version(): number {
    return documentOf(this.#state.current)?.version ?? 0;
  }

  get onTrial(): boolean {
    return this.#state.trial !== null;
  }

  /** Hosts in the order in which they are asked: the new, on trial the ones before as well, the enrollment's last. */
  get hosts(): Hosts {
    const current = documentOf(this.#state.current);
    const previous = documentOf(this.#state.previous);
    const retired = this.onTrial ? [] : (current?.retire ?? []);
    const all = [...(current?.servers ?? []), ...(previous?.servers ?? []), ...this.#parts.bootstrap];
    const given = all.filter((place) => !retired.some((one) => samePlace(one, place)));
    const servers = [...new Map(given.map((place) => [nameOf(place), place])).values()];
    return {
      // A document that retires every host that is left would leave none: then it retires nothing.
      servers: servers.length === 0 ? this.#parts.bootstrap : servers,
      mirrors: [...new Set([...(current?.mirrors ?? []), ...(previous?.mirrors ?? [])])],
    };
  }

  /** A document that was verified, follows, and whose hosts were probed: on trial from now. Errors: `disk/*`, then nothing has changed. */
  async adopt(envelope: Uint8Array, keys: DocumentKeys): Promise<void> {
    const { version } = openLocations(envelope, keys).document;
    const held: Held = {
      envelope: toBase64(envelope),
      keys: keys.keys.map(({ tuf }) => tuf as unknown as Json),
      threshold: keys.threshold,
    };
    const trial = { since: this.#parts.world.clock.now(), successes: 0 };
    // On trial already: what held before that trial stays the way back.
    const previous = this.onTrial ? this.#state.previous : this.#state.current;
    const sha256 = sha256Hex(envelope);
    await this.#save({ format: 1, current: held, previous, trial, highest: version, sha256 });
  }

  /**
   * A check-in was answered by this host. Returns true when that settled the document. Errors: `disk/*`.
   */
  async answered(place: LocationPlace): Promise<boolean> {
    const { trial, current } = this.#state;
    const document = documentOf(current);
    if (trial === null || document === null) return false;
    if (!document.servers.some((one) => samePlace(one, place))) return false;
    const successes = trial.successes + 1;
    if (successes < document.trial.successes) {
      await this.#save({ ...this.#state, trial: { ...trial, successes } });
      return false;
    }
    await this.#save({ ...this.#state, trial: null, previous: null });
    return true;
  }

  /**
   * The trial is over and its hosts did not answer often enough: back to those before. Null while it is not. The version is used up: the next
   * one follows it. Errors: `disk/*`.
   */
  async judgeTrial(now: Instant): Promise<LocationError | null> {
    const { trial, current, previous } = this.#state;
    const document = documentOf(current);
    if (trial === null || document === null) return null;
    // A clock that was set back begins the trial anew.
    if (now < trial.since) {
      await this.#save({ ...this.#state, trial: { ...trial, since: now } });
      return null;
    }
    if (now - trial.since < document.trial.seconds * SECOND) return null;
    await this.#save({ ...this.#state, current: previous, previous: null, trial: null });
    return new LocationError(
      "location/rolled-back",
      `The hosts of version ${document.version} of the list of locations answered ${trial.successes} of ${document.trial.successes} check-ins in time: this device went back to the hosts before.`,
      { version: document.version, successes: trial.successes },
    );
  }

  async #save(state: State): Promise<void> {
    const { world, folder, key } = this.#parts;
    const text = JSON.stringify(state);
    const seal = toBase64(await key.sign(sealed(text)));
    const bytes = toUtf8(`${JSON.stringify({ state: text, seal })}\n`);
    // The copy first: of the two, one is whole at every moment, and both say the same between changes.
    await writeAtomic(world.disk, copyOf(folder), bytes, 0o600);
    await writeAtomic(world.disk, fileOf(folder), bytes, 0o600);
    this.#state = state;
    this.tampered = null;
  }
}

/** Verified again, seal and signatures; what was changed by hand is not believed, its copy is, else the hosts of the enrollment. Errors: `disk/*`. */
export async function openDeviceLocations(parts: LocationsParts): Promise<DeviceLocations> {
  const { world, folder } = parts;
  let tampered: LocationError | null = null;
  for (const path of [fileOf(folder), copyOf(folder)]) {
    const bytes = await readOrNull(world.disk, path, LIMIT);
    if (bytes === null) continue;
    try {
      return new DeviceLocations(parts, readState(bytes, parts.key.publicKey), tampered);
    } catch (cause) {
      if (!(cause instanceof UpkeepError)) throw cause;
      tampered ??= new LocationError(
        "location/tampered",
        `${path} is not as this device wrote it: either somebody changed it, or the disk is failing. Its copy is used, else the hosts of the enrollment.`,
        { path },
        { cause },
      );
    }
  }
  return new DeviceLocations(parts, EMPTY, tampered);
}

function readState(bytes: Uint8Array, key: DsseVerifier): State {
  const { state: text, seal } = checkSchema(sealedSchema, parseJson(bytes), "sealed list of locations");
  if (!key.verify(sealed(text), fromBase64(seal)))
    throw new LocationError("location/tampered", "The seal does not belong to what it lies on.", {});
  const state = checkSchema(stateSchema, parseJson(toUtf8(text)), "state of the locations");
  for (const held of [state.current, state.previous]) {
    if (held === null) continue;
    const keys = { keys: held.keys.map((one) => parseTufKey(one)), threshold: held.threshold };
    openLocations(fromBase64(held.envelope), keys);
  }
  return state;
}

function sealed(text: string): Uint8Array {
  return preAuthEncoding("application/vnd.upkeep.location-state.v1", toUtf8(text));
}

const opened = new WeakMap<Held, Locations>();

/** What a document says that was verified when it was taken or loaded. */
function documentOf(held: Held | null): Locations | null {
  if (held === null) return null;
  const known = opened.get(held);
  if (known !== undefined) return known;
  const { payload } = parseJson(fromBase64(held.envelope)) as { readonly payload: string };
  const document = readLocations(fromBase64(payload));
  opened.set(held, document);
  return document;
}

function nameOf({ host, port }: LocationPlace): string {
  return `${host}:${port}`;
}

function samePlace(a: LocationPlace, b: LocationPlace): boolean {
  return a.host === b.host && a.port === b.port;
}

function fileOf(folder: string): string {
  return `${folder}/locations.json`;
}

function copyOf(folder: string): string {
  return `${folder}/locations.copy.json`;
}
