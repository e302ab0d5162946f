// Every code that an error of Upkeep can carry, with its nature and its exit code: docs/errors.md lists them all, and nothing else.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Trait } from "../src/core/errors.ts";
import { EXIT } from "../src/apps/framework/exit-codes.ts";
import { declared, lines, listed, tabled } from "../tools/error-codes.ts";

describe("the codes of all errors", () => {
  it("are declared once each, with a nature and an exit code", async () => {
    const codes = (await tabled()).map(({ code }) => code).toSorted();
    assert.ok(codes.length > 200, `${codes.length} codes were found in the source`);
    assert.deepEqual(codes, declared.toSorted());
    assert.equal(new Set(codes).size, codes.length);
  });

  it("stand in docs/errors.md, all of them and no other", async () => {
    assert.deepEqual(listed(), lines(await tabled()), "node tools/error-codes.ts --write");
  });

  it("fit together: what may work later never counts as a verdict, and a wrong call never as a failure", async () => {
    const allowed: { readonly [N in Trait["nature"]]: readonly Trait["exit"][] } = {
      usage: ["usage"],
      refused: ["refused", "verify-failed"],
      pending: ["pending"],
      // A server that says no, or metadata that nobody renewed in time, is a refusal to whoever asked and no word about the release.
      transient: ["failed", "network", "refused"],
      failed: ["failed", "refused"],
    };
    const odd = (await tabled()).filter(({ trait }) => !allowed[trait.nature].includes(trait.exit));
    assert.deepEqual(odd, []);
  });

  // The same thing in several rooms: whoever scripts against one of them may rely on the others.
  for (const [what, exit, codes] of [
    [
      "another process holds it",
      "pending",
      ["agent/locked", "fleet/store-in-use", "publisher/busy", "repository/locked", "signing/busy"],
    ],
    ["a database is out of reach", "network", ["fleet/store-unavailable", "signing/store-unavailable"]],
    ["a database says no", "refused", ["fleet/store-denied", "fleet/store-foreign", "signing/store-refused"]],
    [
      "a settings file makes no sense",
      "usage",
      ["agent/bad-settings", "cli/bad-settings", "signing/bad-config"],
    ],
    ["a secret was not given", "usage", ["cli/no-secret", "key/passphrase-needed"]],
    [
      "it is not there",
      "failed",
      [
        "agent/not-installed",
        "cli/not-found",
        "fleet/unknown-device",
        "key/not-found",
        "publisher/missing",
        "signing/not-found",
      ],
    ],
    [
      "it is there already",
      "failed",
      [
        "agent/already-enrolled",
        "disk/exists",
        "key/exists",
        "process/service-exists",
        "publisher/exists",
        "signing/exists",
      ],
    ],
    ["too much at once", "refused", ["fleet/quota", "http/too-many", "signing/over-budget"]],
    [
      "the bytes are not the ones that were signed",
      "refused",
      ["agent/wrong-bytes", "mirror/wrong-content", "repository/content-mismatch", "slot/wrong-bytes"],
    ],
    ["a backup is not whole", "refused", ["fleet/bad-dump", "signing/bad-backup"]],
  ] as const)
    it(`${what}: every room ends with ${EXIT[exit]}`, async () => {
      const rows = new Map((await tabled()).map(({ code, trait }) => [code, trait.exit]));
      assert.deepEqual(
        codes.map((code) => [code, rows.get(code)]),
        codes.map((code) => [code, exit]),
      );
    });
});
