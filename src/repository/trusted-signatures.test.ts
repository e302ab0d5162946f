// Which signatures and which digests count for metadata, whatever role it is of.
//
// Changes to trusted-set.ts that no test here notices, and why: parsing each key again instead of remembering it, since the memory
// saves time only; hiding an error other than `KeyError`, since parsing a key throws no other one.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { digestsOf } from "../core/digest.ts";
import type { Signer } from "../keys/signer.ts";
import {
  START,
  first,
  keysOf,
  refusal,
  role,
  second,
  snapshotOf,
  targetsOf,
  thief,
  third,
  unsigned,
} from "../testing/forged-metadata.ts";
import { NO_EXTRA, type MetaFile } from "./metadata.ts";
import { canonicalBody, writeMetadata } from "./publish/write-metadata.ts";
import { isListedContent, newTargets } from "./trusted-set.ts";

describe("signatures", () => {
  const both = { keys: keysOf(first, second), role: role(2, first, second) };
  const snapshot = { signed: snapshotOf({ targets: 1 }) };
  const body = targetsOf(1);
  const canonical = canonicalBody(body);
  const by = async (signer: Signer, keyid = signer.publicKey.keyid) => ({
    keyid,
    sig: Buffer.from(await signer.sign(canonical)).toString("hex"),
  });
  const judge = (signatures: readonly { keyid: string; sig: string }[], delegator = both) =>
    newTargets(snapshot, "targets", delegator, writeMetadata(body, signatures), START);

  it("of one key under two ids count once, in whichever order (key compromise)", async () => {
    const keys = new Map([...both.keys, ["alias", first.publicKey.tuf]]);
    const delegator = { keys, role: { ...both.role, keyids: [...both.role.keyids, "alias"] } };
    const signatures = [await by(first), await by(first, "alias")];
    assert.throws(() => judge(signatures, delegator), unsigned("targets", 1, 2));
    assert.throws(() => judge(signatures.toReversed(), delegator), unsigned("targets", 1, 2));
    assert.ok(judge([...signatures, await by(second)], delegator));
  });

  it("under the id of somebody else's key do not count", async () => {
    const signatures = [await by(first), await by(thief, second.publicKey.keyid)];
    assert.throws(() => judge(signatures), unsigned("targets", 1, 2));
  });

  it("that are not hex, empty, or of keys nobody has, count for nothing and stop nothing", async () => {
    const odd = [
      { keyid: "unknown", sig: "00" },
      { keyid: third.publicKey.keyid, sig: "not hex" },
    ];
    const [good, other] = [await by(first), await by(second)];
    assert.throws(() => judge([...odd, good]), unsigned("targets", 1, 2));
    assert.ok(judge([...odd, good, other]));
    const nonsense = { keyid: second.publicKey.keyid, sig: "xyz" };
    assert.throws(() => judge([good, nonsense]), unsigned("targets", 1, 2));
  });

  it("of a key of an unknown kind, or one that is not listed at all, count for nothing", async () => {
    const { keyid } = second.publicKey;
    const strange = { ...second.publicKey.tuf, keytype: "abacus", scheme: "beads" };
    const keys = new Map([...keysOf(first), [keyid, strange]]);
    const signatures = [await by(second), await by(first)];
    assert.throws(() => judge(signatures, { ...both, keys }), unsigned("targets", 1, 2));
    assert.throws(() => judge(signatures, { ...both, keys }), unsigned("targets", 1, 2));
    assert.throws(() => judge(signatures, { ...both, keys: keysOf(first) }), unsigned("targets", 1, 2));
  });
});

describe("listed content", () => {
  const bytes = toUtf8("content");
  const { sha256, sha512 } = digestsOf(bytes);
  const listed = (more: Partial<MetaFile>) =>
    isListedContent("shop", bytes, { version: 1, extra: NO_EXTRA, ...more });

  it("needs every digest that is listed and known, and the length", () => {
    assert.equal(listed({}), true);
    assert.equal(listed({ length: bytes.length }), true);
    assert.equal(listed({ length: bytes.length - 1 }), false);
    assert.equal(listed({ hashes: { sha256, md5: "no" } }), true);
    assert.equal(listed({ hashes: { sha512 } }), true);
    assert.equal(listed({ hashes: { sha256, sha512: "0".repeat(128) } }), false);
    assert.equal(listed({ hashes: { sha256: "0".repeat(64), sha512 } }), false);
  });

  it("relies on nothing weaker than SHA-256", () => {
    assert.throws(
      () => listed({ hashes: { md5: "0".repeat(32) } }),
      refusal("repository/weak-hashes", { what: "shop", listed: ["md5"] }),
    );
  });
});
