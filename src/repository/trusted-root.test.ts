// Which root is believed, and what follows from its keys: forgeries that are really signed, by keys that must not count.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, SECOND } from "../core/instant.ts";
import {
  START,
  bytesOf,
  first,
  keysOf,
  maker,
  next,
  refusal,
  role,
  rootOf,
  second,
  snapper,
  stamper,
  thief,
  third,
  trusted,
  unsigned,
} from "../testing/forged-metadata.ts";
import type { RoleKeys, Root } from "./metadata.ts";
import { canonicalBody, signMetadata, writeMetadata } from "./publish/write-metadata.ts";
import { finalRoot, initialRoot, nextRoot, wasRotated } from "./trusted-set.ts";

const pair = await signMetadata(rootOf(1, { root: role(2, first, second, third) }), [first, second]);

describe("the root a program was shipped with", () => {
  it("is taken when its own keys signed it, whatever its age", async () => {
    const old = rootOf(7, {}, { expires: START - 1000 * DAY });
    assert.equal(initialRoot(await bytesOf(old, first)).signed.version, 7);
  });

  it("is refused when a stranger signed it", async () => {
    const bytes = await bytesOf(rootOf(1), thief);
    assert.throws(() => initialRoot(bytes), unsigned("root", 0, 1));
  });

  it("is refused with one signature of the two it asks for", async () => {
    const bytes = await bytesOf(pair.signed, first);
    assert.throws(() => initialRoot(bytes), unsigned("root", 1, 2));
  });
});

describe("the next root (TUF 5.3.4)", () => {
  it("is followed when the keys before and its own signed it, expired or not (TUF 5.3.6)", async () => {
    const body = rootOf(2, { root: role(1, next) }, { expires: START - DAY });
    assert.equal(nextRoot(trusted, await bytesOf(body, first, next)).signed.version, 2);
  });

  it("is refused when only its own keys signed it: a thief's root (arbitrary installation attack)", async () => {
    const bytes = await bytesOf(rootOf(2, { root: role(1, thief) }), thief);
    assert.throws(() => nextRoot(trusted, bytes), unsigned("root", 0, 1, 2));
  });

  it("is refused when one stolen key of two lowers the threshold to one (key compromise)", async () => {
    const bytes = await bytesOf(rootOf(2, { root: role(1, first) }), first);
    assert.throws(() => nextRoot(pair, bytes), unsigned("root", 1, 2, 2));
  });

  it("is refused when a thief adds own keys to one stolen key until the numbers fit", async () => {
    const body = rootOf(2, { root: role(2, first, thief, next) });
    const bytes = await bytesOf(body, first, thief, next);
    assert.throws(() => nextRoot(pair, bytes), unsigned("root", 1, 2, 2));
  });

  it("is refused when it lists the thief's key under the id of the trusted one (key substitution)", async () => {
    const { keyid } = first.publicKey;
    const body = rootOf(2, {}, { keys: new Map([...trusted.signed.keys, [keyid, thief.publicKey.tuf]]) });
    const canonical = canonicalBody(body);
    const sig = Buffer.from(await thief.sign(canonical)).toString("hex");
    const bytes = writeMetadata(body, [{ keyid, sig }]);
    assert.throws(() => nextRoot(trusted, bytes), unsigned("root", 0, 1, 2));
  });

  it("is refused when a key of another role signed it, though the root lists that key", async () => {
    const bytes = await bytesOf(rootOf(2), stamper);
    assert.throws(() => nextRoot(trusted, bytes), unsigned("root", 0, 1, 2));
  });

  it("is refused when the keys it names did not sign it: nobody could follow from there", async () => {
    const bytes = await bytesOf(rootOf(2, { root: role(1, next) }), first);
    assert.throws(() => nextRoot(trusted, bytes), unsigned("root", 0, 1, 2));
  });

  it("is refused when it raises the threshold above what signed it", async () => {
    const bytes = await bytesOf(rootOf(2, { root: role(2, first, second) }), first);
    assert.throws(() => nextRoot(trusted, bytes), unsigned("root", 1, 2, 2));
  });

  for (const version of [1, 3])
    it(`is refused as version ${version} where 2 is expected (rollback, or a gap)`, async () => {
      const bytes = await bytesOf(rootOf(version), first);
      assert.throws(
        () => nextRoot(trusted, bytes),
        refusal("repository/version-mismatch", { role: "root", expected: 2, found: version }),
      );
    });
});

describe("the newest root", () => {
  it("is used until the very second of its expiry (indefinite freeze attack)", () => {
    const root = (expires: number) => ({ ...trusted, signed: { ...trusted.signed, expires } });
    finalRoot(root(START + SECOND), START);
    assert.throws(() => finalRoot(root(START), START), refusal("repository/expired"));
  });
});

describe("a rotation of keys (TUF 5.3.11)", () => {
  const after = (keys: RoleKeys, more: Partial<Root> = {}) =>
    wasRotated(rootOf(1), rootOf(2, { timestamp: keys }, more), "timestamp");

  it("is a key that was taken away, not one that was added", () => {
    assert.equal(after(role(1, stamper)), false);
    assert.equal(after(role(1, stamper, next)), false);
    assert.equal(after(role(1, next)), true);
    assert.equal(wasRotated(rootOf(1), rootOf(2, { timestamp: role(1, next) }), "snapshot"), false);
  });

  it("is not another id of the same key", () => {
    const keys = new Map([...keysOf(first, snapper, maker), ["other-id", stamper.publicKey.tuf]]);
    assert.equal(after({ ...role(1), keyids: ["other-id"] }, { keys }), false);
  });
});
