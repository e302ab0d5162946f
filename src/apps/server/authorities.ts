// The server's authorities on disk, and its own certificate, which is made anew at every start and before it ends.

import { generateKeyPairSync } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { formatInstant } from "../../core/instant.ts";
import { makePrivateDirectory, readOrNull, writeAtomic, type Disk } from "../../core/disk.ts";
import type { Random } from "../../core/random.ts";
import { certificatePem, parseCertificatesPem, type Certificate } from "../../der/x509.ts";
import { createAuthority, issueServer, spkiDigest, type Authority } from "../../identity/authority.ts";
import { IdentityError } from "../../identity/errors.ts";
import type { AuthorityKind } from "../../identity/trust-bundle.ts";
import { openKeyStore } from "../../io/keys/key-store.ts";

const CERTIFICATE_FILE_LIMIT = 64 * 1024;

export type Authorities = {
  /** Devices know the server by it; its key is what enrolment tokens pin. */
  readonly server: Authority;
  /** The server knows devices by it. */
  readonly device: Authority;
};

export type AuthorityTools = { readonly disk: Disk; readonly random: Random; readonly clock: Clock };

/** Loads both authorities from `<folder>`, making them where there is no trace of any. Errors: `identity/authority-lost`, `key/*`, `disk/*`, `identity/bad-certificate`. */
export async function openAuthorities(folder: string, tools: AuthorityTools): Promise<Authorities> {
  await makePrivateDirectory(tools.disk, folder);
  await refuseHalf(tools.disk, folder);
  const server = await openAuthority(folder, "server-ca", titleOf("server", undefined), tools);
  const device = await openAuthority(folder, "device-ca", titleOf("device", undefined), tools);
  return { server, device };
}

/**
 * Devices and tokens pin what these files hold: of a pair of which a part is lost nothing is made anew. A crash at the very first start can
 * look the same; then nobody has been told of the folder, and it can go. Throws `identity/authority-lost`.
 */
async function refuseHalf(disk: Disk, folder: string): Promise<void> {
  const names = await disk.list(folder);
  const lost = ["server-ca.key.json", "device-ca.key.json"].filter((name) => !names.includes(name));
  if (lost.length === 0 || !names.some((name) => NAME.test(name.split(".")[0]!) || name === "bundle.json"))
    return;
  throw new IdentityError(
    "identity/authority-lost",
    `${folder} has lost ${lost.join(" and ")}: a new authority would shut out every device and every token of the old one.`,
    { folder, lost },
    {
      hint: "Put the files back from a backup. If this server never came up with this folder, remove the folder and start again.",
    },
  );
}

const NAME = /^(server|device)-ca(?:-(\d{1,4}))?$/;

/** Every authority whose key and certificate are in the folder. Errors: `key/*`, `disk/*`, `identity/bad-certificate`. */
export async function authorityKeys(
  folder: string,
  tools: AuthorityTools,
): Promise<readonly (Authority & { readonly kind: AuthorityKind })[]> {
  const keys = openKeyStore(folder, { disk: tools.disk, random: tools.random, ask: async () => null });
  const found: (Authority & { readonly kind: AuthorityKind })[] = [];
  for (const { name } of await keys.list()) {
    const [, kind, number] = NAME.exec(name) ?? [];
    if (kind !== "server" && kind !== "device") continue;
    found.push({ ...(await openAuthority(folder, name, titleOf(kind, number), tools)), kind });
  }
  return found;
}

/**
 * An authority that no bundle lists yet: one that an earlier try left behind, or a new one. `listed`: SHA-256 of the keys that are listed.
 * Errors: those of `authorityKeys`.
 */
export async function spareAuthority(
  folder: string,
  kind: AuthorityKind,
  listed: ReadonlySet<string>,
  tools: AuthorityTools,
): Promise<Authority> {
  const found = (await authorityKeys(folder, tools)).filter((one) => one.kind === kind);
  const spare = found.find((one) => !listed.has(spkiDigest(one.certificate.spki)));
  if (spare !== undefined) return spare;
  const keys = openKeyStore(folder, { disk: tools.disk, random: tools.random, ask: async () => null });
  const numbers = (await keys.list())
    .map(({ name }) => NAME.exec(name))
    .filter((match) => match?.[1] === kind);
  const number = Math.max(1, ...numbers.map((match) => Number(match?.[2] ?? 1))) + 1;
  return openAuthority(folder, `${kind}-ca-${number}`, titleOf(kind, String(number)), tools);
}

/** Each has a name of its own: verifiers look for the issuer by it. */
function titleOf(kind: AuthorityKind, number: string | undefined): string {
  return `Upkeep ${kind} authority${number === undefined ? "" : ` ${number}`}`;
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
