// The server's own verifying view of the repository folder: noticed when it changes, believed only through TUF.

import { stat } from "node:fs/promises";
import type { Clock } from "../../core/clock.ts";
import { sha256Hex } from "../../core/digest.ts";
import { readOrNull, type Disk } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import type { Instant } from "../../core/instant.ts";
import type { Random } from "../../core/random.ts";
import { findRelease, readCatalogue, type Problem } from "../../fleet/catalogue.ts";
import type { Catalogue, ListedRelease } from "../../fleet/decide.ts";
import type { RepositoryState } from "../../fleet/lead.ts";
import type { Desired } from "../../fleet/records.ts";
import { readBundleTarget } from "../../io/source/bundle-target.ts";
import { diskSource } from "../../io/source/disk.ts";
import { openRelease, RELEASE_LIMIT, type ReleaseManifest } from "../../release/manifest.ts";
import { releaseTarget, TRUSTED_KEYS_TARGET } from "../../release/target-names.ts";
import { keysFor, messengersIn, parseTrustedKeys, TRUSTED_KEYS_LIMIT } from "../../release/trusted-keys.ts";
import {
  mirrorAt,
  openRepository,
  type RefreshResult,
  type Repository,
} from "../../repository/client/client.ts";
import { diskStore, type MetadataStore } from "../../repository/client/store.ts";

const ROOT_LIMIT = 512 * 1024;
const TIMESTAMP_LIMIT = 16 * 1024;

export type Refreshed = {
  readonly catalogue: Catalogue;
  readonly problems: readonly Problem[];
  /** TUF versions of what was read. */
  readonly state: RepositoryState;
  /** The first of the metadata to expire. */
  readonly expires: Instant;
  /** Ids of the keys that may sign assignments; null when the list of trusted keys cannot be read, which `problems` tells. */
  readonly directors: readonly string[] | null;
  /** Ids of the keys that may sign messages. */
  readonly messengers: readonly string[];
  /** What this view remembers of time, and a remembered time that it dropped now. */
  readonly remembered: Instant | null;
  readonly forgotten: RefreshResult["forgotten"];
};

export class RepositoryWatch {
  readonly #folder: string;
  readonly #options: { readonly disk: Disk; readonly clock: Clock; readonly random: Random };
  readonly #store: MetadataStore;
  #client: Repository | null = null;
  #seen = "";
  #verified = false;

  /** `folder` holds `metadata/` and `targets/`; `state` is where this client keeps what it trusts. */
  constructor(
    folder: string,
    state: string,
    options: { readonly disk: Disk; readonly clock: Clock; readonly random: Random },
  ) {
    this.#folder = folder;
    this.#options = options;
    this.#store = diskStore(options.disk, state);
  }

  /** True when `timestamp.json`, which is published last, is another file than at the last refresh. */
  async hasChanged(): Promise<boolean> {
    return (await this.#mark()) !== this.#seen;
  }

  /** Null while there is no repository yet. Errors: `repository/*`. */
  async refresh(
    wanted: readonly Pick<Desired, "product" | "channel" | "version">[],
  ): Promise<Refreshed | null> {
    // Noted before the attempt: what cannot be verified is tried again when it changes or at the slow tick, not at every look.
    this.#seen = await this.#mark();
    const client = await this.#open();
    if (client === null) return null;
    const { expires, forgotten, ...versions } = await client.refresh();
    const timestamp = await this.#store.load("timestamp", TIMESTAMP_LIMIT);
    if (timestamp === null) return null;
    const read = await readCatalogue(client, sha256Hex(timestamp), wanted);
    this.#verified = true;
    const remembered = (await this.#store.loadKnownTime())?.time ?? null;
    const { directors, messengers } = await signersOf(client);
    return {
      ...read,
      expires,
      forgotten,
      remembered,
      directors,
      messengers,
      state: { root: versions.root, timestamp: versions.timestamp },
    };
  }

  /** A release by version; null when it is not listed, undefined when the repository cannot tell. */
  async findRelease(product: string, version: string): Promise<ListedRelease | null | undefined> {
    if (this.#client === null || !this.#verified) return undefined;
    try {
      return await findRelease(this.#client, product, version);
    } catch {
      return undefined;
    }
  }

  /** The manifest of a release, verified as devices do; null when it is not listed or nothing was read yet. Errors: `repository/*`, `release/*`, `dsse/*`. */
  async readRelease(
    product: string,
    version: string,
  ): Promise<{ readonly manifest: ReleaseManifest; readonly sha256: string } | null> {
    const client = this.#client;
    if (client === null || !this.#verified) return null;
    if ((await findRelease(client, product, version)) === null) return null;
    const trusted = parseTrustedKeys(await client.readTarget(TRUSTED_KEYS_TARGET, TRUSTED_KEYS_LIMIT));
    const bytes = await client.readTarget(releaseTarget(product, version), RELEASE_LIMIT);
    const manifest = openRelease(bytes, keysFor(trusted, "release", product), { product, version });
    return { manifest, sha256: sha256Hex(bytes) };
  }

  /** trust/bundle.json as of the last refresh; null when there is none or when it is the known one. Errors: those of `readBundleTarget`. */
  async trustBundle(knownSha256: string | null): Promise<Uint8Array | null> {
    return this.#client === null || !this.#verified ? null : readBundleTarget(this.#client, knownSha256);
  }

  /** SHA-256 of `1.root.json`, which enrolment tokens pin; null while there is no repository. */
  async firstRoot(): Promise<string | null> {
    return firstRootDigest(this.#options.disk, this.#folder);
  }

  async #open(): Promise<Repository | null> {
    if (this.#client !== null) return this.#client;
    const trustedRoot = await readOrNull(this.#options.disk, firstRootPath(this.#folder), ROOT_LIMIT);
    if (trustedRoot === null) return null;
    const mirrors = [mirrorAt(diskSource(this.#options.disk, this.#folder))];
    this.#client = openRepository({ mirrors, store: this.#store, trustedRoot, ...this.#options });
    return this.#client;
  }

  async #mark(): Promise<string> {
    try {
      const { ino, mtimeMs, size } = await stat(`${this.#folder}/metadata/timestamp.json`);
      return `${ino} ${mtimeMs} ${size}`;
    } catch {
      return "";
    }
  }
}

async function signersOf(client: Repository): Promise<Pick<Refreshed, "directors" | "messengers">> {
  try {
    const trusted = parseTrustedKeys(await client.readTarget(TRUSTED_KEYS_TARGET, TRUSTED_KEYS_LIMIT));
    const idsOf = (keys: readonly { readonly keyid: string }[]): readonly string[] =>
      keys.map(({ keyid }) => keyid);
    const messengers = idsOf(messengersIn(trusted));
    const named = trusted.grants.some(({ kind }) => kind === "assignment");
    return { directors: named ? idsOf(keysFor(trusted, "assignment", null).keys) : [], messengers };
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return { directors: error.code === "release/no-key" ? [] : null, messengers: [] };
  }
}

/** SHA-256 of the repository's `1.root.json`, or null. */
export async function firstRootDigest(disk: Disk, folder: string): Promise<string | null> {
  const bytes = await readOrNull(disk, firstRootPath(folder), ROOT_LIMIT);
  return bytes === null ? null : sha256Hex(bytes);
}

function firstRootPath(folder: string): string {
  return `${folder}/metadata/1.root.json`;
}
