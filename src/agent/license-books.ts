// What a device holds of licenses: the state on disk, the keys that count, the time that is known, and the one way by which a lease comes into force.

import { equalBytes, toHex, toUtf8 } from "../core/bytes.ts";
import { makeDirectories, readOrNull, writeAtomic } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseInstant } from "../core/instant.ts";
import {
  EMPTY_STATE,
  heldBytes,
  heldOf,
  loadState,
  saveState,
  type DeviceState,
  type Held,
} from "../license/device-state.ts";
import { LicenseError } from "../license/errors.ts";
import {
  firstTime,
  tellTime,
  trustTime,
  type ClockFlag,
  type Reading,
  type Told,
} from "../license/known-time.ts";
import { openGrant, type Granted, type LicenseKeys } from "../license/lease.ts";
import { openRevocations, REVOCATIONS_TARGET, type Revocations } from "../license/revocations.ts";
import { TRUSTED_KEYS_TARGET } from "../release/target-names.ts";
import { keysFor, parseTrustedKeys, type TrustedKeys } from "../release/trusted-keys.ts";
import { HANDED_LIMIT, openHanded, serializeHanded } from "../repository/handed-over.ts";
import { sentenceOf } from "./errors.ts";
import type { DeviceIdentity, World } from "./ports.ts";

export type LicenseParts = {
  readonly world: Pick<World, "disk" | "clock" | "random" | "log" | "program">;
  /** `licenses` of the data folder; programs of this device read some of its files. */
  readonly folder: string;
  readonly identity: DeviceIdentity;
  /** What this machine says about time and which start of it this is. */
  readonly reading: () => Promise<Reading>;
  /** `1.root.json` as the enrollment pinned it. */
  readonly trustedRoot: Uint8Array;
  /** The roots and the targets role that the device trusts now, as they came. */
  readonly chain: () => Promise<{ readonly roots: readonly Uint8Array[]; readonly targets: Uint8Array }>;
};

export class LicenseBooks {
  readonly parts: LicenseParts;
  /** Documents in force, by product. */
  readonly granted = new Map<string, Granted>();
  state: DeviceState = EMPTY_STATE;
  revocations: Revocations | null = null;
  /** What was wrong with what was kept, in a sentence; null once a lease came. */
  damage: string | null = null;
  clock: ClockFlag | null = null;
  #trusted: TrustedKeys | null = null;
  #files: ReadonlyMap<string, Uint8Array> | null = null;

  constructor(parts: LicenseParts) {
    this.parts = parts;
  }

  /** True once it is known who may issue and lease. */
  get ready(): boolean {
    return this.#trusted !== null;
  }

  /** Reads what is kept. Never throws: without it, programs have their fallback and the agent works as ever. */
  async open(): Promise<void> {
    await this.guarded("open", async () => {
      const { world, folder } = this.parts;
      await makeDirectories(world.disk, folder, 0o755);
      const { state, damage } = await loadState(world.disk, folder);
      this.state = state;
      this.damage =
        damage === null
          ? null
          : damage === "copy"
            ? "The copy of the state was used: the file is damaged."
            : "What was kept of licenses is lost; it comes again with the next check-in.";
      if (damage !== null) world.log({ level: "warn", event: "license-state-reset", damage });
      const handed = await readOrNull(world.disk, `${folder}/trust.json`, HANDED_LIMIT);
      if (handed !== null) this.trust(openHanded(handed, this.parts.trustedRoot));
      await this.openHeld();
    });
  }

