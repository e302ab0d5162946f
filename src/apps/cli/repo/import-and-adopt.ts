// What `repo import` and `repo adopt` do: taking over a repository that another tool made, and getting it ready for releases of ours.

import { resolve } from "node:path";
import { makeDirectories, statOrNull } from "../../../core/disk.ts";
import { sha256Hex } from "../../../core/digest.ts";
import { TRUSTED_KEYS_TARGET } from "../../../release/target-names.ts";
import type { Draft } from "../../../repository/publish/draft.ts";
import { inspectRepository } from "../../../repository/publish/inspect.ts";
import { allRoles } from "../../../repository/publish/key-changes.ts";
import { firstTrustedKeys, putTrustedKeys } from "../../../repository/publish/new-repository.ts";
import {
  existsAlready,
  hasRepository,
  readPublished,
  repositoryId,
} from "../../../repository/publish/published.ts";
import { keyOf } from "../../../repository/publish/quorum.ts";
import { repositoryStatus } from "../../../repository/publish/status.ts";
import type { Call, Result } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { auditOf } from "./audit-trail.ts";
import { conclude, refuseWhileOpen } from "./ceremony.ts";
import { copyTree } from "./doctor.ts";
import { findOrMake } from "./init.ts";
import { operatorOf, type Operator } from "./operator.ts";
import { describeInspection } from "./verify-listed.ts";

export async function repoImport(call: Call): Promise<Result> {
  const { context } = call;
  const operator = operatorOf(call);
  const from = resolve(call.argument(0));
  if ((await operator.memory.load()) !== null || (await hasRepository(context.disk, operator.folder)))
    throw existsAlready(operator.folder);
  const published = await readPublished(context.disk, from);
  const id = repositoryId(published);
  const pin = call.text("root-sha256");
  if (pin !== undefined && pin !== id) {
    throw new CliError("cli/verify-failed", "The repository begins at another root than the one you named.", {
      wanted: pin,
      found: id,
    });
  }
  if (!published.root.signed.consistentSnapshot) {
    throw usage(
      "Only repositories with consistent snapshots can be taken over.",
      "Have its present tool publish a root with consistent_snapshot: true first.",
    );
  }
  const found = await inspectRepository(context.disk, from, context.clock.now());
  const broken = found.findings.filter(({ level, kind }) => level === "bad" && kind !== "expired");
  if (broken.length > 0) return describeInspection(call, found);
  const audit = auditOf(call);
  await audit.ready();
  await audit.write([
    { action: "repository/imported", subject: "repository", facts: { before: null, after: id, from } },
  ]);
  for (const part of ["targets", "metadata"])
    if ((await statOrNull(context.disk, `${from}/${part}`)) !== null)
      await copyTree(context.disk, `${from}/${part}`, `${operator.folder}/${part}`, Number.MAX_SAFE_INTEGER);
  await makeDirectories(context.disk, `${operator.folder}/targets`);
  const draft = await operator.look();
  const status = await repositoryStatus(draft.published!, context.clock.now());
  const lines = await keysAtHand(operator, draft);
  const ours = (await draft.find(TRUSTED_KEYS_TARGET)) !== null;
  return {
    text: [
      `took over ${id}; key ids stay as they are`,
      ...lines,
      "bring its keys with: upkeep key import NAME FILE",
      ...(ours ? [] : ["then, to release into it: upkeep repo adopt"]),
    ].join("\n"),
    json: { repository: id, roles: status.roles, adopted: ours },
  };
}

/** One line per role: how many of its keys are in this data folder. */
async function keysAtHand(operator: Operator, draft: Draft): Promise<readonly string[]> {
  const here = new Set((await operator.keys.list()).map((info) => sha256Hex(info.publicKey.spki)));
  const { body } = await draft.role("targets");
  const forms = new Map([...(body.delegations?.keys ?? []), ...draft.root.keys]);
  return (await allRoles(draft)).map(({ role, keys }) => {
    const held = keys.keyids.filter((keyid) => {
      const key = keyOf(forms, keyid);
      return key !== null && here.has(sha256Hex(key.spki));
    });
    return `${role}: ${keys.threshold} of ${keys.keyids.length} keys must sign, ${held.length} are here`;
  });
}

/** Makes the keys that releases need, and has `targets` list them; everything that was there before stays. */
export async function repoAdopt(call: Call): Promise<Result> {
  await refuseWhileOpen(call);
  const operator = operatorOf(call);
  const before = await operator.look();
  if ((await before.find(TRUSTED_KEYS_TARGET)) !== null) {
    return {
      text: "already: releases can be added to this repository",
      json: { adopted: true, already: true },
    };
  }
  const products = await findOrMake(operator, call, "products", null, "ed25519");
  // A second algorithm family on the way to a device, as in a repository of ours.
  const releases = await findOrMake(operator, call, "releases", null, "ecdsa-sha2-nistp256");
  const director = await findOrMake(operator, call, "director", null, "ed25519");
  const outcome = await operator.publisher.change(async (draft) => {
    const placed = await putTrustedKeys(draft, firstTrustedKeys(releases.publicKey, director.publicKey));
    await operator.publisher.placeBytes(placed.name, placed.file, placed.bytes);
    draft.trace("repository/adopted", "repository", {
      before: null,
      after: { products: products.publicKey.keyid, releases: releases.publicKey.keyid },
      director: director.publicKey.keyid,
    });
  });
  const concluded = await conclude(call, outcome, "list the keys of releases");
  return {
    text: [
      "releases are signed by releases, their files by products, assignments by director",
      concluded.text,
      "next: upkeep release add PRODUCT VERSION ARTIFACT --promote",
    ].join("\n"),
    json: { adopted: outcome.kind === "published", already: false, ...concluded.json },
    exit: concluded.exit,
  };
}
