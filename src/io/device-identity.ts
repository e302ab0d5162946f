// What makes a folder the agent of one device: its keys, its certificate, its server, its root of trust.

import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { AgentError } from "../agent/errors.ts";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { makeDirectories, readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, sha256Schema, z } from "../core/schema.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import { deviceIdSchema } from "../message/common.ts";
import type { ClientIdentity, ServerIdentity } from "./tls.ts";

const recordSchema = z.strictObject({
  format: z.literal(1),
  device: deviceIdSchema,
  server: z.strictObject({
    host: z.string().check(z.minLength(1), z.maxLength(255)),
    port: z.number().check(z.int(), z.minimum(1), z.maximum(65535)),
  }),
  /** SHA-256 of the SubjectPublicKeyInfo of the server CAs that are believed. */
  pins: z.array(sha256Schema).check(z.minLength(1), z.maxLength(16)),
});
export type IdentityRecord = z.infer<typeof recordSchema>;

export type StoredIdentity = {
  readonly record: IdentityRecord;
  readonly server: ServerIdentity;
  readonly client: ClientIdentity;
  readonly reportKey: Signer;
  /** `1.root.json` as it was pinned by the enrolment token. */
  readonly root: Uint8Array;
  /** When the device certificate ends. */
  readonly expires: number;
};

const LIMIT = 1024 * 1024;
const RECORD = "identity.json";

/** True once enrolment was finished: the record is written last. */
export async function isEnrolled(disk: Disk, folder: string): Promise<boolean> {
  return (await readOrNull(disk, `${folder}/${RECORD}`, LIMIT)) !== null;
}

/** Errors: `agent/not-enrolled`, `schema/invalid`, `disk/*`. */
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
  const record = checkSchema(recordSchema, parseJson(bytes), "identity of the device");
  const text = async (name: string): Promise<string> => fromUtf8(await disk.read(`${folder}/${name}`, LIMIT));
  const certificates = await text("device.crt");
  return {
    record,
    server: { ...record.server, authorities: splitPem(await text("authorities.pem")), pins: record.pins },
    client: { key: await text("device.key"), certificates },
    reportKey: localSigner(createPrivateKey(await text("report.key")), "ed25519"),
    root: await disk.read(`${folder}/1.root.json`, LIMIT),
    expires: new X509Certificate(certificates).validToDate.getTime(),
  };
}

/** The keys of a device, made once and kept over failed enrolments. Private keys are 0600 in a 0700 folder. */
export async function deviceKeys(
  disk: Disk,
  folder: string,
): Promise<{ readonly tls: Signer; readonly report: Signer }> {
  await makeDirectories(disk, folder, 0o700);
  await disk.chmod(folder, 0o700);
  const load = async (name: string, make: () => string): Promise<string> => {
    const found = await readOrNull(disk, `${folder}/${name}`, LIMIT);
    if (found !== null) return fromUtf8(found);
    const made = make();
    await writeAtomic(disk, `${folder}/${name}`, toUtf8(made), 0o600);
    return made;
  };
  const tls = await load("device.key", () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    return String(privateKey.export({ type: "pkcs8", format: "pem" }));
  });
  const report = await load("report.key", () =>
    String(generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" })),
  );
  return {
    tls: localSigner(createPrivateKey(tls), "ecdsa-sha2-nistp256"),
    report: localSigner(createPrivateKey(report), "ed25519"),
  };
}

/** Writes the rest; the record last, so that a half-finished enrolment is none. */
export async function saveIdentity(
  disk: Disk,
  folder: string,
  identity: {
    readonly record: IdentityRecord;
    readonly authorities: readonly string[];
    readonly certificates: string;
    readonly root: Uint8Array;
  },
): Promise<void> {
  await writeAtomic(disk, `${folder}/1.root.json`, identity.root, 0o644);
  await writeAtomic(disk, `${folder}/authorities.pem`, toUtf8(identity.authorities.join("")), 0o644);
  await saveCertificates(disk, folder, identity.certificates);
  await writeAtomic(
    disk,
    `${folder}/${RECORD}`,
    toUtf8(`${JSON.stringify(identity.record, null, 1)}\n`),
    0o600,
  );
}

export function saveCertificates(disk: Disk, folder: string, certificates: string): Promise<void> {
  return writeAtomic(disk, `${folder}/device.crt`, toUtf8(certificates), 0o644);
}

function splitPem(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/g) ?? [];
}
