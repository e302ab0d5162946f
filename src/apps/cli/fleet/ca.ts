// What the verbs of `ca` do: each change is the next trust bundle, published as a target of the targets role.

import { UpkeepError } from "../../../core/errors.ts";
import { formatInstant } from "../../../core/instant.ts";
import { claimedAuthorities, requireClaimed } from "../../../fleet/authorities.ts";
import { formatName } from "../../../der/names.ts";
import { spkiDigest } from "../../../identity/authority.ts";
import type { AuthorityMove } from "../../../identity/authority-states.ts";
import {
  activeOf,
  AUTHORITY_KINDS,
  findAuthorityIn,
  firstBundle,
  moveAuthority,
  parseTrustBundle,
  serialiseTrustBundle,
  TRUST_BUNDLE_LIMIT,
  withPrepared,
  type AuthorityKind,
  type TrustBundle,
} from "../../../identity/trust-bundle.ts";
import { TRUST_BUNDLE_TARGET } from "../../../release/target-names.ts";
import type { Draft } from "../../../repository/publish/draft.ts";
import { targetFileOf } from "../../../repository/publish/new-repository.ts";
import { readTargetOf } from "../../../repository/publish/publisher.ts";
import { authorityKeys, openAuthorities, spareAuthority } from "../../server/authorities.ts";
import { openTrust } from "../../server/trust.ts";
import { conclude, refuseWhileOpen } from "../repo/ceremony.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { beginRecords } from "../../server/store-check.ts";
import { isShared, readFleet, withStore } from "../records/open-store.ts";
import { operatorOf, type Operator } from "../repo/operator.ts";
import { columns } from "../../framework/style.ts";

export async function caList(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  return describe(call, await publishedBundle(operator, await operator.look()));
}

export async function caPrepare(call: Call): Promise<Result> {
  const kind = AUTHORITY_KINDS.find((one) => one === call.argument(0));
  if (kind === undefined) throw usage(`"${call.argument(0).slice(0, 40)}" is neither server nor device.`);
  const { context } = call;
  return change(call, `${kind} authority prepared`, async (before) => {
    const listed = new Set(before.authorities.map(({ spkiSha256 }) => spkiSha256));
    const { certificate } = await spareAuthority(tlsFolder(call), kind, listed, context);
    return withPrepared(before, kind, certificate);
  });
}

export async function caMove(call: Call, move: AuthorityMove): Promise<Result> {
  const start = call.argument(0).toLowerCase();
  const done = { activate: "activated", taint: "tainted", revoke: "revoked" }[move];
  return change(call, `authority ${start.slice(0, 16)} ${done}`, async (before) => {
    const meant = findAuthorityIn(before, start);
    const keys = await keysHere(call);
    // The server would go on issuing from the one before, which is about to be distrusted.
    if (move === "activate" && !keys.has(meant.spkiSha256))
      throw usage(
        `The key of ${meant.spkiSha256.slice(0, 16)} is not in ${tlsFolder(call)}, so the server could not issue from it.`,
        "Put the key file and the certificate back there, or prepare another authority.",
      );
    return moveAuthority(before, move, meant.spkiSha256);
  });
}

/** trust/bundle.json as it is published; null when there is none. Errors: those of `parseTrustBundle`, `publisher/*`. */
export async function publishedBundle(operator: Operator, draft: Draft): Promise<TrustBundle | null> {
  if ((await draft.find(TRUST_BUNDLE_TARGET)) === null) return null;
  const { disk, folder } = operator.releases;
  return parseTrustBundle(await readTargetOf(disk, folder, draft, TRUST_BUNDLE_TARGET, TRUST_BUNDLE_LIMIT));
}

/** The key of the authority that the server shows, or will show once it has followed what is published. */
export async function serverPin(call: Call): Promise<string> {
  const operator = operatorOf(call);
  try {
    const bundle = await publishedBundle(operator, await operator.look());
    if (bundle !== null) return activeOf(bundle, "server").spkiSha256;
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    call.context.note(`The repository could not be read: ${error.message}`);
  }
  // An operator's folder without the fleet's keys must not make a pair of its own.
  await beginHere(call);
  const claimed = isShared(call) ? await readFleet(call, claimedAuthorities) : null;
  if (claimed !== null) return claimed.server;
  const { server } = await openTrust(`${call.context.data}/server/tls`, call.context);
  return spkiDigest(server.certificate.spki);
}

