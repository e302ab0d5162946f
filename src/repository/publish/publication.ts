// From a draft to signed files: versions and expiry are chosen here, signatures gathered, and everything put in the order in which it may be written.

import { sha256Hex } from "../../core/digest.ts";
import type { Instant } from "../../core/instant.ts";
import type { Draft } from "./draft.ts";
import {
  NO_EXTRA,
  SPEC_VERSION,
  type MetaFile,
  type Root,
  type Signed,
  type Snapshot,
  type Targets,
  type Timestamp,
} from "../metadata.ts";
import { roleFileName } from "./disk-names.ts";
import { topDelegator, type Published } from "./published.ts";
import { expiryFor } from "./publisher-policy.ts";
import { PublisherError } from "./publisher-errors.ts";
import { quorumOf, signersFor, type KeyRing, type Quorum } from "./quorum.ts";
import { signMetadata } from "./write-metadata.ts";
import type { Delegator } from "../trusted-set.ts";

/** One file of a change that people or offline keys sign: a root or a targets role. */
export type Part = {
  readonly role: string;
  readonly signed: Signed<Root> | Signed<Targets>;
  /** Every one of these must be satisfied; for a root, that of the root before as well (TUF 5.3.4). */
  readonly needs: readonly Delegator[];
  /** Keys that were to sign this role before the change; their signatures are welcome, so that clients with the old root can follow. */
  readonly also: readonly Delegator[];
};

export type Lack = { readonly role: string; readonly quorum: Quorum; readonly delegator: Delegator };

/** Metadata files in the order in which they must be written. */
export type Publication = {
  readonly files: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  readonly root: number;
  readonly snapshot: number;
  readonly timestamp: number;
};

/** Gives bodies their versions and expiry and signs them with what the ring has. */
export async function prepareParts(draft: Draft, ring: KeyRing, now: Instant): Promise<readonly Part[]> {
  const { published } = draft;
  const parts: Part[] = [];
  if (draft.rootChanged || published === null) {
    const before = published?.root.signed ?? null;
    const body: Root = {
      ...draft.root,
      version: (before?.version ?? 0) + 1,
      expires: expiryFor("root", draft.root.roles.root, now),
    };
    const needs = [...(before === null ? [] : [topDelegator(before, "root")]), topDelegator(body, "root")];
    parts.push(await signPart({ role: "root", needs, also: [] }, body, ring));
  }
  await resignWhatKeysChanged(draft);
  for (const [role, drafted] of draft.changed) {
    const delegator = await draft.delegatorOf(role);
    if (delegator === null)
      throw new PublisherError("publisher/bad-input", `Nobody delegates to the role ${role}.`, { role });
    const listed = published?.snapshot.signed.meta.get(role)?.version ?? 0;
    const body: Targets = {
      ...drafted,
      version: Math.max(listed, published?.highest(role) ?? 0) + 1,
      expires: expiryFor(role, delegator.role, now),
    };
    const old = await draft.publishedDelegator(role);
    parts.push(await signPart({ role, needs: [delegator], also: old === null ? [] : [old] }, body, ring));
  }
  return parts;
}

/** A role whose published file its new keys would not vouch for is signed again. */
async function resignWhatKeysChanged(draft: Draft): Promise<void> {
  const { published } = draft;
  if (published === null || !(await delegationsChanged(draft, published))) return;
  for (const role of published.snapshot.signed.meta.keys()) {
    if (draft.changed.has(role)) continue;
    const [before, after] = [await draft.publishedDelegator(role), await draft.delegatorOf(role)];
    // A bin of an earlier split, or a role that was taken away: nobody asks for it.
    if (before === null || after === null || sameKeys(before, after)) continue;
    const signed = await published.role(role, before);
    if (signed !== null && quorumOf(signed, after).missing > 0) await draft.touch(role);
  }
}

