// What the verbs of `location` do: write, sign and publish the list of hosts, one version after the other.

import { resolve } from "node:path";
import { fromBase64, toBase64, toUtf8 } from "../../../core/bytes.ts";
import { sha256Hex } from "../../../core/digest.ts";
import { statOrNull, writeAtomic } from "../../../core/disk.ts";
import { payloadType, preAuthEncoding } from "../../../core/dsse.ts";
import { DAY, formatInstant } from "../../../core/instant.ts";
import { parseJson, type Json } from "../../../core/json.ts";
import { checkSchema, sha256Schema, z } from "../../../core/schema.ts";
import { LocationError } from "../../../identity/location-errors.ts";
import {
  checkNext,
  LOCATION_LIMIT,
  locationTarget,
  openLocations,
  readLocations,
  writeLocations,
  type LocationPlace,
  type Locations,
} from "../../../identity/locations.ts";
import { TRUSTED_KEYS_TARGET } from "../../../release/target-names.ts";
import { keysFor, parseTrustedKeys, type TrustedKeys } from "../../../release/trusted-keys.ts";
import type { Draft } from "../../../repository/publish/draft.ts";
import { targetFileOf, type NamedKey } from "../../../repository/publish/new-repository.ts";
import { readTargetOf } from "../../../repository/publish/publisher.ts";
import { firstRootDigest } from "../../server/repository-watch.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { columns } from "../../framework/style.ts";
import { keysOf } from "../key/keys.ts";
import { conclude, refuseWhileOpen } from "../repo/ceremony.ts";
import { findOrMake, noReserve, readPublicKey } from "../repo/init.ts";
import { operatorOf, type Operator } from "../repo/operator.ts";
import { changeTrust } from "../repo/trust-change.ts";
import { readSplit } from "./place.ts";

const draftSchema = z.strictObject({
  format: z.literal(1),
  body: z.string(),
  signatures: z.array(z.strictObject({ keyid: sha256Schema, sig: z.string() })).check(z.maxLength(16)),
});
type DraftFile = z.infer<typeof draftSchema>;

export async function locationInit(call: Call): Promise<Result> {
  await refuseWhileOpen(call);
  const operator = operatorOf(call);
  const files = call.list("key");
  const total = files.length > 0 ? files.length : (call.whole("keys", 1, 16) ?? 3);
  const threshold = call.whole("threshold", 1, total) ?? Math.floor(total / 2) + 1;
  if (total > 1 && threshold === total) call.context.note(noReserve("location", threshold));
  const wrap = call.flag("passphrase") || call.text("passphrase-file") !== undefined;
  const passphrase = wrap
    ? await call.context.secret({
        what: "New passphrase for the location keys",
        env: "UPKEEP_PASSPHRASE",
        file: call.text("passphrase-file"),
        option: "--passphrase-file",
        twice: true,
      })
    : null;
  const keys: NamedKey[] = [];
  for (const file of files) keys.push(await readPublicKey(call, file));
  for (let i = 1; keys.length < total; i++) {
    const info = await findOrMake(operator, call, `location-${i}`, passphrase, "ed25519");
    keys.push({ name: info.name, key: info.publicKey });
  }
  const keyids = keys.map(({ key }) => key.keyid);
  if (new Set(keyids).size !== keyids.length) throw usage("Two of the keys are the same key.");
  const outcome = await changeTrust(operator, async (trusted, draft) => {
    const before = trusted.grants.find(({ kind }) => kind === "location");
    draft.trace("key/added", "documents location", {
      before: before?.keyids ?? null,
      after: keyids,
      threshold,
    });
    return {
      keys: new Map([...trusted.keys, ...keys.map(({ key }) => [key.keyid, key] as const)]),
      grants: [
        ...trusted.grants.filter((grant) => grant !== before),
        { kind: "location", products: "*", keyids, threshold },
      ],
    };
  });
  const concluded = await conclude(call, outcome, "name the location keys");
  return {
    text: `location: ${threshold} of ${total} keys must sign\n${concluded.text}\nMove location-*.key.json to media that different people lock away.`,
    json: { threshold, keys: keys.map(({ name, key }) => ({ name, keyid: key.keyid })), ...concluded.json },
    exit: concluded.exit,
  };
}

