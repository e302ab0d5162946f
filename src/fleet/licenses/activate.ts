// An activation: a device that proved its key gets a seat and its first lease, once for each request, however often that arrives.

import { fromBase64, fromUtf8, toBase64Url, toUtf8 } from "../../core/bytes.ts";
import { MINUTE, parseInstant, SECOND, type Instant } from "../../core/instant.ts";
import { parseJson } from "../../core/json.ts";
import { sha256Hex } from "../../core/digest.ts";
import type { ActivationRequest } from "../../license/device-documents.ts";
import { LicenseError } from "../../license/errors.ts";
import { parseLicense, type License } from "../../license/license.ts";
import { appendAudit } from "../audit.ts";
import type { Activation, LicenseRow } from "../license-records.ts";
import type { StoreRecords } from "../store.ts";
import { mintLease, newId, type Mint } from "./mint.ts";
import { takeSeat } from "./seats.ts";

const CHALLENGE_LIFE = 5 * MINUTE;

export type Activated = { readonly license: string; readonly lease: string; readonly again: boolean };

/** A number for one request of one device, good for five minutes. */
export async function newChallenge(
  records: StoreRecords,
  now: Instant,
  device: string,
  { random }: Pick<Mint, "random">,
): Promise<string> {
  const nonce = toBase64Url(random.bytes(32));
  await records.addChallenge(nonce, device, now + CHALLENGE_LIFE);
  return nonce;
}

/** The license that an envelope of the store holds; it was verified when it was taken in. */
export function licenseIn({ envelope }: Pick<LicenseRow, "envelope">): License {
  const { payload } = parseJson(toUtf8(envelope)) as { readonly payload: string };
  return parseLicense(fromBase64(payload));
}

export type Activating = {
  readonly request: ActivationRequest;
  /** Days that a lease by file lasts; null for one that is renewed online. */
  readonly days: number | null;
  readonly actor: string;
  readonly address: string;
};

/**
 * In one transaction: the same request again gets the same bytes; else the challenge is used up, the license found, a seat taken.
 * Errors: `license/bad-challenge`, `license/unknown`, `license/wrong-product`, `license/revoked`, `license/expired`, `license/storage`,
 * `license/trial-used`, `license/no-seat`, `license/seat-held`.
 */
export async function activate(
  records: StoreRecords,
  now: Instant,
  mint: Mint,
  activating: Activating,
): Promise<Activated> {
  const { request, days, actor } = activating;
  const row = await findLicense(records, request);
  const known = await records.activationByRequest(row.id, request.requestId);
  if (known !== null && known.device === request.device)
    return { license: row.envelope, lease: known.lease, again: true };
  if (days === null) await useChallenge(records, now, request);
  const license = licenseIn(row);
  refuseUnfit(row, license, request, now);
  const life = days === null ? undefined : lifeByFile(license, days);
  const trialBegan = license.kind === "trial" ? await beginTrial(records, now, license, request) : null;
  const before = await activationHere(records, row.id, request);
  const id = before?.id ?? newId(mint.random, "act");
  const slot =
    before?.slot ?? (await takeSeat(records, now, license, { activation: id, device: request.device }));
  const base = {
    id,
    device: request.device,
    spkiSha256: request.cnf.spkiSha256,
    slot,
    seq: before?.seq ?? 0,
    lease: before?.lease ?? "",
    started: before?.started ?? now,
    cloned: before?.cloned ?? null,
    restrictAt: before?.restrictAt ?? null,
  };
  const { envelope, lease } = await mintLease(mint, now, {
    row,
    license,
    activation: base,
    trialBegan,
    clientNonce: request.clientNonce,
    ...(life === undefined ? {} : { life }),
  });
  const text = fromUtf8(envelope);
  const activation: Activation = {
    ...base,
    license: row.id,
    status: "active",
    requestId: request.requestId,
    seq: lease.seq,
    nonce: lease.chainNonce,
    previousNonce: null,
    previousRequest: null,
    lease: text,
    leaseEnds: parseInstant(lease.expires),
    heldUntil: life === undefined ? null : parseInstant(lease.expires),
    history: before?.history ?? [],
    forks: before?.forks ?? [],
    released: null,
    used: before?.used ?? {},
    refused: before?.refused ?? {},
  };
  await records.putActivation(activation);
  await appendAudit(records, now, {
    actor,
    action: before === null ? "license/activated" : "license/activated-again",
    subject: row.id,
    facts: { device: request.device, activation: id, slot, ...(days === null ? {} : { days }) },
  });
  return { license: row.envelope, lease: text, again: false };
}

