// What makes a folder the agent of one device: its keys, its certificate, its server, its root of trust.

import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { AgentError } from "../../agent/errors.ts";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { makeDirectories, readOrNull, removeTree, writeAtomic, type Disk } from "../../core/disk.ts";
import { sha256Hex } from "../../core/digest.ts";
import type { Instant } from "../../core/instant.ts";
import { parseJson } from "../../core/json.ts";
import { checkSchema, sha256Schema, z } from "../../core/schema.ts";
import { localSigner, type Signer } from "../../keys/signer.ts";
import { deviceIdSchema } from "../../message/common.ts";
import type { ClientIdentity, ServerIdentity } from "./tls.ts";

const placeSchema = z.strictObject({
  host: z.string().check(z.minLength(1), z.maxLength(255)),
  port: z.number().check(z.int(), z.minimum(1), z.maximum(65535)),
});

const recordSchema = z.strictObject({
  format: z.literal(1),
  device: deviceIdSchema,
  server: placeSchema,
  /** Further addresses of the same server or fleet, used in turn when the first does not answer. */
  others: z.exactOptional(z.array(placeSchema).check(z.maxLength(8))),
  /** SHA-256 of the SubjectPublicKeyInfo of the server CAs that are believed. */
  pins: z.array(sha256Schema).check(z.minLength(1), z.maxLength(16)),
  /** SHA-256 of the report key's SubjectPublicKeyInfo: reports by another key would be refused by the server, far too late. */
  reportKey: z.exactOptional(sha256Schema),
});
export type IdentityRecord = z.infer<typeof recordSchema>;

export type StoredIdentity = {
  readonly record: IdentityRecord;
  readonly server: ServerIdentity;
  readonly client: ClientIdentity;
  /** A renewed certificate that the server has not accepted yet; `client` is good until it has. */
  readonly renewed: ClientIdentity | null;
  readonly reportKey: Signer;
  /** `1.root.json` as it was pinned by the enrolment token. */
  readonly root: Uint8Array;
};

const LIMIT = 1024 * 1024;
const RECORD = "identity.json";
/** TLS key and certificate chain in one file, so that a renewal replaces both or neither. */
const DEVICE = "device.pem";
/** The same for a renewed certificate, until the server accepted it. */
const RENEWED = "device.renewed.pem";

/** True once enrolment was finished: the record is written last. */
export async function isEnrolled(disk: Disk, folder: string): Promise<boolean> {
  return (await readOrNull(disk, `${folder}/${RECORD}`, LIMIT)) !== null;
}

/** Errors: `agent/not-enrolled`, `agent/damaged-identity`, `disk/*`. */
export async function loadIdentity(disk: Disk, folder: string): Promise<StoredIdentity> {
  const bytes = await readOrNull(disk, `${folder}/${RECORD}`, LIMIT);
  if (bytes === null) {
    throw new AgentError(
      "agent/not-enrolled",
      `${folder} holds no identity: this device is not enrolled.`,
      { folder },
      { hint: "Run `upkeep agent enroll --server HOST:PORT` with a token from `upkeep token new`." },
    );
  }
  const whole = async <T>(name: string, read: (bytes: Uint8Array) => T): Promise<T> => {
    const path = `${folder}/${name}`;
    const content = name === RECORD ? bytes : await disk.read(path, LIMIT);
    try {
      return read(content);
    } catch (cause) {
      throw damaged(path, cause);
    }
  };
  const record = await whole(RECORD, (json) =>
    checkSchema(recordSchema, parseJson(json), "identity of the device"),
  );
  const authorities = await whole("authorities.pem", (pem) => {
    const found = splitPem(fromUtf8(pem));
    if (found.length === 0) throw new Error("it holds no certificate");
    for (const authority of found) {
      const certificate = new X509Certificate(authority);
      // Reads every byte of it, where parsing alone reads few.
      if (certificate.subject === certificate.issuer && !certificate.verify(certificate.publicKey))
        throw new Error("a certificate in it is not signed by its own key");
    }
    return found;
  });
  const client = await whole(DEVICE, (pem) => {
    const parts = splitDevice(fromUtf8(pem));
    checkPair(parts);
    return parts;
  });
  const reportKey = await whole("report.key", (pem) => {
    const signer = localSigner(createPrivateKey(fromUtf8(pem)), "ed25519");
    if (record.reportKey !== undefined && sha256Hex(signer.publicKey.spki) !== record.reportKey)
      throw new Error("it is another key than the one that was enrolled");
    return signer;
  });
  return {
    record,
    server: { ...record.server, authorities, pins: record.pins },
    client,
    renewed: await loadRenewed(disk, folder),
    reportKey,
    root: await disk.read(`${folder}/1.root.json`, LIMIT),
  };
}

