// One spelling of time.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatInstant, InstantError, parseInstant } from "./instant.ts";

describe("an instant", () => {
  it("comes back as it was written", () => {
    for (const text of ["1970-01-01T00:00:00Z", "2026-11-21T04:00:00Z", "2028-02-29T23:59:59Z"]) {
      assert.equal(formatInstant(parseInstant(text)), text);
    }
  });

  for (const bad of [
    "2026-11-21",
    "2026-11-21T04:00:00",
    "2026-11-21T04:00:00.000Z",
    "2026-11-21T04:00:00+00:00",
    "2026-11-21 04:00:00Z",
    "2026-02-30T00:00:00Z",
    "2027-02-29T00:00:00Z",
    "2026-11-21T24:00:00Z",
    "2026-11-21T04:00:60Z",
    "2040",
    "1/2/2040",
    "",
  ]) {
    it(`refuses ${JSON.stringify(bad)}`, () => {
      assert.throws(
        () => parseInstant(bad),
        (error) => error instanceof InstantError && error.code === "instant/malformed",
      );
    });
  }
});
