// What the owner of a device may write into agent.toml about mirrors.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSettings } from "./settings.ts";

describe("mirrors in the settings of an agent", () => {
  it("are https addresses and absolute folders", () => {
    const mirrors = ["https://cdn.example.com/repository", "https://[::1]:8443/r/", "/media/usb/repository"];
    assert.deepEqual(parseSettings({ mirrors }).mirrors, mirrors);
  });

  for (const place of [
    "relative/folder",
    "cdn.example.com",
    "ftp://cdn.example.com/",
    "file:///etc",
    "https://user:secret@cdn.example.com/",
    "https://cdn.example.com/?token=1",
    "https://cdn.example.com/#x",
    "https://",
    "",
  ]) {
    it(`are not ${JSON.stringify(place)}`, () => {
      assert.throws(() => parseSettings({ mirrors: [place] }), { code: "schema/invalid" });
    });
  }

  it("are asked in the clear only where the owner says so", () => {
    for (const place of ["http://10.0.0.1/repository", "HTTP://10.0.0.1/repository"]) {
      const mirrors = ["https://cdn.example.com/", place];
      assert.throws(() => parseSettings({ mirrors }), { code: "agent/bad-settings" });
      assert.throws(() => parseSettings({ mirrors, untrustedHttp: false }), { code: "agent/bad-settings" });
      assert.deepEqual(parseSettings({ mirrors, untrustedHttp: true }).mirrors, mirrors);
    }
  });
});
