// Tests of custody: sealing, shares, tickets, passwords, one-time codes, frames, queue and budgets.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { toHex, toUtf8 } from "../../core/bytes.ts";
import { Budgets } from "../policy/budget.ts";
import {
  formatSealed,
  lockWithPassphrase,
  lockWithShares,
  openKey,
  parseSealedKey,
  parseUnlock,
  sealKey,
  unlockSecret,
  wrappingKey,
} from "./custody.ts";
import { encodeFrame, FrameReader, HEADER, MAX_PAYLOAD } from "../wire/frame.ts";
import { hashPassword, NOBODY, passwordFits } from "../policy/password.ts";
import { encodeMessage, MAX_MESSAGE_BYTES, MessageReader, parseCall } from "../wire/protocol.ts";
import { FairQueue } from "./queue.ts";
import { formatShare, joinShares, parseShare, splitSecret } from "./shamir.ts";
import { checkTicket, issueTicket, TICKET_LIFETIME, MAX_MESSAGE } from "./ticket.ts";
import { stepOf, toBase32, totpAt, totpStep } from "../policy/totp.ts";
import { systemRandom } from "../../io/system/random.ts";
import { systemClock } from "../../io/system/clock.ts";

const random = systemRandom;
const cheap = { memory: 8 * 1024, passes: 1 };

