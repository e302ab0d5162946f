// Which version two sides speak, and what a client does not ask of an older signer.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CTL_OID } from "../../artifact/cat/catalog.ts";
import type { Operation } from "../request/operation.ts";
import { commonVersion, neededFor, speaks, tooOld, VERSIONS } from "./versions.ts";

const hex = "ab".repeat(32);
const base = { kind: "authenticode", algorithm: "sha256", digest: hex, timestamp: false } as const;
const catalog: Operation = { ...base, format: "cat", contentType: CTL_OID };
const program: Operation = { ...base, format: "pe" };
const table: Operation = { ...program, pageHashes: { algorithm: "sha256", sha256: hex, length: 72 } };
const inside: Operation = { ...program, pageHashes: { algorithm: "sha256", table: "AAAA" } };
const release = { root: hex, size: 1, index: 0, proof: [] };

describe("versions of the conversation", () => {
  it("are the best that both speak, whatever else the other one names", () => {
    assert.equal(commonVersion([1]), 1);
    assert.equal(commonVersion([...VERSIONS]), VERSIONS[0]);
    assert.equal(commonVersion([1, 2, 3, 99]), 2);
    assert.equal(commonVersion([3]), null);
    assert.equal(commonVersion([]), null);
  });

  it("say what a request needs of a signer", () => {
    assert.deepEqual(neededFor(catalog), ["catalogs"]);
    assert.deepEqual(neededFor(table), ["page-hash tables beside the request"]);
    assert.deepEqual(neededFor(inside), []);
    assert.deepEqual(neededFor(program, release), []);
    assert.deepEqual(neededFor(program, { ...release, nonce: "0".repeat(32) }), ["lists of one call"]);
  });

  it("keep a request from a signer that is too old, with a sentence that says what to do", () => {
    const error = tooOld("signer-1", 1, neededFor(catalog, { ...release, nonce: "0".repeat(32) }))!;
    assert.equal(error.code, "signing/old-signer");
    assert.equal(
      error.message,
      "The signer signer-1 is older than this client: it speaks version 1 of the protocol, and catalogs and lists of one call came with version 2.",
    );
    assert.match(error.hint!, /Update that signer, or name one that is newer with --signer/);
    assert.equal(tooOld("signer-1", 2, neededFor(catalog)), null);
    assert.equal(tooOld("signer-1", 1, neededFor(program)), null);
    assert.ok(!speaks(1, "the word that nothing was signed"));
  });
});
