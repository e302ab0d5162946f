// What `release add` makes beside the artifacts: their zstd forms, and patches from earlier releases.

import { availableParallelism } from "node:os";
import { digestsOf } from "../../../core/digest.ts";
import { statOrNull } from "../../../core/disk.ts";
import { UpkeepError } from "../../../core/errors.ts";
import { toHex } from "../../../core/bytes.ts";
import { MAX_FILE } from "../../../delta/hd1-format.ts";
import { writeZstdForm } from "../../../io/archive/zstd-form.ts";
import { makePatch } from "../../../io/delta/make-patch.ts";
import { patchBases, WORTH_IT, type EarlierRelease, type PatchBase } from "../../../release/patches.ts";
import { formatSelector } from "../../../release/platform.ts";
import { productRole } from "../../../release/target-names.ts";
import { targetFilePath } from "../../../repository/publish/disk-names.ts";
import type { NewArtifact, NewPatch } from "../../../repository/publish/release-publisher.ts";
import { listReleases } from "../../../repository/publish/release-reader.ts";
import type { Call } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { count, size } from "../../framework/style.ts";
import type { Operator } from "../repo/operator.ts";

const ALGORITHM = "hd1";

/**
 * The artifacts with their zstd forms and patches, all of them in the staging folder. A patch that is not much smaller than the compressed whole
 * is left out, and one that cannot be made is no reason to publish nothing. Errors: `cli/usage` for a version that there is not.
 */
export async function withPatches(
  call: Call,
  operator: Operator,
  product: string,
  version: string,
  artifacts: readonly NewArtifact[],
): Promise<readonly NewArtifact[]> {
  const bases = await basesOf(call, operator, product, version, artifacts);
  if (bases === null) return artifacts;
  const scratch = (): string => `${operator.folder}/staging/${toHex(call.context.random.bytes(8))}.part`;
  const out: NewArtifact[] = [];
  for (const [i, artifact] of artifacts.entries()) {
    const zstd = scratch();
    const form = await writeZstdForm(artifact.staged.path, zstd);
    const staged = { ...artifact.staged, ...(form?.kept === true ? { zstd } : {}) };
    const limit = Math.floor((form?.length ?? artifact.length) * WORTH_IT);
    const patches = await makeAll(call, { ...artifact, staged }, bases[i]!, limit, scratch);
    out.push({ ...artifact, staged, patches });
  }
  return out;
}

/** Where the bytes of a base are. */
type FoundBase = PatchBase & { readonly path: string };

/** For each artifact; null when the release was added before, so that nothing is to be made. */
async function basesOf(
  call: Call,
  operator: Operator,
  product: string,
  version: string,
  artifacts: readonly NewArtifact[],
): Promise<readonly (readonly FoundBase[])[] | null> {
  const wished = call.list("delta-from");
  if (call.flag("no-delta") && wished.length > 0)
    throw usage("--no-delta and --delta-from contradict each other.");
  const draft = await operator.look();
  const listed = await listReleases(operator.releases, draft, product);
  if (listed.some((release) => release.version === version)) return null;
  const absent = wished.find((one) => !listed.some((release) => release.version === one));
  if (absent !== undefined)
    throw usage(
      `There is no release ${product} ${absent} to make a patch from.`,
      "upkeep release list shows what there is.",
    );
  if (call.flag("no-delta") || listed.length === 0) return artifacts.map(() => []);
  const earlier: readonly EarlierRelease[] = listed.map(({ manifest, channels }) => ({
    version: manifest.version,
    artifacts: manifest.artifacts,
    offered: channels.length > 0,
  }));
  const targets = await draft.allTargets(productRole(product));
  const consistent = draft.published?.root.signed.consistentSnapshot !== false;
  const out: FoundBase[][] = [];
  for (const artifact of artifacts) {
    const found: FoundBase[] = [];
    for (const base of patchBases(earlier, version, artifact, wished.length === 0 ? null : wished)) {
      const file = targets.get(base.artifact.target);
      if (file === undefined || Math.max(file.length, artifact.length) > MAX_FILE) continue;
      const path = `${operator.folder}/${targetFilePath(base.artifact.target, file, consistent)}`;
      if ((await statOrNull(call.context.disk, path)) !== null) found.push({ ...base, path });
    }
    out.push(found);
  }
  return out;
}

async function makeAll(
  call: Call,
  artifact: NewArtifact,
  bases: readonly FoundBase[],
  limit: number,
  scratch: () => string,
): Promise<readonly NewPatch[]> {
  if (bases.length === 0) return [];
  const { context } = call;
  const made: (NewPatch | null)[] = bases.map(() => null);
  const bar = context.progress(
    `patches for ${formatSelector(artifact)} from ${bases.map(({ version }) => version).join(", ")}`,
    artifact.length * bases.length,
  );
  const queue = [...bases.entries()];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [i, base] = next;
      made[i] = await makeOne(call, artifact, base, limit, scratch(), (bytes) => bar.advance(bytes));
    }
  };
  // Each holds both files in memory.
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), AT_ONCE) }, worker)).finally(() =>
    bar.done(),
  );
  const patches = made.filter((patch) => patch !== null);
  if (patches.length > 0) {
    const list = patches.map(({ from, staged }) => `${from} (${size(staged.length)})`).join(", ");
    context.note(`${formatSelector(artifact)}: ${count(patches.length, "patch", "patches")} from ${list}`);
  }
  return patches;
}

async function makeOne(
  call: Call,
  artifact: NewArtifact,
  base: FoundBase,
  limit: number,
  path: string,
  advance: (bytes: number) => void,
): Promise<NewPatch | null> {
  const { disk, signal } = call.context;
  let seen = 0;
  try {
    const length = await makePatch(
      { algorithm: ALGORITHM, from: base.path, to: artifact.staged.path, out: path },
      {
        signal,
        onProgress: (bytes) => {
          advance(bytes - seen);
          seen = bytes;
        },
      },
    );
    if (length > limit) {
      call.context.note(
        `the patch from ${base.version} is left out: its ${size(length)} are more than 60 % of the compressed whole`,
      );
      await disk.removeFile(path);
      return null;
    }
    return {
      from: base.version,
      base: base.artifact.sha256,
      algorithm: ALGORITHM,
      staged: { path, length },
      ...digestsOf(await disk.read(path, length)),
    };
  } catch (error) {
    await disk.removeFile(path).catch(() => {});
    if (!(error instanceof UpkeepError) || signal.aborted) throw error;
    call.context.note(`no patch from ${base.version}: ${error.message}`);
    return null;
  }
}

const AT_ONCE = 2;
