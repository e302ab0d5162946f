// Every decision to trust a piece of TUF metadata, in the order of the specification's client workflow (TUF 1.0.34, 5.3 to 5.6).

import { hash } from "node:crypto";
import { toHex, fromHex } from "../core/bytes.ts";
import { sameDigest } from "../core/digest.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import { parseTufKey, type PublicKey, type TufKey } from "../keys/public-key.ts";
import { KeyError } from "../keys/errors.ts";
import { RepositoryError } from "./errors.ts";
import type {
  Body,
  Hashes,
  MetaFile,
  Root,
  RoleKeys,
  Signed,
  Snapshot,
  Targets,
  Timestamp,
} from "./metadata.ts";
import { parseRoot, parseSnapshot, parseTargets, parseTimestamp } from "./parse-metadata.ts";

/** Lowest versions that may be trusted, compiled into the caller so that a wiped store cannot be rolled back below them. */
export type Minimums = { readonly timestamp?: number; readonly snapshot?: number };

/** The time that expiry is judged by: one instant for all files, or what is known of time in the light of this one. */
export type Start = Instant | ((role: string, signed: Body) => Instant);

/** TUF 5.2: the root a caller was shipped with. Its own keys must have signed it; its expiry does not matter yet. */
export function initialRoot(bytes: Uint8Array): Signed<Root> {
  const root = parseRoot(bytes);
  checkSignatures("root", root, root.signed.roles.root, root.signed.keys);
  return root;
}

/** TUF 5.3.4 to 5.3.7: the root after `trusted`. */
export function nextRoot(trusted: Signed<Root>, bytes: Uint8Array): Signed<Root> {
  const root = parseRoot(bytes);
  // TUF 5.3.4 (1): a threshold of keys of the trusted root.
  checkSignatures("root", root, trusted.signed.roles.root, trusted.signed.keys);
  // TUF 5.3.4 (2): and a threshold of keys of the new root.
  checkSignatures("root", root, root.signed.roles.root, root.signed.keys);
  // TUF 5.3.5: exactly the next version. TUF 5.3.6: expiry of intermediate roots does not matter.
  checkVersion("root", root, trusted.signed.version + 1);
  return root;
}

/** TUF 5.3.10: the newest root, once there is no newer one. */
export function finalRoot(root: Signed<Root>, start: Start): void {
  checkExpiry("root", root, start);
}

/** TUF 5.3.11: a key of the role was taken away, so what it signed no longer bounds versions from below (fast-forward recovery). */
export function wasRotated(before: Root, after: Root, role: "timestamp" | "snapshot"): boolean {
  const keysOf = (root: Root): ReadonlySet<string> => {
    const { keyids } = root.roles[role];
    return new Set(keyids.flatMap((id) => publicKeyHex(root.keys.get(id), id) ?? []));
  };
  const kept = keysOf(after);
  return [...keysOf(before)].some((key) => !kept.has(key));
}

/** What is in the store may be believed as a lower bound: signed by today's keys, however old. */
export function storedTimestamp(root: Signed<Root>, bytes: Uint8Array): Signed<Timestamp> {
  const timestamp = parseTimestamp(bytes);
  checkSignatures("timestamp", timestamp, root.signed.roles.timestamp, root.signed.keys);
  return timestamp;
}

/** TUF 5.4.2 and 5.4.3. Returns `trusted` itself when the offered one has the same version: that is no error, and nothing new. */
export function newTimestamp(
  root: Signed<Root>,
  trusted: Signed<Timestamp> | null,
  bytes: Uint8Array,
  minimums: Minimums = {},
): Signed<Timestamp> {
  const timestamp = parseTimestamp(bytes);
  // TUF 5.4.2: arbitrary software attack.
  checkSignatures("timestamp", timestamp, root.signed.roles.timestamp, root.signed.keys);
  checkMinimum("timestamp", timestamp.signed.version, minimums.timestamp);
  checkMinimum("snapshot", timestamp.signed.snapshot.version, minimums.snapshot);
  if (trusted === null) return timestamp;
  // TUF 5.4.3.1: never older; the same version is normal, and the one we have is kept.
  checkRollback("timestamp", trusted.signed.version, timestamp.signed.version);
  if (timestamp.signed.version === trusted.signed.version) return trusted;
  // TUF 5.4.3.2: nor may it point to an older snapshot.
  checkRollback("snapshot", trusted.signed.snapshot.version, timestamp.signed.snapshot.version);
  return timestamp;
}

/** TUF 5.4.4: freeze attack. */
export function finalTimestamp(timestamp: Signed<Timestamp>, start: Start): void {
  checkExpiry("timestamp", timestamp, start);
}

