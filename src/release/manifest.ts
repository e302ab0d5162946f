// The release manifest: what a product at a version is made of, how it is started and how one sees that it is well.

import { signEnvelope, verifyEnvelope, type DsseSigner } from "../core/dsse.ts";
import { checkWritten, growing, needing, readGrowing } from "../core/growth.ts";
import { parseJson, type Json } from "../core/json.ts";
import {
  instantSchema,
  lengthSchema,
  nameSchema,
  sha256Schema,
  sha512Schema,
  versionSchema,
  z,
} from "../core/schema.ts";
import { stableJson } from "../core/stable-json.ts";
import { parseRange } from "../core/version.ts";
import { componentSchema, kindTrouble } from "./component-kind.ts";
import { ReleaseError } from "./errors.ts";
import { selectorKey, selectorShape } from "./platform.ts";
import { handOverSchema, SOCKETS_FEATURE, socketsSchema } from "./sockets.ts";
import { commandSchema, programSchema, seconds, text } from "./slot-path.ts";
import { parseTargetName } from "./target-names.ts";
import type { DocumentKeys } from "./trusted-keys.ts";

/** Largest release document that is read, envelope included. */
export const RELEASE_LIMIT = 1024 * 1024;

/** Largest detached signature of an artifact. */
export const SIGNATURE_LIMIT = 1024 * 1024;

const envName = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
const envSchema = z.record(
  z.string().check(z.regex(envName, "not a name of an environment variable")),
  text(4096),
);

const timings = {
  /** From start until failed probes count. */
  startSeconds: seconds(0, 3600),
  /** Between two probes. */
  intervalSeconds: seconds(1, 3600),
  /** One probe may take this long. */
  timeoutSeconds: seconds(1, 600),
  /** Good probes in a row that make the component healthy. */
  successes: z.number().check(z.int(), z.minimum(1), z.maximum(100)),
  /** Bad probes in a row that make it sick. */
  failures: z.number().check(z.int(), z.minimum(1), z.maximum(100)),
  /** How long the new version must stay healthy before it is committed. */
  probationSeconds: seconds(0, 7 * 24 * 3600),
};

/** Where the HTTP probe finds the port: written here, or given to the component by this environment variable. */
const portSchema = z.union([
  z.number().check(z.int(), z.minimum(1), z.maximum(65535)),
  z.strictObject({ env: z.string().check(z.regex(envName)) }),
]);

export const healthSchema = z.discriminatedUnion("kind", [
  /** GET on the loopback address must answer 2xx. */
  z.strictObject({
    kind: z.literal("http"),
    path: z
      .string()
      .check(z.regex(/^\/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,511}$/, "expected a path such as /health")),
    port: portSchema,
    ...timings,
  }),
  /** A program of the slot must end with 0. */
  z.strictObject({ kind: z.literal("command"), command: commandSchema, ...timings }),
  /** The entry point is a job: it must itself end with 0. */
  z.strictObject({ kind: z.literal("exit-code"), ...timings }),
  /** The entry point must keep running. */
  z.strictObject({ kind: z.literal("running"), ...timings }),
]);
export type Health = Readonly<z.infer<typeof healthSchema>>;

/*
 * The release and its artifacts grow. What starts something, watches it, or narrows what may be installed stays closed: passing over a part
 * of it would do something else than was signed. It grows by `needs`, which is read first.
 */
const artifactSchema = growing({
  ...selectorShape,
  /** Name of the TUF target that holds the bytes. */
  target: z.string().check(z.maxLength(512)),
  /** `file` is installed byte for byte, executable; archives are unpacked. A `tar` is our canonical one, which a device makes again from its slot. */
  format: z.enum(["file", "tar", "tar.gz", "zip"]),
  /** For `file`: its path inside the slot. Absent: the base name of the target. */
  installAs: z.exactOptional(programSchema),
  length: lengthSchema,
  sha256: sha256Schema,
  sha512: sha512Schema,
  /** Size of the pieces that peers exchange; a power of two from 256 KiB to 64 MiB. */
  pieceSize: z.number().check(
    z.int(),
    z.refine(
      (size) => size >= 2 ** 18 && size <= 2 ** 26 && (size & (size - 1)) === 0,
      "expected a power of two from 2^18 to 2^26",
    ),
  ),
  /** RFC 6962 root over the pieces of the artifact's bytes. */
  merkleRoot: sha256Schema,
  /** For an archive: the publisher's detached signature over its bytes, a target of its own. */
  signature: z.exactOptional(
    z.strictObject({
      target: z.string().check(z.maxLength(512)),
      length: z.number().check(z.int(), z.minimum(1), z.maximum(SIGNATURE_LIMIT)),
      sha256: sha256Schema,
    }),
  ),
  /** Upper bound of the bytes that unpacking writes; equal to `length` for `file`. */
  unpackedLength: lengthSchema,
  /** Ways to this artifact from an installed one. A reader passes over algorithms it does not know. */
  deltas: z
    .array(
      z.strictObject({
        from: versionSchema,
        algorithm: nameSchema,
        target: z.string().check(z.maxLength(512)),
      }),
    )
    .check(z.maxLength(64)),
});
export type Artifact = Readonly<z.infer<typeof artifactSchema>>;

