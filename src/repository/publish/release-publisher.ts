// Releases in a repository: added once and never changed, pointed to by channels, taken back when they must be.

import { formatInstant, type Instant } from "../../core/instant.ts";
import { sha256Hex } from "../../core/digest.ts";
import type { Disk } from "../../core/disk.ts";
import { compareVersions, inRange, parseRange, parseVersion } from "../../core/version.ts";
import { signChannel, type ChannelPointer, type ReleaseReference } from "../../release/channel.ts";
import { openRelease, signRelease, type Artifact, type ReleaseManifest } from "../../release/manifest.ts";
import type { AttestationKind } from "../../release/attestation.ts";
import {
  artifactTarget,
  attestationTarget,
  channelTarget,
  parseTargetName,
  productRole,
  releaseTarget,
} from "../../release/target-names.ts";
import { keysFor, type DocumentKeys, type TrustedKeys } from "../../release/trusted-keys.ts";
import type { Draft } from "./draft.ts";
import { NO_EXTRA, type TargetFile } from "../metadata.ts";
import { productDelegation, targetFileOf, type RoleSetup } from "./new-repository.ts";
import { PublisherError } from "./publisher-errors.ts";
import { type Outcome, type Publisher, type StagedFile } from "./publisher.ts";
import type { KeyRing } from "./quorum.ts";
import {
  channelsOf,
  productsOf,
  readChannel,
  readRelease,
  trustedKeys,
  versionsIn,
} from "./release-reader.ts";

export type ReleaseTools = {
  readonly publisher: Publisher;
  readonly disk: Disk;
  readonly folder: string;
  readonly ring: KeyRing;
  readonly now: () => Instant;
};

export type NewArtifact = Omit<Artifact, "target" | "deltas" | "signature"> & {
  /** The artifact's file name in the repository. */
  readonly file: string;
  readonly staged: StagedFile;
  /** An archive's detached signature; published beside it as `<file>.sig`. */
  readonly signature?: Uint8Array;
};

export type NewRelease = Omit<ReleaseManifest, "artifacts" | "published"> & {
  readonly artifacts: readonly NewArtifact[];
  /** Documents about it, published beside it; devices do not read them. */
  readonly attestations?: ReadonlyMap<AttestationKind, Uint8Array>;
};

/**
 * Adds a release. A product that is new gets its role, when the `targets` keys are here.
 * Throws `publisher/bad-input` when the version exists: a version never changes its meaning.
 */
export async function addRelease(
  tools: ReleaseTools,
  release: NewRelease,
  newProduct: RoleSetup | null,
): Promise<{ readonly outcome: Outcome; readonly manifest: ReleaseManifest; readonly sha256: string }> {
  const { publisher, ring } = tools;
  const { product, version } = release;
  const role = productRole(product);
  const put = new Map<string, TargetFile>();
  const artifacts: Artifact[] = release.artifacts.map((given) => {
    const { file, staged, signature, ...artifact } = given;
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
      deltas: [],
    };
  });
  const { attestations = new Map<AttestationKind, Uint8Array>(), ...said } = release;
  const manifest: ReleaseManifest = { ...said, published: formatInstant(tools.now()), artifacts };
  let sha256 = "";
  const outcome = await publisher.change(async (draft) => {
    await ensureProduct(draft, product, newProduct);
    const target = releaseTarget(product, version);
    if ((await draft.find(target)) !== null) {
      throw new PublisherError(
        "publisher/bad-input",
        `${product} ${version} exists already; a version never changes its meaning.`,
        { product, version },
        { hint: "Give the new build a higher version." },
      );
    }
    const trusted = keysFor(await trustedKeys(tools, draft), "release", product);
    const bytes = await signRelease(manifest, await documentSigners(trusted, ring, `releases of ${product}`));
    // What is published is what a device will read: through the very same door.
    openRelease(bytes, trusted, { product, version });
    sha256 = sha256Hex(bytes);
    for (const [i, artifact] of artifacts.entries()) {
      const { length, sha256, sha512 } = artifact;
      const file: TargetFile = { length, hashes: { sha256, sha512 }, extra: NO_EXTRA };
      put.set(artifact.target, file);
      const { staged, signature } = release.artifacts[i]!;
      await publisher.placeTarget(artifact.target, file, staged);
      if (signature === undefined) continue;
      const beside = targetFileOf(signature);
      put.set(artifact.signature!.target, beside);
      await publisher.placeBytes(artifact.signature!.target, beside, signature);
    }
    const documents = [...attestations].map(
      ([kind, document]) => [attestationTarget(product, version, kind), document] as const,
    );
    for (const [name, document] of [...documents, [target, bytes] as const]) {
      const file = targetFileOf(document);
      put.set(name, file);
      await publisher.placeBytes(name, file, document);
    }
    await draft.changeTargets(role, { put });
  });
  return { outcome, manifest, sha256 };
}

