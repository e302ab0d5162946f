// What is published beside a release for those who ask where it comes from: a bill of materials and a provenance statement.

import { fromBase64, fromUtf8 } from "../core/bytes.ts";
import type { Json } from "../core/json.ts";
import { sha256Schema, z } from "../core/schema.ts";
import { stableJsonFile } from "../core/stable-json.ts";
import { ReleaseError } from "./errors.ts";

export const ATTESTATIONS = ["sbom", "provenance"] as const;
export type AttestationKind = (typeof ATTESTATIONS)[number];

/** Largest document that is published beside a release. */
export const ATTESTATION_LIMIT = 16 * 1024 * 1024;

export type SbomFacts = { readonly format: string; readonly components: number };
export type ProvenanceFacts = {
  readonly predicate: string;
  readonly builder: string | null;
  readonly source: string | null;
  readonly commit: string | null;
  /** SHA-256 of every file that the statement speaks about. */
  readonly subjects: readonly string[];
};

const cyclonedx = z.looseObject({
  bomFormat: z.literal("CycloneDX"),
  specVersion: z.string().check(z.maxLength(16)),
  components: z._default(z.array(z.unknown()), []),
});
const spdx2 = z.looseObject({
  spdxVersion: z.string().check(z.regex(/^SPDX-2\.\d$/)),
  packages: z._default(z.array(z.unknown()), []),
});

/** CycloneDX 1.x or SPDX 2.x, both as JSON. Errors: `release/bad-attestation`. */
export function parseSbom(bytes: Uint8Array): SbomFacts {
  const value = foreignJson(bytes, "bill of materials");
  const cyclone = z.safeParse(cyclonedx, value);
  if (cyclone.success) {
    const { specVersion, components } = cyclone.data;
    return { format: `CycloneDX ${specVersion}`, components: components.length };
  }
  const spdx = z.safeParse(spdx2, value);
  if (spdx.success)
    return {
      format: spdx.data.spdxVersion.replace("-", " "),
      components: spdx.data.packages.length,
    };
  throw bad("bill of materials", "it is neither CycloneDX nor SPDX 2 as JSON");
}

/** in-toto Statement, v0.1 and v1: the subjects are what the rest is said about. */
const statementSchema = z.looseObject({
  _type: z.enum(["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"]),
  predicateType: z.string().check(z.regex(/^https:\/\/slsa\.dev\/provenance\/v\d(\.\d)?$/)),
  subject: z
    .array(z.looseObject({ digest: z.looseObject({ sha256: z.optional(sha256Schema) }) }))
    .check(z.minLength(1), z.maxLength(10_000)),
  predicate: z.looseObject({}),
});
const envelopeSchema = z.looseObject({
  payloadType: z.literal("application/vnd.in-toto+json"),
  payload: z.string(),
});

/**
 * An in-toto statement with SLSA provenance: bare, in a DSSE envelope, or in a Sigstore bundle. Only its form and its subjects are judged here;
 * whoever wants to believe the builder verifies the envelope with the builder's key. Errors: `release/bad-attestation`.
 */
export function parseProvenance(bytes: Uint8Array): ProvenanceFacts {
  const outer = foreignJson(bytes, "provenance");
  const bundled = isObject(outer) ? outer["dsseEnvelope"] : undefined;
  const envelope = z.safeParse(envelopeSchema, bundled ?? outer);
  const statement = z.safeParse(
    statementSchema,
    envelope.success ? foreignJson(payloadOf(envelope.data.payload), "provenance") : outer,
  );
  if (!statement.success) throw bad("provenance", "it is no in-toto statement with SLSA provenance");
  const { predicateType, predicate, subject } = statement.data;
  const subjects = subject.flatMap(({ digest }) => digest.sha256 ?? []);
  if (subjects.length !== subject.length) throw bad("provenance", "a subject has no SHA-256");
  return { predicate: predicateType, subjects, ...factsOf(predicate) };
}