async function delegationsChanged(draft: Draft, published: Published): Promise<boolean> {
  if (draft.rootChanged) return true;
  for (const [role, body] of draft.changed) {
    const delegator = await draft.publishedDelegator(role);
    const before = delegator === null ? null : await published.role(role, delegator);
    // An edit that leaves delegations alone leaves the very same object.
    if (before !== null && before.signed.delegations !== body.delegations) return true;
  }
  return false;
}

function sameKeys(a: Delegator, b: Delegator): boolean {
  return (
    a.role.threshold === b.role.threshold &&
    a.role.keyids.length === b.role.keyids.length &&
    a.role.keyids.every((keyid) => b.role.keyids.includes(keyid))
  );
}

async function signPart(part: Omit<Part, "signed">, body: Root | Targets, ring: KeyRing): Promise<Part> {
  let signed = await signMetadata<Root | Targets>(body, []);
  for (const delegator of [...part.needs, ...part.also]) {
    signed = await signMetadata<Root | Targets>(body, await signersFor(delegator, ring), signed.signatures);
  }
  return { ...part, signed: signed as Part["signed"] };
}

/** Adds what the ring can sign to parts that were prepared earlier. */
export async function signParts(parts: readonly Part[], ring: KeyRing): Promise<readonly Part[]> {
  const out: Part[] = [];
  for (const part of parts) {
    let signed: Signed<Root | Targets> = part.signed;
    for (const delegator of [...part.needs, ...part.also]) {
      signed = await signMetadata<Root | Targets>(
        signed.signed,
        await signersFor(delegator, ring),
        signed.signatures,
      );
    }
    out.push({ ...part, signed: signed as Part["signed"] });
  }
  return out;
}

export function lacks(parts: readonly Part[]): readonly Lack[] {
  return parts.flatMap(({ role, signed, needs }) =>
    needs.flatMap((delegator) => {
      const quorum = quorumOf(signed, delegator);
      return quorum.missing > 0 ? [{ role, quorum, delegator }] : [];
    }),
  );
}

/**
 * Makes snapshot and timestamp for complete parts and orders everything; `ends` in the place of the lives of these two roles.
 * Throws `publisher/no-quorum` when the online keys are not here.
 */
export async function assemble(
  published: Published | null,
  parts: readonly Part[],
  ring: KeyRing,
  now: Instant,
  ends?: Instant,
): Promise<Publication> {
  const rootPart = parts.find((part) => part.role === "root");
  const root = (rootPart?.signed.signed as Root | undefined) ?? published!.root.signed;
  const meta = new Map<string, MetaFile>(published?.snapshot.signed.meta);
  for (const part of parts) if (part.role !== "root") meta.set(part.role, metaFileOf(part));

  const snapshot = await signOnline<Snapshot>(
    {
      type: "snapshot",
      specVersion: SPEC_VERSION,
      version: Math.max(published?.snapshot.signed.version ?? 0, published?.highest("snapshot") ?? 0) + 1,
      expires: ends ?? expiryFor("snapshot", root.roles.snapshot, now),
      meta,
      extra: NO_EXTRA,
    },
    root,
    published,
    ring,
  );
  const timestamp = await signTimestamp(snapshot, root, published, ring, now, ends);

  const files = parts
    .filter((part) => part.role !== "root")
    // Children before their parents, `targets` last: a file is there before anything lists it.
    .sort((a, b) => depth(b.role) - depth(a.role))
    .map(fileOf);
  files.push(fileOf({ role: "snapshot", signed: snapshot }));
  const rootFile = rootPart === undefined ? [] : [fileOf(rootPart)];
  const timestampFile = { name: "timestamp.json", bytes: timestamp.bytes };
  // When clients with the old root accept the new timestamp as well, it goes first and no instant is bad for anybody.
  const followable = published !== null && isFollowable(published.root.signed, parts, snapshot, timestamp);
  files.push(...(followable ? [timestampFile, ...rootFile] : [...rootFile, timestampFile]));
  return {
    files,
    root: root.version,
    snapshot: snapshot.signed.version,
    timestamp: timestamp.signed.version,
  };
}