/** Points a channel to a release. Going back is not promoting: throws `publisher/bad-input` and names `recall`. */
export async function promote(
  tools: ReleaseTools,
  product: string,
  version: string,
  channel: string,
): Promise<{ readonly outcome: Outcome; readonly pointer: ChannelPointer; readonly before: string | null }> {
  let done: { pointer: ChannelPointer; before: string | null } | null = null;
  const outcome = await tools.publisher.change(async (draft) => {
    const trusted = await trustedKeys(tools, draft);
    const release = await readRelease(tools, draft, trusted, product, version);
    const current = await readChannel(tools, draft, trusted, product, channel);
    if (current !== null && compareVersions(parseVersion(version), parseVersion(current.version)) < 0) {
      throw new PublisherError(
        "publisher/bad-input",
        `${product}/${channel} points to ${current.version}; devices refuse to go back to ${version}.`,
        { product, channel, version, current: current.version },
        {
          hint: `To take ${current.version} back: upkeep release recall ${product} ${current.version} --reason "..."`,
        },
      );
    }
    if (current?.recalled.some((recalled) => recalled.version === version) === true) {
      throw new PublisherError(
        "publisher/bad-input",
        `${product} ${version} was recalled and stays so.`,
        { product, version },
        { hint: "Publish the repaired build under a higher version." },
      );
    }
    const known = current === null ? [] : [...current.steps, referenceOf(current)];
    const pointer: ChannelPointer = {
      product,
      channel,
      ...release.reference,
      updated: formatInstant(tools.now()),
      steps: await stepsTo(tools, draft, trusted, release.manifest, known),
      recalled: current?.recalled ?? [],
    };
    await putChannel(tools, draft, trusted, pointer);
    done = { pointer, before: current?.version ?? null };
  });
  return { outcome, ...done! };
}

export type Recall = {
  readonly product: string;
  readonly version: string;
  readonly reason: string;
  /** Where devices go instead; by default the highest release below that is not recalled. */
  readonly to?: string;
};

/**
 * Takes a release back: withdraws its files from the signed lists, moves every channel that points to it,
 * and signs the permission for devices that run it to go back.
 */
export async function recall(
  tools: ReleaseTools,
  wish: Recall,
): Promise<{
  readonly outcome: Outcome;
  readonly to: string;
  readonly channels: readonly string[];
  /** Other releases whose dependencies the recalled version satisfies. */
  readonly dependents: readonly string[];
}> {
  const { product, version, reason } = wish;
  let done: { to: string; channels: readonly string[]; dependents: readonly string[] } | null = null;
  const outcome = await tools.publisher.change(async (draft) => {
    const trusted = await trustedKeys(tools, draft);
    const role = productRole(product);
    const targets = await draft.allTargets(role);
    await readRelease(tools, draft, trusted, product, version);
    const pointers = await channelsOf(tools, draft, trusted, product);
    const gone = new Set([version, ...pointers.flatMap((p) => p.recalled.map((r) => r.version))]);
    const to = wish.to ?? bestBelow(versionsIn(targets.keys()), version, gone);
    if (to === null || gone.has(to)) {
      throw new PublisherError(
        "publisher/bad-input",
        to === null
          ? `There is no release of ${product} below ${version} to go back to.`
          : `${product} ${to} was recalled itself.`,
        { product, version },
        {
          hint: "Publish a repaired release under a higher version and promote it; devices go forward to it.",
        },
      );
    }
    const back = await readRelease(tools, draft, trusted, product, to);
    const moved: string[] = [];
    for (const pointer of pointers) {
      const points = pointer.version === version;
      if (points) moved.push(pointer.channel);
      const recalled = [...pointer.recalled, { version, reason, since: formatInstant(tools.now()) }];
      const steps = pointer.steps.filter((step) => step.version !== version);
      await putChannel(tools, draft, trusted, {
        ...pointer,
        ...(points ? back.reference : {}),
        updated: formatInstant(tools.now()),
        steps: points
          ? steps.filter((step) => compareVersions(parseVersion(step.version), parseVersion(to)) < 0)
          : steps,
        recalled,
      });
    }
    const remove = [...targets.keys()].filter((name) => {
      const parsed = parseTargetName(name);
      return parsed !== null && parsed.kind !== "channel" && parsed.version === version;
    });
    await draft.changeTargets(role, { remove });
    done = { to, channels: moved, dependents: await dependentsOf(tools, draft, trusted, product, version) };
  });
  return { outcome, ...done! };
}

/**
 * Signs every document again that a key signed which is trusted no more, after verifying it under the keys of before.
 * Returns how many. A release keeps its meaning and gets another digest, which the channels follow.
 */