/** The snapshot in the store as a lower bound for versions; its hash need not fit today's timestamp. */
export function storedSnapshot(root: Signed<Root>, bytes: Uint8Array): Signed<Snapshot> {
  const snapshot = parseSnapshot(bytes);
  checkSignatures("snapshot", snapshot, root.signed.roles.snapshot, root.signed.keys);
  return snapshot;
}

/** TUF 5.5.2 to 5.5.6. */
export function newSnapshot(
  root: Signed<Root>,
  timestamp: Signed<Timestamp>,
  trusted: Signed<Snapshot> | null,
  bytes: Uint8Array,
  start: Start,
): Signed<Snapshot> {
  const listed = timestamp.signed.snapshot;
  // TUF 5.5.2: mix-and-match attack.
  checkContent("snapshot", bytes, listed);
  const snapshot = parseSnapshot(bytes);
  // TUF 5.5.3: arbitrary software attack.
  checkSignatures("snapshot", snapshot, root.signed.roles.snapshot, root.signed.keys);
  // TUF 5.5.4: the version the timestamp lists.
  checkVersion("snapshot", snapshot, listed.version);
  // TUF 5.5.5: rollback attack; no role may go back or vanish.
  for (const [role, before] of trusted?.signed.meta ?? []) {
    const after = snapshot.signed.meta.get(role);
    if (after === undefined) throw vanished(role);
    checkRollback(role, before.version, after.version);
  }
  if (!snapshot.signed.meta.has("targets")) throw unlisted("targets");
  // TUF 5.5.6: freeze attack.
  checkExpiry("snapshot", snapshot, start);
  return snapshot;
}

/** Who vouches for a targets role: the root for `targets`, a targets role for a delegated one. */
export type Delegator = { readonly keys: ReadonlyMap<string, TufKey>; readonly role: RoleKeys };

/** TUF 5.6.2 to 5.6.5, for `targets` and every delegated role alike. */
export function newTargets(
  snapshot: { readonly signed: Snapshot },
  name: string,
  delegator: Delegator,
  bytes: Uint8Array,
  start: Start,
): Signed<Targets> {
  const listed = listedRole(snapshot, name);
  // TUF 5.6.2: mix-and-match attack.
  checkContent(name, bytes, listed);
  const targets = parseTargets(bytes);
  // TUF 5.6.3: arbitrary software attack; the keys are those of the delegator on this path.
  checkSignatures(name, targets, delegator.role, delegator.keys);
  // TUF 5.6.4: the version the snapshot lists.
  checkVersion(name, targets, listed.version);
  // TUF 5.6.5: freeze attack.
  checkExpiry(name, targets, start);
  return targets;
}

/** The targets role as it was followed earlier: signed by today's keys, however old. */
export function storedTargets(root: Signed<Root>, bytes: Uint8Array): Signed<Targets> {
  const targets = parseTargets(bytes);
  checkSignatures("targets", targets, root.signed.roles.targets, root.signed.keys);
  return targets;
}

/** What the snapshot says of a role. Throws `repository/role-missing`. */
export function listedRole(snapshot: { readonly signed: Snapshot }, name: string): MetaFile {
  const listed = snapshot.signed.meta.get(name);
  if (listed === undefined) throw unlisted(name);
  return listed;
}

/** True if the bytes have the listed length and digests; throws `repository/weak-hashes` if digests are listed and none is known. */
export function isListedContent(role: string, bytes: Uint8Array, listed: MetaFile): boolean {
  if (listed.length !== undefined && listed.length !== bytes.length) return false;
  if (listed.hashes === undefined) return true;
  return strongHashes(role, listed.hashes).every(([algorithm, digest]) =>
    sameDigest(hash(algorithm, bytes, "hex"), digest),
  );
}

/** The digests to rely on, all of which must fit. Throws `repository/weak-hashes` if there is none. */
export function strongHashes(
  what: string,
  hashes: Hashes,
): readonly (readonly ["sha256" | "sha512", string])[] {
  const strong = (["sha256", "sha512"] as const).flatMap((algorithm) => {
    const digest = hashes[algorithm];
    return digest === undefined ? [] : [[algorithm, digest] as const];
  });
  if (strong.length === 0) {
    throw new RepositoryError(
      "repository/weak-hashes",
      `For ${what} the repository lists no SHA-256 or SHA-512 digest, and nothing weaker is relied on.`,
      { what, listed: Object.keys(hashes).map((name) => name.slice(0, 40)) },
    );
  }
  return strong;
}