/** By its code; or by its id for a device that has used it before: others learn nothing of it. Error: `license/unknown`. */
async function findLicense(
  records: StoreRecords,
  { claim, license, device, product }: ActivationRequest,
): Promise<LicenseRow> {
  const row =
    claim !== undefined ? await records.licenseByClaim(claimDigest(claim)) : await records.license(license!);
  const known =
    row !== null &&
    (claim !== undefined || (await records.activations(row.id)).some((one) => one.device === device));
  if (row === null || !known)
    throw new LicenseError(
      "license/unknown",
      "There is no such license for this device.",
      {},
      {
        hint: "Check the code; it is shown once, when the license is made, and `upkeep license claim` makes another.",
      },
    );
  if (row.product !== product)
    throw new LicenseError(
      "license/wrong-product",
      `The license is for ${row.product}, not for ${product}.`,
      {
        license: row.id,
        product: row.product,
      },
    );
  return row;
}

export function claimDigest(code: string): string {
  return sha256Hex(toUtf8(code));
}

async function useChallenge(records: StoreRecords, now: Instant, request: ActivationRequest): Promise<void> {
  if (request.challenge !== null && (await records.dropChallenge(request.challenge, request.device, now)))
    return;
  throw new LicenseError(
    "license/bad-challenge",
    "The challenge of this request was used before, has expired, or was given to another device.",
    { device: request.device },
    { hint: "The device asks for another by itself; run the command again." },
  );
}

function refuseUnfit(row: LicenseRow, license: License, request: ActivationRequest, now: Instant): void {
  if (row.revokedAt !== null && row.revokedAt <= now)
    throw new LicenseError("license/revoked", "The license was taken back.", { license: row.id });
  if (license.expires !== null && parseInstant(license.expires) <= now)
    throw new LicenseError("license/expired", `The license ended at ${license.expires}.`, {
      license: row.id,
      expires: license.expires,
    });
  if (license.policy.storage === "tpm" && request.storage !== "tpm")
    throw new LicenseError(
      "license/storage",
      "The license asks for a device key inside a TPM, and this device keeps its key in a file.",
      { license: row.id, storage: request.storage },
    );
}

function lifeByFile({ id, lease }: License, days: number): number {
  const seconds = days * 86_400;
  if (seconds <= lease.offlineSeconds) return seconds;
  throw new LicenseError(
    "license/bad-input",
    `Leases by file last ${Math.floor(lease.offlineSeconds / 86_400)} day(s) at most under this license.`,
    { license: id, days },
  );
}

/** A trial begins with the first lease and is remembered for good, by the key. Error: `license/trial-used`. */
async function beginTrial(
  records: StoreRecords,
  now: Instant,
  license: License,
  request: ActivationRequest,
): Promise<Instant> {
  const { spkiSha256 } = request.cnf;
  const found = await records.trial(license.product, spkiSha256);
  if (found === null) {
    await records.addTrial(license.product, spkiSha256, license.id, request.device, now);
    return now;
  }
  const over = now - found.started >= license.trialDays! * 86_400 * SECOND;
  if (found.license === license.id && !over) return found.started;
  throw new LicenseError(
    "license/trial-used",
    `This device has had its trial of ${license.product}, from ${new Date(found.started).toISOString().slice(0, 10)} on.`,
    { product: license.product, license: found.license },
    { hint: "Buy a license: everything that was made in the trial is still there." },
  );
}

/** A device that lost what it kept goes on with its seat. */
async function activationHere(
  records: StoreRecords,
  license: string,
  { device, cnf }: ActivationRequest,
): Promise<Activation | null> {
  const found = (await records.activations(license)).find(
    (one) => one.status === "active" && one.device === device && one.spkiSha256 === cnf.spkiSha256,
  );
  return found ?? null;
}

const LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/** 125 bits in 25 letters that people do not confuse. */
export function newClaim({ random }: Pick<Mint, "random">): string {
  const letters = [...random.bytes(25)].map((byte) => LETTERS[byte % 32]!).join("");
  return letters.replace(/(.{5})(?!$)/g, "$1-");
}
