// Metadata that newer versions replaced: nothing lists its digest any more, so it is judged by the keys that the repository had in its time.

import { readOrNull, type Disk } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import { isBinOf } from "./hash-bins.ts";
import type { Delegations, Signed, Snapshot, Targets } from "../metadata.ts";
import { parseRoleFileName } from "./disk-names.ts";
import { parseSnapshot, parseTargets } from "../parse-metadata.ts";
import { topDelegator, type Published } from "./published.ts";
import { quorumOf } from "./quorum.ts";
import type { Delegator } from "../trusted-set.ts";

export type Superseded = { readonly file: string; readonly problem: string };

const LIMIT = 256 * 1024 * 1024;

/** What is wrong with the earlier versions of snapshot and targets roles that still lie in `metadata/`. No device is refused for it. */
export async function supersededProblems(
  disk: Disk,
  folder: string,
  published: Published,
): Promise<readonly Superseded[]> {
  const { meta, version: snapshot } = published.snapshot.signed;
  const names = await disk.list(`${folder}/metadata`);
  const currentOf = (role: string): number =>
    role === "snapshot" ? snapshot : (meta.get(role)?.version ?? 0);
  const files = names.flatMap((file) => {
    const parsed = parseRoleFileName(file);
    if (parsed === null || parsed.role === "root" || parsed.version > currentOf(parsed.role)) return [];
    return [{ file, ...parsed }];
  });
  // Who delegates comes before whom it delegates to: our roles carry their parent's name in front.
  const rank = (role: string): number => (role === "snapshot" || role === "targets" ? 0 : role.length);
  files.sort((a, b) => rank(a.role) - rank(b.role));

  const delegations: Delegations[] = [];
  const found: Superseded[] = [];
  for (const { file, role, version } of files) {
    const bytes = await readOrNull(disk, `${folder}/metadata/${file}`, LIMIT);
    if (bytes === null) continue;
    const isCurrent = version === currentOf(role);
    const say = (problem: string): void => {
      // The current version is checked against the lists, and said there.
      if (!isCurrent) found.push({ file, problem });
    };
    let signed: Signed<Snapshot> | Signed<Targets>;
    try {
      signed = role === "snapshot" ? parseSnapshot(bytes) : parseTargets(bytes);
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      say(`it is damaged: ${error.message}`);
      continue;
    }
    if (signed.signed.version !== version) {
      say(`it says that it is version ${signed.signed.version}`);
      continue;
    }
    const top = role === "snapshot" || role === "targets";
    const delegators = top
      ? published.roots.map((root) => topDelegator(root.signed, role))
      : delegations.flatMap((one) => delegatorIn(one, role));
    const quorums = delegators.map((delegator) => quorumOf(signed, delegator));
    if (!quorums.some(({ missing }) => missing === 0)) {
      say("no keys that this repository ever trusted for it signed it");
      continue;
    }
    // Around a rotation a file carries signatures of old and new keys: one is enough for a client, and each must be good.
    const good = new Set(quorums.flatMap((quorum) => quorum.signed));
    const known = new Set(delegators.flatMap((delegator) => delegator.role.keyids));
    const wrong = signed.signatures.find(({ keyid }) => !good.has(keyid));
    if (wrong !== undefined) {
      const whose = known.has(wrong.keyid) ? "does not verify" : "is of a key that nobody vouches for";
      say(`one of its signatures ${whose}`);
    }
    if ("targets" in signed.signed && signed.signed.delegations !== null)
      delegations.push(signed.signed.delegations);
  }
  return found;
}

function delegatorIn(delegations: Delegations, role: string): readonly Delegator[] {
  const { succinct, roles, keys } = delegations;
  if (succinct !== null) return isBinOf(succinct, role) ? [{ keys, role: succinct }] : [];
  return roles.filter(({ name }) => name === role).map((one) => ({ keys, role: one }));
}
