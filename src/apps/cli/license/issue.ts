// What makes licenses: `license new`, `revise`, `sign`, `import` and `claim`. The issuer's keys sign here, or elsewhere by file.

import { resolve } from "node:path";
import { fromBase64, toBase64, toUtf8 } from "../../../core/bytes.ts";
import { readOrNull, statOrNull, writeAtomic } from "../../../core/disk.ts";
import { payloadType, preAuthEncoding, unverifiedKeyids } from "../../../core/dsse.ts";
import { formatInstant, type Instant } from "../../../core/instant.ts";
import { parseJson } from "../../../core/json.ts";
import { claimDigest, licenseIn, newClaim } from "../../../fleet/licenses/activate.ts";
import { needLicense, takeLicense } from "../../../fleet/licenses/books.ts";
import { newId } from "../../../fleet/licenses/mint.ts";
import type { LicenseRow } from "../../../fleet/license-records.ts";
import { LicenseError } from "../../../license/errors.ts";
import { parseLicense, serializeLicense, type License } from "../../../license/license.ts";
import { LICENSE_LIMIT } from "../../../license/terms.ts";
import { keysFor, type DocumentKeys } from "../../../release/trusted-keys.ts";
import { appendAudit } from "../../../fleet/audit.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { operatorOf } from "../repo/operator.ts";
import { currentTrust } from "../repo/trust-change.ts";
import { instantOf, licenseOf, parseTerms, withOptions, type Terms } from "./terms-file.ts";

export async function licenseNew(call: Call): Promise<Result> {
  const { context } = call;
  const now = context.clock.now();
  const terms = withOptions(call, await termsOf(call, undefined));
  const who = {
    id: newId(context.random, "lic"),
    rev: 1,
    customer: call.needed("customer"),
    begins: instantOf(call, "from") ?? now,
    ends: instantOf(call, "until"),
  };
  const claim = newClaim({ random: context.random });
  return issue(call, licenseOf(terms, who, now), claim);
}

export async function licenseRevise(call: Call): Promise<Result> {
  const id = call.argument(0);
  const now = call.context.clock.now();
  const { license } = await readFleet(call, (records) => needLicense(records, id));
  const given = call.text("plan") !== undefined || call.text("terms") !== undefined;
  const until = instantOf(call, "until");
  const begins: Instant = instantOf(call, "from") ?? Date.parse(license.notBefore);
  const customer = call.text("customer") ?? license.customer;
  const next = { id, rev: license.rev + 1, customer, begins, ends: until };
  const revised = given
    ? licenseOf(withOptions(call, await termsOf(call, license.product)), next, now)
    : changed(call, license, until, now, customer);
  if (revised.product !== license.product)
    throw usage(`The terms are for ${revised.product}, and ${id} is for ${license.product}.`);
  return issue(call, revised, null);
}

/** The next revision of a license, with what the command line names and nothing else changed. */
function changed(
  call: Call,
  license: License,
  until: Instant | undefined,
  now: Instant,
  customer: string,
): License {
  const drop = new Set(call.list("drop-feature"));
  const kept = Object.fromEntries(Object.entries(license.features).filter(([name]) => !drop.has(name)));
  const { features, seats } = withOptions(call, {
    product: license.product,
    features: kept,
    seats: license.seats,
  });
  const days = call.whole("days", 1, 36_600);
  const ends = until ?? (days === undefined ? undefined : now + days * 86_400_000);
  const updatesUntil = instantOf(call, "updates-until");
  return {
    ...license,
    rev: license.rev + 1,
    customer,
    issued: formatInstant(now),
    features: features!,
    seats: { ...license.seats, ...seats },
    ...(ends === undefined ? {} : { expires: formatInstant(ends) }),
    ...(updatesUntil === undefined
      ? {}
      : { updates: { ...license.updates, until: formatInstant(updatesUntil) } }),
  };
}

/** Signs with the keys that are here; where others have to sign as well, the document goes to them as a file. */
async function issue(call: Call, license: License, claim: string | null): Promise<Result> {
  const issuers = await issuersOf(call, license.product);
  const signed = await addSignatures(call, envelopeOf(license), issuers);
  if (unverifiedKeyidsOf(signed).length >= issuers.threshold)
    return store(call, signed, license.product, issuers, claim);
  const out = call.text("out");
  if (out === undefined)
    throw new LicenseError(
      "license/unsigned",
      `The license needs ${issuers.threshold} signature(s) of its issuers, and ${unverifiedKeyidsOf(signed).length} of their keys are here.`,
      { need: issuers.threshold },
      {
        hint: "Give --out FILE, have it signed with `upkeep license sign FILE` elsewhere, then `upkeep license import FILE`.",
      },
    );
  await writeNew(call, out, signed);
  return {
    text: `${out} needs ${issuers.threshold} signature(s) and has ${unverifiedKeyidsOf(signed).length}: upkeep license sign ${out} on another issuer's machine, then upkeep license import ${out} here.`,
    json: {
      file: resolve(out),
      license: license.id,
      signatures: unverifiedKeyidsOf(signed).length,
      need: issuers.threshold,
    },
    exit: EXIT.pending,
  };
}

export async function licenseSign(call: Call): Promise<Result> {
  const file = call.argument(0);
  const bytes = await call.context.disk.read(resolve(file), LICENSE_LIMIT);
  const license = payloadOf(bytes);
  const issuers = await issuersOf(call, license.product);
  const signed = await addSignatures(call, bytes, issuers);
  const count = unverifiedKeyidsOf(signed).length;
  await writeAtomic(call.context.disk, resolve(file), signed, 0o644);
  return {
    text: `${describe(license)}\n${file} has ${count} of ${issuers.threshold} signature(s).`,
    json: { file: resolve(file), license: license.id, signatures: count, need: issuers.threshold },
    exit: count >= issuers.threshold ? EXIT.ok : EXIT.pending,
  };
}

