// What the verbs of `release` do, but for `add`.

import { formatSelector } from "../../../release/platform.ts";
import { promote, recall } from "../../../repository/publish/release-publisher.ts";
import {
  listReleases,
  readAttestations,
  readRelease,
  trustedKeys,
} from "../../../repository/publish/release-reader.ts";
import type { Call, Result } from "../../framework/command.ts";
import { affectedBy, affectedLines } from "./affected.ts";
import { conclude } from "../repo/ceremony.ts";
import { operatorOf } from "../repo/operator.ts";
import { describeAttestations, oneAttestation } from "./attestations.ts";
import { columns, size } from "../../framework/style.ts";

export async function releasePromote(call: Call): Promise<Result> {
  const { releases } = operatorOf(call);
  const channel = call.argumentOr(2) ?? "stable";
  const done = await promote(releases, call.argument(0), call.argument(1), channel);
  const described = await conclude(
    call,
    done.outcome,
    `point ${call.argument(0)}/${channel} to ${call.argument(1)}`,
  );
  const { product, version, steps } = done.pointer;
  return {
    exit: described.exit,
    text: [
      `${product}/${channel}: ${done.before ?? "nothing"} -> ${version}`,
      ...(steps.length > 0 ? [`by way of ${steps.map((step) => step.version).join(", ")}`] : []),
      described.text,
    ].join("\n"),
    json: { product, channel, version, before: done.before, steps, ...described.json },
  };
}

export async function releaseList(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const releases = await listReleases(operator.releases, await operator.look(), call.argumentOr(0) ?? null);
  const rows = releases.map(({ manifest, channels }) => [
    manifest.product,
    manifest.version,
    channels.join(", ") || "-",
    manifest.artifacts.map(formatSelector).join(", "),
    manifest.security ? "security" : "",
    manifest.published,
  ]);
  return {
    text:
      rows.length === 0
        ? "There are no releases yet."
        : columns([["PRODUCT", "VERSION", "CHANNELS", "PLATFORMS", "FLAGS", "PUBLISHED"], ...rows]),
    json: {
      releases: releases.map(({ manifest, channels, sha256 }) => ({
        product: manifest.product,
        version: manifest.version,
        channels,
        platforms: manifest.artifacts.map(formatSelector),
        security: manifest.security,
        published: manifest.published,
        sha256,
      })),
    },
  };
}

export async function releaseShow(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const draft = await operator.look();
  const trusted = await trustedKeys(operator.releases, draft);
  const { manifest, reference } = await readRelease(
    operator.releases,
    draft,
    trusted,
    call.argument(0),
    call.argument(1),
  );
  const attestations = await readAttestations(operator.releases, draft, manifest.product, manifest.version);
  const wanted = call.text("document");
  if (wanted !== undefined) {
    const text = oneAttestation(attestations, wanted);
    return { text, json: JSON.parse(text) };
  }
  const documents = describeAttestations(attestations);
  const facts: (readonly [string, string | undefined])[] = [
    ["product", manifest.product],
    ["version", manifest.version],
    ["made for", manifest.channel],
    ["published", manifest.published],
    ["security", manifest.security ? "yes" : "no"],
    ["directly from", manifest.minimumFrom],
    ["floor", manifest.floor],
    ["runs", manifest.entryPoint?.command.join(" ")],
    ["health", manifest.health?.kind],
    ["needs", manifest.dependencies.map((d) => `${d.product} ${d.range}`).join(", ") || undefined],
    ["document", `SHA-256 ${reference.sha256}`],
  ];
  const artifacts = manifest.artifacts.map((artifact) => [
    `  ${formatSelector(artifact)}`,
    artifact.format,
    size(artifact.length),
    artifact.sha256,
  ]);
  return {
    text: [
      columns(facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))),
      "artifacts",
      columns(artifacts),
      ...documents.lines,
      ...(manifest.notes === undefined ? [] : ["", manifest.notes]),
    ].join("\n"),
    json: { ...manifest, document: reference, documents: documents.json },
  };
}

export async function releaseAffected(call: Call): Promise<Result> {
  const [product, version] = [call.argument(0), call.argument(1)];
  const affected = await affectedBy(call, product, version, null);
  return {
    text:
      affected === null
        ? "No server keeps its records in this data folder, so nobody reports here."
        : affectedLines(version, affected).join("\n"),
    json: { product, version, affected },
  };
}

export async function releaseRecall(call: Call): Promise<Result> {
  const { releases } = operatorOf(call);
  const [product, version] = [call.argument(0), call.argument(1)];
  const to = call.text("to");
  const done = await recall(releases, {
    product,
    version,
    reason: call.needed("reason"),
    ...(to === undefined ? {} : { to }),
  });
  const described = await conclude(call, done.outcome, `recall ${product} ${version}`);
  const affected = await affectedBy(call, product, version, done.to);
  return {
    exit: described.exit,
    text: [
      `${product} ${version} is recalled; devices that run it go to ${done.to}`,
      `channels moved: ${done.channels.join(", ") || "none pointed to it"}`,
      ...affectedLines(version, affected),
      ...(done.dependents.length > 0 ? [`depend on it: ${done.dependents.join(", ")}`] : []),
      described.text,
    ].join("\n"),
    json: {
      product,
      version,
      to: done.to,
      channels: done.channels,
      dependents: done.dependents,
      affected,
      ...described.json,
    },
  };
}
