// Gates: a release without what its product demands is pointed to by no channel, and only the targets role takes a gate away.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { parseGates, serialiseGates } from "../../release/gates.ts";
import { OperatorWorld } from "../../testing/operator-world.ts";
import { readGates, setGate } from "./gates.ts";
import { promote } from "./promote.ts";

async function world(): Promise<OperatorWorld> {
  const made = new OperatorWorld();
  await made.create();
  await made.release("1.0.0");
  await made.release("1.1.0");
  return made;
}

describe("a gate", () => {
  it("keeps a channel from a release that lacks what is demanded, names all of it, and changes nothing", async () => {
    const made = await world();
    await promote(made.releases, "shop", "1.0.0", "stable");
    await setGate(made.releases, "shop", ["sbom", "provenance", "publisher"]);
    const before = made.disk.fingerprint();
    await assert.rejects(
      promote(made.releases, "shop", "1.1.0", "stable"),
      (error: Error & { facts: object }) => {
        assert.deepEqual(error.facts, {
          product: "shop",
          version: "1.1.0",
          missing: ["provenance", "publisher", "sbom"],
        });
        return true;
      },
    );
    assert.equal(made.disk.fingerprint(), before);
  });

  it("of one product does not concern another, and can be taken away again", async () => {
    const made = await world();
    await setGate(made.releases, "till", ["sbom"]);
    await promote(made.releases, "shop", "1.0.0", "stable");
    await setGate(made.releases, "shop", ["sbom"]);
    await assert.rejects(promote(made.releases, "shop", "1.1.0", "stable"), { code: "publisher/gate" });
    await setGate(made.releases, "shop", []);
    await promote(made.releases, "shop", "1.1.0", "stable");
    const left = await readGates(made.releases, await made.look());
    assert.deepEqual([...left], [["till", ["sbom"]]]);
  });

  it("is read strictly: an unknown demand is no demand that is passed over", () => {
    const gates = new Map([["shop", ["sbom"] as const]]);
    assert.deepEqual([...parseGates(serialiseGates(gates))], [["shop", ["sbom"]]]);
    for (const text of [
      '{"format":1,"products":[{"product":"shop","demands":["sbom","blessing"]}]}',
      '{"format":2,"products":[]}',
      '{"format":1,"products":[{"product":"shop","demands":["sbom","sbom"]}]}',
      '{"format":1,"products":[{"product":"shop","demands":[]}]}',
      '{"format":1,"products":[],"more":1}',
    ])
      assert.throws(() => parseGates(toUtf8(text)), { code: "schema/invalid" }, text);
  });
});
