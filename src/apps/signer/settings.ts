// The signer's data folder: where its files are, and its configuration with the certificates as one value.

import { resolve } from "node:path";
import { fromUtf8 } from "../../core/bytes.ts";
import { readOrNull, type Disk } from "../../core/disk.ts";
import { parseCertificatesPem, type Certificate } from "../../der/x509.ts";
import { MAX_CONFIG, parseConfig, refuseConfig, type SignerConfig } from "../../signing/policy/config.ts";
import { lineOf } from "../../core/toml-line.ts";
import { parsePostgresAddress } from "../../io/database/postgres-address.ts";
import { SigningError } from "../../signing/errors.ts";
import type { LoadedCertificate, Settings } from "../../signing/service.ts";

export type SignerFolder = {
  readonly root: string;
  readonly config: string;
  readonly unlock: string;
  readonly audit: string;
  /** Sealed one-time code secrets of administrators. */
  readonly admins: string;
  /** One line: the database that the log was in last; not there if it never was in one. */
  readonly home: string;
  /** Held by `signer run` as long as it lives: a second one ends before it asks for anything. */
  readonly running: string;
  /** One line: the folder with the running signer's control socket. A stale one leads nowhere. */
  readonly control: string;
  readonly key: (name: string) => string;
  readonly certificate: (name: string) => string;
};

const MAX_ROOTS = 256 * 1024;

/** Names that the signer keeps for itself. */
export const LOG_KEY = "log";
export const IDENTITY_KEY = "identity";

export function signerFolder(data: string): SignerFolder {
  return signerFolderAt(`${data}/signer`);
}

/** The same files in a folder of another name: one that is being made. */
export function signerFolderAt(root: string): SignerFolder {
  return {
    root,
    config: `${root}/signer.toml`,
    unlock: `${root}/unlock.json`,
    audit: `${root}/audit`,
    admins: `${root}/admins.json`,
    home: `${root}/home`,
    running: `${root}/running`,
    control: `${root}/control`,
    key: (name) => `${root}/keys/${name}.json`,
    certificate: (name) => `${root}/certificates/${name}.pem`,
  };
}

/** Everything that a reload changes, read and checked as a whole. Errors: `signing/bad-config`, `der/*`. */
export async function loadSettings(disk: Disk, folder: SignerFolder): Promise<Settings> {
  const bytes = await readOrNull(disk, folder.config, MAX_CONFIG);
  if (bytes === null) {
    throw new SigningError(
      "signing/not-found",
      `There is no signer in ${folder.root}.`,
      { folder: folder.root },
      {
        hint: 'Make one with "upkeep signer init".',
      },
    );
  }
  const configText = fromUtf8(bytes);
  const loaded = parseConfig(configText, folder.config);
  demandStoreAddress(folder, loaded.config, configText);
  const certificates = new Map<string, LoadedCertificate>();
  for (const name of Object.keys(loaded.config.certificates)) {
    const pem = await readOrNull(disk, folder.certificate(name), 1024 * 1024);
    if (pem === null) continue;
    const text = fromUtf8(pem);
    certificates.set(name, { pem: text, chain: parseCertificatesPem(text) });
  }
  const timestampRoots = await loadTimestampRoots(disk, folder, loaded.config, configText);
  return { ...loaded, certificates, ...(timestampRoots === undefined ? {} : { timestampRoots }) };
}

/** Errors: `signing/bad-config` with the line; its sentence repeats no secret. */
function demandStoreAddress(folder: SignerFolder, { store }: SignerConfig, text: string): void {
  if (store === undefined) return;
  const address = parsePostgresAddress(store.url);
  if (!("wrong" in address)) return;
  const what = `store.url: ${address.wrong}`;
  throw refuseConfig(folder.config, [{ line: lineOf(text, ["store", "url"]), what }]);
}

/** The file that `[timestamp] roots` names, or null. */
export function timestampRootsPath(folder: SignerFolder, config: SignerConfig): string | null {
  const named = config.timestamp?.roots;
  return named === undefined ? null : resolve(folder.root, named);
}

/** Roots that cannot be read would silently mean "any authority": they refuse the configuration. Errors: `signing/bad-config`. */
async function loadTimestampRoots(
  disk: Disk,
  folder: SignerFolder,
  config: SignerConfig,
  text: string,
): Promise<readonly Certificate[] | undefined> {
  const path = timestampRootsPath(folder, config);
  if (path === null) return undefined;
  try {
    const roots = parseCertificatesPem(fromUtf8(await disk.read(path, MAX_ROOTS)));
    if (roots.length > 0) return roots;
    throw new Error("there is no certificate in it");
  } catch (cause) {
    const line = lineOf(text, ["timestamp", "roots"]);
    const why = cause instanceof Error ? cause.message.replace(/\.$/, "") : String(cause);
    throw refuseConfig(
      folder.config,
      [{ line, what: `timestamp.roots: the certificates in ${path} cannot be used: ${why}` }],
      cause,
    );
  }
}

/** Origin of the audit log: the name that its checkpoints and receipts carry. */
export function logOrigin(signer: string): string {
  return `upkeep-signer/${signer}`;
}
