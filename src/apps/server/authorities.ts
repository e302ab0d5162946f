// The server's authorities on disk, and its own certificate, which is made anew at every start and before it ends.

import { generateKeyPairSync } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { formatInstant } from "../../core/instant.ts";
import { makeDirectories, readOrNull, writeAtomic, type Disk } from "../../core/disk.ts";
import type { Random } from "../../core/random.ts";
import { certificatePem, parseCertificatesPem, type Certificate } from "../../der/x509.ts";
import { createAuthority, issueServer, spkiDigest, type Authority } from "../../identity/authority.ts";
import { IdentityError } from "../../identity/errors.ts";
import { openKeyStore } from "../../io/key-store.ts";

const CERTIFICATE_FILE_LIMIT = 64 * 1024;

export type Authorities = {
  /** Devices know the server by it; its key is what enrolment tokens pin. */
  readonly server: Authority;
  /** The server knows devices by it. */
  readonly device: Authority;
};

export type AuthorityTools = { readonly disk: Disk; readonly random: Random; readonly clock: Clock };

/** Loads both authorities from `<folder>`, making them on first use. Errors: `key/*`, `disk/*`, `identity/bad-certificate`. */
export async function openAuthorities(folder: string, tools: AuthorityTools): Promise<Authorities> {
  await makeDirectories(tools.disk, folder, 0o700);
  const server = await openAuthority(folder, "server-ca", "Upkeep server authority", tools);
  const device = await openAuthority(folder, "device-ca", "Upkeep device authority", tools);
  return { server, device };
}

async function openAuthority(
  folder: string,
  name: string,
  title: string,
  { disk, random, clock }: AuthorityTools,
): Promise<Authority> {
  const keys = openKeyStore(folder, { disk, random, ask: async () => null });
  if (!(await keys.list()).some((info) => info.name === name)) {
    await keys.create({ name, scheme: "ecdsa-sha2-nistp256", passphrase: null, created: clock.now() });
  }
  const signer = await keys.signer(name);
  const path = `${folder}/${name}.crt.pem`;
  const found = await readOrNull(disk, path, CERTIFICATE_FILE_LIMIT);
  // A crash between key and certificate leaves a key alone: the certificate is made for it then.
  if (found === null) {
    const authority = await createAuthority({ name: title, signer, now: clock.now(), random });
    await writeAtomic(disk, path, toUtf8(certificatePem(authority.certificate)));
    return authority;
  }
  const [certificate] = parseCertificatesPem(fromUtf8(found)) as [Certificate];
  if (spkiDigest(certificate.spki) !== spkiDigest(signer.publicKey.spki)) {
    throw new IdentityError(
      "identity/bad-certificate",
      `The certificate ${path} does not belong to the key beside it.`,
      { path },
      { hint: "Put back both files from the same backup." },
    );
  }
  const now = clock.now();
  if (now < certificate.notBefore) {
    throw new IdentityError(
      "identity/wrong-clock",
      `This machine's clock says ${formatInstant(now)}, which is before this server's authority came to be (${formatInstant(certificate.notBefore)}): the clock is wrong. Nothing was changed.`,
      { path, clock: formatInstant(now) },
      { hint: "Set the clock and start the server again." },
    );
  }
  return { certificate, signer };
}

export type ServerCertificate = {
  readonly key: string;
  /** Leaf and server authority: a device at enrolment finds the pinned key in it. */
  readonly cert: string;
  readonly certificate: Certificate;
};

/** A certificate for a key that lives in memory only. */
export async function makeServerCertificate(
  authority: Authority,
  names: readonly string[],
  { random, clock }: Pick<AuthorityTools, "random" | "clock">,
): Promise<ServerCertificate> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
  const certificate = await issueServer(authority, { names, spki, now: clock.now(), random });
  return {
    key: String(privateKey.export({ type: "pkcs8", format: "pem" })),
    cert: certificatePem(certificate) + certificatePem(authority.certificate),
    certificate,
  };
}