export async function licenseImport(call: Call): Promise<Result> {
  const bytes = await call.context.disk.read(resolve(call.argument(0)), LICENSE_LIMIT);
  const license = payloadOf(bytes);
  const issuers = await issuersOf(call, license.product);
  const claim = license.rev === 1 ? newClaim({ random: call.context.random }) : null;
  return store(call, bytes, license.product, issuers, claim);
}

/** Another code for a license; the one before opens nothing any more. */
export async function licenseClaim(call: Call): Promise<Result> {
  const id = call.argument(0);
  const claim = newClaim({ random: call.context.random });
  await withFleet(call, async (records, now) => {
    const { row } = await needLicense(records, id);
    await records.putLicense({ ...row, claimSha256: claimDigest(claim), changed: now });
    await appendAudit(records, now, { actor: actor(), action: "license/claim-made", subject: id, facts: {} });
  });
  call.context.note("It is shown this once; the code before it opens nothing any more.");
  return { text: claim, json: { license: id, claim } };
}

async function store(
  call: Call,
  envelope: Uint8Array,
  product: string,
  issuers: DocumentKeys,
  claim: string | null,
): Promise<Result> {
  const row = await withFleet(call, (records, now) =>
    takeLicense(
      records,
      { actor: actor(), now },
      envelope,
      product,
      issuers,
      claim === null ? null : claimDigest(claim),
    ),
  );
  return stored(call, row, claim);
}

function stored(call: Call, row: LicenseRow, claim: string | null): Result {
  const license = licenseIn(row);
  if (claim !== null) call.context.note("The code is shown this once; `upkeep license claim` makes another.");
  return {
    text: [describe(license), ...(claim === null ? [] : [claim])].join("\n"),
    json: { license: row.id, rev: row.rev, product: row.product, ...(claim === null ? {} : { claim }) },
  };
}

export function describe({ id, rev, product, customer, kind, expires, seats }: License): string {
  const until = expires === null ? "without end" : `until ${expires}`;
  return `${id} revision ${rev}: ${kind} of ${product} for ${customer}, ${seats.max} ${seats.model} seat(s), ${until}`;
}

/** The issuers that the repository of this data folder names. Errors: `release/no-key`. */
export async function issuersOf(call: Call, product: string): Promise<DocumentKeys> {
  return keysFor(await currentTrust(operatorOf(call)), "license", product);
}

async function termsOf(call: Call, product: string | undefined): Promise<Terms> {
  const plan = call.text("plan");
  const file = call.text("terms");
  if (plan !== undefined && file !== undefined) throw usage("Give --plan or --terms, not both.");
  if (plan !== undefined) {
    const found = await readFleet(call, (records) => records.plan(plan));
    if (found === null)
      throw usage(`There is no plan ${plan.slice(0, 64)}.`, "`upkeep license plan list` shows all.");
    return parseTerms(toUtf8(found.terms), `the plan ${plan}`);
  }
  if (file !== undefined) {
    const bytes = await readOrNull(call.context.disk, resolve(file), LICENSE_LIMIT);
    if (bytes === null) throw usage(`There is no file ${file}.`);
    return parseTerms(bytes, file);
  }
  const named = product ?? call.text("product");
  if (named === undefined) throw usage("Of which product? Give --product, --plan or --terms.");
  return { product: named };
}

type Envelope = { readonly payload: string; readonly signatures: readonly { keyid: string; sig: string }[] };

function envelopeOf(license: License): Uint8Array {
  return spelled({ payload: toBase64(serializeLicense(license)), signatures: [] });
}

function spelled({ payload, signatures }: Envelope): Uint8Array {
  return toUtf8(`${JSON.stringify({ payloadType: payloadType("license"), payload, signatures })}\n`);
}

function payloadOf(bytes: Uint8Array): License {
  const value = parseJson(bytes) as unknown as Envelope & { readonly payloadType: string };
  if (value.payloadType !== payloadType("license")) throw usage("The file holds no license.");
  return parseLicense(fromBase64(value.payload));
}

/** Signatures of keys that are trusted and here are added; those that are there stay. */
async function addSignatures(call: Call, bytes: Uint8Array, issuers: DocumentKeys): Promise<Uint8Array> {
  const { payload, signatures } = parseJson(bytes) as unknown as Envelope;
  const message = preAuthEncoding(payloadType("license"), fromBase64(payload));
  const missing = issuers.keys.filter(({ keyid }) => !signatures.some((one) => one.keyid === keyid));
  const added: { keyid: string; sig: string }[] = [];
  for (const signer of await operatorOf(call).ring(missing))
    added.push({ keyid: signer.publicKey.keyid, sig: toBase64(await signer.sign(message)) });
  return spelled({ payload, signatures: [...signatures, ...added] });
}

function unverifiedKeyidsOf(bytes: Uint8Array): readonly string[] {
  const { signatures } = parseJson(bytes) as unknown as Envelope;
  return signatures.length === 0 ? [] : unverifiedKeyids(bytes);
}

export async function writeNew(call: Call, file: string, bytes: Uint8Array): Promise<void> {
  if ((await statOrNull(call.context.disk, resolve(file))) !== null)
    throw usage(`There is a file ${file} already; nothing was written.`);
  await writeAtomic(call.context.disk, resolve(file), bytes, 0o644);
}
