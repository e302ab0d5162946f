// The mailbox under attack: what counts, what is dropped and why, how often anything has an effect, and what a restart does not forget.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { toHex } from "../core/bytes.ts";
import { preAuthEncoding, payloadType } from "../core/dsse.ts";
import { DAY, formatInstant, HOUR, MINUTE, SECOND, type Instant } from "../core/instant.ts";
import { hpkeKeysOf, hpkeSeal } from "../keys/hpke.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import { concat, fromHex, toUtf8 } from "../core/bytes.ts";
import { messageKeyId } from "../message/message-key.ts";
import { lifeFrom, type MessageAsk } from "../message/sealed/body.ts";
import { sealMessage } from "../message/sealed/form.ts";
import { EagerClock, scriptedRandom } from "../testing/agent-world.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { UNREAD_PER_MINUTE } from "./mailbox-budgets.ts";
import { openMailbox, type Mailbox, type Verdict } from "./mailbox.ts";
import { KEY_LIFE, openMessageKeys, type MessageKeys } from "./message-keys.ts";

const ed25519 = (): Signer => localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const DEVICE = "0a0b0c0d-0000-4000-8000-000000000001";
const OTHER = "0a0b0c0d-0000-4000-8000-000000000002";
const FLEET = "a".repeat(64);
const LOOK: MessageAsk = { kind: "update-check", when: "now" };

/** One device, its messenger, and a clock that a test moves. */
class Rig {
  readonly disk = new MemoryDisk();
  readonly clock = new EagerClock();
  readonly random = scriptedRandom(5);
  readonly messenger = ed25519();
  readonly reportKey = ed25519();
  proven: Instant | null = null;
  keys!: MessageKeys;
  box!: Mailbox;
  #counter = 0;

  static async create(): Promise<Rig> {
    const rig = new Rig();
    await rig.start();
    return rig;
  }

  /** A new process over what lies on the disk. */
  async start(messengers: readonly Signer[] | null = [this.messenger]): Promise<void> {
    const world = { disk: this.disk, clock: this.clock, random: this.random };
    const identity = { device: DEVICE, key: this.reportKey };
    this.keys = await openMessageKeys(world, "/agent/identity", identity);
    this.box = await openMailbox({
      world,
      folder: "/agent",
      device: DEVICE,
      fleet: FLEET,
      keys: this.keys,
      provenTime: async () => this.proven,
    });
    if (messengers !== null) await this.box.trust(messengers.map(({ publicKey }) => publicKey));
  }

  async key(): Promise<Uint8Array> {
    this.keys.answered(null);
    return fromHex((await this.keys.statement())!.key);
  }

  next(): number {
    this.#counter = Math.max(this.clock.now(), this.#counter + 1);
    return this.#counter;
  }

  async seal(
    ask: MessageAsk = LOOK,
    change: { counter?: number; to?: string; issued?: string; expires?: string; timestamp?: number } = {},
    by: Signer = this.messenger,
    key?: Uint8Array,
  ): Promise<Uint8Array> {
    const life = lifeFrom(this.clock.now());
    return sealMessage(
      { to: DEVICE, id: toHex(this.random.bytes(16)), counter: this.next(), ...life, ...ask, ...change },
      { key: key ?? (await this.key()), fleet: FLEET },
      by,
      this.random.bytes(32),
    );
  }

  async pass(ms: number): Promise<void> {
    await this.clock.sleep(ms);
  }
}

const short = (verdict: Verdict): string => (verdict.verdict === "dropped" ? verdict.why : verdict.verdict);
const due = { idle: false, start: false };

