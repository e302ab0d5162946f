// Sealed messages: what one can say, who can read it, and what a reader refuses.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { DAY, formatInstant, HOUR, MINUTE } from "../../core/instant.ts";
import { hpkeKeysOf } from "../../keys/hpke.ts";
import { localSigner } from "../../keys/signer.ts";
import { scriptedRandom } from "../../testing/agent-world.ts";
import { messageKeyId, openMessageKey, signMessageKey } from "../message-key.ts";
import { SEALED_LENGTH } from "../sealed-length.ts";
import { BODY_LIMIT, judgeTimes, lifeFrom, readBody, type MessageBody } from "./body.ts";
import { readHeader, sealMessage, signerOf, unseal, type Unaddressed } from "./form.ts";

const random = scriptedRandom(3);
const NOW = Date.UTC(2026, 10, 28, 12);
const messenger = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const thief = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const device = hpkeKeysOf(random.bytes(32));
const neighbor = hpkeKeysOf(random.bytes(32));
const FLEET = "a".repeat(64);

const look: Unaddressed = {
  to: "0a0b0c0d-0000-4000-8000-000000000001",
  id: "0".repeat(32),
  counter: NOW,
  ...lifeFrom(NOW),
  kind: "update-check",
  when: "now",
};
const seal = (message: Unaddressed = look, key = device.publicKey, fleet = FLEET): Promise<Uint8Array> =>
  sealMessage(message, { key, fleet }, messenger, random.bytes(32));
const mine = { privateKey: device.privateKey, fleet: FLEET };

/** A body as it would be written, with some members otherwise. */
function body(change: object = {}): Uint8Array {
  const from = messenger.publicKey.keyid;
  return toUtf8(JSON.stringify({ ...look, from, key: messageKeyId(device.publicKey), ...change }));
}

describe("a sealed message", () => {
  it("says to its device what was said, and by whom", async () => {
    const opened = unseal(await seal(), mine);
    assert.ok(typeof opened !== "string");
    assert.equal(signerOf(opened, [thief.publicKey, messenger.publicKey])?.keyid, messenger.publicKey.keyid);
    const read = readBody(opened.body);
    assert.deepEqual(
      [read.kind, read.to, read.key],
      ["update-check", look.to, messageKeyId(device.publicKey)],
    );
  });

  it("has one size, whatever it says, and two of the same differ in all but their header", async () => {
    const report = { ...look, kind: "report", when: undefined } as unknown as Unaddressed;
    const all = [
      await seal(),
      await seal(),
      await seal({ ...look, splay: 3600, timestamp: 4711 }),
      await seal(report),
    ];
    assert.deepEqual(
      all.map(({ length }) => length),
      all.map(() => SEALED_LENGTH),
    );
    const [one, other] = all as [Uint8Array, Uint8Array];
    assert.deepEqual(one.subarray(0, 20), other.subarray(0, 20));
    const same = one.subarray(20).filter((byte, at) => byte === other[at + 20]).length;
    assert.ok(same < 30, `${same} of ${SEALED_LENGTH - 20} bytes are alike`);
  });

  it("cannot be read by another device, nor in another fleet", async () => {
    assert.equal(unseal(await seal(), { ...mine, privateKey: neighbor.privateKey }), "cannot-open");
    assert.equal(unseal(await seal(look, device.publicKey, "b".repeat(64)), mine), "cannot-open");
  });

  it("with any byte changed is nothing (flipped bytes)", async () => {
    const good = await seal();
    for (let at = 0; at < good.length; at++) {
      const bytes = new Uint8Array(good);
      bytes[at]! ^= 1;
      const header = readHeader(bytes);
      const named = header?.key === messageKeyId(device.publicKey);
      assert.ok(header === null || !named || unseal(bytes, mine) === "cannot-open", `byte ${at}`);
      if (at < 4) assert.equal(header, null, `byte ${at} of the form`);
      if (at >= 4 && at < 20) assert.ok(!named, `byte ${at} of the key's name`);
    }
  });

  it("of another size is no message", async () => {
    const good = await seal();
    assert.equal(readHeader(good.subarray(1)), null);
    assert.equal(readHeader(new Uint8Array([...good, 0])), null);
    assert.equal(readHeader(new Uint8Array(0)), null);
  });

  it("of a foreign signer has no signer that counts", async () => {
    const forged = await sealMessage(look, { key: device.publicKey, fleet: FLEET }, thief, random.bytes(32));
    const opened = unseal(forged, mine);
    assert.ok(typeof opened !== "string");
    assert.equal(signerOf(opened, [messenger.publicKey]), null);
    assert.equal(signerOf(opened, []), null);
  });

  it("is not made with a key whose signatures have no room in it", async () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const other = localSigner(privateKey, "ecdsa-sha2-nistp256");
    await assert.rejects(
      sealMessage(look, { key: device.publicKey, fleet: FLEET }, other, random.bytes(32)),
      { code: "message/cannot-seal" },
    );
  });
});

