// What `repo rotate`, `repo revoke` and `repo recover` do.

import { toHex } from "../../../core/bytes.ts";
import { UpkeepError } from "../../../core/errors.ts";
import type { TufKey } from "../../../keys/public-key.ts";
import type { RoleKeys } from "../../../repository/metadata.ts";
import { keyOf } from "../../../repository/publish/quorum.ts";
import type { Grant, TrustedKeys } from "../../../release/trusted-keys.ts";
import type { Draft } from "../../../repository/publish/draft.ts";
import {
  allRoles,
  findKeyid,
  removeKey,
  replaceKey,
  rolesOfKey,
} from "../../../repository/publish/key-changes.ts";
import { putTrustedKeys, type NamedKey } from "../../../repository/publish/new-repository.ts";
import { PublisherError } from "../../../repository/publish/publisher-errors.ts";
import type { Published } from "../../../repository/publish/published.ts";
import { keyNames } from "../../../repository/publish/publisher-policy.ts";
import type { Outcome } from "../../../repository/publish/publisher.ts";
import { FAR_VERSION, recoverPublished, redoRecovered } from "../../../repository/publish/recovery.ts";
import { resignDocuments } from "../../../repository/publish/resign-documents.ts";
import { touchDue } from "../../../repository/publish/status.ts";
import { isScheme, type Scheme } from "../../../keys/scheme.ts";
import { conclude, refuseWhileOpen } from "./ceremony.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { operatorOf, type Operator } from "./operator.ts";
import { changeTrust, currentTrust } from "./trust-change.ts";
import { findOrMake, noReserve, readPublicKey } from "./init.ts";

/** Names of keys that stand in trust/keys.json rather than in a TUF role, and what they sign. */
const DOCUMENT_KEYS: { readonly [name: string]: readonly Grant["kind"][] } = {
  releases: ["release", "channel"],
  director: ["assignment"],
  licenses: ["license"],
  leases: ["lease"],
  messenger: ["message"],
};

export async function repoRotate(call: Call): Promise<Result> {
  await refuseWhileOpen(call);
  const operator = operatorOf(call);
  const what = call.argument(0);
  const lines: string[] = [];
  const outcome =
    DOCUMENT_KEYS[what] === undefined
      ? await rotateRole(call, operator, what, lines)
      : await rotateDocuments(call, operator, what, lines);
  const concluded = await conclude(call, outcome, `rotate ${what}`);
  return {
    text: [...lines, concluded.text].join("\n"),
    json: { changes: lines, ...concluded.json },
    exit: concluded.exit,
  };
}

async function rotateRole(call: Call, operator: Operator, what: string, lines: string[]): Promise<Outcome> {
  return operator.publisher.change(async (draft) => {
    const roles = await rolesNamed(draft, what);
    const keyids = [...new Set(roles.flatMap(({ keys }) => keys.keyids))];
    const wish = call.text("old");
    const own = await namesHere(operator, draft);
    const named = (keys: RoleKeys, keyid: string): string | undefined =>
      keyNames(keys).get(keyid) ?? own.get(keyid);
    const old = wish === undefined ? keyids[0]! : await keyidOf(draft, own, wish);
    if (!keyids.includes(old)) throw usage(`${what} has no key ${wish!}.`);
    if (wish === undefined && keyids.length > 1) {
      const names = roles.flatMap(({ keys }) =>
        keys.keyids.map((keyid) => named(keys, keyid) ?? keyid.slice(0, 64)),
      );
      throw usage(
        `${what} has several keys.`,
        `Say which one goes: --old with one of ${[...new Set(names)].join(", ")}.`,
      );
    }
    const names = roles.flatMap(({ keys }) => named(keys, old) ?? []);
    const scheme = await schemeOf(draft, old);
    const next = await nextKey(call, operator, names[0] ?? what, scheme, await keyidsInUse(draft));
    for (const { role, keys } of roles) {
      if (!keys.keyids.includes(old)) continue;
      await replaceKey(draft, [role], old, next);
      draft.trace("key/rotated", role, { before: old, after: next.key.keyid, name: next.name });
      lines.push(`${role}: ${names[0] ?? old.slice(0, 16)} -> ${next.name}`);
    }
  });
}

