// Releases in a repository: added once and never changed, and pointed to in the same act if that is wanted.

import { formatInstant } from "../../core/instant.ts";
import { sha256Hex, type Digests } from "../../core/digest.ts";
import { needsOf } from "../../core/growth.ts";
import { compareVersions, parseVersion } from "../../core/version.ts";
import type { AttestationKind } from "../../release/attestation.ts";
import {
  openRelease,
  serialiseRelease,
  signRelease,
  type Artifact,
  type ReleaseManifest,
} from "../../release/manifest.ts";
import { patchFile } from "../../release/patches.ts";
import { artifactTarget, attestationTarget, productRole, releaseTarget } from "../../release/target-names.ts";
import { keysFor, type TrustedKeys } from "../../release/trusted-keys.ts";
import { documentSigners, type ReleaseTools } from "./document-signing.ts";
import type { Draft } from "./draft.ts";
import { NO_EXTRA, type TargetFile } from "../metadata.ts";
import { productDelegation, targetFileOf, type RoleSetup } from "./new-repository.ts";
import { promoteIn, refuseDead, type Move } from "./promote.ts";
import { PublisherError } from "./publisher-errors.ts";
import { type Outcome, type StagedFile } from "./publisher.ts";
import { recalledOf } from "./recalled-record.ts";
import { readAttestations, readChannel, readRelease, trustedKeys, versionsIn } from "./release-reader.ts";

export type { ReleaseTools } from "./document-signing.ts";

export type NewArtifact = Omit<Artifact, "target" | "deltas" | "signature"> & {
  /** The artifact's file name in the repository. */
  readonly file: string;
  readonly staged: StagedFile;
  /** An archive's detached signature; published beside it as `<file>.sig`. */
  readonly signature?: Uint8Array;
  readonly patches?: readonly NewPatch[];
};

/** A way to the artifact from that of an earlier release. */
export type NewPatch = Digests & {
  readonly from: string;
  /** SHA-256 of the artifact that it is from. */
  readonly base: string;
  readonly algorithm: string;
  readonly staged: StagedFile;
};

export type NewRelease = Omit<ReleaseManifest, "artifacts" | "published"> & {
  readonly artifacts: readonly NewArtifact[];
  /** Documents about it, published beside it; devices do not read them. */
  readonly attestations?: ReadonlyMap<AttestationKind, Uint8Array>;
};

export type Added = {
  readonly manifest: ReleaseManifest;
  /** SHA-256 of the release document. */
  readonly sha256: string;
  /** True if it was there with this very content: a job that is run again changes nothing. */
  readonly already: boolean;
  /** What became of the channel; null if none was to be moved. */
  readonly move: Move | null;
  /** Where the channel points instead, if it pointed to this release before and has gone on since. */
  readonly movedOn: string | null;
};

/**
 * Adds a release and, with `promoteTo`, points a channel to it: one publication, all of it or nothing. A product that is new gets its
 * role, when the `targets` keys are here. The same release once more is no error. Throws `publisher/bad-input` when the version exists
 * with another content, when another one counts as the same version, or when its number was recalled.
 */
export async function addRelease(
  tools: ReleaseTools,
  release: NewRelease,
  newProduct: RoleSetup | null,
  promoteTo: string | null = null,
): Promise<Added & { readonly outcome: Outcome }> {
  let done: Added | null = null;
  const outcome = await tools.publisher.change(async (draft) => {
    const added = await addIn(tools, draft, release, newProduct);
    done = { ...added, ...(await moveTo(tools, draft, release, added.already, promoteTo)) };
  });
  return { outcome, ...done! };
}