/** A provenance that speaks of other bytes than those that are published would vouch for nothing. Errors: `release/bad-attestation`. */
export function checkSubjects(
  { subjects }: Pick<ProvenanceFacts, "subjects">,
  artifacts: readonly { readonly file: string; readonly sha256: string }[],
): void {
  const known = new Set(subjects);
  const missing = artifacts.filter(({ sha256 }) => !known.has(sha256));
  if (missing.length === 0) return;
  throw bad(
    "provenance",
    `it does not speak of ${missing.map(({ file, sha256 }) => `${file} (${sha256})`).join(", ")}: these are other bytes than those that the builder made`,
  );
}

/** What a publisher knows about a build without a builder that says it: source, commit, who built. SLSA provenance v1. */
export function makeProvenance(given: {
  readonly artifacts: readonly { readonly file: string; readonly sha256: string }[];
  readonly source: string;
  readonly commit: string;
  readonly builder: string;
}): Uint8Array {
  const { artifacts, source, commit, builder } = given;
  return stableJsonFile({
    _type: "https://in-toto.io/Statement/v1",
    subject: artifacts.map(({ file, sha256 }) => ({ name: file, digest: { sha256 } })),
    predicateType: "https://slsa.dev/provenance/v1",
    predicate: {
      buildDefinition: {
        buildType: "urn:upkeep:build:release-add:v1",
        externalParameters: { source, commit },
        resolvedDependencies: [{ uri: `git+${source}@${commit}`, digest: { gitCommit: commit } }],
      },
      runDetails: { builder: { id: builder } },
    },
  } as unknown as Json);
}

/** The places where SLSA v1 and v0.2 say who built what from where. */
function factsOf(predicate: unknown): Pick<ProvenanceFacts, "builder" | "source" | "commit"> {
  const at = (...path: readonly (string | number)[]): unknown =>
    path.reduce<unknown>(
      (value, step) => (isObject(value) || Array.isArray(value) ? (value as never)[step] : undefined),
      predicate,
    );
  const text = (...found: readonly unknown[]): string | null => {
    const first = found.find((each): each is string => typeof each === "string" && each !== "");
    return first === undefined ? null : first.replace(/\p{Cc}/gu, "?").slice(0, 500);
  };
  return {
    builder: text(at("runDetails", "builder", "id"), at("builder", "id")),
    source: text(
      at("buildDefinition", "externalParameters", "source"),
      at("buildDefinition", "externalParameters", "workflow", "repository"),
      at("buildDefinition", "resolvedDependencies", 0, "uri"),
      at("invocation", "configSource", "uri"),
    ),
    commit: text(
      at("buildDefinition", "resolvedDependencies", 0, "digest", "gitCommit"),
      at("buildDefinition", "externalParameters", "commit"),
      at("invocation", "configSource", "digest", "sha1"),
    ),
  };
}

function payloadOf(text: string): Uint8Array {
  try {
    return fromBase64(text);
  } catch (cause) {
    throw new ReleaseError(
      "release/bad-attestation",
      "The provenance cannot be read: its payload is not base64.",
      {},
      { cause },
    );
  }
}

/** Documents of other tools: any JSON, within a limit; nothing but their form is believed. */
function foreignJson(bytes: Uint8Array, what: string): unknown {
  if (bytes.length > ATTESTATION_LIMIT)
    throw bad(what, `it is longer than ${ATTESTATION_LIMIT / 1024 / 1024} MiB`);
  try {
    return JSON.parse(fromUtf8(bytes));
  } catch (cause) {
    throw new ReleaseError(
      "release/bad-attestation",
      `The ${what} cannot be read: it is not JSON.`,
      { what },
      { cause },
    );
  }
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function bad(what: string, why: string): ReleaseError {
  return new ReleaseError("release/bad-attestation", `The ${what} is refused: ${why}.`, { what });
}
