// What `agent.toml` says wrongly is named with its line.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { settingsFrom } from "./local-settings.ts";

describe("agent.toml", () => {
  it("is read", () => {
    const text = "interval = 60\n[components.shop]\nstopSeconds = 3\n";
    assert.deepEqual(settingsFrom(text, "a.toml").components?.["shop"]?.stopSeconds, 3);
  });

  for (const [what, text, line] of [
    ["what is no TOML", "interval = 60\nverify = \n", 2],
    ["an unknown setting", "interval = 60\n\nintervall = 60\n", 3],
    ["a value that cannot be", 'interval = 60\n[components.shop]\nenv = { A = "1" }\nstopSeconds = "3"\n', 4],
    ["an unknown setting of a component", "[components.shop]\nstopSeconds = 3\nsnapshot = 0\n", 3],
    ["a mirror in the clear", 'interval = 60\nmirrors = ["http://mirror.example/"]\n', 2],
  ] as const) {
    it(`with ${what} is refused with its line`, () => {
      assert.throws(() => settingsFrom(text, "a.toml"), {
        code: "agent/bad-settings",
        message: new RegExp(`^a\\.toml, line ${line}: `),
      });
    });
  }
});
