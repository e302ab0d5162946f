// Lengths of time as people write them.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatDuration, parseDuration } from "./duration.ts";

describe("a length of time", () => {
  it("is read in each unit, and written in the largest that fits", () => {
    for (const [text, ms] of [
      ["45s", 45_000],
      ["30m", 1_800_000],
      ["12h", 43_200_000],
      ["2d", 172_800_000],
    ] as const) {
      assert.equal(parseDuration(text), ms);
      assert.equal(formatDuration(ms), text);
    }
    assert.equal(formatDuration(90_000), "90s");
    assert.equal(formatDuration(0), "0s");
  });

  it("is refused in any other spelling", () => {
    for (const text of ["", "2", "d", "-2d", "1.5h", "2 d", "2w", "1d12h", "9999999s"])
      assert.equal(parseDuration(text), null, text);
  });
});