/** One that cannot be read is as good as none: the one in use holds, and is renewed again. */
async function loadRenewed(disk: Disk, folder: string): Promise<ClientIdentity | null> {
  const pem = await readOrNull(disk, `${folder}/${RENEWED}`, LIMIT);
  if (pem === null) return null;
  try {
    const parts = splitDevice(fromUtf8(pem));
    checkPair(parts);
    return parts;
  } catch {
    return null;
  }
}

function checkPair({ key, certificates }: ClientIdentity): void {
  if (!new X509Certificate(certificates).checkPrivateKey(createPrivateKey(key)))
    throw new Error("its key and its certificate do not belong together");
}

/** From when until when a certificate (PEM, leaf first) is good. */
export function datesOf(certificates: string): { readonly notBefore: Instant; readonly notAfter: Instant } {
  const { validFromDate, validToDate } = new X509Certificate(certificates);
  return { notBefore: validFromDate.getTime(), notAfter: validToDate.getTime() };
}

function damaged(path: string, cause: unknown): AgentError {
  return new AgentError(
    "agent/damaged-identity",
    `${path} is not as it was written: either somebody changed it, or the disk is failing.`,
    { path },
    {
      cause,
      hint: "Put it back from a backup, or stop the agent, move the folder `identity` away and enroll again. What is installed stays.",
    },
  );
}

/** The keys of a device, made once and kept over failed enrolments. Private keys are 0600 in a 0700 folder. */
export async function deviceKeys(
  disk: Disk,
  folder: string,
): Promise<{ readonly tls: Signer; readonly tlsPem: string; readonly report: Signer }> {
  await makeDirectories(disk, folder, 0o700);
  await disk.chmod(folder, 0o700);
  const load = async (name: string, make: () => string): Promise<string> => {
    const found = await readOrNull(disk, `${folder}/${name}`, LIMIT);
    if (found !== null) return fromUtf8(found);
    const made = make();
    await writeAtomic(disk, `${folder}/${name}`, toUtf8(made), 0o600);
    return made;
  };
  const tls = await load("device.key", newTlsKey);
  const report = await load("report.key", () =>
    String(generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" })),
  );
  return {
    tls: tlsSigner(tls),
    tlsPem: tls,
    report: localSigner(createPrivateKey(report), "ed25519"),
  };
}

/** A new TLS key, PEM. */
export function newTlsKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return String(privateKey.export({ type: "pkcs8", format: "pem" }));
}

export function tlsSigner(pem: string): Signer {
  return localSigner(createPrivateKey(pem), "ecdsa-sha2-nistp256");
}

/** Writes the rest; the record last, so that a half-finished enrolment is none. */
export async function saveIdentity(
  disk: Disk,
  folder: string,
  identity: {
    readonly record: IdentityRecord;
    readonly authorities: readonly string[];
    readonly client: ClientIdentity;
    readonly root: Uint8Array;
  },
): Promise<void> {
  await writeAtomic(disk, `${folder}/1.root.json`, identity.root, 0o644);
  await writeAtomic(disk, `${folder}/authorities.pem`, toUtf8(identity.authorities.join("")), 0o644);
  await saveClient(disk, folder, identity.client);
  await writeAtomic(
    disk,
    `${folder}/${RECORD}`,
    toUtf8(`${JSON.stringify(identity.record, null, 1)}\n`),
    0o600,
  );
  await removeTree(disk, `${folder}/device.key`);
}

/** Key and certificate together, in one file. */
function saveClient(disk: Disk, folder: string, client: ClientIdentity, name = DEVICE): Promise<void> {
  return writeAtomic(disk, `${folder}/${name}`, toUtf8(`${client.key}${client.certificates}`), 0o600);
}

/** Beside the one in use, which stays until the server has accepted this one. */
export function saveRenewed(disk: Disk, folder: string, renewed: ClientIdentity): Promise<void> {
  return saveClient(disk, folder, renewed, RENEWED);
}

/** The server accepted the renewed certificate: it takes the place of the one before. */
export async function adoptRenewed(disk: Disk, folder: string): Promise<void> {
  await disk.rename(`${folder}/${RENEWED}`, `${folder}/${DEVICE}`);
  await disk.syncDirectory(folder);
}

/** The server did not accept the renewed certificate, and accepts the one in use. */
export async function dropRenewed(disk: Disk, folder: string): Promise<void> {
  await disk.removeFile(`${folder}/${RENEWED}`);
  await disk.syncDirectory(folder);
}

function splitDevice(text: string): ClientIdentity {
  const at = text.indexOf("-----BEGIN CERTIFICATE-----");
  return { key: text.slice(0, Math.max(0, at)), certificates: text.slice(Math.max(0, at)) };
}

function splitPem(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/g) ?? [];
}