describe("a message", () => {
  it("has its effect once: recorded and replayed, now, after a restart, and in another envelope", async () => {
    const rig = await Rig.create();
    const counter = rig.next();
    const message = await rig.seal(LOOK, { counter });
    assert.equal(short(await rig.box.take(message)), "do");
    assert.equal(short(await rig.box.take(message)), "seen");
    const again = await rig.seal(LOOK, { counter });
    assert.equal(short(await rig.box.take(again)), "replayed", "re-wrapped body");
    await rig.start();
    assert.equal(short(await rig.box.take(message)), "replayed");
  });

  it("for another device, or of a foreign signer, has none", async () => {
    const rig = await Rig.create();
    const stranger = hpkeKeysOf(rig.random.bytes(32));
    assert.equal(
      short(await rig.box.take(await rig.seal(LOOK, {}, rig.messenger, stranger.publicKey))),
      "other-key",
    );
    assert.equal(short(await rig.box.take(await rig.seal(LOOK, {}, ed25519()))), "unknown-signer");
    assert.equal(short(await rig.box.take(await rig.seal(LOOK, { to: OTHER }))), "other-device");
    assert.equal(rig.box.state.accepted, 0);
  });

  it("that a fellow receiver sealed again for this device has none (forwarding)", async () => {
    const rig = await Rig.create();
    const own = await rig.key();
    const fellow = hpkeKeysOf(rig.random.bytes(32));
    // The fellow opens what was meant for it, and seals the very same signed words for this device's key.
    const words = toUtf8(
      JSON.stringify({
        to: OTHER,
        id: "0".repeat(32),
        counter: rig.next(),
        ...lifeFrom(rig.clock.now()),
        ...LOOK,
        from: rig.messenger.publicKey.keyid,
        key: messageKeyId(fellow.publicKey),
      }),
    );
    const bytes = await wrap(rig, own, words, rig.messenger);
    assert.equal(short(await rig.box.take(bytes)), "other-device");
  });

  it("with this device's name and a key that is not the one it came under has none", async () => {
    const rig = await Rig.create();
    const own = await rig.key();
    const said = {
      to: DEVICE,
      id: "0".repeat(32),
      counter: rig.next(),
      ...lifeFrom(rig.clock.now()),
      ...LOOK,
    };
    const from = rig.messenger.publicKey.keyid;
    const other = { ...said, from, key: "0".repeat(32) };
    assert.equal(
      short(await rig.box.take(await wrap(rig, own, toUtf8(JSON.stringify(other)), rig.messenger))),
      "other-device",
    );
    const inAnothersName = { ...said, from: "0".repeat(64), key: messageKeyId(own) };
    assert.equal(
      short(await rig.box.take(await wrap(rig, own, toUtf8(JSON.stringify(inAnothersName)), rig.messenger))),
      "other-device",
    );
  });

  it("with a member that no message has, signed by the messenger itself, has none (smuggled field)", async () => {
    const rig = await Rig.create();
    const own = await rig.key();
    const said = {
      to: DEVICE,
      id: "0".repeat(32),
      counter: rig.next(),
      ...lifeFrom(rig.clock.now()),
      ...LOOK,
    };
    const more = {
      ...said,
      from: rig.messenger.publicKey.keyid,
      key: messageKeyId(own),
      url: "https://elsewhere/",
    };
    assert.equal(
      short(await rig.box.take(await wrap(rig, own, toUtf8(JSON.stringify(more)), rig.messenger))),
      "bad-body",
    );
  });

  it("is judged by signed time when the clock was set back", async () => {
    const rig = await Rig.create();
    const old = await rig.seal();
    rig.proven = rig.clock.now() + 2 * DAY;
    assert.equal(short(await rig.box.take(old)), "expired");
    rig.clock.setWall(0);
    assert.equal(
      short(await rig.box.take(await rig.seal(LOOK, { ...lifeFrom(Date.UTC(2026, 0, 1)), counter: 9 }))),
      "expired",
    );
  });

  it("reaches a device whose clock stands in 1970, once", async () => {
    const rig = await Rig.create();
    const now = rig.clock.now();
    const counter = rig.next();
    const message = await rig.seal(LOOK, { counter });
    rig.clock.setWall(0);
    await rig.start();
    assert.equal(short(await rig.box.take(message)), "do");
    const again = await rig.seal(LOOK, { counter, ...lifeFrom(now) });
    assert.equal(short(await rig.box.take(again)), "from-the-future", "it is not newer than itself");
  });

  it("may be overtaken by 63 others, and not by more (window)", async () => {
    const rig = await Rig.create();
    const first = await rig.seal({ kind: "report" }, { counter: rig.next() });
    const early = rig.next();
    for (let i = 0; i < 63; i++) await rig.box.take(await rig.seal({ kind: "report" }));
    assert.equal(short(await rig.box.take(await rig.seal({ kind: "report" }, { counter: early }))), "kept");
    assert.equal(short(await rig.box.take(first)), "replayed", "older than all that are remembered");
  });

  it("that lives for longer than a day, or is dated far ahead, has none", async () => {
    const rig = await Rig.create();
    const now = rig.clock.now();
    const expires = formatInstant(now + DAY + MINUTE);
    assert.equal(short(await rig.box.take(await rig.seal(LOOK, { expires }))), "lives-too-long");
    const far = { counter: Number.MAX_SAFE_INTEGER };
    assert.equal(short(await rig.box.take(await rig.seal(LOOK, far))), "from-the-future");
    assert.equal(short(await rig.box.take(await rig.seal())), "do", "a huge number silences nobody");
  });

  it("that came before it is known who may send is judged afterwards", async () => {
    const rig = await Rig.create();
    await rig.start(null);
    const [good, bad] = [await rig.seal(), await rig.seal(LOOK, {}, ed25519())];
    assert.deepEqual([short(await rig.box.take(good)), short(await rig.box.take(bad))], ["early", "early"]);
    const judged = await rig.box.trust([rig.messenger.publicKey]);
    assert.deepEqual(judged.map(short), ["do", "unknown-signer"]);
  });

  it("of a messenger that was revoked has none from the next refresh on", async () => {
    const rig = await Rig.create();
    const next = ed25519();
    await rig.box.trust([next.publicKey]);
    assert.equal(short(await rig.box.take(await rig.seal())), "unknown-signer");
    assert.equal(short(await rig.box.take(await rig.seal(LOOK, {}, next))), "do");
  });

  it("is not acted on when the disk cannot take that it counts, and counts when it comes again", async () => {
    const rig = await Rig.create();
    const message = await rig.seal();
    const { disk } = rig;
    const rename = disk.rename.bind(disk);
    disk.rename = async () => {
      throw Object.assign(new Error("full"), { code: "disk/full" });
    };
    await assert.rejects(rig.box.take(message));
    disk.rename = rename;
    await rig.start();
    assert.equal(short(await rig.box.take(message)), "do");
  });
});