/** The new key may sign from now on; the old one still verifies what it signed, until `repo revoke`. */
async function rotateDocuments(
  call: Call,
  operator: Operator,
  what: string,
  lines: string[],
): Promise<Outcome> {
  const kinds = DOCUMENT_KEYS[what]!;
  if (!(await currentTrust(operator)).grants.some(({ kind }) => kinds.includes(kind)))
    throw usage(`The repository trusts no key for ${what} yet.`, "Add one first: upkeep license keys.");
  const scheme = what === "releases" ? "ecdsa-sha2-nistp256" : "ed25519";
  const inUse = new Set((await currentTrust(operator)).keys.keys());
  const next = await nextKey(call, operator, what, scheme, inUse);
  return changeTrust(operator, async (trusted, draft) => {
    for (const grant of trusted.grants.filter(({ kind }) => kinds.includes(kind)))
      draft.trace("key/rotated", `documents ${grant.kind}`, {
        before: grant.keyids,
        after: [...new Set([...grant.keyids, next.key.keyid])],
        name: next.name,
      });
    if (!trusted.grants.some(({ kind }) => kinds.includes(kind)))
      throw usage(`The repository names no key for ${what} yet.`, `Begin with upkeep message init.`);
    lines.push(`${kinds.join(", ")}: also signed by ${next.name}; upkeep repo revoke takes the old key away`);
    return {
      keys: new Map([...trusted.keys, [next.key.keyid, next.key]]),
      grants: trusted.grants.map((grant) =>
        kinds.includes(grant.kind) && !grant.keyids.includes(next.key.keyid)
          ? { ...grant, keyids: [...grant.keyids, next.key.keyid] }
          : grant,
      ),
    };
  });
}

export async function repoRevoke(call: Call): Promise<Result> {
  await refuseWhileOpen(call);
  const operator = operatorOf(call);
  const wish = call.argument(0);
  const lines: string[] = [];
  const trusted = await currentTrust(operator);
  const document = await documentKeyid(operator, trusted, wish);
  const outcome =
    document === null
      ? await operator.publisher.change(async (draft) => {
          const keyid = await keyidOf(draft, await namesHere(operator, draft), wish);
          const roles = await rolesOfKey(draft, keyid);
          await noteReserve(call, draft, roles, keyid);
          await removeKey(draft, roles, keyid);
          draft.trace("key/revoked", wish, { before: roles, after: null, key: keyid });
          lines.push(`${keyid.slice(0, 16)} taken away from ${roles.join(", ")}`);
        })
      : await revokeDocumentKey(call, operator, trusted, document, lines);
  const concluded = await conclude(call, outcome, `revoke ${wish}`);
  return {
    text: [...lines, concluded.text].join("\n"),
    json: { changes: lines, ...concluded.json },
    exit: concluded.exit,
  };
}

async function revokeDocumentKey(
  call: Call,
  operator: Operator,
  trusted: TrustedKeys,
  keyid: string,
  lines: string[],
): Promise<Outcome> {
  const keys = new Map([...trusted.keys].filter(([id]) => id !== keyid));
  const grants = trusted.grants.map((grant) => ({
    ...grant,
    keyids: grant.keyids.filter((id) => id !== keyid),
  }));
  const empty = grants.find((grant) => grant.keyids.length < grant.threshold);
  if (empty !== undefined) {
    throw usage(
      `Without this key none is left to sign documents of kind ${empty.kind}.`,
      "Put another beside it first: upkeep repo rotate releases, director, licenses, leases or messenger.",
    );
  }
  const next: TrustedKeys = { keys, grants };
  const bare = grants.filter((grant) => grant.threshold > 1 && grant.keyids.length === grant.threshold);
  for (const { kind, threshold } of bare)
    call.context.note(noReserve(`documents of kind ${kind}`, threshold));
  return operator.publisher.change(async (draft) => {
    draft.trace("key/revoked", keyid, { before: "trusted for documents", after: null, key: keyid });
    // Documents under the old key would be refused from now on: they are signed again, after being verified.
    const again = await resignDocuments(operator.releases, draft, trusted, next, keyid);
    const placed = await putTrustedKeys(draft, next);
    await operator.publisher.placeBytes(placed.name, placed.file, placed.bytes);
    lines.push(`${keyid.slice(0, 16)} is trusted no more; ${again} documents signed again`);
  });
}

