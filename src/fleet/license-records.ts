// What the server remembers of licenses: plain records, and the port that keeps them.

import type { Instant } from "../core/instant.ts";
import type { Advance, Fork } from "../license/chain.ts";
import type { LicenseKind } from "../license/terms.ts";

export type LicenseRow = {
  readonly id: string;
  readonly product: string;
  readonly customer: string;
  readonly kind: LicenseKind;
  readonly rev: number;
  /** The signed envelope, byte for byte. */
  readonly envelope: string;
  /** Names of the options that are switched on. */
  readonly options: readonly string[];
  readonly created: Instant;
  readonly changed: Instant;
  /** SHA-256 of the claim code; the code itself is shown once. */
  readonly claimSha256: string | null;
  readonly revokedAt: Instant | null;
  readonly reason: string | null;
};

export type ActivationStatus = "active" | "released";

/** A device's use of a license. Never deleted: seats, trials and transfers are counted by it. */
export type Activation = {
  readonly id: string;
  readonly license: string;
  readonly device: string;
  /** Of the key that its leases are bound to. */
  readonly spkiSha256: string;
  readonly status: ActivationStatus;
  readonly slot: number | null;
  /** The request that made it, and the answer to that: sent again for the same id. */
  readonly requestId: string;
  readonly started: Instant;
  readonly seq: number;
  readonly nonce: string;
  readonly previousNonce: string | null;
  readonly previousRequest: string | null;
  /** Envelope of the last lease. */
  readonly lease: string;
  readonly leaseEnds: Instant;
  /** Until then a lease by file counts, wherever the device is; null for one that renews online. */
  readonly heldUntil: Instant | null;
  readonly history: readonly Advance[];
  readonly forks: readonly Fork[];
  /** Since when two copies are known to live, and when that restricts; null without. */
  readonly cloned: Instant | null;
  readonly restrictAt: Instant | null;
  /** When and by whom it was given back: transfers are counted by it. */
  readonly released: Instant | null;
  readonly used: Readonly<Record<string, number>>;
  readonly refused: Readonly<Record<string, number>>;
};

export type Plan = { readonly name: string; readonly terms: string; readonly changed: Instant };

export interface LicenseRecords {
  license(id: string): Promise<LicenseRow | null>;
  licenseByClaim(claimSha256: string): Promise<LicenseRow | null>;
  /** Newest first. */
  licenses(filter: {
    readonly product?: string;
    readonly customer?: string;
    readonly limit: number;
  }): Promise<readonly LicenseRow[]>;
  putLicense(row: LicenseRow): Promise<void>;
  /** As many seats as `slots`, further ones are made; those above are taken away when free. */
  putSeats(license: string, slots: number): Promise<void>;
  /** Takes the lowest free seat in one statement; null when none is free. */
  changeFreeSeat(license: string, activation: string): Promise<number | null>;
  dropSeat(license: string, activation: string): Promise<void>;
  /** How many seats are taken. */
  seatsTaken(license: string): Promise<number>;
  activation(id: string): Promise<Activation | null>;
  activationByRequest(license: string, requestId: string): Promise<Activation | null>;
  activations(license: string): Promise<readonly Activation[]>;
  activationsOf(device: string): Promise<readonly Activation[]>;
  putActivation(row: Activation): Promise<void>;
  addChallenge(nonce: string, device: string, expires: Instant): Promise<void>;
  /** Uses it up: true once, for the device it was given to, in time. */
  dropChallenge(nonce: string, device: string, now: Instant): Promise<boolean>;
  /** When a key began a trial of a product; never forgotten. */
  trial(
    product: string,
    spkiSha256: string,
  ): Promise<{ readonly license: string; readonly started: Instant } | null>;
  addTrial(
    product: string,
    spkiSha256: string,
    license: string,
    device: string,
    started: Instant,
  ): Promise<void>;
  plan(name: string): Promise<Plan | null>;
  plans(): Promise<readonly Plan[]>;
  putPlan(plan: Plan): Promise<void>;
  dropPlan(name: string): Promise<boolean>;
  /** Events of a payment hook that were acted on: each counts once. */
  webhookEvent(id: string): Promise<boolean>;
  addWebhookEvent(id: string, at: Instant): Promise<void>;
}
