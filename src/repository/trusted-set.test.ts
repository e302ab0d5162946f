// Each decision to trust a timestamp, a snapshot or targets: forgeries that are really signed, by keys that must not count.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { digestsOf } from "../core/digest.ts";
import { DAY, SECOND } from "../core/instant.ts";
import type { Signer } from "../keys/signer.ts";
import {
  START,
  bytesOf,
  head,
  keysOf,
  maker,
  next,
  refusal,
  role,
  snapper,
  snapshotOf,
  stamper,
  targetsOf,
  thief,
  trusted,
  unsigned,
} from "../testing/forged-metadata.ts";
import {
  NO_EXTRA,
  type MetaFile,
  type Signed,
  type Snapshot,
  type Targets,
  type Timestamp,
} from "./metadata.ts";
import { signMetadata } from "./publish/write-metadata.ts";
import {
  finalTimestamp,
  listedRole,
  newSnapshot,
  newTargets,
  newTimestamp,
  storedSnapshot,
  storedTimestamp,
} from "./trusted-set.ts";

const timestampOf = (version: number, snapshot: Partial<MetaFile> = {}): Timestamp => ({
  ...head("timestamp", version),
  snapshot: { version: 5, extra: NO_EXTRA, ...snapshot },
});
const timestamp = (await signMetadata(timestampOf(5), [stamper])) satisfies Signed<Timestamp>;

describe("a timestamp", () => {
  const offer = async (body: Timestamp, minimums = {}, before: Signed<Timestamp> | null = timestamp) =>
    newTimestamp(trusted, before, await bytesOf(body, stamper), minimums);

  for (const [what, signer] of [
    ["a stranger", thief],
    ["the snapshot's key", snapper],
  ] as const) {
    it(`signed by ${what} is refused (arbitrary installation attack)`, async () => {
      const bytes = await bytesOf(timestampOf(6), signer);
      assert.throws(() => newTimestamp(trusted, timestamp, bytes), unsigned("timestamp", 0, 1, 6));
    });

    it(`that lies in the store signed by ${what} bounds nothing (a forged store)`, async () => {
      const bytes = await bytesOf(timestampOf(900), signer);
      assert.throws(() => storedTimestamp(trusted, bytes), unsigned("timestamp", 0, 1, 900));
    });
  }

  it("of the store is a lower bound however old it is", async () => {
    const old = { ...timestampOf(5), expires: START - 100 * DAY };
    assert.equal(storedTimestamp(trusted, await bytesOf(old, stamper)).signed.version, 5);
  });

  it("of an older version is refused, and one of the same is the one there is (rollback attack)", async () => {
    await assert.rejects(
      offer(timestampOf(4)),
      refusal("repository/rollback", { role: "timestamp", trusted: 5, offered: 4 }),
    );
    assert.equal(await offer({ ...timestampOf(5), expires: START + 9 * DAY }), timestamp);
    assert.equal((await offer(timestampOf(6))).signed.version, 6);
  });

  it("that points to an older snapshot is refused, to the same one not (rollback attack)", async () => {
    await assert.rejects(
      offer(timestampOf(6, { version: 4 })),
      refusal("repository/rollback", { role: "snapshot", trusted: 5, offered: 4 }),
    );
    assert.equal((await offer(timestampOf(6, { version: 5 }))).signed.snapshot.version, 5);
  });

  it("below the version that was compiled in is refused by a wiped store too (rollback attack)", async () => {
    await assert.rejects(
      offer(timestampOf(6), { timestamp: 7 }, null),
      refusal("repository/below-minimum", { role: "timestamp", minimum: 7, offered: 6 }),
    );
    assert.equal((await offer(timestampOf(7), { timestamp: 7 }, null)).signed.version, 7);
  });

  it("whose snapshot is below the compiled-in version is refused by a wiped store too", async () => {
    await assert.rejects(
      offer(timestampOf(6), { snapshot: 6 }, null),
      refusal("repository/below-minimum", { role: "snapshot", minimum: 6, offered: 5 }),
    );
    assert.equal((await offer(timestampOf(6), { snapshot: 5 }, null)).signed.version, 6);
  });

  it("is used until the very second of its expiry (indefinite freeze attack)", () => {
    const until = (expires: number) => ({ ...timestamp, signed: { ...timestamp.signed, expires } });
    finalTimestamp(until(START + SECOND), START);
    assert.throws(() => finalTimestamp(until(START), START), refusal("repository/expired"));
  });
});

