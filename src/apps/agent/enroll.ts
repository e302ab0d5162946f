// Enrolment: from a one-time token to a device with keys, a certificate, a pinned server and a pinned root of trust.

import { AgentError } from "../../agent/errors.ts";
import { isAway } from "../../agent/follow-alone.ts";
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
import { placeName, type Place } from "../../io/connection/failure.ts";
import { DIRECT, type Proxies } from "../../io/connection/proxies.ts";
import { systemClock } from "../../io/system/clock.ts";
import { httpSource } from "../../io/source/http.ts";
import { openServerClient } from "../../io/device/server-client.ts";
import { findAuthority } from "../../io/device/tls.ts";
import { enrolmentProof } from "../../message/enroll.ts";
import { readAll } from "../../mirror/source.ts";
import { METADATA_SPEED, withSpeedFloor } from "../../mirror/speed.ts";
import type { Platform } from "../../release/platform.ts";
import { ownProgram } from "../framework/own-program.ts";
import { refuseUnusable } from "./usable-certificate.ts";

export type Enrolment = {
  readonly disk: Disk;
  /** The agent's data folder. */
  readonly folder: string;
  /** Addresses of the server, tried in turn. */
  readonly servers: readonly Place[];
  /** The token's text: a secret. */
  readonly token: string;
  /** For people, usually the host name. */
  readonly name: string;
  readonly platform: Platform;
  /** The time by this device's clock. */
  readonly now: () => Instant;
  readonly signal: AbortSignal;
  /** None by default. */
  readonly proxies?: Proxies;
};

const ROOT_LIMIT = 512 * 1024;

/**
 * Errors: `agent/already-enrolled`, `identity/*` (wrong server, bad token), `server/*`, `mirror/*`, `agent/refused` for a root other than the pinned one.
 * Nothing counts as enrolled until everything is written; the keys are kept for the next try.
 */
export async function enrol(
  enrolment: Enrolment,
): Promise<{ readonly device: string; readonly server: Place }> {
  const { disk, folder, platform, signal, proxies = DIRECT } = enrolment;
  const identity = `${folder}/identity`;
  if (await isEnrolled(disk, identity)) {
    throw new AgentError(
      "agent/already-enrolled",
      `${folder} is enrolled already.`,
      { folder },
      { hint: "To enroll it again, stop the agent, move its folder `identity` away and try again." },
    );
  }
  const token = parseToken(enrolment.token);
  await makeDirectories(disk, folder, 0o750);
  await narrowFolder(folder, 0o750);
  await guardFolder(folder);
  const keys = await deviceKeys(disk, identity);
  // 1. The server must hold the pinned authority before it is told anything.
  const { server, authority } = await firstThatAnswers(enrolment.servers, (place) =>
    findAuthority(place, token.caSpkiSha256, signal, proxies),
  );
  const others = enrolment.servers.filter((place) => place !== server);
  const pins = [token.caSpkiSha256];
  const trusted = { ...server, authorities: [authority], pins };
  // 2. The root of trust must be the pinned one, before the token is spent.
  const root = await fetchRoot(server, authority, token.caSpkiSha256, signal, proxies);
  if (sha256Hex(root) !== token.rootSha256) {
    throw new AgentError(
      "agent/refused",
      "The server's first root is not the one that the token names: either you are under attack, or the token is for another repository. The token was not used.",
      { expected: token.rootSha256, found: sha256Hex(root) },
    );
  }
  // 3. The token buys a certificate for a key that never leaves this folder.
  const client = openServerClient(trusted, undefined, proxies);
  try {
    const csr = await buildCsr({ subject: commonName("upkeep device"), signer: keys.tls });
    const { os, arch, libc } = platform;
    const answer = await client.call(
      "enroll",
      {
        agent: ownProgram(),
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
        ...(others.length === 0 ? {} : { others }),
        pins,
        reportKey: sha256Hex(keys.report.publicKey.spki),
      },
      authorities: [authority],
      client: { key: keys.tlsPem, certificates },
      root,
    });
    return { device: answer.device, server };
  } finally {
    client.close();
  }
}

/** One that is away is passed over; one that is somebody else ends it. Errors: those of `ask` at the first place when none answers. */
async function firstThatAnswers(
  places: readonly Place[],
  ask: (place: Place) => Promise<string>,
): Promise<{ readonly server: Place; readonly authority: string }> {
  let first: unknown;
  for (const server of places) {
    try {
      return { server, authority: await ask(server) };
    } catch (error) {
      if (!isAway(error)) throw error;
      first ??= error;
    }
  }
  throw first;
}

async function fetchRoot(
  server: Place,
  authority: string,
  pin: string,
  signal: AbortSignal,
  proxies: Proxies,
): Promise<Uint8Array> {
  const source = httpSource(addressOf(server), { tls: { ca: authority, pins: [pin] }, proxies });
  try {
    const patient = withSpeedFloor(source, systemClock, METADATA_SPEED);
    return await readAll(patient, "repository/metadata/1.root.json", ROOT_LIMIT, signal);
  } finally {
    source.close();
  }
}

export function addressOf(place: Place): string {
  return `https://${placeName(place)}/`;
}