describe("the budget of messages", () => {
  it("lets twenty checks an hour through, coalesces the rest into one, and follows that one later", async () => {
    const rig = await Rig.create();
    const verdicts: string[] = [];
    for (let i = 0; i < 23; i++) verdicts.push(short(await rig.box.take(await rig.seal())));
    assert.deepEqual(
      verdicts.slice(0, 20),
      Array.from({ length: 20 }, () => "do"),
    );
    assert.deepEqual(verdicts.slice(20), ["kept", "kept", "kept"]);
    assert.deepEqual(await rig.box.due(due), []);
    await rig.pass(HOUR);
    assert.equal((await rig.box.due(due)).length, 1, "one for all three");
    assert.deepEqual(await rig.box.due(due), []);
    assert.equal(rig.box.state.coalesced, 3);
  });

  it("survives restarts, and what waits survives them too", async () => {
    const rig = await Rig.create();
    for (let i = 0; i < 21; i++) {
      await rig.box.take(await rig.seal());
      await rig.start();
    }
    assert.equal(short(await rig.box.take(await rig.seal())), "kept");
    await rig.start();
    await rig.pass(HOUR);
    assert.equal((await rig.box.due(due)).length, 1);
  });

  it("bounds a thief of the messenger key to sixty checks a day, whatever is sent and whoever sets the clock back", async () => {
    const rig = await Rig.create();
    let effects = 0;
    const begun = rig.clock.now();
    for (let minute = 0; minute < 24 * 60; minute += 5) {
      if (short(await rig.box.take(await rig.seal())) === "do") effects++;
      effects += (await rig.box.due(due)).length;
      if (minute % 60 === 0) await rig.start();
      await rig.pass(5 * MINUTE);
    }
    assert.equal(effects, 60);
    rig.clock.setWall(begun);
    assert.equal(short(await rig.box.take(await rig.seal(LOOK, { counter: begun + 1 }))), "replayed");
    assert.deepEqual(await rig.box.due(due), []);
  });

  it("is done with what waits when a check was made for another reason", async () => {
    const rig = await Rig.create();
    for (let i = 0; i < 21; i++) await rig.box.take(await rig.seal());
    await rig.box.checked();
    await rig.pass(HOUR);
    assert.deepEqual(await rig.box.due(due), []);
  });

  it("keeps what is for a quiet moment, the next start, or somebody to ask until then", async () => {
    for (const [when, idle, start] of [
      ["idle", true, false],
      ["next-start", false, true],
      ["ask", false, true],
    ] as const) {
      const rig = await Rig.create();
      assert.equal(short(await rig.box.take(await rig.seal({ kind: "update-check", when }))), "kept");
      assert.deepEqual(await rig.box.due(due), []);
      assert.equal((await rig.box.due({ idle, start })).length, 1, when);
    }
  });

  it("is not touched by garbage: 5,000 pieces cost 60 decryptions a minute, and a true message counts all the same", async () => {
    const rig = await Rig.create();
    const own = await rig.key();
    const header = concat([toUtf8("SM"), Uint8Array.of(1, 2), fromHex(messageKeyId(own))]);
    for (let i = 0; i < 5000; i++) {
      const garbage = concat([header, rig.random.bytes(816)]);
      await rig.box.take(garbage);
    }
    const { dropped, effects } = rig.box.state;
    assert.deepEqual([dropped["cannot-open"], dropped.unread], [UNREAD_PER_MINUTE, 5000 - UNREAD_PER_MINUTE]);
    assert.deepEqual(effects, {});
    await rig.box.flush();
    await rig.start();
    assert.equal(
      short(await rig.box.take(await rig.seal())),
      "unread",
      "this budget survives a restart as well",
    );
    await rig.pass(MINUTE);
    assert.equal(short(await rig.box.take(await rig.seal())), "do");
  });

  it("gives back what a true message took of the work for strangers", async () => {
    const rig = await Rig.create();
    for (let i = 0; i < 2 * UNREAD_PER_MINUTE; i++) await rig.box.take(await rig.seal({ kind: "report" }));
    assert.equal(rig.box.state.dropped.unread, undefined);
    assert.equal(rig.box.state.accepted, 2 * UNREAD_PER_MINUTE);
  });
});