async function addIn(
  tools: ReleaseTools,
  draft: Draft,
  release: NewRelease,
  newProduct: RoleSetup | null,
): Promise<Omit<Added, "move" | "movedOn">> {
  const { product, version } = release;
  await ensureProduct(draft, product, newProduct);
  const trusted = await trustedKeys(tools, draft);
  refuseDead(product, version, await recalledOf(tools, draft, trusted, product));
  const manifest = manifestOf(release, formatInstant(tools.now()));
  if ((await draft.find(releaseTarget(product, version))) !== null)
    return sameAsBefore(tools, draft, trusted, manifest, release.attestations);
  await refuseSameNumber(draft, product, version);
  const sha256 = await placeRelease(tools, draft, trusted, release, manifest);
  draft.trace("release/added", `${product} ${version}`, {
    before: null,
    after: sha256,
    artifacts: manifest.artifacts.map((artifact) => artifact.sha256),
  });
  return { manifest, sha256, already: false };
}

async function moveTo(
  tools: ReleaseTools,
  draft: Draft,
  { product, version }: NewRelease,
  already: boolean,
  channel: string | null,
): Promise<Pick<Added, "move" | "movedOn">> {
  if (channel === null) return { move: null, movedOn: null };
  if (already) {
    const current = await readChannel(tools, draft, await trustedKeys(tools, draft), product, channel);
    const passed = current?.history?.some((entry) => entry.version === version) === true;
    // An old job that is run again does not move back what has gone on since.
    if (passed && current.version !== version) return { move: null, movedOn: current.version };
  }
  return { move: await promoteIn(tools, draft, product, version, channel), movedOn: null };
}

function manifestOf(release: NewRelease, published: string): ReleaseManifest {
  const { product, version } = release;
  const artifacts: Artifact[] = release.artifacts.map((given) => {
    const { file, staged, signature, patches = [], ...artifact } = given;
    const target = artifactTarget(product, version, file);
    return {
      ...artifact,
      length: staged.length,
      target,
      ...(signature === undefined
        ? {}
        : {
            signature: {
              target: artifactTarget(product, version, `${file}.sig`),
              length: signature.length,
              sha256: sha256Hex(signature),
            },
          }),
      deltas: patches.map((patch) => ({
        from: patch.from,
        algorithm: patch.algorithm,
        target: patchTarget(release, artifact.sha256, patch),
      })),
    };
  });
  const { attestations: _, ...said } = release;
  // An agent that does not know the format says which version it needs, and keeps what runs.
  const tar = artifacts.some(({ format }) => format === "tar");
  return { ...said, ...(tar ? { needs: needsOf(["tar-artifacts"], said.needs) } : {}), published, artifacts };
}

function patchTarget({ product, version }: NewRelease, to: string, { base, algorithm }: NewPatch): string {
  return artifactTarget(product, version, patchFile({ from: base, to, algorithm }));
}

/** Patches are made once: which there are depends on the releases of that time. */
function withPatchesOf(before: ReleaseManifest, manifest: ReleaseManifest): ReleaseManifest {
  const artifacts = manifest.artifacts.map((artifact) => {
    const { deltas } = before.artifacts.find(({ target }) => target === artifact.target) ?? artifact;
    return { ...artifact, deltas };
  });
  return { ...manifest, artifacts, published: before.published };
}

/** Errors: `publisher/bad-input` with the names of what differs. */
async function sameAsBefore(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  manifest: ReleaseManifest,
  attestations: ReadonlyMap<AttestationKind, Uint8Array> = new Map(),
): Promise<Omit<Added, "move" | "movedOn">> {
  const { product, version } = manifest;
  const before = await readRelease(tools, draft, trusted, product, version);
  const documents = await readAttestations(tools, draft, product, version);
  const differs: string[] = [];
  const [was, is] = [before.manifest, withPatchesOf(before.manifest, manifest)].map(
    (one) => JSON.parse(Buffer.from(serialiseRelease(one)).toString("utf8")) as Record<string, unknown>,
  );
  for (const name of new Set([...Object.keys(was!), ...Object.keys(is!)]))
    if (JSON.stringify(was![name]) !== JSON.stringify(is![name])) differs.push(name);
  for (const [kind, bytes] of attestations) {
    const known = documents.get(kind);
    if (known === undefined || sha256Hex(known) !== sha256Hex(bytes)) differs.push(kind);
  }
  if (differs.length === 0)
    return { manifest: before.manifest, sha256: before.reference.sha256, already: true };
  throw new PublisherError(
    "publisher/bad-input",
    `${product} ${version} exists already; a version never changes its meaning. It differs in ${differs.join(", ")}.`,
    { product, version, differs: differs.join(", ") },
    { hint: "Give the new build a higher version." },
  );
}