export async function repoRecover(call: Call): Promise<Result> {
  await refuseWhileOpen(call);
  const operator = operatorOf(call);
  const { context } = call;
  const compromised = call.list("compromised");
  const atMost = new Map(call.list("last-good").map((word) => parseRoleVersion(word)));
  const atLeast = await numbersSeen(call, operator);
  const recovered = await recoverPublished(context.disk, operator.folder, atMost, atLeast);
  refuseLostRoots(recovered.published, atLeast);
  const { published, chosen, numbersLost } = recovered;
  const lines = chosen.map(
    ({ role, version, unusable }) =>
      `${role}: version ${version}${unusable.length > 0 ? ` (passed over, not verifying: ${unusable.join(", ")})` : ""}`,
  );
  const replace = new Set(compromised);
  // Devices that saw a number of the attacker follow lower ones only when the key that signed it is gone.
  if (numbersLost) replace.add("online");
  const outcome = await operator.publisher.change(async (draft) => {
    const inUse = await keyidsInUse(draft);
    const own = await namesHere(operator, draft);
    for (const what of replace) {
      for (const { role, keys } of await rolesNamed(draft, what)) {
        for (const old of keys.keyids) {
          const name = keyNames(keys).get(old) ?? own.get(old) ?? what;
          const next = await nextKey(call, operator, name, await schemeOf(draft, old), inUse);
          await replaceKey(draft, [role], old, next);
          draft.trace("key/rotated", role, { before: old, after: next.key.keyid, name: next.name });
          lines.push(`${role}: ${name} -> ${next.name}`);
        }
      }
    }
    lines.push(...(await touchDue(draft, context.clock.now())).map((role) => `${role}: signed again`));
    lines.push(...(await redoRecovered(draft, recovered)).map((role) => `${role}: published again`));
    draft.trace("repository/recovered", "repository", {
      before: chosen.map(({ role, version, unusable }) => ({ role, version, passedOver: unusable })),
      after: "published again",
      compromised,
      lastGood: [...atMost].map(([role, version]) => ({ role, version })),
    });
  }, published);
  const concluded = await conclude(call, outcome, "recover", atMost);
  return {
    text: [...lines, concluded.text].join("\n"),
    json: { steps: lines, ...concluded.json },
    exit: concluded.exit,
  };
}

/** Said before it is done: a role that needs all of its keys is lost with any of them. */
async function noteReserve(call: Call, draft: Draft, roles: readonly string[], keyid: string): Promise<void> {
  for (const { role, keys } of await allRoles(draft)) {
    const left = keys.keyids.filter((id) => id !== keyid).length;
    if (roles.includes(role) && left === keys.threshold && left < keys.keyids.length && keys.threshold > 1)
      call.context.note(noReserve(role, left));
  }
}

/**
 * What was published from here, and what devices say that they have seen (`--seen`): kept with the first, because a recovery that waits
 * for signatures is finished by another command.
 */
async function numbersSeen(call: Call, operator: Operator): Promise<ReadonlyMap<string, number>> {
  const seen = call.list("seen").map((word) => parseRoleVersion(word));
  const known = new Map(await operator.memory.load());
  for (const [role, version] of seen) {
    // A thief's numbers are not gone above: they are left behind by another key.
    if (version >= FAR_VERSION)
      throw usage(
        `${role}=${version} is far beyond what publishing gives: somebody drove the numbers up (fast-forward attack).`,
        "Replace the key that signed it, and numbers begin low again: upkeep repo recover --compromised online.",
      );
    known.set(role, Math.max(known.get(role) ?? 0, version));
  }
  if (seen.length > 0) await operator.memory.save(known);
  return known;
}

/** A root can only follow the one before it: above roots that devices trust, nobody can publish without having them. */
function refuseLostRoots({ root }: Published, atLeast: ReadonlyMap<string, number>): void {
  const [here, seen] = [root.signed.version, atLeast.get("root") ?? 0];
  if (here >= seen) return;
  const missing = here + 1 === seen ? `${seen}.root.json is` : `${here + 1} to ${seen}.root.json are`;
  throw new PublisherError(
    "publisher/inconsistent",
    `Devices trust root ${seen}, and the roots here end with ${here}: ${missing} missing, and no other root can take that place.`,
    { here, seen },
    {
      hint: "Copy them into repository/metadata from a mirror, a bundle, or the folder tuf/history of a device; they are public.",
    },
  );
}

function parseRoleVersion(text: string): readonly [string, number] {
  const match = /^(.+)=(\d{1,15})$/.exec(text);
  if (match === null) throw usage(`"${text.slice(0, 60)}" is not ROLE=VERSION.`);
  return [match[1]!, Number(match[2])];
}

