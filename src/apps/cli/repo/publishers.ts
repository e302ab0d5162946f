// What `repo publishers` does: the certificate authorities whose publishers' signatures on artifacts devices believe.

import { resolve } from "node:path";
import { fromUtf8, toUtf8 } from "../../../core/bytes.ts";
import { formatInstant } from "../../../core/instant.ts";
import { formatName } from "../../../der/names.ts";
import { certificatePem, parseCertificatesPem, spkiPin, type Certificate } from "../../../der/x509.ts";
import { PUBLISHER_ROOTS_LIMIT, PUBLISHER_ROOTS_TARGET } from "../../../release/target-names.ts";
import type { Draft } from "../../../repository/publish/draft.ts";
import { targetFileOf } from "../../../repository/publish/new-repository.ts";
import { readTargetOf } from "../../../repository/publish/publisher.ts";
import { conclude, refuseWhileOpen } from "./ceremony.ts";
import type { Call, Result } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { operatorOf, type Operator } from "./operator.ts";
import { columns } from "../../framework/style.ts";

export async function repoPublishers(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const [additions, removals] = [call.list("add"), call.list("remove")];
  const before = await trustedPublishers(operator, await operator.look());
  if (additions.length === 0 && removals.length === 0)
    return { text: describe(before), json: { authorities: before.map(facts) } };

  await refuseWhileOpen(call);
  const added = (await Promise.all(additions.map((file) => certificatesIn(call, file)))).flat();
  const outcome = await operator.publisher.change(async (draft) => {
    const now = await trustedPublishers(operator, draft);
    for (const pin of removals) {
      if (!now.some((certificate) => isMeant(certificate, pin)))
        throw usage(
          `No authority has a key whose SHA-256 begins with ${pin.slice(0, 64)}.`,
          "upkeep repo publishers lists them.",
        );
    }
    const kept = now.filter((certificate) => !removals.some((pin) => isMeant(certificate, pin)));
    const known = new Set(kept.map(certificatePem));
    draft.trace("publishers/changed", PUBLISHER_ROOTS_TARGET, {
      before: now.map(spkiPin),
      after: [...kept, ...added].map(spkiPin),
    });
    const all = [...kept, ...added.filter((certificate) => !known.has(certificatePem(certificate)))];
    if (all.length === 0) {
      await draft.changeTargets("targets", { remove: [PUBLISHER_ROOTS_TARGET] });
      return;
    }
    const bytes = toUtf8(all.map(certificatePem).join(""));
    const file = targetFileOf(bytes);
    await draft.changeTargets("targets", { put: new Map([[PUBLISHER_ROOTS_TARGET, file]]) });
    await operator.publisher.placeBytes(PUBLISHER_ROOTS_TARGET, file, bytes);
  });
  const concluded = await conclude(call, outcome, "authorities of publishers");
  const after = await trustedPublishers(operator, await operator.look());
  return {
    text: `${describe(after)}\n${concluded.text}`,
    json: { authorities: after.map(facts), ...concluded.json },
    exit: concluded.exit,
  };
}

/** Those of trust/publishers.pem; none when the repository has no such target. */
export async function trustedPublishers(operator: Operator, draft: Draft): Promise<readonly Certificate[]> {
  if ((await draft.find(PUBLISHER_ROOTS_TARGET)) === null) return [];
  const { disk, folder } = operator.releases;
  return parseCertificatesPem(
    fromUtf8(await readTargetOf(disk, folder, draft, PUBLISHER_ROOTS_TARGET, PUBLISHER_ROOTS_LIMIT)),
  );
}

async function certificatesIn(call: Call, file: string): Promise<readonly Certificate[]> {
  const path = resolve(file);
  const found = parseCertificatesPem(fromUtf8(await call.context.disk.read(path, PUBLISHER_ROOTS_LIMIT)));
  const leaf = found.find((certificate) => certificate.extensions.basicConstraints?.ca !== true);
  if (found.length === 0 || leaf !== undefined) {
    throw new CliError(
      "cli/usage",
      leaf === undefined
        ? `${path} holds no certificate in PEM form.`
        : `${path} holds ${formatName(leaf.subject)}, which is no certificate authority.`,
      { path },
      {
        hint: "Name the root that the publisher's certificate chains to; the publisher itself is pinned by each release.",
      },
    );
  }
  return found;
}

function isMeant(certificate: Certificate, pin: string): boolean {
  return pin.length >= 8 && spkiPin(certificate).startsWith(pin);
}

function facts(certificate: Certificate): { subject: string; spkiSha256: string; notAfter: string } {
  return {
    subject: formatName(certificate.subject),
    spkiSha256: spkiPin(certificate),
    notAfter: formatInstant(certificate.notAfter),
  };
}

function describe(authorities: readonly Certificate[]): string {
  if (authorities.length === 0)
    return "No authority of publishers is trusted: releases that pin a publisher are refused.";
  const rows = authorities.map(facts).map((row) => [row.spkiSha256.slice(0, 16), row.notAfter, row.subject]);
  return columns([["KEY", "UNTIL", "AUTHORITY"], ...rows]);
}
