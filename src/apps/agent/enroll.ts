// Enrolment: from a one-time token to a device with keys, a certificate, a pinned server and a pinned root of trust.

import { AgentError } from "../../agent/errors.ts";
import { fromBase64, toBase64, toHex } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import type { Instant } from "../../core/instant.ts";
import { makeDirectories, type Disk } from "../../core/disk.ts";
import { buildCsr } from "../../der/csr.ts";
import { commonName } from "../../der/names.ts";
import { toPem } from "../../der/pem.ts";
import { parseToken } from "../../identity/token.ts";
import { deviceKeys, isEnrolled, saveIdentity } from "../../io/device/device-identity.ts";
import { guardFolder, narrowFolder } from "../../io/device/folder-guard.ts";
import { httpSource } from "../../io/source/http.ts";
import { openServerClient } from "../../io/device/server-client.ts";
import { findAuthority } from "../../io/device/tls.ts";
import { enrolmentProof } from "../../message/enroll.ts";
import { readAll } from "../../mirror/source.ts";
import type { Platform } from "../../release/platform.ts";
import { refuseUnusable } from "./usable-certificate.ts";

export type Enrolment = {
  readonly disk: Disk;
  /** The agent's data folder. */
  readonly folder: string;
  readonly server: { readonly host: string; readonly port: number };
  /** The token's text: a secret. */
  readonly token: string;
  /** For people, usually the host name. */
  readonly name: string;
  readonly platform: Platform;
  /** The time by this device's clock. */
  readonly now: () => Instant;
  readonly signal: AbortSignal;
};

const ROOT_LIMIT = 512 * 1024;

/**
 * Errors: `agent/already-enrolled`, `identity/*` (wrong server, bad token), `server/*`, `mirror/*`, `agent/refused` for a root other than the pinned one.
 * Nothing counts as enrolled until everything is written; the keys are kept for the next try.
 */
export async function enrol(enrolment: Enrolment): Promise<{ readonly device: string }> {
  const { disk, folder, server, platform, signal } = enrolment;
  const identity = `${folder}/identity`;
  if (await isEnrolled(disk, identity)) {
    throw new AgentError(
      "agent/already-enrolled",
      `${folder} is enrolled already.`,
      { folder },
      { hint: "To enrol it anew, stop the agent, move its folder `identity` away and try again." },
    );
  }
  const token = parseToken(enrolment.token);
  await makeDirectories(disk, folder, 0o750);
  await narrowFolder(folder, 0o750);
  await guardFolder(folder);
  const keys = await deviceKeys(disk, identity);
  // 1. The server must hold the pinned authority before it is told anything.
  const authority = await findAuthority(server, token.caSpkiSha256, signal);
  const pins = [token.caSpkiSha256];
  const trusted = { ...server, authorities: [authority], pins };
  // 2. The root of trust must be the pinned one, before the token is spent.
  const root = await fetchRoot(server, authority, token.caSpkiSha256, signal);
  if (sha256Hex(root) !== token.rootSha256) {
    throw new AgentError(
      "agent/refused",
      "The server's first root is not the one that the token names: either you are under attack, or the token is for another repository. The token was not used.",
      { expected: token.rootSha256, found: sha256Hex(root) },
    );
  }
  // 3. The token buys a certificate for a key that never leaves this folder.
  const client = openServerClient(trusted);
  try {
    const csr = await buildCsr({ subject: commonName("upkeep device"), signer: keys.tls });
    const { os, arch, libc } = platform;
    const answer = await client.call(
      "enroll",
      {
        token: { id: token.id, secret: token.secret },
        csr: toBase64(csr),
        reportKey: toHex(keys.report.publicKey.spki.subarray(-32)),
        reportKeyProof: toBase64(await keys.report.sign(enrolmentProof(csr))),
        platform: { os, arch, ...(libc === null ? {} : { libc }) },
        name: enrolment.name.slice(0, 128),
      },
      signal,
    );
    const certificates = answer.certificates.map((der) => toPem("CERTIFICATE", fromBase64(der))).join("");
    refuseUnusable(
      certificates,
      enrolment.now(),
      "This device is not enrolled; the token is good for another try.",
    );
    await saveIdentity(disk, identity, {
      record: {
        format: 1,
        device: answer.device,
        server,
        pins,
        reportKey: sha256Hex(keys.report.publicKey.spki),
      },
      authorities: [authority],
      client: { key: keys.tlsPem, certificates },
      root,
    });
    return { device: answer.device };
  } finally {
    client.close();
  }
}

async function fetchRoot(
  server: Enrolment["server"],
  authority: string,
  pin: string,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const source = httpSource(addressOf(server), { tls: { ca: authority, pins: [pin] } });
  try {
    return await readAll(source, "repository/metadata/1.root.json", ROOT_LIMIT, signal);
  } finally {
    source.close();
  }
}

export function addressOf({ host, port }: Enrolment["server"]): string {
  return `https://${host.includes(":") ? `[${host}]` : host}:${port}/`;
}
