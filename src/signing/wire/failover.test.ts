// Which failure may be tried where, row by row, and calls on their way through several failures.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Course, homeOf, moveFor, type CallKind, type Failure, type Move } from "./failover.ts";

const no = (code: string, unsigned = true): Failure => ({ stage: "answered", code, unsigned });
const lost: Failure = { stage: "unanswered", code: "signing/unreachable" };
const unreached: Failure = { stage: "unreached", code: "signing/unreachable" };

describe("a failed call", () => {
  const rows: readonly (readonly [string, CallKind, Failure, Move])[] = [
    ["never delivered goes anywhere", "sign", unreached, "anywhere"],
    [
      "over a gateway's budget goes anywhere",
      "sign",
      { stage: "unreached", code: "signing/over-budget" },
      "anywhere",
    ],
    [
      "to a gateway with a wrong key stops",
      "sign",
      { stage: "unreached", code: "signing/wrong-peer" },
      "stop",
    ],
    ["sent and unanswered stays with its signer", "sign", lost, "same-signer"],
    ["that changes nothing goes anywhere although it was sent", "read", lost, "anywhere"],
    ["at a busy signer goes anywhere", "sign", no("signing/busy"), "anywhere"],
    ["at a signer without key goes anywhere", "sign", no("signing/key-unavailable"), "anywhere"],
    ["at a broken key goes anywhere", "sign", no("signing/key-failed"), "anywhere"],
    ["without timestamp goes anywhere", "sign", no("signing/timestamp-failed"), "anywhere"],
    ["at a broken key that nobody vouches for stays", "sign", no("signing/key-failed", false), "same-signer"],
    ["that failed in a way nobody foresaw stops", "sign", no("signing/internal", false), "stop"],
    ["that failed so without a change stops too", "read", no("signing/internal"), "stop"],
    ["that policy denied stops", "sign", no("signing/denied"), "stop"],
    ["that cannot be read by the signer stops", "sign", no("signing/bad-request"), "stop"],
    ["with a code that nobody knows stops", "sign", no("disk/full"), "stop"],
    [
      "of a user whom the signer does not know goes to the others",
      "sign",
      { ...no("signing/refused"), notHere: true },
      "not-here",
    ],
  ];
  for (const [what, call, failure, move] of rows) it(what, () => assert.equal(moveFor(call, failure), move));
});

describe("a call among several signers", () => {
  it("leaves out who said no, until everybody did", () => {
    const course = new Course("sign", ["a", "b"]);
    assert.equal(course.next(no("signing/busy"), "a"), "at once");
    assert.deepEqual([...course.want.avoid], ["a"]);
    assert.equal(course.next(no("signing/busy"), "b"), "later");
    assert.deepEqual([...course.want.avoid], []);
  });

  it("asks who was left out again when nobody else can be reached", () => {
    const course = new Course("sign", ["a", "b"]);
    course.next(no("signing/busy"), "a");
    assert.equal(course.next(unreached, undefined), "later");
    assert.deepEqual([...course.want.avoid], []);
  });

  it("never leaves a signer that was sent it and did not answer, whatever that signer says later", () => {
    const course = new Course("sign", ["a", "b"]);
    assert.equal(course.next(lost, "a"), "later");
    for (const later of [unreached, no("signing/busy"), no("signing/key-failed"), lost]) {
      assert.equal(course.next(later, "a"), "later");
      assert.equal(course.want.only, "a");
    }
    assert.equal(course.held, "a");
    assert.equal(course.next(no("signing/denied"), "a"), "stop");
  });

  it("ends when no signer knows the user", () => {
    const course = new Course("read", ["a", "b"]);
    const refused = { ...no("signing/refused"), notHere: true };
    assert.equal(course.next(refused, "b"), "at once");
    assert.equal(course.next(refused, "a"), "stop");
  });

  it("stays with the signer that it is meant for", () => {
    const course = new Course("sign", ["a", "b"], "b");
    assert.equal(course.want.only, "b");
    assert.equal(course.next(no("signing/busy"), "b"), "later");
    assert.equal(course.next({ ...no("signing/refused"), notHere: true }, "b"), "stop");
  });
});

describe("a request id of the caller's choice", () => {
  const ids = Array.from({ length: 300 }, (_, i) => i.toString(16).padStart(32, "0"));

  it("has the same home in every run and whatever the order of signers", () => {
    for (const id of ids) assert.equal(homeOf(id, ["a", "b", "c"]), homeOf(id, ["c", "a", "b"]));
  });

  it("moves only to a signer that joined", () => {
    const moved = ids.filter((id) => homeOf(id, ["a", "b"]) !== homeOf(id, ["a", "b", "c"]));
    assert.ok(moved.every((id) => homeOf(id, ["a", "b", "c"]) === "c"));
    assert.ok(moved.length > 50 && moved.length < 150);
  });
});