export async function locationNew(call: Call): Promise<Result> {
  const { context } = call;
  const out = resolve(call.needed("out"));
  if ((await statOrNull(context.disk, out)) !== null) throw usage(`${out} is there already.`);
  const servers = call.list("server").map(placeOf);
  if (servers.length === 0) throw usage("Which server? Give --server host:port.");
  const operator = operatorOf(call);
  const draft = await operator.look();
  const newest = await newestPublished(operator, draft);
  const fleet = await fleetOf(call);
  const retire = call.list("retire").map(placeOf);
  const now = context.clock.now();
  const document: Locations = {
    fleet,
    version: newest.version + 1,
    previous: newest.sha256,
    issued: formatInstant(now),
    expires: formatInstant(now + (call.whole("days", 1, 730) ?? 365) * DAY),
    servers,
    mirrors: [...call.list("mirror")],
    ...(retire.length === 0 ? {} : { retire }),
    trial: {
      seconds: call.whole("trial-seconds", 10, 90 * 86_400) ?? 604_800,
      successes: call.whole("successes", 1, 1000) ?? 5,
    },
  };
  const body = writeLocations(document);
  await writeDraft(call, out, { format: 1, body: toBase64(body), signatures: [] });
  return {
    text: `${describe(document)}\n${out}: for people to sign with upkeep location sign.`,
    json: { file: out, document: document as unknown as Json },
  };
}

export async function locationSign(call: Call): Promise<Result> {
  const file = resolve(call.argument(0));
  const draft = await readDraft(call, file);
  const body = fromBase64(draft.body);
  const document = readLocations(body);
  const names = call.list("key");
  if (names.length === 0) throw usage("Which key signs? Give --key.");
  const signatures = new Map(draft.signatures.map((one) => [one.keyid, one]));
  const message = preAuthEncoding(payloadType("location"), body);
  for (const name of names) {
    const signer = await keysOf(call).signer(name);
    const { keyid } = signer.publicKey;
    signatures.set(keyid, { keyid, sig: toBase64(await signer.sign(message)) });
  }
  await writeDraft(call, file, { ...draft, signatures: [...signatures.values()] });
  return {
    text: `${describe(document)}\n${file}: ${signatures.size} signature(s).`,
    json: { file, version: document.version, signatures: [...signatures.keys()] },
  };
}

export async function locationPublish(call: Call): Promise<Result> {
  await refuseWhileOpen(call);
  const operator = operatorOf(call);
  const file = resolve(call.argument(0));
  const { body, signatures } = await readDraft(call, file);
  const envelope = toUtf8(
    `${JSON.stringify({ payloadType: payloadType("location"), payload: body, signatures })}\n`,
  );
  const { keys, threshold } = locationKeys(await trustedKeys(operator, await operator.look()));
  const good = signatures.filter(({ keyid }) => keys.some((key) => key.keyid === keyid));
  if (good.length < threshold)
    throw new LocationError(
      "location/waits-for-signatures",
      `${file} carries ${good.length} of the ${threshold} signatures that it needs.`,
      { signatures: good.length, threshold },
      { hint: "upkeep location sign adds one." },
    );
  const { document } = openLocations(envelope, { keys, threshold });
  const target = locationTarget(document.version);
  const fleet = await fleetOf(call);
  const outcome = await operator.publisher.change(async (draft) => {
    checkNext(document, await newestPublished(operator, draft), { fleet, now: call.context.clock.now() });
    const placed = targetFileOf(envelope);
    draft.trace("location/published", target, {
      before: document.version - 1,
      after: document.version,
      servers: document.servers.map(({ host, port }) => `${host}:${port}`),
      signers: good.map(({ keyid }) => keyid),
    });
    await draft.changeTargets("targets", { put: new Map([[target, placed]]) });
    await operator.publisher.placeBytes(target, placed, envelope);
  });
  const concluded = await conclude(call, outcome, `publish version ${document.version} of the locations`);
  return {
    text: `${describe(document)}\n${concluded.text}\nKeep the old hosts until devices have moved; those that are switched off come back by them.`,
    json: { version: document.version, ...concluded.json },
    exit: concluded.exit,
  };
}

