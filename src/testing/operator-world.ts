// An operator with keys in memory, a repository on a memory disk and a scripted clock; and devices that look at it.

import { generateKeyPairSync } from "node:crypto";
import { createHash } from "node:crypto";
import { toHex, toUtf8 } from "../core/bytes.ts";
import { digestsOf, RunningMerkle } from "../core/digest.ts";
import { writeAtomic, type Disk } from "../core/disk.ts";
import type { Random } from "../core/random.ts";
import { diskSource } from "../io/source/disk.ts";
import type { Scheme } from "../keys/scheme.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import { mirrorAt, openRepository, type Repository } from "../repository/client/client.ts";
import { Draft, emptyTargets } from "../repository/publish/draft.ts";
import {
  firstTrustedKeys,
  makeRoot,
  putTrustedKeys,
  type NamedKey,
  type RepositorySetup,
} from "../repository/publish/new-repository.ts";
import { openPublisher, type Publisher } from "../repository/publish/publisher.ts";
import type { KeyRing } from "../repository/publish/quorum.ts";
import {
  addRelease,
  type NewArtifact,
  type NewRelease,
  type ReleaseTools,
} from "../repository/publish/release-publisher.ts";
import { memoryStore, type MetadataStore } from "../repository/client/store.ts";
import { MemoryDisk } from "./memory-disk.ts";
import { ScriptedClock } from "./scripted-clock.ts";

export const FOLDER = "/data/repository";

/** Unpredictable enough for names of temporary files, the same in every run. */
export function countingRandom(): Random {
  let count = 0;
  return {
    bytes: (length) =>
      new Uint8Array(createHash("shake256", { outputLength: length }).update(`${count++}`).digest()),
  };
}

export class OperatorWorld {
  readonly clock: ScriptedClock;
  readonly random = countingRandom();
  /** Keys by name; delete one to have it elsewhere. */
  readonly keys = new Map<string, Signer>();
  disk: MemoryDisk;

  constructor(disk = new MemoryDisk(), clock = new ScriptedClock()) {
    this.disk = disk;
    this.clock = clock;
  }

  /** The same operator in front of another disk: after a crash, or with what an attacker left. */
  at(disk: MemoryDisk): OperatorWorld {
    const world = new OperatorWorld(disk, this.clock);
    for (const [name, signer] of this.keys) world.keys.set(name, signer);
    return world;
  }

  key(name: string, scheme: Scheme = "ed25519"): NamedKey {
    let signer = this.keys.get(name);
    if (signer === undefined) {
      const { privateKey } =
        scheme === "ed25519"
          ? generateKeyPairSync("ed25519")
          : generateKeyPairSync("ec", { namedCurve: "prime256v1" });
      signer = localSigner(privateKey, scheme);
      this.keys.set(name, signer);
    }
    return { name, key: signer.publicKey };
  }

  readonly ring: KeyRing = async (wanted) => {
    const spki = new Set(wanted.map((key) => toHex(key.spki)));
    return [...this.keys.values()].filter((signer) => spki.has(toHex(signer.publicKey.spki)));
  };

  publisher(disk: Disk = this.disk): Publisher {
    return openPublisher({
      disk,
      folder: FOLDER,
      clock: this.clock,
      ring: this.ring,
      lock: async () => async () => {},
      lookFromOutside: async () => {
        await this.device().refresh();
      },
    });
  }

  get releases(): ReleaseTools {
    const publisher = this.publisher();
    return { publisher, disk: this.disk, folder: FOLDER, ring: this.ring, now: () => this.clock.now() };
  }

  setup(): RepositorySetup {
    const online = this.key("online");
    return {
      root: { keys: ["root-1", "root-2", "root-3"].map((name) => this.key(name)), threshold: 2 },
      targets: { keys: [this.key("targets")], threshold: 1 },
      snapshot: { keys: [online], threshold: 1 },
      timestamp: { keys: [online], threshold: 1 },
    };
  }

  async create(): Promise<void> {
    const publisher = this.publisher();
    await publisher.create(makeRoot(this.setup()), async (draft) => {
      draft.put("targets", emptyTargets());
      const releases = this.key("releases", "ecdsa-sha2-nistp256");
      const placed = await putTrustedKeys(draft, firstTrustedKeys(releases.key, this.key("director").key));
      await publisher.placeBytes(placed.name, placed.file, placed.bytes);
    });
  }

  async release(version: string, changes: Partial<NewRelease> = {}): Promise<void> {
    const product = changes.product ?? "shop";
    const artifacts = [await this.artifact(`${product} ${version}`)];
    const release: NewRelease = {
      product,
      version,
      channel: "stable",
      security: false,
      artifacts,
      entryPoint: { command: [product] },
      health: {
        kind: "running",
        startSeconds: 1,
        intervalSeconds: 1,
        timeoutSeconds: 1,
        successes: 1,
        failures: 1,
        probationSeconds: 1,
      },
      dependencies: [],
      ...changes,
    };
    await addRelease(this.releases, release, { keys: [this.key("products")], threshold: 1 });
  }

  async artifact(content: string): Promise<NewArtifact> {
    const bytes = toUtf8(content);
    const path = `/data/staged-${toHex(this.random.bytes(4))}`;
    await writeAtomic(this.disk, path, bytes);
    const merkle = new RunningMerkle(1 << 20);
    merkle.update(bytes);
    return {
      os: "any",
      arch: "any",
      format: "file",
      file: "artifact",
      length: bytes.length,
      ...digestsOf(bytes),
      pieceSize: 1 << 20,
      merkleRoot: merkle.rootHex(),
      unpackedLength: bytes.length,
      staged: { path, length: bytes.length },
    };
  }

  /** A device that trusts the first root; give it a store to make it one that has been here before. */
  device(store: MetadataStore = memoryStore(), disk: Disk = this.disk, root?: Uint8Array): Repository {
    return {
      refresh: async (signal) => (await this.#client(store, disk, root)).refresh(signal),
      target: async (name, signal) => {
        const client = await this.#client(store, disk, root);
        await client.refresh(signal);
        return client.target(name, signal);
      },
      readTarget: async (name, limit, signal) => {
        const client = await this.#client(store, disk, root);
        await client.refresh(signal);
        return client.readTarget(name, limit, signal);
      },
      fetchTarget: async (info, path, options) => {
        const client = await this.#client(store, disk, root);
        await client.refresh(options.signal);
        return client.fetchTarget(info, path, options);
      },
    };
  }

  async #client(store: MetadataStore, disk: Disk, root?: Uint8Array): Promise<Repository> {
    return openRepository({
      mirrors: [mirrorAt(diskSource(disk, FOLDER))],
      store,
      clock: this.clock,
      random: this.random,
      trustedRoot: root ?? (await disk.read(`${FOLDER}/metadata/1.root.json`, 1 << 20)),
    });
  }

  async look(): Promise<Draft> {
    const published = await this.publisher().read();
    return new Draft(published, published.root.signed);
  }
}

/** A copy of what a device remembers, so that many futures can start from it. */
export function copyStore(store: ReturnType<typeof memoryStore>): ReturnType<typeof memoryStore> {
  const copy = memoryStore();
  for (const [name, bytes] of store.files) copy.files.set(name, bytes);
  return copy;
}