  /** Takes files that were verified as targets of the repository. Errors: `release/*`, `dsse/*`. */
  trust(files: ReadonlyMap<string, Uint8Array>): void {
    const keys = files.get(TRUSTED_KEYS_TARGET);
    if (keys === undefined) return;
    this.#trusted = parseTrustedKeys(keys);
    this.#files = files;
    const revoked = files.get(REVOCATIONS_TARGET);
    if (revoked === undefined) return;
    try {
      this.revocations = openRevocations(revoked, keysFor(this.#trusted, "license", null));
    } catch (error) {
      // A list that cannot be read takes nothing away and gives nothing back: the one before holds.
      if (!(error instanceof UpkeepError)) throw error;
      this.parts.world.log({
        level: "warn",
        event: "license-trouble",
        what: "revocations",
        code: error.code,
      });
    }
  }

  /** Errors: `license/none` before the repository was read, `release/no-key`. */
  keysOf(product: string): LicenseKeys {
    if (this.#trusted === null)
      throw new LicenseError(
        "license/none",
        "This device has not read its repository yet, and knows no issuer.",
        { product },
        { hint: "Let it check once: upkeep agent update." },
      );
    return {
      issuers: keysFor(this.#trusted, "license", product),
      leases: keysFor(this.#trusted, "lease", product),
    };
  }

  /** The one way by which a lease comes into force here. */
  async accept(
    product: string,
    documents: { readonly license: Uint8Array; readonly lease: Uint8Array },
    { clientNonce, online }: { readonly clientNonce: string | null; readonly online: boolean },
  ): Promise<void> {
    const granted = openGrant(
      documents,
      this.keysOf(product),
      {
        product,
        key: this.parts.identity.key.publicKey,
        clientNonce,
        before: this.granted.get(product) ?? null,
      },
      this.parts.world.program.features,
    );
    const before: Held | undefined = this.state.held[product];
    const next: Held = { ...heldOf(documents), used: before?.used ?? {}, refused: before?.refused ?? {} };
    const { known, reading } = await this.now();
    const issued = parseInstant(granted.lease.issued);
    // What came by file was signed at some time before: only an answer to this very question says what time it is.
    const time = online
      ? trustTime(known, issued, reading)
      : { ...known, highWater: Math.max(known.highWater, issued) };
    await this.save({ ...this.state, held: { ...this.state.held, [product]: next }, time });
    this.granted.set(product, granted);
    this.damage = null;
  }

  /** Judges what is kept by the keys that count now. */
  async openHeld(): Promise<void> {
    if (this.#trusted === null) return;
    for (const [product, held] of Object.entries(this.state.held)) {
      const before = this.granted.get(product);
      this.granted.delete(product);
      await this.guarded(`open ${product}`, async () => {
        const expected = {
          product,
          key: this.parts.identity.key.publicKey,
          clientNonce: null,
          before: before ?? null,
        };
        this.granted.set(product, openGrant(heldBytes(held), this.keysOf(product), expected));
      });
    }
  }

  /** Reads the clock once, and remembers what it shows. */
  async now(): Promise<Told & { readonly reading: Reading }> {
    const reading = await this.parts.reading();
    const told = tellTime(this.state.time ?? firstTime(reading), reading);
    this.state = { ...this.state, time: told.known };
    this.clock = told.flag;
    return { ...told, reading };
  }

  /** What programs of this device read: documents that they verify for themselves. */
  async handOut(): Promise<void> {
    const { world, folder } = this.parts;
    if (Object.keys(this.state.held).length === 0) return;
    if (this.#files !== null) {
      const handed = serializeHanded({ ...(await this.parts.chain()), files: this.#files });
      const path = `${folder}/trust.json`;
      const before = await readOrNull(world.disk, path, HANDED_LIMIT);
      if (before === null || !equalBytes(before, handed)) await writeAtomic(world.disk, path, handed, 0o644);
    }
    for (const [product, held] of Object.entries(this.state.held)) {
      const { license, lease } = held;
      const file = { format: 1, license, lease, time: this.state.time };
      await writeAtomic(
        world.disk,
        `${folder}/${product}.license.json`,
        toUtf8(`${JSON.stringify(file)}\n`),
        0o644,
      );
    }
  }

  async save(state: DeviceState): Promise<void> {
    // First here: what is counted meanwhile is counted on top.
    this.state = state;
    await saveState(this.parts.world.disk, this.parts.folder, state);
  }

  ids(): { readonly requestId: string; readonly clientNonce: string } {
    const { random } = this.parts.world;
    return { requestId: toHex(random.bytes(16)), clientNonce: toHex(random.bytes(16)) };
  }

  /** A fault of licenses is logged and goes no further. */
  async guarded(what: string, action: () => Promise<void> | void): Promise<void> {
    try {
      await action();
    } catch (error) {
      const code = error instanceof UpkeepError ? error.code : "license/later";
      const message = error instanceof UpkeepError ? sentenceOf(error) : String(error);
      this.parts.world.log({ level: "warn", event: "license-trouble", what, code, message });
    }
  }
}