/** Only a new timestamp over the snapshot that is published: what keeps an untouched repository fresh. */
export async function renewTimestamp(
  published: Published,
  ring: KeyRing,
  now: Instant,
): Promise<Publication> {
  const { root, snapshot } = published;
  const timestamp = await signTimestamp(snapshot, root.signed, published, ring, now);
  return {
    files: [{ name: "timestamp.json", bytes: timestamp.bytes }],
    root: root.signed.version,
    snapshot: snapshot.signed.version,
    timestamp: timestamp.signed.version,
  };
}

async function signTimestamp(
  snapshot: Signed<Snapshot>,
  root: Root,
  published: Published | null,
  ring: KeyRing,
  now: Instant,
  ends?: Instant,
): Promise<Signed<Timestamp>> {
  return signOnline<Timestamp>(
    {
      type: "timestamp",
      specVersion: SPEC_VERSION,
      version: (published?.timestamp.signed.version ?? 0) + 1,
      expires: ends ?? expiryFor("timestamp", root.roles.timestamp, now),
      snapshot: {
        version: snapshot.signed.version,
        length: snapshot.bytes.length,
        hashes: { sha256: sha256Hex(snapshot.bytes) },
        extra: NO_EXTRA,
      },
      extra: NO_EXTRA,
    },
    root,
    published,
    ring,
  );
}

async function signOnline<T extends Snapshot | Timestamp>(
  body: T,
  root: Root,
  published: Published | null,
  ring: KeyRing,
): Promise<Signed<T>> {
  const delegator = topDelegator(root, body.type);
  const before = published === null ? null : topDelegator(published.root.signed, body.type);
  const signers = await signersFor(delegator, ring);
  let signed = await signMetadata<T>(body, signers);
  if (before !== null && !sameKeys(before, delegator)) {
    const own = new Set(signed.signatures.map(({ keyid }) => keyid));
    const old = (await signersFor(before, ring)).filter(({ publicKey }) => !own.has(publicKey.keyid));
    signed = await signMetadata<T>(body, old, signed.signatures);
  }
  const quorum = quorumOf(signed, delegator);
  if (quorum.missing > 0) {
    throw new PublisherError(
      "publisher/no-quorum",
      `The ${body.type} role needs ${delegator.role.threshold} signature(s), and ${quorum.signed.length} of its keys are here.`,
      { role: body.type, have: quorum.signed.length, need: delegator.role.threshold, open: quorum.open },
      { hint: "Publish where the online key is, or hand the change over with upkeep repo sign." },
    );
  }
  return signed;
}

/** Would a client that still has the old root take all of this? */
function isFollowable(
  before: Root,
  parts: readonly Part[],
  snapshot: Signed<Snapshot>,
  timestamp: Signed<Timestamp>,
): boolean {
  return (
    quorumOf(snapshot, topDelegator(before, "snapshot")).missing === 0 &&
    quorumOf(timestamp, topDelegator(before, "timestamp")).missing === 0 &&
    parts.every(
      (part) =>
        part.role !== "targets" || quorumOf(part.signed, topDelegator(before, "targets")).missing === 0,
    )
  );
}

function fileOf(part: Pick<Part, "role"> & { readonly signed: Signed<Root | Targets | Snapshot> }): {
  readonly name: string;
  readonly bytes: Uint8Array;
} {
  return { name: roleFileName(part.role, part.signed.signed.version), bytes: part.signed.bytes };
}

function metaFileOf({ role, signed }: Part): MetaFile {
  const version = { version: signed.signed.version, extra: NO_EXTRA };
  // Bins are listed by version alone: they are many, and their content is bound by the keys that sign them.
  if (/\.bin-[0-9a-f]+$/.test(role)) return version;
  return { ...version, length: signed.bytes.length, hashes: { sha256: sha256Hex(signed.bytes) } };
}

function depth(role: string): number {
  return role === "targets" ? 0 : /\.bin-[0-9a-f]+$/.test(role) ? 2 : 1;
}
