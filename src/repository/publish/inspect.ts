// Looks at every file of a repository and says everything that is wrong, rather than stopping at the first thing.

import { RunningDigests, sameDigest, sha256Hex } from "../../core/digest.ts";
import { DiskError, readOrNull, statOrNull, type Disk } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import { formatInstant, MINUTE, type Instant } from "../../core/instant.ts";
import { openChannel } from "../../release/channel.ts";
import { openRelease } from "../../release/manifest.ts";
import { parseTargetName, TRUSTED_KEYS_TARGET } from "../../release/target-names.ts";
import { keysFor, parseTrustedKeys, type TrustedKeys } from "../../release/trusted-keys.ts";
import { Draft } from "./draft.ts";
import type { TargetFile } from "../metadata.ts";
import { parseRoleFileName, roleFileName, targetFilePath, withoutForm } from "./disk-names.ts";
import { readPublished, type Published } from "./published.ts";
import { carriesPeriod, periodOf } from "../periods.ts";
import { supersededProblems } from "./superseded.ts";
import { strongHashes } from "../trusted-set.ts";

export type Finding = {
  /** `bad`: a device refuses or is misled; `warn`: it will be, or space is wasted. */
  readonly level: "bad" | "warn";
  /** `expired` is over once the role is signed again; `other` is not. */
  readonly kind: "expired" | "other";
  readonly what: string;
  readonly message: string;
};

export type Inspection = {
  /** SHA-256 of the first root; null when even that is not there. */
  readonly repository: string | null;
  readonly roots: number;
  readonly roles: number;
  readonly targets: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
};

const DOCUMENT_LIMIT = 1 << 20;
const CHUNK = 1 << 20;

export async function inspectRepository(
  disk: Disk,
  folder: string,
  now: Instant,
  onBytes: (bytes: number) => void = () => {},
): Promise<Inspection> {
  const findings: Finding[] = [];
  const say: Say = (level, what, message, kind = "other") => {
    findings.push({ level, kind, what, message });
  };
  let published: Published;
  try {
    published = await readPublished(disk, folder);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    say("bad", "metadata", [error.message, ...(error.toJSON().causes ?? [])].join(" "));
    return { repository: null, roots: 0, roles: 0, targets: 0, bytes: 0, findings };
  }
  const known = new Set<string>(["metadata/timestamp.json"]);
  for (const root of published.roots) known.add(`metadata/${roleFileName("root", root.signed.version)}`);
  known.add(`metadata/${roleFileName("snapshot", published.snapshot.signed.version)}`);
  expiryFindings(published, now, say);

  const draft = new Draft(published, published.root.signed);
  const files = new Map<string, TargetFile>();
  let roles = 0;
  for (const [role, meta] of published.snapshot.signed.meta) {
    known.add(`metadata/${roleFileName(role, meta.version)}`);
    const delegator = await draft.publishedDelegator(role).catch(() => null);
    if (delegator === null) {
      if (!/\.bin-[0-9a-f]+$/.test(role)) say("warn", role, "it is listed, and no role delegates to it");
      continue;
    }
    try {
      const signed = await published.role(role, delegator);
      roles++;
      if (signed!.signed.expires <= now)
        say("bad", role, `it expired at ${formatInstant(signed!.signed.expires)}`, "expired");
      for (const [name, file] of signed!.signed.targets) files.set(name, file);
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      say("bad", role, [error.message, ...(error.toJSON().causes ?? [])].join(" "));
    }
  }
  let bytes = 0;
  for (const [name, file] of files) {
    const path = targetFilePath(name, file, published.root.signed.consistentSnapshot);
    known.add(path);
    bytes += file.length;
    const wrong = await contentProblem(disk, `${folder}/${path}`, name, file, onBytes);
    if (wrong !== null) say("bad", name, wrong);
  }
  if (!findings.some((finding) => finding.level === "bad")) {
    await documentFindings(disk, folder, files, published.root.signed.consistentSnapshot, say);
  }
  for (const path of await filesBelow(disk, folder, "")) {
    if (known.has(path) || known.has(withoutForm(path)) || oldVersionOf(path, published)) continue;
    say("warn", path, "nothing lists this file: it is left over, or was put here by somebody else");
  }
  for (const { file, problem } of await supersededProblems(disk, folder, published))
    say(
      "warn",
      `metadata/${file}`,
      `${problem}; nothing lists it any more, and repo clean removes it in time`,
    );
  return {
    repository: sha256Hex(published.roots[0]!.bytes),
    roots: published.roots.length,
    roles,
    targets: files.size,
    bytes,
    findings,
  };
}

type Say = (level: Finding["level"], what: string, message: string, kind?: Finding["kind"]) => void;

function expiryFindings(published: Published, now: Instant, say: Say): void {
  const { roles } = published.root.signed;
  for (const role of ["root", "timestamp", "snapshot"] as const) {
    const { expires } = published[role].signed;
    if (expires <= now) say("bad", role, `it expired at ${formatInstant(expires)}`, "expired");
    // Only a role that carries its lifetime says when it was signed; another tool's may live for as long as it likes.
    if (!carriesPeriod(roles[role])) continue;
    const signed = expires - periodOf(role, roles[role]).expiryDays * 24 * 60 * MINUTE;
    if (signed > now + 5 * MINUTE)
      say(
        "warn",
        role,
        `it was signed at ${formatInstant(signed)}, which is in the future: a clock is wrong`,
      );
  }
}