describe("the keys for messages", () => {
  it("are replaced after 30 days, and the one before opens what was under way", async () => {
    const rig = await Rig.create();
    const before = await rig.key();
    await rig.pass(KEY_LIFE - SECOND);
    assert.deepEqual(await rig.key(), before);
    const late = await rig.seal();
    await rig.pass(2 * SECOND);
    const after = await rig.key();
    assert.notDeepEqual(after, before);
    assert.equal(short(await rig.box.take(late)), "do");
    await rig.start();
    assert.deepEqual(await rig.key(), after);
    assert.equal(short(await rig.box.take(await rig.seal(LOOK, {}, rig.messenger, before))), "do");
  });

  it("are replaced when that was asked for, and are gone two days later", async () => {
    const rig = await Rig.create();
    const before = await rig.key();
    rig.keys.renewSoon();
    await rig.key();
    await rig.pass(2 * DAY);
    rig.keys.renewSoon();
    await rig.key();
    assert.equal(rig.keys.find(messageKeyId(before)), null);
  });

  it("are told until the server says that it holds the newest", async () => {
    const rig = await Rig.create();
    const own = messageKeyId(await rig.key());
    rig.keys.answered(own);
    assert.equal(await rig.keys.statement(), null);
    rig.keys.answered("0".repeat(32));
    assert.notEqual(await rig.keys.statement(), null);
  });

  it("are made anew when their file is damaged", async () => {
    const rig = await Rig.create();
    const before = await rig.key();
    const file = await rig.disk.open("/agent/identity/message-keys.json", "write", 0o600);
    await file.write(0, toUtf8("{{{{"));
    await file.close();
    await rig.start();
    assert.notDeepEqual(await rig.key(), before);
  });
});

/** What the form would be for any words, good or not. */
async function wrap(rig: Rig, key: Uint8Array, words: Uint8Array, by: Signer): Promise<Uint8Array> {
  const signature = await by.sign(preAuthEncoding(payloadType("message"), words));
  const plain = new Uint8Array(768);
  plain.set([words.length >> 8, words.length & 0xff]);
  plain.set(signature, 2);
  plain.set(words, 66);
  const aad = concat([toUtf8("SM"), Uint8Array.of(1, 2), fromHex(messageKeyId(key))]);
  const info = toUtf8(`upkeep/sealed-message/v1|${FLEET}`);
  const { enc, ciphertext } = hpkeSeal(key, rig.random.bytes(32), plain, { info, aad });
  return concat([aad, enc, ciphertext]);
}
