// Which ways lead to the wanted bytes, and in which order they are tried.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { planBytes, type PatchStep } from "./plan.ts";

const step = (from: string, to: string, length: number): PatchStep => ({
  target: `${from}-${to}`,
  algorithm: "hd1",
  from,
  to,
  length,
});
const plan = (installed: string | null, patches: readonly PatchStep[], length = 1000) =>
  planBytes(installed, { sha256: "new", length }, patches).map(({ kind, bytes }) => `${kind} ${bytes}`);

describe("a plan of bytes", () => {
  it("tries the cheapest way first, and ends with the whole", () => {
    const patches = [step("old", "new", 300), step("old", "middle", 100), step("middle", "new", 150)];
    assert.deepEqual(plan("old", patches), ["chain 250", "patch 300", "whole 1000"]);
  });

  it("prefers one patch to two that fetch as much", () => {
    const patches = [step("old", "middle", 100), step("middle", "new", 200), step("old", "new", 300)];
    assert.deepEqual(plan("old", patches), ["patch 300", "chain 300", "whole 1000"]);
  });

  it("passes over ways that fetch no less than the whole", () => {
    assert.deepEqual(plan("old", [step("old", "new", 1000)]), ["whole 1000"]);
  });

  it("knows no way but the whole when nothing is installed, or something else is", () => {
    const patches = [step("old", "new", 1), step("middle", "new", 1)];
    assert.deepEqual(plan(null, patches), ["whole 1000"]);
    assert.deepEqual(plan("other", patches), ["whole 1000"]);
  });

  it("takes no way that leads elsewhere, and none of three patches", () => {
    const patches = [step("old", "other", 1), step("old", "a", 1), step("a", "b", 1), step("b", "new", 1)];
    assert.deepEqual(plan("old", patches), ["whole 1000"]);
  });
});
