// Tests of the ledger: what it remembers, for how long, and that it forgets the rest.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatInstant, HOUR, MINUTE, parseInstant, SECOND } from "../../core/instant.ts";
import { NO_ENTRY, type AuditEntry, type EntryBody } from "./entry.ts";
import { Counter } from "../policy/counter.ts";
import { Ledger } from "./ledger.ts";

const start = parseInstant("2026-11-21T04:00:00Z");
const id = (n: number): string => n.toString(16).padStart(32, "0");
const who = { user: "ci", session: id(9), address: "192.0.2.1" };
const what = (n: number) => ({
  request: id(n),
  requestHash: n.toString(16).padStart(64, "0"),
  certificate: "release",
  operation: "cms",
  file: "setup.exe",
  digest: "sha256:00",
  fileSha256: "0".repeat(64),
});
const document = { sha256: "0".repeat(64), length: 1, inline: "AA==" };

/** A ledger with a log of its own. */
class Story {
  readonly ledger = new Ledger();
  #n = 0;

  tell(at: number, body: EntryBody): number {
    const n = this.#n++;
    this.ledger.apply({ n, time: formatInstant(start + at), prev: NO_ENTRY, ...body } as AuditEntry);
    return n;
  }

  intent(at: number, n: number, more: { attempt?: number; release?: string } = {}): number {
    return this.tell(at, {
      kind: "intent",
      ...who,
      ...what(n),
      attempt: 0,
      rule: "ci",
      checks: [],
      approvals: [],
      expires: formatInstant(start + at + 10 * MINUTE),
      document,
      ...more,
    });
  }

  sign(at: number, n: number): number {
    const intent = this.intent(at, n);
    return this.tell(at, {
      kind: "result",
      intent,
      ...what(n),
      user: "ci",
      signatureSha256: "0".repeat(64),
      reply: document,
    });
  }
}

describe("the ledger", () => {
  it("knows of a signed request where its result stands, for a day", () => {
    const story = new Story();
    const n = story.sign(0, 1);
    story.sign(HOUR, 2);
    assert.deepEqual(story.ledger.request(id(1)), { state: "signed", n });
    assert.deepEqual(story.ledger.openIntents(), []);
    story.ledger.forget(start + 24 * HOUR - MINUTE);
    assert.deepEqual(story.ledger.request(id(1)), { state: "signed", n });
    story.ledger.forget(start + 26 * HOUR);
    assert.equal(story.ledger.request(id(1)), undefined);
  });

  it("holds no more than a day of signatures, however long the log is", () => {
    const story = new Story();
    for (let hour = 0; hour < 100; hour++) {
      for (let i = 0; i < 10; i++) story.sign(hour * HOUR + i * MINUTE, 100 * hour + i + 1);
    }
    const known = Array.from({ length: 10_000 }, (_, n) => story.ledger.request(id(n))).filter(
      (state) => state !== undefined,
    ).length;
    assert.ok(known >= 240 && known <= 260, String(known));
    assert.equal(story.ledger.count("release", "ci", -Infinity), 1000);
    assert.equal(story.ledger.count("release", "ci", start + 98 * HOUR + 9 * MINUTE), 10);
  });

  it("counts a failed request's place and attempt, and lets it be tried again", () => {
    const story = new Story();
    const intent = story.intent(0, 1, { release: "root:0" });
    assert.deepEqual(story.ledger.openIntents(), [
      { n: intent, request: id(1), requestHash: what(1).requestHash, attempt: 0, release: "root:0" },
    ]);
    story.tell(SECOND, { kind: "abandoned", intent, request: id(1) });
    assert.deepEqual(story.ledger.request(id(1)), {
      state: "failed",
      hash: what(1).requestHash,
      code: "signing/key-failed",
      attempt: 0,
    });
    assert.equal(story.ledger.placeTaken("root:0"), id(1));
    story.intent(2 * SECOND, 1, { attempt: 1 });
    assert.equal(story.ledger.count("release", "ci", -Infinity), 1);
  });

  it("forgets used codes and tokens only when they are long dead", () => {
    const story = new Story();
    story.tell(0, {
      kind: "session",
      ...who,
      spki: "1".repeat(64),
      key: "AA==",
      method: "oidc",
      outcome: "accepted",
      reason: "",
      used: "oidc:github:1",
    });
    story.ledger.forget(start + 23 * HOUR);
    assert.equal(story.ledger.usedBy("oidc:github:1"), "1".repeat(64));
    story.ledger.forget(start + 25 * HOUR);
    assert.equal(story.ledger.usedBy("oidc:github:1"), undefined);
  });

  it("lists what waits, without the documents", () => {
    const story = new Story();
    const expires = formatInstant(start + HOUR);
    const n = story.tell(0, {
      kind: "pending",
      ...who,
      ...what(1),
      rule: "ci",
      needed: 2,
      expires,
      document,
    });
    const [note] = story.ledger.pending(start);
    assert.equal(note?.n, n);
    assert.ok(!("document" in note));
    assert.deepEqual(story.ledger.pending(start + 2 * HOUR), []);
  });
});

describe("a counter", () => {
  it("counts like a list of every instant would", () => {
    const counter = new Counter();
    const all: number[] = [];
    for (let i = 0; i < 5000; i++) {
      const time = start + Math.floor(((i * 7919) % 3) + i / 7) * 60 * SECOND;
      const newest = Math.max(time, all.at(-1) ?? 0);
      counter.add(time);
      all.push(newest);
      if (i % 500 === 0) counter.forget(newest);
      for (const span of [0, SECOND, HOUR, 24 * HOUR]) {
        assert.equal(
          counter.since(newest - span),
          all.filter((each) => each > newest - span).length,
          `${i}/${span}`,
        );
      }
    }
    assert.equal(counter.since(-Infinity), 5000);
  });

  it("lets one key have a token or code, before and after the log knows of it", () => {
    const ledger = new Ledger();
    const day = 24 * HOUR;
    assert.ok(ledger.claim("token", "a", 0) && ledger.claim("token", "a", 1));
    assert.ok(!ledger.claim("token", "b", 1));
    assert.ok(ledger.claim("another", "b", 1));
    ledger.forget(day);
    assert.ok(!ledger.claim("token", "b", day), "held as long as it could be shown again");
    ledger.forget(2 * day);
    assert.ok(ledger.claim("token", "b", 2 * day));
  });
});