/** Null when the file is what signed metadata lists. */
async function contentProblem(
  disk: Disk,
  path: string,
  name: string,
  file: TargetFile,
  onBytes: (bytes: number) => void,
): Promise<string | null> {
  const stat = await statOrNull(disk, path);
  if (stat === null) return "it is listed and not there";
  if (stat.kind !== "file") return "it is not a file";
  if (stat.size !== file.length) return `it has ${stat.size} bytes where ${file.length} are listed`;
  const digests = new RunningDigests();
  const open = await disk.open(path, "read");
  try {
    while (digests.length < stat.size) {
      const part = await open.read(digests.length, CHUNK);
      if (part.length === 0) return "it became shorter while it was read";
      digests.update(part);
      onBytes(part.length);
    }
  } finally {
    await open.close();
  }
  const found = digests.digests();
  const differs = strongHashes(name, file.hashes).some(
    ([algorithm, digest]) => !sameDigest(digest, found[algorithm]),
  );
  return differs ? "its content is not what signed metadata lists" : null;
}

/** Our own documents: signed by trusted keys, saying what their names say, in agreement with the lists. */
async function documentFindings(
  disk: Disk,
  folder: string,
  files: ReadonlyMap<string, TargetFile>,
  consistent: boolean,
  say: Say,
): Promise<void> {
  const trustFile = files.get(TRUSTED_KEYS_TARGET);
  // A repository of somebody else has no documents of ours, and that is fine.
  if (trustFile === undefined) return;
  const read = async (name: string, file: TargetFile): Promise<Uint8Array> =>
    (await readOrNull(disk, `${folder}/${targetFilePath(name, file, consistent)}`, DOCUMENT_LIMIT))!;
  const attempt = async (name: string, action: () => Promise<void>): Promise<void> => {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof UpkeepError) || error instanceof DiskError) throw error;
      say("bad", name, error.message);
    }
  };
  let trusted: TrustedKeys | null = null;
  await attempt(TRUSTED_KEYS_TARGET, async () => {
    trusted = parseTrustedKeys(await read(TRUSTED_KEYS_TARGET, trustFile));
  });
  const keys: TrustedKeys | null = trusted;
  if (keys === null) return;
  for (const [name, file] of files) {
    const parsed = parseTargetName(name);
    if (parsed === null || parsed.kind === "artifact") continue;
    await attempt(name, async () => {
      const bytes = await read(name, file);
      if (parsed.kind === "channel") {
        const pointer = openChannel(bytes, keysFor(keys, "channel", parsed.product), parsed);
        const target = files.get(pointer.target);
        if (target === undefined) say("bad", name, `it points to ${pointer.version}, which is not listed`);
        else if (target.hashes["sha256"] !== pointer.sha256)
          say("bad", name, `it points to another release document of ${pointer.version} than is listed`);
        return;
      }
      const manifest = openRelease(bytes, keysFor(keys, "release", parsed.product), parsed);
      for (const artifact of manifest.artifacts) {
        for (const part of artifact.signature === undefined ? [artifact] : [artifact, artifact.signature]) {
          const what = part === artifact ? "artifact" : "signature";
          const listed = files.get(part.target);
          if (listed === undefined) say("bad", name, `its ${what} ${part.target} is not listed`);
          else if (listed.length !== part.length || listed.hashes["sha256"] !== part.sha256)
            say("bad", name, `its ${what} ${part.target} is listed with another content`);
        }
        for (const { target } of artifact.deltas)
          if (!files.has(target)) say("bad", name, `its patch ${target} is not listed`);
      }
    });
  }
}

/** Says of a path whether it must stay: every root, the last `keep` versions of each role, and what current roles list. */
export async function listedFiles(draft: Draft, keep: number): Promise<(path: string) => boolean> {
  const published = draft.published!;
  const { meta } = published.snapshot.signed;
  const listed = new Set<string>();
  for (const role of meta.keys()) {
    const delegator = await draft.publishedDelegator(role);
    const signed = delegator === null ? null : await published.role(role, delegator);
    for (const [name, file] of signed?.signed.targets ?? [])
      listed.add(targetFilePath(name, file, published.root.signed.consistentSnapshot));
  }
  return (path) => {
    const file = path.startsWith("metadata/") ? parseRoleFileName(path.slice("metadata/".length)) : null;
    if (file === null)
      return path === "metadata/timestamp.json" || listed.has(path) || listed.has(withoutForm(path));
    const { role, version } = file;
    if (role === "root") return true;
    const current =
      role === "snapshot"
        ? published.snapshot.signed.version
        : (meta.get(role)?.version ?? Number.MAX_SAFE_INTEGER);
    return version > current - keep;
  };
}

/** Earlier versions stay for clients that are in the middle of a refresh, and roots stay for ever. */
function oldVersionOf(path: string, published: Published): boolean {
  const file = path.startsWith("metadata/") ? parseRoleFileName(path.slice("metadata/".length)) : null;
  if (file === null) return path.startsWith("targets/") && /\/[0-9a-f]{64}\.[^/]+\.json$/.test(path);
  const { role, version } = file;
  const current =
    role === "snapshot"
      ? published.snapshot.signed.version
      : (published.snapshot.signed.meta.get(role)?.version ?? 0);
  return version < current;
}

/** Every file below `prefix` (which ends in a slash, or is empty), as paths below `folder`. */
export async function filesBelow(disk: Disk, folder: string, prefix: string): Promise<readonly string[]> {
  const out: string[] = [];
  const at = prefix === "" ? folder : `${folder}/${prefix.slice(0, -1)}`;
  for (const name of await disk.list(at)) {
    const path = `${prefix}${name}`;
    const stat = await disk.stat(`${folder}/${path}`);
    if (stat.kind === "directory") out.push(...(await filesBelow(disk, folder, `${path}/`)));
    else out.push(path);
  }
  return out;
}