export async function locationStatus(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const draft = await operator.look();
  const trusted = await trustedKeys(operator, draft);
  const grant = trusted.grants.find(({ kind }) => kind === "location");
  const all: Locations[] = [];
  for (let version = 1; ; version++) {
    const bytes = await publishedAt(operator, draft, version);
    if (bytes === null) break;
    all.push(bodyOf(bytes));
  }
  const who =
    grant === undefined
      ? "No key may sign a list of hosts yet: upkeep location init."
      : `${grant.threshold} of ${grant.keyids.length} keys must sign.`;
  const rows = all.map(({ version, servers, mirrors, expires }) => [
    String(version),
    servers.map(({ host, port }) => `${host}:${port}`).join(" "),
    mirrors.join(" "),
    expires,
  ]);
  return {
    text:
      rows.length === 0
        ? `Devices ask the hosts of their enrollment: no list is published.\n${who}`
        : `${columns([["VERSION", "SERVERS", "MIRRORS", "EXPIRES"], ...rows], call.context.width)}\n${who}`,
    json: {
      versions: all as unknown as Json,
      threshold: grant?.threshold ?? null,
      keys: grant?.keyids ?? [],
    },
  };
}

function describe({ version, servers, mirrors, retire = [], expires, trial }: Locations): string {
  const lines = [
    ["version", String(version)],
    ["servers", servers.map(({ host, port }) => `${host}:${port}`).join(", ")],
    ["mirrors", mirrors.length === 0 ? "none" : mirrors.join(", ")],
    ["retires", retire.length === 0 ? "none" : retire.map(({ host, port }) => `${host}:${port}`).join(", ")],
    ["until", expires],
    ["settled", `after ${trial.successes} check-ins within ${trial.seconds} s`],
  ];
  return columns(lines);
}

async function newestPublished(
  operator: Operator,
  draft: Draft,
): Promise<{ readonly version: number; readonly sha256: string | null }> {
  let held: { readonly version: number; readonly sha256: string | null } = { version: 0, sha256: null };
  for (;;) {
    const bytes = await publishedAt(operator, draft, held.version + 1);
    if (bytes === null) return held;
    held = { version: held.version + 1, sha256: sha256Hex(bytes) };
  }
}

async function publishedAt(operator: Operator, draft: Draft, version: number): Promise<Uint8Array | null> {
  const target = locationTarget(version);
  if ((await draft.find(target)) === null) return null;
  const { disk, folder } = operator.releases;
  return readTargetOf(disk, folder, draft, target, LOCATION_LIMIT);
}

/** Of a published document, which TUF vouches for. */
function bodyOf(envelope: Uint8Array): Locations {
  const { payload } = parseJson(envelope) as { readonly payload: string };
  return readLocations(fromBase64(payload));
}

async function trustedKeys(operator: Operator, draft: Draft): Promise<TrustedKeys> {
  const { disk, folder } = operator.releases;
  return parseTrustedKeys(await readTargetOf(disk, folder, draft, TRUSTED_KEYS_TARGET, 1 << 20));
}

function locationKeys(trusted: TrustedKeys) {
  if (trusted.grants.some(({ kind }) => kind === "location")) return keysFor(trusted, "location", null);
  throw new LocationError(
    "location/no-key",
    "The repository names no key that may say where updates come from.",
    {},
    { hint: "upkeep location init names them." },
  );
}

async function fleetOf({ context }: Call): Promise<string> {
  const fleet = await firstRootDigest(context.disk, `${context.data}/repository`);
  if (fleet === null) throw usage("There is no repository in this data folder.");
  return fleet;
}

function placeOf(text: string): LocationPlace {
  const place = readSplit(text);
  if (place === null) throw usage(`"${text.slice(0, 100)}" is not host:port.`);
  return place;
}

async function readDraft(call: Call, file: string): Promise<DraftFile> {
  return checkSchema(
    draftSchema,
    parseJson(await call.context.disk.read(file, 64 * 1024)),
    "list of hosts to sign",
  );
}

function writeDraft(call: Call, file: string, draft: DraftFile): Promise<void> {
  return writeAtomic(call.context.disk, file, toUtf8(`${JSON.stringify(draft, null, 1)}\n`), 0o644);
}