describe("custody", () => {
  it("opens under the passphrase and under no other", async () => {
    const secret = random.bytes(32);
    const unlock = parseUnlock(
      formatSealed(await lockWithPassphrase(secret, toUtf8("a long passphrase"), random, cheap)),
    );
    assert.deepEqual(await unlockSecret(unlock, { passphrase: toUtf8("a long passphrase") }), secret);
    await assert.rejects(unlockSecret(unlock, { passphrase: toUtf8("a wrong passphrase") }), {
      code: "signing/locked",
    });
    await assert.rejects(unlockSecret(unlock, {}), { code: "signing/locked" });
    await assert.rejects(lockWithPassphrase(secret, toUtf8("short"), random, cheap), {
      code: "signing/refused",
    });
  });

  it("opens with any m of n shares, and with no fewer and no foreign one", async () => {
    const secret = random.bytes(32);
    const { unlock, shares } = lockWithShares(secret, 3, 5, random);
    const texts = shares.map(formatShare).map(parseShare);
    assert.deepEqual(await unlockSecret(unlock, { shares: [texts[4]!, texts[0]!, texts[2]!] }), secret);
    await assert.rejects(unlockSecret(unlock, { shares: texts.slice(0, 2) }), { code: "signing/bad-share" });
    await assert.rejects(unlockSecret(unlock, { shares: [texts[0]!, texts[0]!, texts[0]!] }), {
      code: "signing/bad-share",
    });
    const other = lockWithShares(secret, 3, 5, random).shares;
    await assert.rejects(unlockSecret(unlock, { shares: [texts[0]!, texts[1]!, other[2]!] }), {
      code: "signing/locked",
    });
    const false_ = { ...texts[2]!, value: texts[2]!.value.map((b) => b ^ 1) };
    await assert.rejects(unlockSecret(unlock, { shares: [texts[0]!, texts[1]!, false_] }), {
      code: "signing/locked",
    });
    assert.throws(() => parseShare(formatShare(shares[0]!).replace(/.$/, (c) => (c === "0" ? "1" : "0"))), {
      code: "signing/bad-share",
    });
  });

  it("shares any secret among any numbers", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        fc.integer({ min: 2, max: 6 }),
        fc.integer({ min: 0, max: 4 }),
        (secret, m, more) => {
          const shares = splitSecret(secret, m, m + more, random);
          assert.deepEqual(joinShares(shares.slice(more)), secret);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("does not open a key under another name, another secret or another content", () => {
    const [secret, other] = [random.bytes(32), random.bytes(32)];
    const key = parseSealedKey(
      formatSealed(
        sealKey(
          wrappingKey(secret, "release"),
          { name: "release", holds: "pkcs8", plain: toUtf8("private") },
          random,
        ),
      ),
    );
    assert.deepEqual(openKey(wrappingKey(secret, "release"), key), toUtf8("private"));
    assert.throws(() => openKey(wrappingKey(other, "release"), key), { code: "signing/locked" });
    assert.throws(() => openKey(wrappingKey(secret, "test"), key), { code: "signing/locked" });
    assert.throws(() => openKey(wrappingKey(secret, "release"), { ...key, name: "test" }), {
      code: "signing/locked",
    });
    assert.throws(() => openKey(wrappingKey(secret, "release"), { ...key, holds: "secret" }), {
      code: "signing/locked",
    });
  });
});

describe("a ticket", () => {
  const macKey = random.bytes(32);
  const message = toUtf8("to be signed");
  const given = { key: "release", scheme: "ed25519", message, intent: 7, now: 1000 } as const;
  const check = (change: object, ticketChange: object = {}) => {
    const ticket = { ...issueTicket(macKey, given), ...ticketChange };
    return checkTicket(macKey, ticket as never, {
      key: "release",
      schemes: ["ed25519"],
      message,
      now: 1000,
      used: new Map(),
      ...change,
    });
  };

  it("lets the key sign exactly what was decided", () => assert.equal(check({}).intent, 7));

  it("is refused when forged, for another key, scheme or message, expired, or used before", () => {
    const used = new Map([[7, 99_999_999]]);
    for (const [change, ticket] of [
      [{}, { intent: 8 }],
      [{}, { mac: "AAAA" }],
      [{ key: "other" }, {}],
      [{ schemes: ["rsa-pkcs1v15-sha256"] }, {}],
      [{ message: toUtf8("to be signee") }, {}],
      [{ message: toUtf8("short") }, {}],
      [{ now: 1000 + TICKET_LIFETIME }, {}],
      [{ used }, {}],
    ] as const) {
      assert.throws(() => check(change, ticket), { code: "signing/bad-ticket" }, JSON.stringify(change));
    }
  });
});

describe("a ticket at its boundaries", () => {
  const macKey = random.bytes(32);
  const issued = (intent: number, now: number, message = toUtf8("m")) =>
    issueTicket(macKey, { key: "release", scheme: "ed25519", message, intent, now });
  const at = (ticket: object, now: number, used = new Map<number, number>(), message = toUtf8("m")) =>
    checkTicket(macKey, ticket as never, { key: "release", schemes: ["ed25519"], message, now, used });

  it("is good to the last moment before its end", () => {
    assert.equal(at(issued(1, 1000), 1000 + TICKET_LIFETIME - 1).intent, 1);
    assert.throws(() => at(issued(1, 1000), 1000 + TICKET_LIFETIME), { code: "signing/bad-ticket" });
  });

  it("is remembered until it expired, and no longer", () => {
    const used = new Map<number, number>();
    at(issued(1, 1000), 1000, used);
    assert.throws(() => at(issued(1, 1000), 1000 + TICKET_LIFETIME - 1, used), {
      code: "signing/bad-ticket",
    });
    at(issued(2, 1000 + TICKET_LIFETIME - 1), 1000 + TICKET_LIFETIME - 1, used);
    assert.deepEqual([...used.keys()], [1, 2]);
    at(issued(3, 1000 + TICKET_LIFETIME), 1000 + TICKET_LIFETIME, used);
    assert.deepEqual([...used.keys()], [2, 3]);
  });

  it("whose code is no base64 is malformed", () => {
    assert.throws(() => at({ ...issued(1, 1000), mac: "?" }, 1000), { code: "signing/bad-ticket" });
  });

  it("names bytes of the largest message, and of none beyond", () => {
    const largest = new Uint8Array(MAX_MESSAGE);
    assert.equal(at(issued(1, 1000, largest), 1000, new Map(), largest).length, MAX_MESSAGE);
    const beyond = new Uint8Array(MAX_MESSAGE + 1);
    assert.throws(() => at(issued(1, 1000, beyond), 1000, new Map(), beyond), /the length is another one/);
  });
});

describe("sign-in secrets", () => {
  it("gives the codes of RFC 6238 appendix B", () => {
    const secret = toUtf8("12345678901234567890");
    for (const [seconds, code] of [
      [59, "287082"],
      [1111111109, "081804"],
      [1111111111, "050471"],
      [1234567890, "005924"],
      [2000000000, "279037"],
    ] as const) {
      assert.equal(totpAt(secret, stepOf(seconds * 1000)), code);
      assert.equal(totpStep(secret, code, seconds * 1000 + 30_000), stepOf(seconds * 1000));
      assert.equal(totpStep(secret, code, seconds * 1000 + 90_000), null);
    }
  });

  it("spells RFC 4648 base32", () => {
    assert.equal(toBase32(toUtf8("foobar")), "MZXW6YTBOI");
    assert.equal(toBase32(toUtf8("fo")), "MZXQ");
  });

  it("accepts the password and nothing else, and nobody's hash fits nobody", async () => {
    const hash = await hashPassword("correct horse battery", random);
    assert.ok(await passwordFits("correct horse battery", hash));
    assert.ok(!(await passwordFits("correct horse batterz", hash)));
    assert.ok(!(await passwordFits("", NOBODY)));
    assert.ok(!(await passwordFits("x", "$argon2id$v=19$m=99999999,t=3,p=1$AAAA$AAAA")));
    await assert.rejects(hashPassword("short", random), { code: "signing/refused" });
  });
});

describe("frames and messages", () => {
  it("come out as they went in, however the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }),
        fc.integer({ min: 1, max: 50 }),
        (payloads, cut) => {
          const stream = Buffer.concat(
            payloads.map((payload, i) => encodeFrame({ type: "data", session: BigInt(i), payload })),
          );
          const reader = new FrameReader();
          const out: string[] = [];
          for (let at = 0; at < stream.length; at += cut)
            for (const frame of reader.push(stream.subarray(at, at + cut))) out.push(toHex(frame.payload));
          assert.deepEqual(out, payloads.map(toHex));
          assert.equal(reader.unfinished, 0);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("are refused by their header alone", () => {
    const header = (type: number, length: number): Uint8Array => {
      const bytes = new Uint8Array(HEADER);
      bytes[0] = type;
      new DataView(bytes.buffer).setUint32(9, length);
      return bytes;
    };
    for (const bad of [header(0, 0), header(9, 0), header(3, MAX_PAYLOAD + 1), header(1, 1025)]) {
      assert.throws(() => [...new FrameReader().push(bad)], { code: "signing/bad-frame" });
    }
    const long = new Uint8Array(4);
    new DataView(long.buffer).setUint32(0, MAX_MESSAGE_BYTES + 1);
    assert.throws(() => [...new MessageReader().push(long)], { code: "signing/bad-frame" });
  });

  it("throw nothing but refusals, whatever arrives", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const read of [
          () => [...new FrameReader().push(bytes)],
          () => [...new MessageReader().push(bytes)],
          () => parseCall(bytes),
        ]) {
          try {
            read();
          } catch (error) {
            assert.match((error as { code?: string }).code ?? "", /^(signing|json|schema|bytes)\//);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it("hold one message each", () => {
    const call = { seq: 1, type: "status", request: "0".repeat(32) } as const;
    const [bytes] = new MessageReader().push(encodeMessage(call));
    assert.deepEqual({ ...parseCall(bytes!) }, call);
    assert.throws(() => parseCall(toUtf8('{"seq":1,"type":"status","request":"0","more":1}')), {
      code: "schema/invalid",
    });
  });
});

describe("the queue of a key", () => {
  const queue = (change: object = {}) =>
    new FairQueue({
      name: "k",
      clock: systemClock,
      limit: 10,
      parallel: 1,
      timeout: 1000,
      stuck: () => {},
      ...change,
    });

  it("takes users in turn", async () => {
    const order: string[] = [];
    const fair = queue();
    const job = (user: string) => fair.run(user, async () => void order.push(user));
    await Promise.all([job("a"), job("a"), job("a"), job("b"), job("c")]);
    assert.deepEqual(order, ["a", "a", "b", "c", "a"]);
  });

  it("is bounded, and keeps room for others", async () => {
    const fair = queue();
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    const jobs = Array.from({ length: 6 }, () => fair.run("a", () => gate));
    await assert.rejects(
      fair.run("a", () => gate),
      { code: "signing/busy" },
    );
    jobs.push(fair.run("b", () => gate));
    open();
    await Promise.all(jobs);
  });

  it("counts what is at the key itself, and not what only runs", async () => {
    const fair = queue({ parallel: 3 });
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    const jobs = [
      fair.run("a", () => gate),
      fair.run("a", () => fair.use(() => gate)),
      assert.rejects(fair.run("a", () => fair.use(() => gate.then(() => Promise.reject(new Error("no")))))),
    ];
    assert.deepEqual([fair.length, fair.atKey], [3, 2]);
    open();
    await Promise.all(jobs);
    assert.deepEqual([fair.length, fair.atKey], [0, 0]);
  });

  it("gives up on a stuck key and says so", async () => {
    let said = 0;
    const fair = queue({ timeout: 20, stuck: () => said++ });
    await assert.rejects(
      fair.run("a", () => new Promise(() => {})),
      { code: "signing/key-failed" },
    );
    assert.equal(said, 1);
    assert.equal(await fair.run("a", async () => 5), 5);
  });
});

describe("a budget", () => {
  it("refills with time and forgets nobody who is in debt", () => {
    const budgets = new Budgets({ rate: 1, burst: 2 }, 10);
    assert.deepEqual(
      [0, 0, 0, 1000, 1500, 2000].map((at) => budgets.take("x", at)),
      [true, true, false, true, false, true],
    );
  });
});