describe("a snapshot", () => {
  const before = { signed: snapshotOf({ targets: 3, "product.shop": 8 }) } as Signed<Snapshot>;
  const offer = async (
    body: Snapshot,
    signer: Signer = snapper,
    listed: (bytes: Uint8Array) => Partial<MetaFile> = () => ({}),
    stored: Signed<Snapshot> | null = before,
  ) => {
    const bytes = await bytesOf(body, signer);
    const stamp = { ...timestamp, signed: timestampOf(6, listed(bytes)) };
    return newSnapshot(trusted, stamp, stored, bytes, START);
  };

  it("that goes forward is taken, with the digests and length that the timestamp lists", async () => {
    const listed = (bytes: Uint8Array) => ({ length: bytes.length, hashes: digestsOf(bytes) });
    const body = snapshotOf({ targets: 3, "product.shop": 9, "product.mail": 1 });
    assert.equal((await offer(body, snapper, listed)).signed.meta.size, 3);
  });

  for (const [what, signer] of [
    ["a stranger", thief],
    ["the timestamp's key", stamper],
  ] as const) {
    it(`signed by ${what} is refused, whatever the timestamp lists (arbitrary installation attack)`, () =>
      assert.rejects(
        offer(snapshotOf({ targets: 3, "product.shop": 8 }), signer),
        unsigned("snapshot", 0, 1, 5),
      ));

    it(`that lies in the store signed by ${what} bounds nothing (a forged store)`, async () => {
      const bytes = await bytesOf(snapshotOf({ targets: 900 }), signer);
      assert.throws(() => storedSnapshot(trusted, bytes), unsigned("snapshot", 0, 1, 5));
    });
  }

  it("of the store is a lower bound however old it is", async () => {
    const bytes = await bytesOf(snapshotOf({ targets: 3 }, { expires: START - 100 * DAY }), snapper);
    assert.equal(storedSnapshot(trusted, bytes).signed.version, 5);
  });

  for (const [what, listed] of [
    ["another length", (bytes: Uint8Array) => ({ length: bytes.length + 1 })],
    ["another SHA-256", (bytes: Uint8Array) => ({ hashes: { ...digestsOf(bytes), sha256: "0".repeat(64) } })],
    [
      "another SHA-512",
      (bytes: Uint8Array) => ({ hashes: { ...digestsOf(bytes), sha512: "0".repeat(128) } }),
    ],
  ] as const)
    it(`of which the timestamp lists ${what} is refused (mix-and-match attack)`, () =>
      assert.rejects(
        offer(snapshotOf({ targets: 3, "product.shop": 8 }), snapper, listed),
        refusal("repository/content-mismatch"),
      ));

  it("of another version than the timestamp lists is refused (mix-and-match attack)", () =>
    assert.rejects(
      offer(snapshotOf({ targets: 3, "product.shop": 8 }, { version: 4 })),
      refusal("repository/version-mismatch", { role: "snapshot", expected: 5, found: 4 }),
    ));

  it("in which a role goes back is refused (rollback attack)", () =>
    assert.rejects(
      offer(snapshotOf({ targets: 3, "product.shop": 7 })),
      refusal("repository/rollback", { role: "product.shop", trusted: 8, offered: 7 }),
    ));

  it("in which a role vanished is refused (rollback attack)", () =>
    assert.rejects(
      offer(snapshotOf({ targets: 3 })),
      refusal("repository/rollback", { role: "product.shop", offered: null }),
    ));

  it("without targets is refused, by a client that trusted none before too", async () => {
    for (const stored of [null, { ...before, signed: snapshotOf({ "product.shop": 8 }) }])
      await assert.rejects(
        offer(snapshotOf({ "product.shop": 8 }), snapper, () => ({}), stored),
        refusal("repository/role-missing", { role: "targets" }),
      );
  });

  it("that is expired is refused, though timestamp and keys are right (indefinite freeze attack)", () =>
    assert.rejects(
      offer(snapshotOf({ targets: 3, "product.shop": 8 }, { expires: START })),
      refusal("repository/expired"),
    ));
});

describe("a targets role", () => {
  const top = { keys: trusted.signed.keys, role: trusted.signed.roles.targets };
  const offer = async (
    body: Targets,
    signers: readonly Signer[],
    more: { delegator?: typeof top; listed?: (bytes: Uint8Array) => Partial<MetaFile>; name?: string } = {},
  ) => {
    const { delegator = top, listed = () => ({}), name = "targets" } = more;
    const bytes = await bytesOf(body, ...signers);
    const entry = { version: 3, extra: NO_EXTRA, ...listed(bytes) };
    const snapshot = { signed: snapshotOf({}, { meta: new Map([[name, entry]]) }) };
    return newTargets(snapshot, name, delegator, bytes, START);
  };

  it("is taken as the snapshot lists it", async () => {
    const listed = (bytes: Uint8Array) => ({ length: bytes.length, hashes: digestsOf(bytes) });
    assert.equal((await offer(targetsOf(3), [maker], { listed })).signed.version, 3);
  });

  it("whose digest the snapshot does not list is refused, though its own key signed it (mix-and-match attack)", () =>
    assert.rejects(
      offer(targetsOf(3), [maker], { listed: () => ({ hashes: digestsOf(toUtf8("another edition")) }) }),
      refusal("repository/content-mismatch"),
    ));

  it("signed by a stranger is refused (arbitrary installation attack)", () =>
    assert.rejects(offer(targetsOf(3), [thief]), unsigned("targets", 0, 1, 3)));

  it("delegated to one key is refused when the key of targets itself signed it, and the other way round", async () => {
    const delegator = { keys: keysOf(next, maker), role: role(1, next) };
    await assert.rejects(
      offer(targetsOf(3), [maker], { delegator, name: "product.shop" }),
      unsigned("product.shop", 0, 1, 3),
    );
    await assert.rejects(offer(targetsOf(3), [next]), unsigned("targets", 0, 1, 3));
    assert.ok(await offer(targetsOf(3), [next], { delegator, name: "product.shop" }));
  });

  it("of another version than the snapshot lists is refused (mix-and-match attack)", () =>
    assert.rejects(
      offer(targetsOf(2), [maker]),
      refusal("repository/version-mismatch", { role: "targets", expected: 3, found: 2 }),
    ));

  it("that is expired is refused (indefinite freeze attack)", () =>
    assert.rejects(offer(targetsOf(3, { expires: START }), [maker]), refusal("repository/expired")));

  it("that the snapshot does not list is not there", () => {
    const snapshot = { signed: snapshotOf({ targets: 3 }) };
    assert.equal(listedRole(snapshot, "targets").version, 3);
    assert.throws(
      () => listedRole(snapshot, "product.shop"),
      refusal("repository/role-missing", { role: "product.shop" }),
    );
  });
});
