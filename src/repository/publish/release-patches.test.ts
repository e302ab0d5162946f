// Patches in a repository: listed and signed like artifacts, made once, and accompanied by forms that nothing lists.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { digestsOf } from "../../core/digest.ts";
import { writeAtomic } from "../../core/disk.ts";
import { GrowthError } from "../../core/growth.ts";
import { parseRelease, serialiseRelease } from "../../release/manifest.ts";
import { patchFile } from "../../release/patches.ts";
import { artifactTarget } from "../../release/target-names.ts";
import { FOLDER, OperatorWorld } from "../../testing/operator-world.ts";
import { inspectRepository, listedFiles } from "./inspect.ts";
import type { NewArtifact } from "./release-publisher.ts";
import { readRelease, trustedKeys } from "./release-reader.ts";

async function world(): Promise<OperatorWorld> {
  const made = new OperatorWorld();
  await made.create();
  await made.release("1.0.0");
  return made;
}

async function manifestOf(made: OperatorWorld, version: string) {
  const { draft, tools } = await look(made);
  return (await readRelease(tools, draft, await trustedKeys(tools, draft), "shop", version)).manifest;
}

async function look(made: OperatorWorld) {
  const tools = made.releases;
  let found: Parameters<typeof readRelease>[1] | null = null;
  await tools.publisher.change(async (draft) => void (found = draft));
  return { tools, draft: found! as Parameters<typeof readRelease>[1] };
}

/** The artifact of 1.1.0, with a patch from 1.0.0. */
async function patched(made: OperatorWorld): Promise<NewArtifact> {
  const artifact = await made.artifact("shop 1.1.0");
  const base = (await manifestOf(made, "1.0.0")).artifacts[0]!;
  const bytes = toUtf8("a patch");
  const path = "/data/staged-patch";
  await writeAtomic(made.disk, path, bytes);
  const staged = { path, length: bytes.length };
  const patch = { from: "1.0.0", base: base.sha256, algorithm: "hd1", staged, ...digestsOf(bytes) };
  return { ...artifact, patches: [patch] };
}

describe("a release with patches", () => {
  it("lists each by the digest of the artifact that it is from", async () => {
    const made = await world();
    const artifact = await patched(made);
    await made.release("1.1.0", { artifacts: [artifact] });
    const { base } = artifact.patches![0]!;
    const name = patchFile({ from: base, to: artifact.sha256, algorithm: "hd1" });
    const target = artifactTarget("shop", "1.1.0", name);
    const [published] = (await manifestOf(made, "1.1.0")).artifacts;
    assert.deepEqual(published!.deltas, [{ from: "1.0.0", algorithm: "hd1", target }]);
    const listed = await made.device().target(target);
    assert.deepEqual([listed?.length, listed?.hashes.sha256], [7, artifact.patches![0]!.sha256]);
  });

  it("is the same release when it is added again without them", async () => {
    const made = await world();
    await made.release("1.1.0", { artifacts: [await patched(made)] });
    await made.release("1.1.0");
    assert.equal((await manifestOf(made, "1.1.0")).artifacts[0]!.deltas.length, 1);
  });
});

describe("the zstd form of a target", () => {
  it("lies beside it, is no finding, and stays as long as the target does", async () => {
    const made = await world();
    const artifact = await made.artifact("shop 1.1.0");
    const zstd = "/data/staged-form";
    await writeAtomic(made.disk, zstd, toUtf8("compressed"));
    await made.release("1.1.0", { artifacts: [{ ...artifact, staged: { ...artifact.staged, zstd } }] });
    const form = `targets/products/shop/1.1.0/${artifact.sha256}.artifact.zst`;
    assert.equal((await made.disk.read(`${FOLDER}/${form}`, 100)).length, 10);
    const { findings } = await inspectRepository(made.disk, FOLDER, made.clock.now());
    assert.deepEqual(findings, []);
    const { draft } = await look(made);
    const stays = await listedFiles(draft, 1);
    assert.ok(stays(form));
    assert.ok(!stays("targets/products/shop/1.1.0/gone.zst"));
  });
});

describe("a release of a folder", () => {
  it("says to an agent that does not know the format which version it needs", async () => {
    const made = await world();
    const artifact = { ...(await made.artifact("shop 1.1.0")), format: "tar" as const };
    await made.release("1.1.0", { artifacts: [artifact], entryPoint: { command: ["bin/shop"] } });
    const manifest = await manifestOf(made, "1.1.0");
    assert.deepEqual(manifest.needs, { features: ["tar-artifacts"], version: "0.1.0" });
    const bytes = serialiseRelease(manifest);
    assert.throws(() => parseRelease(bytes, ["needs", "follow-until"]), GrowthError);
    assert.equal((await manifestOf(made, "1.0.0")).needs, undefined, "single files need nothing");
  });
});