/** TUF 5.3.4, 5.4.2, 5.5.3, 5.6.3: signatures of `threshold` different keys; one key counts once, whatever its ids. */
function checkSignatures<T extends Body>(
  name: string,
  metadata: Signed<T>,
  role: RoleKeys,
  keys: ReadonlyMap<string, TufKey>,
): void {
  const allowed = new Set(role.keyids);
  const good = new Set<string>();
  for (const { keyid, sig } of metadata.signatures) {
    const key = allowed.has(keyid) ? publicKey(keys.get(keyid), keyid) : null;
    if (key !== null && key.verify(metadata.canonical, signatureBytes(sig))) good.add(toHex(key.spki));
  }
  if (good.size >= role.threshold) return;
  throw new RepositoryError(
    "repository/unsigned",
    `The ${name} metadata (version ${metadata.signed.version}) carries ${good.size} of the ${role.threshold} needed signatures: ` +
      "either you are under attack, or it was signed with keys that are not trusted for it.",
    { role: name, version: metadata.signed.version, valid: good.size, threshold: role.threshold },
  );
}

function checkVersion<T extends Body>(name: string, metadata: Signed<T>, expected: number): void {
  const { version } = metadata.signed;
  if (version === expected) return;
  throw new RepositoryError(
    "repository/version-mismatch",
    `The ${name} metadata says it is version ${version} where version ${expected} is expected: either you are under attack, or the repository was published in pieces.`,
    { role: name, expected, found: version },
  );
}

function checkRollback(name: string, trusted: number, offered: number): void {
  if (offered >= trusted) return;
  throw new RepositoryError(
    "repository/rollback",
    `Version ${offered} of the ${name} metadata was offered, but version ${trusted} was trusted before: either you are under attack, or this is an old copy of the repository.`,
    { role: name, trusted, offered },
  );
}

function checkMinimum(name: string, offered: number, minimum: number | undefined): void {
  if (minimum === undefined || offered >= minimum) return;
  throw new RepositoryError(
    "repository/below-minimum",
    `Version ${offered} of the ${name} metadata was offered, but this program was built when version ${minimum} was out: either you are under attack, or this is an old copy of the repository.`,
    { role: name, minimum, offered },
  );
}

function checkExpiry<T extends Body>(name: string, metadata: Signed<T>, given: Start): void {
  const { expires, version } = metadata.signed;
  const start = typeof given === "number" ? given : given(name, metadata.signed);
  // "MUST be higher than the fixed update start time."
  if (expires > start) return;
  throw new RepositoryError(
    "repository/expired",
    `The ${name} metadata (version ${version}) expired at ${formatInstant(expires)}: either somebody withholds newer metadata, or the repository was not renewed, or this machine's clock is wrong.`,
    { role: name, version, since: formatInstant(expires), clock: formatInstant(start) },
    { hint: "Updates wait until newer metadata can be had; what is installed keeps running." },
  );
}

function checkContent(name: string, bytes: Uint8Array, listed: MetaFile): void {
  if (isListedContent(name, bytes, listed)) return;
  throw new RepositoryError(
    "repository/content-mismatch",
    `The ${name} metadata is not the file that signed metadata lists: either you are under attack, or the repository was published in pieces.`,
    { role: name, version: listed.version, length: bytes.length },
  );
}

function vanished(role: string): RepositoryError {
  return new RepositoryError(
    "repository/rollback",
    `The role ${role} was listed before and is not any more: either you are under attack, or the repository lost it.`,
    { role, offered: null },
  );
}

function unlisted(role: string): RepositoryError {
  return new RepositoryError("repository/role-missing", `The snapshot does not list the role ${role}.`, {
    role,
  });
}

const parsed = new WeakMap<TufKey, PublicKey | null>();

/** Keys of a kind we don't know, or that are broken, count for nothing (TUF 4.2); they are no reason to refuse the others. */
function publicKey(form: TufKey | undefined, keyid: string): PublicKey | null {
  if (form === undefined) return null;
  const known = parsed.get(form);
  if (known !== undefined) return known;
  let key: PublicKey | null = null;
  try {
    key = parseTufKey(form, keyid);
  } catch (error) {
    if (!(error instanceof KeyError)) throw error;
  }
  parsed.set(form, key);
  return key;
}

function publicKeyHex(form: TufKey | undefined, keyid: string): string | null {
  const key = publicKey(form, keyid);
  return key === null ? null : toHex(key.spki);
}

function signatureBytes(sig: string): Uint8Array {
  try {
    return fromHex(sig);
  } catch {
    return new Uint8Array(0);
  }
}
