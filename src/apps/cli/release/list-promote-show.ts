// What `release promote`, `release list` and `release show` do.

import { kindOf } from "../../../release/component-kind.ts";
import { formatSelector } from "../../../release/platform.ts";
import { promote } from "../../../repository/publish/promote.ts";
import { recalledOf } from "../../../repository/publish/recalled-record.ts";
import {
  listReleases,
  productsOf,
  readAttestations,
  readRelease,
  trustedKeys,
} from "../../../repository/publish/release-reader.ts";
import type { Call, Result } from "../../framework/command.ts";
import { conclude } from "../repo/ceremony.ts";
import { operatorOf } from "../repo/operator.ts";
import { describeAttestations, oneAttestation } from "./attestations.ts";
import { noteDropped } from "./dropped.ts";
import { columns, size } from "../../framework/style.ts";

export async function releasePromote(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const [product, version, channel] = [call.argument(0), call.argument(1), call.argumentOr(2) ?? "stable"];
  const dropped = await noteDropped(call, operator, { product, version, channel });
  const done = await promote(operator.releases, product, version, channel);
  const described = await conclude(call, done.outcome, `point ${product}/${channel} to ${version}`);
  const { steps } = done.pointer;
  const already = done.outcome.kind === "unchanged";
  return {
    exit: described.exit,
    text: [
      already
        ? `already: ${product}/${channel} points to ${version}`
        : `${product}/${channel}: ${done.before ?? "nothing"} -> ${version}`,
      ...(steps.length > 0 ? [`by way of ${steps.map((step) => step.version).join(", ")}`] : []),
      described.text,
    ].join("\n"),
    json: { product, channel, version, before: done.before, already, steps, dropped, ...described.json },
  };
}

export async function releaseList(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const only = call.argumentOr(0) ?? null;
  const draft = await operator.look();
  const releases = await listReleases(operator.releases, draft, only);
  const trusted =
    releases.length === 0 && (await productsOf(draft)).length === 0
      ? null
      : await trustedKeys(operator.releases, draft);
  const recalled = [];
  for (const product of trusted === null ? [] : await productsOf(draft)) {
    if (only !== null && product !== only) continue;
    for (const entry of await recalledOf(operator.releases, draft, trusted!, product))
      recalled.push({ product, ...entry });
  }
  const rows = [
    ...releases.map(({ manifest, channels }) => [
      manifest.product,
      manifest.version,
      channels.join(", ") || "-",
      manifest.artifacts.map(formatSelector).join(", "),
      manifest.security ? "security" : "",
      manifest.published,
    ]),
    // What was taken back stays in sight: its number is used up.
    ...recalled.map(({ product, version, since, reason }) => [
      product,
      version,
      "-",
      "",
      `recalled ${since}: ${reason.slice(0, 60)}`,
      "",
    ]),
  ];
  return {
    text:
      rows.length === 0
        ? "There are no releases yet."
        : columns(
            [["PRODUCT", "VERSION", "CHANNELS", "PLATFORMS", "FLAGS", "PUBLISHED"], ...rows],
            call.context.width,
          ),
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
      recalled,
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
    ["kind", kindOf(manifest)],
    ["runs", manifest.entryPoint?.command.join(" ")],
    ["health", manifest.health?.kind],
    ["sockets", manifest.sockets?.map(({ name, address }) => `${name}=${address}`).join(", ")],
    [
      "hand-over",
      manifest.handOver &&
        `seen by ${manifest.handOver.ready}, drains for ${manifest.handOver.drainSeconds} s`,
    ],
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