export async function resignDocuments(
  tools: ReleaseTools,
  draft: Draft,
  before: TrustedKeys,
  after: TrustedKeys,
  keyid: string,
): Promise<number> {
  let count = 0;
  for (const product of await productsOf(draft)) {
    const uses = (["release", "channel"] as const).some((kind) =>
      keysFor(before, kind, product).keys.some((key) => key.keyid === keyid),
    );
    if (!uses) continue;
    const pointers = await channelsOf(tools, draft, before, product);
    const versions = versionsIn((await draft.allTargets(productRole(product))).keys());
    const signers = await documentSigners(
      keysFor(after, "release", product),
      tools.ring,
      `releases of ${product}`,
    );
    const references = new Map<string, ReleaseReference>();
    const put = new Map<string, TargetFile>();
    for (const version of versions) {
      const { manifest, reference } = await readRelease(tools, draft, before, product, version);
      const bytes = await signRelease(manifest, signers);
      const file = targetFileOf(bytes);
      await tools.publisher.placeBytes(reference.target, file, bytes);
      put.set(reference.target, file);
      references.set(version, { ...reference, sha256: sha256Hex(bytes) });
      count++;
    }
    await draft.changeTargets(productRole(product), { put });
    for (const pointer of pointers) {
      const steps = pointer.steps.map((step) => references.get(step.version) ?? step);
      await putChannel(tools, draft, after, { ...pointer, ...references.get(pointer.version), steps });
      count++;
    }
  }
  return count;
}

async function putChannel(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  pointer: ChannelPointer,
): Promise<void> {
  const keys = keysFor(trusted, "channel", pointer.product);
  const signers = await documentSigners(keys, tools.ring, `channels of ${pointer.product}`);
  const bytes = await signChannel(pointer, signers);
  const file = targetFileOf(bytes);
  const target = channelTarget(pointer.product, pointer.channel);
  await tools.publisher.placeBytes(target, file, bytes);
  await draft.changeTargets(productRole(pointer.product), { put: new Map([[target, file]]) });
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
}

async function documentSigners(trusted: DocumentKeys, ring: KeyRing, what: string) {
  const signers = await ring(trusted.keys);
  if (signers.length >= trusted.threshold) return signers;
  throw new PublisherError(
    "publisher/no-quorum",
    `Documents for ${what} need ${trusted.threshold} signature(s), and ${signers.length} of the trusted keys are here.`,
    { have: signers.length, need: trusted.threshold, keys: trusted.keys.map((key) => key.keyid) },
    { hint: "Run the command where the release key is, or bring its key file." },
  );
}

/** The releases that lead devices of any age to the new one: as few as possible, each reachable from the one before. */
async function stepsTo(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  newest: ReleaseManifest,
  known: readonly ReleaseReference[],
): Promise<ReleaseReference[]> {
  const steps: ReleaseReference[] = [];
  let manifest = newest;
  while (manifest.minimumFrom !== undefined) {
    const [least, most] = [parseVersion(manifest.minimumFrom), parseVersion(manifest.version)];
    const fitting = known.filter(({ version }) => {
      const candidate = parseVersion(version);
      return compareVersions(candidate, least) >= 0 && compareVersions(candidate, most) < 0;
    });
    // The lowest that will do: it reaches furthest back.
    const step = fitting.sort((a, b) => compareVersions(parseVersion(a.version), parseVersion(b.version)))[0];
    if (step === undefined || (await draft.find(step.target)) === null) break;
    steps.unshift(referenceOf(step));
    ({ manifest } = await readRelease(tools, draft, trusted, newest.product, step.version));
  }
  return steps;
}

function referenceOf({ version, target, sha256 }: ReleaseReference): ReleaseReference {
  return { version, target, sha256 };
}

function bestBelow(versions: readonly string[], bound: string, gone: ReadonlySet<string>): string | null {
  let best: string | null = null;
  for (const version of versions) {
    if (gone.has(version) || compareVersions(parseVersion(version), parseVersion(bound)) >= 0) continue;
    if (best === null || compareVersions(parseVersion(version), parseVersion(best)) > 0) best = version;
  }
  return best;
}

async function dependentsOf(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  product: string,
  version: string,
): Promise<readonly string[]> {
  const out: string[] = [];
  for (const other of await productsOf(draft)) {
    for (const pointer of await channelsOf(tools, draft, trusted, other)) {
      const { manifest } = await readRelease(tools, draft, trusted, other, pointer.version);
      const needs = manifest.dependencies.some(
        (dependency) =>
          dependency.product === product && inRange(parseVersion(version), parseRange(dependency.range)),
      );
      if (needs) out.push(`${other} ${manifest.version}`);
    }
  }
  return [...new Set(out)];
}