const dependencySchema = z.strictObject({
  product: nameSchema,
  range: z.string().check(z.maxLength(200), z.refine(isRange, 'expected a range such as ">=1.2.0 <2.0.0"')),
});

/** Who must have signed the artifact itself (Authenticode or CMS), checked on the bytes that will run. */
const publisherSchema = z
  .strictObject({
    subject: z.exactOptional(text(512)),
    issuer: z.exactOptional(text(512)),
    eku: z.exactOptional(
      z
        .array(z.string().check(z.regex(/^\d+(\.\d+)+$/, "expected an object identifier")))
        .check(z.minLength(1), z.maxLength(16)),
    ),
    spkiSha256: z.exactOptional(z.array(sha256Schema).check(z.minLength(1), z.maxLength(16))),
  })
  .check(z.refine((pin) => Object.keys(pin).length > 0, "pins nothing"));
export type PublisherPin = Readonly<z.infer<typeof publisherSchema>>;

export const releaseSchema = growing({
  ...needing,
  product: nameSchema,
  version: versionSchema,
  /** The channel it was made for; other channels may point to it later. */
  channel: nameSchema,
  published: instantSchema,
  /** True for a release that closes a security hole: policies may treat it as urgent. */
  security: z.boolean(),
  /** The lowest installed version that may go to this one directly. */
  minimumFrom: z.exactOptional(versionSchema),
  /** Once this release is committed, nothing lower is ever installed again. */
  floor: z.exactOptional(versionSchema),
  artifacts: z.array(artifactSchema).check(z.minLength(1), z.maxLength(64)),
  /** What kind of component it is. Absent: a service or job if it has an entry point, else data that nobody is told of. */
  component: z.exactOptional(componentSchema),
  /** Absent: nothing is started. */
  entryPoint: z.exactOptional(z.strictObject({ command: commandSchema, env: z.exactOptional(envSchema) })),
  /** Absent only when nothing is started. */
  health: z.exactOptional(healthSchema),
  dependencies: z.array(dependencySchema).check(z.maxLength(64)),
  /** What the agent listens on for it; every version inherits the same sockets. Needs the feature `sockets`. */
  sockets: z.exactOptional(socketsSchema),
  /** The next version starts beside this one. Absent: this one ends first. */
  handOver: z.exactOptional(handOverSchema),
  publisher: z.exactOptional(publisherSchema),
  /** It comes with a license only: one with these editions, that covers the day of publication or this earlier one. Security releases come to all. */
  license: z.exactOptional(
    growing({
      editions: z.exactOptional(z.array(nameSchema).check(z.maxLength(32))),
      backdatedTo: z.exactOptional(instantSchema),
    }),
  ),
  notes: z.exactOptional(z.string().check(z.maxLength(16384))),
});
export type ReleaseManifest = Readonly<z.infer<typeof releaseSchema>>;
export type EntryPoint = NonNullable<ReleaseManifest["entryPoint"]>;
export type Dependency = ReleaseManifest["dependencies"][number];

/** The payload's bytes: JSON with sorted members, so that one manifest has one spelling. Members that are not known are written only if they stood in `from`. */
export function serialiseRelease(manifest: ReleaseManifest, from: ReleaseManifest | null = null): Uint8Array {
  const written = checkWritten(releaseSchema, manifest, "release manifest", from);
  return stableJson(checkRelease(written) as unknown as Json);
}

/** Bytes of a payload to a manifest that is coherent in itself. Errors: `json/*`, `growth/needs-newer`, `schema/invalid`, `release/*`. */
export function parseRelease(payload: Uint8Array, known?: readonly string[]): ReleaseManifest {
  return checkRelease(readGrowing(releaseSchema, parseJson(payload), "release manifest", known));
}

/** Signs a manifest as a DSSE `release`. `from`: the manifest that it was made from, whose unknown members it carries on. */
export function signRelease(
  manifest: ReleaseManifest,
  signers: readonly DsseSigner[],
  from: ReleaseManifest | null = null,
): Promise<Uint8Array> {
  return signEnvelope("release", serialiseRelease(manifest, from), signers);
}

/**
 * The only way from bytes to a manifest that may be acted on. `expected` is what the name of the TUF target says:
 * a manifest of something else under this name is refused. Errors: `dsse/*`, `growth/needs-newer`, `schema/invalid`, `release/wrong-document`.
 */
