// The list of authorities as a target: who may list it, and what a mirror can do about it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { TRUST_BUNDLE_TARGET } from "../../release/target-names.ts";
import { openRepository, type Repository } from "../../repository/client/client.ts";
import { memoryStore } from "../../repository/client/store.ts";
import { scriptedRandom } from "../../testing/agent-world.ts";
import { RepositorySimulator } from "../../testing/repository-simulator.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { readBundleTarget } from "./bundle-target.ts";

const bytes = toUtf8("the list");

async function publish(repository: RepositorySimulator): Promise<Repository> {
  repository.targets.version += 1;
  repository.snapshot.version += 1;
  repository.timestamp.version += 1;
  await repository.publish();
  const client = openRepository({
    mirrors: [repository.mirror],
    store: memoryStore(),
    clock: new ScriptedClock(),
    random: scriptedRandom(),
    trustedRoot: repository.rootBytes(1),
    retry: NO_RETRY,
  });
  await client.refresh();
  return client;
}

describe("the list of authorities in a repository", () => {
  it("is read when the role targets lists it, and not again while it is known", async () => {
    const repository = await RepositorySimulator.create();
    assert.equal(await readBundleTarget(await publish(repository), null), null, "there is none");
    repository.addTarget(TRUST_BUNDLE_TARGET, bytes);
    const client = await publish(repository);
    assert.deepEqual(await readBundleTarget(client, null), bytes);
    assert.deepEqual(await readBundleTarget(client, "0".repeat(64)), bytes);
    assert.equal(await readBundleTarget(client, sha256Hex(bytes)), null);
  });

  it("is refused from another role, however wide its delegation (delegated role speaks of trust)", async () => {
    const repository = await RepositorySimulator.create();
    repository.delegate("targets", "product.shop", { paths: ["*", "*/*"] });
    repository.addTarget(TRUST_BUNDLE_TARGET, bytes, "product.shop");
    const client = await publish(repository);
    await assert.rejects(readBundleTarget(client, null), {
      code: "identity/bad-bundle",
      facts: { role: "product.shop" },
    });
  });

  it("is refused when a mirror cut it or put another in its place", async () => {
    for (const served of [bytes.subarray(0, 4), toUtf8("THE LIST"), toUtf8("the list and more")]) {
      const repository = await RepositorySimulator.create();
      repository.addTarget(TRUST_BUNDLE_TARGET, bytes);
      const client = await publish(repository);
      repository.source.files.set(`targets/trust/${sha256Hex(bytes)}.bundle.json`, served);
      await assert.rejects(readBundleTarget(client, null), /./);
    }
  });
});