/** Names that keys have in this data folder, by the ids that the repository knows them by: another tool gave its keys no names. */
async function namesHere(operator: Operator, draft: Draft): Promise<ReadonlyMap<string, string>> {
  const names = new Map((await operator.keys.list()).map((info) => [toHex(info.publicKey.spki), info.name]));
  const { body } = await draft.role("targets");
  const found = new Map<string, string>();
  for (const keys of [draft.root.keys, body.delegations?.keys ?? new Map<string, TufKey>()]) {
    for (const keyid of keys.keys()) {
      const key = keyOf(keys, keyid);
      const name = key === null ? undefined : names.get(toHex(key.spki));
      if (name !== undefined) found.set(keyid, name);
    }
  }
  return found;
}

/** A key by the name it has in the repository, by its id, or by its name here. Throws `publisher/bad-input`. */
async function keyidOf(draft: Draft, own: ReadonlyMap<string, string>, wish: string): Promise<string> {
  const used = await keyidsInUse(draft);
  const mine = [...own].filter(([keyid, name]) => name === wish && used.has(keyid));
  try {
    return await findKeyid(draft, wish);
  } catch (error) {
    if (mine.length === 1 && error instanceof UpkeepError) return mine[0]![0];
    throw error;
  }
}

/** `online` is snapshot and timestamp, `products` every product; any other is a role by its name. */
async function rolesNamed(draft: Draft, what: string) {
  const all = await allRoles(draft);
  const found = all.filter(({ role }) =>
    what === "online"
      ? role === "snapshot" || role === "timestamp"
      : what === "products"
        ? role.startsWith("product.")
        : role === what,
  );
  if (found.length === 0) {
    throw usage(
      `There is no role or key "${what.slice(0, 60)}".`,
      `One of: ${all.map(({ role }) => role).join(", ")}, online, products, releases, director, licenses, leases.`,
    );
  }
  return found;
}

/**
 * The key given with --new, or a new one named after the old: `root-1`, then `root-1-r2`, `root-1-r3` and so on.
 * A key of that name which no role uses was left by an interrupted run, and is taken up again.
 */
async function nextKey(
  call: Call,
  operator: Operator,
  old: string,
  scheme: Scheme,
  inUse: ReadonlySet<string>,
): Promise<NamedKey> {
  const file = call.text("new");
  if (file !== undefined) return readPublicKey(call, file);
  const infos = await operator.keys.list();
  if (!infos.some((info) => info.name === old) && !call.flag("here")) {
    throw usage(
      `The key ${old} is not in this data folder, so its owner makes the new one.`,
      "Give --new FILE with the public key that comes, or --here to make one in this data folder.",
    );
  }
  const [, stem, number] = /^(.*?)(?:-r(\d+))?$/.exec(old)!;
  let count = Number(number ?? "1") + 1;
  const taken = (name: string): boolean =>
    infos.some((info) => info.name === name && inUse.has(info.publicKey.keyid));
  while (taken(`${stem!}-r${count}`)) count++;
  const wrapped = infos.some((info) => info.name === old && info.wrapped);
  const passphrase = wrapped
    ? await call.context.secret({
        what: `Passphrase for the new key ${stem!}-r${count}`,
        env: "UPKEEP_PASSPHRASE",
        file: call.text("passphrase-file"),
        option: "--passphrase-file",
        twice: true,
      })
    : null;
  const info = await findOrMake(operator, call, `${stem!}-r${count}`, passphrase, scheme);
  return { name: info.name, key: info.publicKey };
}

async function keyidsInUse(draft: Draft): Promise<ReadonlySet<string>> {
  return new Set((await allRoles(draft)).flatMap(({ keys }) => keys.keyids));
}

/** The new key is of the kind of the old one, if such keys can be made here. */
async function schemeOf(draft: Draft, keyid: string): Promise<Scheme> {
  const { body } = await draft.role("targets");
  const form = draft.root.keys.get(keyid) ?? body.delegations?.keys.get(keyid);
  const scheme = form?.["scheme"];
  return typeof scheme === "string" && isScheme(scheme) && !scheme.startsWith("rsa-pkcs1v15")
    ? scheme
    : "ed25519";
}

/** The id of a key that trust/keys.json lists, by its file's name here or by its id; null when it lists no such key. */
async function documentKeyid(operator: Operator, trusted: TrustedKeys, wish: string): Promise<string | null> {
  const byId = [...trusted.keys.keys()].filter(
    (keyid) => keyid === wish || (wish.length >= 8 && keyid.startsWith(wish)),
  );
  if (byId.length === 1) return byId[0]!;
  const info = (await operator.keys.list()).find((candidate) => candidate.name === wish);
  return info !== undefined && trusted.keys.has(info.publicKey.keyid) ? info.publicKey.keyid : null;
}