export function openRelease(
  bytes: Uint8Array,
  trusted: DocumentKeys,
  expected: { readonly product: string; readonly version?: string },
  known?: readonly string[],
): ReleaseManifest {
  const { body } = verifyEnvelope(bytes, "release", trusted.keys, {
    limit: RELEASE_LIMIT,
    threshold: trusted.threshold,
  });
  const manifest = parseRelease(body, known);
  if (
    manifest.product !== expected.product ||
    (expected.version !== undefined && manifest.version !== expected.version)
  ) {
    throw new ReleaseError(
      "release/wrong-document",
      `The release of ${expected.product} ${expected.version ?? ""} turned out to be one of ${manifest.product} ${manifest.version}: either you are under attack, or the repository was assembled wrongly.`,
      {
        expected: `${expected.product} ${expected.version ?? ""}`.trim(),
        found: `${manifest.product} ${manifest.version}`,
      },
    );
  }
  return manifest;
}

function checkRelease(manifest: ReleaseManifest): ReleaseManifest {
  const seen = new Set<string>();
  for (const artifact of manifest.artifacts) {
    const key = selectorKey(artifact);
    if (seen.has(key)) {
      throw new ReleaseError(
        "release/ambiguous-artifacts",
        `Two artifacts of ${manifest.product} ${manifest.version} are for the same platform (${key}).`,
        { platform: key },
      );
    }
    seen.add(key);
    const { signature } = artifact;
    const beside = signature === undefined ? [] : [signature.target];
    for (const target of [artifact.target, ...beside, ...artifact.deltas.map((delta) => delta.target)]) {
      const name = parseTargetName(target);
      // A release never points outside of its own product: another role could exchange those bytes.
      if (name?.kind !== "artifact" || name.product !== manifest.product) {
        throw new ReleaseError(
          "release/bad-name",
          `The artifact "${target.slice(0, 120)}" does not lie under products/${manifest.product}/.`,
          { target: target.slice(0, 120) },
        );
      }
    }
    if (artifact.format !== "file" && artifact.installAs !== undefined) {
      throw new ReleaseError(
        "release/wrong-document",
        "Only a single file can be given a name; the files of an archive keep theirs.",
        { target: artifact.target },
      );
    }
    if (artifact.format === "file" && signature !== undefined) {
      throw new ReleaseError(
        "release/wrong-document",
        "Only an archive has its signature beside it; a single file carries its own.",
        { target: artifact.target },
      );
    }
    if (artifact.format === "file" && artifact.unpackedLength !== artifact.length) {
      throw new ReleaseError(
        "release/wrong-document",
        "A single file unpacks to itself; its unpackedLength must equal its length.",
        { target: artifact.target },
      );
    }
  }
  const wrongKind = kindTrouble(manifest);
  if (wrongKind !== null)
    throw new ReleaseError(
      "release/bad-kind",
      `${manifest.product} ${manifest.version} does not say coherently what kind of component it is: ${wrongKind}.`,
      { product: manifest.product, version: manifest.version },
    );
  if (manifest.entryPoint !== undefined && manifest.health === undefined) {
    throw new ReleaseError("release/bad-command", "A release with an entry point needs a health probe.", {});
  }
  if (
    manifest.entryPoint === undefined &&
    manifest.health !== undefined &&
    manifest.health.kind !== "command"
  ) {
    throw new ReleaseError(
      "release/bad-command",
      `A probe of kind ${manifest.health.kind} needs an entry point.`,
      { kind: manifest.health.kind },
    );
  }
  checkServing(manifest);
  return manifest;
}

/** Sockets and a hand-over are for what keeps running, and a new version has to be seen to serve before the one before it ends. */
function checkServing({ entryPoint, health, sockets, handOver, needs }: ReleaseManifest): void {
  if (sockets === undefined && handOver === undefined) return;
  if (entryPoint === undefined || health === undefined || health.kind === "exit-code")
    throw new ReleaseError(
      "release/bad-hand-over",
      "Only a service that keeps running has sockets or hands over to the next version.",
      {},
    );
  if (handOver?.ready === "probe" && health.kind === "running")
    throw new ReleaseError(
      "release/bad-hand-over",
      "A hand-over needs a way to see that the new version serves: an http or command probe, or its own word (ready = notify).",
      { health: health.kind },
    );
  if (sockets !== undefined && needs?.features.includes(SOCKETS_FEATURE) !== true)
    throw new ReleaseError(
      "release/bad-hand-over",
      `A release with sockets needs the feature ${SOCKETS_FEATURE}: an agent that does not know it would start the program without them.`,
      {},
    );
}

/** The path inside the slot that an artifact of format `file` is installed under. */
export function artifactFileName(artifact: Pick<Artifact, "target" | "installAs">): string {
  return artifact.installAs ?? artifact.target.slice(artifact.target.lastIndexOf("/") + 1);
}

function isRange(range: string): boolean {
  try {
    parseRange(range);
    return true;
  } catch {
    return false;
  }
}