describe("a message's body", () => {
  const REFUSED: readonly (readonly [string, object])[] = [
    ["an address (smuggled url)", { url: "https://elsewhere.example/" }],
    ["a command (smuggled command)", { command: "reboot" }],
    ["a version", { version: "1.0.0" }],
    ["an unknown kind", { kind: "install" }],
    ["an unknown time", { when: "yesterday" }],
    ["no time for a check", { when: undefined }],
    ["a time for a report", { kind: "report" }],
    ["a splay of days", { splay: 86_400 }],
    ["a fraction", { counter: 1.5 }],
    ["a negative number", { counter: -1 }],
    ["free text as an id", { id: "look at https://elsewhere" }],
    ["free text as a receiver", { to: "everybody" }],
    ["needs, which other documents may have", { needs: { features: ["x"], version: "9.0.0" } }],
    ["no receiver", { to: undefined }],
    ["another spelling of a time", { issued: "2026-11-28T12:00:00.000Z" }],
  ];
  for (const [what, change] of REFUSED)
    it(`cannot have ${what}`, () => {
      assert.throws(
        () => readBody(body(change)),
        (error: { code: string }) => /^(?:schema|json)\//.test(error.code),
      );
    });

  it("with each member that it needs and no other is read", () => {
    assert.equal(readBody(body()).kind, "update-check");
    assert.equal(readBody(body({ splay: 0, timestamp: 1 })).kind, "update-check");
    for (const kind of ["report", "refresh-trust", "rotate-certificate"])
      assert.equal(readBody(body({ kind, when: undefined })).kind, kind);
    assert.ok(
      body({
        splay: 3600,
        timestamp: Number.MAX_SAFE_INTEGER,
        counter: Number.MAX_SAFE_INTEGER,
        when: "next-start",
      }).length < BODY_LIMIT,
    );
  });

  it("larger than its place is refused", () => {
    assert.throws(() => readBody(toUtf8(`${fromUtf8(body())}${" ".repeat(BODY_LIMIT)}`)), {
      code: "message/too-large",
    });
  });
});

describe("a message's time", () => {
  const of = (issued: number, expires: number, counter = issued): MessageBody => ({
    ...readBody(body()),
    issued: formatInstant(issued),
    expires: formatInstant(expires),
    counter,
  });

  it("is good from five minutes before it was made until it expires", () => {
    const message = of(NOW, NOW + HOUR);
    assert.equal(judgeTimes(message, NOW - 5 * MINUTE, false), null);
    assert.equal(judgeTimes(message, NOW - 5 * MINUTE - 1000, false), "from-the-future");
    assert.equal(judgeTimes(message, NOW + HOUR - 1, false), null);
    assert.equal(judgeTimes(message, NOW + HOUR, false), "expired");
  });

  it("is at most a day", () => {
    assert.equal(judgeTimes(of(NOW, NOW + DAY), NOW, true), null);
    assert.equal(judgeTimes(of(NOW, NOW + DAY + 1000), NOW, true), "lives-too-long");
    assert.equal(judgeTimes(of(NOW, NOW), NOW, true), "lives-too-long");
    assert.equal(judgeTimes(of(NOW, NOW - HOUR), NOW - DAY, true), "lives-too-long");
  });

  it("from ahead of a clock that is behind counts if its number is newer than all before", () => {
    assert.equal(judgeTimes(of(NOW, NOW + HOUR), 0, true), null);
    assert.equal(judgeTimes(of(NOW, NOW + HOUR), 0, false), "from-the-future");
  });

  it("does not go with a number from far ahead, which would silence later messages", () => {
    assert.equal(judgeTimes(of(NOW, NOW + HOUR, NOW + 5 * MINUTE), NOW, true), null);
    assert.equal(judgeTimes(of(NOW, NOW + HOUR, NOW + 5 * MINUTE + 1), NOW, true), "from-the-future");
    assert.equal(judgeTimes(of(NOW, NOW + HOUR, Number.MAX_SAFE_INTEGER), NOW, true), "from-the-future");
  });
});

describe("a key for messages", () => {
  it("is that of a device if its report key says so, and of no other", async () => {
    const statement = await signMessageKey(look.to, "2026-11-28T12:00:00Z", device.publicKey, thief);
    const other = "0a0b0c0d-0000-4000-8000-000000000002";
    assert.deepEqual(openMessageKey(statement, look.to, thief.publicKey), device.publicKey);
    assert.equal(openMessageKey(statement, other, thief.publicKey), null);
    assert.equal(openMessageKey(statement, look.to, messenger.publicKey), null);
    assert.equal(openMessageKey({ ...statement, key: "b".repeat(64) }, look.to, thief.publicKey), null);
    assert.equal(
      openMessageKey({ ...statement, made: "2026-11-28T12:00:01Z" }, look.to, thief.publicKey),
      null,
    );
  });
});