/** SemVer does not order build metadata: two releases that differ in it alone could not be told apart by any device. */
async function refuseSameNumber(draft: Draft, product: string, version: string): Promise<void> {
  const listed = versionsIn((await draft.allTargets(productRole(product))).keys());
  const same = listed.find((other) => compareVersions(parseVersion(other), parseVersion(version)) === 0);
  if (same === undefined) return;
  throw new PublisherError(
    "publisher/bad-input",
    `${product} ${same} exists, and ${version} counts as the same version: what stands behind the plus sign orders nothing.`,
    { product, version, same },
    { hint: "Give the new build a higher version." },
  );
}

async function placeRelease(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  release: NewRelease,
  manifest: ReleaseManifest,
): Promise<string> {
  const { publisher, ring } = tools;
  const { product, version, attestations = new Map<AttestationKind, Uint8Array>() } = release;
  const keys = keysFor(trusted, "release", product);
  const bytes = await signRelease(manifest, await documentSigners(keys, ring, `releases of ${product}`));
  // What is published is what a device will read: through the very same door.
  openRelease(bytes, keys, { product, version });
  const put = new Map<string, TargetFile>();
  for (const [i, artifact] of manifest.artifacts.entries()) {
    const { length, sha256, sha512 } = artifact;
    const file: TargetFile = { length, hashes: { sha256, sha512 }, extra: NO_EXTRA };
    put.set(artifact.target, file);
    const { staged, signature, patches = [] } = release.artifacts[i]!;
    await publisher.placeTarget(artifact.target, file, staged);
    for (const patch of patches) {
      const name = patchTarget(release, artifact.sha256, patch);
      const { staged: made, sha256: own, sha512: other } = patch;
      const described: TargetFile = {
        length: made.length,
        hashes: { sha256: own, sha512: other },
        extra: NO_EXTRA,
      };
      put.set(name, described);
      await publisher.placeTarget(name, described, made);
    }
    if (signature === undefined) continue;
    const beside = targetFileOf(signature);
    put.set(artifact.signature!.target, beside);
    await publisher.placeBytes(artifact.signature!.target, beside, signature);
  }
  const documents = [...attestations].map(
    ([kind, document]) => [attestationTarget(product, version, kind), document] as const,
  );
  for (const [name, document] of [...documents, [releaseTarget(product, version), bytes] as const]) {
    const file = targetFileOf(document);
    put.set(name, file);
    await publisher.placeBytes(name, file, document);
  }
  await draft.changeTargets(productRole(product), { put });
  return sha256Hex(bytes);
}

async function ensureProduct(draft: Draft, product: string, setup: RoleSetup | null): Promise<void> {
  const role = productRole(product);
  if ((await draft.delegatorOf(role)) !== null) return;
  if (setup === null) {
    throw new PublisherError(
      "publisher/bad-input",
      `The repository has no product ${product}, and the key that would sign for it is not here.`,
      { product },
      { hint: "Make a key named products (upkeep key new products), or check the product's name." },
    );
  }
  const { role: delegated, keys } = productDelegation(product, setup);
  await draft.delegate("targets", delegated, keys);
  draft.trace("product/added", product, {
    before: null,
    after: setup.keys.map(({ name }) => name).join(", "),
    threshold: setup.threshold,
  });
}