async function change(
  call: Call,
  reason: string,
  next: (before: TrustBundle) => Promise<TrustBundle>,
): Promise<Result> {
  const operator = operatorOf(call);
  await refuseWhileOpen(call);
  const outcome = await operator.publisher.change(async (draft) => {
    const before = (await publishedBundle(operator, draft)) ?? (await bundleInUse(call));
    const after = await next(before);
    const bytes = serialiseTrustBundle(after);
    const file = targetFileOf(bytes);
    draft.trace("authorities/changed", reason, {
      before: statesOf(before),
      after: statesOf(after),
    });
    await draft.changeTargets("targets", { put: new Map([[TRUST_BUNDLE_TARGET, file]]) });
    await operator.publisher.placeBytes(TRUST_BUNDLE_TARGET, file, bytes);
  });
  const concluded = await conclude(call, outcome, reason);
  const described = await describe(call, await publishedBundle(operator, await operator.look()));
  return {
    text: `${described.text}\n${concluded.text}`,
    json: { ...(described.json as object), ...concluded.json },
    exit: concluded.exit,
  };
}

/** The records come to be before the authorities: authorities without records are a fleet that lost them. Error: `fleet/store-missing`. */
async function beginHere(call: Call): Promise<void> {
  if (isShared(call)) return;
  const folder = `${call.context.data}/server`;
  await withStore(call, (store) => beginRecords(call.context.disk, folder, store, `${folder}/upkeep.sqlite`));
}

function statesOf({ authorities }: TrustBundle): readonly string[] {
  return authorities.map(({ kind, state, spkiSha256 }) => `${kind} ${spkiSha256} ${state}`);
}

/** Before the first bundle: the pair of authorities that the server uses by itself. */
async function bundleInUse(call: Call): Promise<TrustBundle> {
  await beginHere(call);
  const claimed = isShared(call) ? await readFleet(call, claimedAuthorities) : null;
  const { server, device } = await openAuthorities(tlsFolder(call), call.context);
  if (claimed !== null)
    requireClaimed(claimed, {
      server: spkiDigest(server.certificate.spki),
      device: spkiDigest(device.certificate.spki),
    });
  return firstBundle(server.certificate, device.certificate);
}

function tlsFolder(call: Call): string {
  return `${call.context.data}/server/tls`;
}

async function keysHere(call: Call): Promise<ReadonlySet<string>> {
  const keys = await authorityKeys(tlsFolder(call), call.context);
  return new Set(keys.map(({ certificate }) => spkiDigest(certificate.spki)));
}

async function describe(call: Call, bundle: TrustBundle | null): Promise<Result> {
  if (bundle === null) {
    return {
      text: "No list of authorities is published: devices know the authority that their token pinned, and no other.\nThe first upkeep ca prepare publishes one.",
      json: { seq: 0, authorities: [] },
    };
  }
  const here = await keysHere(call);
  const rows = AUTHORITY_KINDS.flatMap((kind: AuthorityKind) =>
    bundle.authorities
      .filter((one) => one.kind === kind)
      .map(({ certificate, spkiSha256, state }) => ({
        kind,
        state,
        spkiSha256,
        notAfter: formatInstant(certificate.notAfter),
        subject: formatName(certificate.subject),
        keyHere: here.has(spkiSha256),
      })),
  );
  const lines = rows.map((row) => [
    row.kind,
    row.state,
    row.spkiSha256.slice(0, 16),
    row.notAfter,
    row.keyHere ? "here" : "not here",
    row.subject,
  ]);
  return {
    text: columns([["KIND", "STATE", "KEY", "UNTIL", "PRIVATE KEY", "AUTHORITY"], ...lines]),
    json: { seq: bundle.seq, authorities: rows },
  };
}
