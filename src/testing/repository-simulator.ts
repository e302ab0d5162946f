// A TUF repository in memory that is edited like a document: change a field, publish, and serve it as a source.

import { generateKeyPairSync } from "node:crypto";
import { digestsOf } from "../core/digest.ts";
import { equalBytes } from "../core/bytes.ts";
import { DAY, parseInstant, type Instant } from "../core/instant.ts";
import type { JsonObject } from "../core/json.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import { mirrorAt, type Mirror } from "../repository/client/client.ts";
import {
  binName,
  NO_EXTRA,
  SPEC_VERSION,
  type Body,
  type Delegations,
  type RoleKeys,
  type RoleType,
} from "../repository/metadata.ts";
import { parseTargetName, roleFile, targetPath } from "../repository/names.ts";
import { canonicalBody, signMetadata } from "../repository/publish/write-metadata.ts";
import type { Root, Snapshot, TargetFile, Targets, Timestamp } from "../repository/metadata.ts";
import { memorySource, type MemorySource } from "./memory-source.ts";

/** The same shape, open to editing. */
export type Draft<T> =
  T extends ReadonlyMap<infer K, infer V>
    ? Map<K, Draft<V>>
    : T extends readonly (infer V)[]
      ? Draft<V>[]
      : T extends string | number | boolean | null | undefined
        ? T
        : string extends keyof T
          ? T
          : { -readonly [P in keyof T]: Draft<T[P]> };

export type SimulatorOptions = {
  readonly now?: Instant;
  readonly consistent?: boolean;
};

export class RepositorySimulator {
  root: Draft<Root>;
  timestamp: Draft<Timestamp>;
  snapshot: Draft<Snapshot>;
  targets: Draft<Targets>;
  readonly delegated = new Map<string, Draft<Targets>>();
  /** Who signs each role; edit to sign with too few, or with strangers. */
  readonly signers = new Map<string, Signer[]>();
  /** What is served: paths below `metadata/` and `targets/`. Edit to play a bad mirror. */
  readonly source: MemorySource = memorySource([], { name: "simulator" });

  readonly #published = new Map<
    string,
    { readonly body: Uint8Array; readonly version: number; readonly by: string }
  >();
  #rootSigners: readonly Signer[] = [];

  private constructor(options: SimulatorOptions) {
    const { now = parseInstant("2026-11-21T04:00:00Z"), consistent = true } = options;
    const head = <T extends RoleType>(type: T, days: number) => ({
      type,
      specVersion: SPEC_VERSION,
      version: 1,
      expires: now + days * DAY,
      extra: NO_EXTRA,
    });
    const keys: Draft<Root["keys"]> = new Map();
    const role = (name: RoleType): Draft<RoleKeys> => {
      const signer = newSigner();
      this.signers.set(name, [signer]);
      keys.set(signer.publicKey.keyid, signer.publicKey.tuf);
      return { keyids: [signer.publicKey.keyid], threshold: 1, extra: NO_EXTRA };
    };
    const roles = {
      root: role("root"),
      timestamp: role("timestamp"),
      snapshot: role("snapshot"),
      targets: role("targets"),
    };
    this.root = { ...head("root", 365), consistentSnapshot: consistent, keys, roles };
    this.timestamp = { ...head("timestamp", 1), snapshot: { version: 1, extra: NO_EXTRA } };
    this.snapshot = { ...head("snapshot", 7), meta: new Map() };
    this.targets = { ...head("targets", 365), targets: new Map(), delegations: null };
  }

  /** A repository whose version 1 of every role is published. */
  static async create(options: SimulatorOptions = {}): Promise<RepositorySimulator> {
    const repository = new RepositorySimulator(options);
    await repository.publish();
    return repository;
  }

  get mirror(): Mirror {
    return mirrorAt(this.source);
  }

  /** A mirror that stays as the repository is now. */
  frozenCopy(name = "frozen"): MemorySource {
    return memorySource(new Map(this.source.files), { name });
  }

  rootBytes(version = 1): Uint8Array {
    return this.source.files.get(`metadata/${roleFile("root", version)}`)!;
  }

  /** Lists a target in a role and serves its bytes. */
  addTarget(name: string, bytes: Uint8Array, role = "targets", custom?: JsonObject): void {
    const hashes = digestsOf(bytes);
    const file: TargetFile = {
      length: bytes.length,
      hashes,
      extra: NO_EXTRA,
      ...(custom === undefined ? {} : { custom }),
    };
    this.role(role).targets.set(name, file as Draft<TargetFile>);
    const prefix = this.root.consistentSnapshot ? hashes.sha256 : undefined;
    this.source.files.set(`targets/${targetPath(parseTargetName(name), prefix)}`, bytes);
  }

  role(name: string): Draft<Targets> {
    const role = name === "targets" ? this.targets : this.delegated.get(name);
    if (role === undefined) throw new Error(`the simulator has no role ${name}`);
    return role;
  }

  /** Delegates to a role, which is made if it is new. */
  delegate(
    from: string,
    name: string,
    how: { paths?: string[]; pathHashPrefixes?: string[]; terminating?: boolean },
  ): Draft<Targets> {
    const { keys, roles } = this.#delegations(from);
    const [signer] = this.#signersOf(name);
    keys.set(signer!.publicKey.keyid, signer!.publicKey.tuf);
    roles.push({
      name,
      terminating: how.terminating ?? false,
      paths: how.pathHashPrefixes === undefined ? (how.paths ?? ["*"]) : null,
      pathHashPrefixes: how.pathHashPrefixes ?? null,
      keyids: [signer!.publicKey.keyid],
      threshold: 1,
      extra: NO_EXTRA,
    });
    return this.#newRole(name);
  }

  /** TAP 15: all bins of a role, empty. */
  delegateToBins(from: string, bitLength: number, namePrefix: string): void {
    const signer = newSigner();
    const { keyid, tuf } = signer.publicKey;
    const delegations = this.#delegations(from);
    delegations.keys.set(keyid, tuf);
    const succinct = { bitLength, namePrefix, keyids: [keyid], threshold: 1, extra: NO_EXTRA };
    delegations.succinct = succinct;
    for (let bin = 0; bin < 2 ** bitLength; bin++) {
      const name = binName(succinct, bin);
      this.signers.set(name, [signer]);
      this.#newRole(name);
    }
  }

  /** Replaces the keys of a top-level role. */
  rotate(role: RoleType, threshold = 1): void {
    const signers = Array.from({ length: threshold }, newSigner);
    this.signers.set(role, signers);
    this.root.roles[role] = {
      keyids: signers.map((signer) => signer.publicKey.keyid),
      threshold,
      extra: NO_EXTRA,
    };
    for (const { publicKey } of signers) this.root.keys.set(publicKey.keyid, publicKey.tuf);
  }

  /**
   * Signs and serves what was edited. A role that changed gets the next version, unless the edit set one;
   * the snapshot follows the roles and the timestamp the snapshot. `verbatim` signs exactly what is written, for forged editions.
   */
  async publish(options: { verbatim?: boolean } = {}): Promise<void> {
    const verbatim = options.verbatim === true;
    const versioned = this.root.consistentSnapshot;
    if (await this.#write("root", this.root, verbatim, true))
      this.#rootSigners = [...this.#signersOf("root")];
    for (const [name, role] of [["targets", this.targets] as const, ...this.delegated]) {
      await this.#write(name, role, verbatim, versioned);
      if (!verbatim) this.snapshot.meta.set(name, { ...this.#meta(name), version: role.version });
    }
    await this.#write("snapshot", this.snapshot, verbatim, versioned);
    if (!verbatim) this.timestamp.snapshot.version = this.snapshot.version;
    await this.#write("timestamp", this.timestamp, verbatim, false);
  }

  #meta(name: string): Draft<{ version: number; extra: JsonObject }> {
    return this.snapshot.meta.get(name) ?? { version: 1, extra: NO_EXTRA };
  }

  async #write(name: string, draft: Draft<Body>, verbatim: boolean, versioned: boolean): Promise<boolean> {
    const body = draft as unknown as Body;
    const own = this.#signersOf(name);
    const by = own.map((signer) => signer.publicKey.keyid).join();
    const last = this.#published.get(name);
    if (!verbatim && last !== undefined) {
      if (last.by === by && equalBytes(last.body, canonicalBody(body))) return false;
      if (draft.version === last.version) draft.version += 1;
    }
    // A root is signed by the keys before and by its own (TUF 5.3.4).
    const signers = name === "root" ? [...new Set([...this.#rootSigners, ...own])] : own;
    const { bytes, canonical } = await signMetadata(body, signers);
    this.source.files.set(`metadata/${roleFile(name, versioned ? draft.version : undefined)}`, bytes);
    this.#published.set(name, { body: canonical, version: draft.version, by });
    return true;
  }

  #signersOf(name: string): Signer[] {
    const known = this.signers.get(name);
    if (known !== undefined) return known;
    const signers = [newSigner()];
    this.signers.set(name, signers);
    return signers;
  }

  #delegations(from: string): Draft<Delegations> {
    const role = this.role(from);
    role.delegations ??= { keys: new Map(), roles: [], succinct: null, extra: NO_EXTRA };
    return role.delegations;
  }

  #newRole(name: string): Draft<Targets> {
    const known = this.delegated.get(name);
    if (known !== undefined) return known;
    const { expires } = this.targets;
    const role: Draft<Targets> = {
      type: "targets",
      specVersion: SPEC_VERSION,
      version: 1,
      expires,
      extra: NO_EXTRA,
      targets: new Map(),
      delegations: null,
    };
    this.delegated.set(name, role);
    return role;
  }
}

export function newSigner(): Signer {
  return localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
}
