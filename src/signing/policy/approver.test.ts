// Tests of who may answer a request that waits: the role, the kind of user, his keys, and never one's own request.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { mayAnswer, type Asked } from "./approver.ts";
import type { UserConfig } from "./config.ts";

const person = (change: object = {}): UserConfig =>
  ({
    kind: "person",
    roles: ["approver"],
    disabled: false,
    password: "",
    totp: "",
    "approval-keys": [],
    ...change,
  }) as unknown as UserConfig;
const answers = (config: UserConfig, asked: readonly Asked[] = [], spki = "k1") =>
  mayAnswer({ name: "alice", config }, spki, asked);
const of = (requester: string, ...approvers: readonly string[]): Asked => ({ requester, approvers });

describe("an answer to a request that waits", () => {
  it("is for approvers only, and never for who is disabled", () => {
    assert.equal(answers(person()), "may");
    assert.equal(answers(person({ roles: ["requester"] })), "may-not");
    assert.equal(answers(person({ disabled: true })), "may-not");
  });

  it("is never a pipeline's, but may be a machine's", () => {
    assert.equal(answers(person({ kind: "ci" })), "may-not");
    assert.equal(answers(person({ kind: "machine", keys: ["k1"] })), "may");
  });

  it("of a person with approval keys is made with one of them", () => {
    const held = person({ "approval-keys": ["k1", "k2"] });
    assert.equal(answers(held), "may");
    assert.equal(answers(held, [], "k3"), "may-not");
  });

  it("to one's own request is named as that, whatever the rule says", () => {
    assert.equal(answers(person(), [of("alice", "alice", "bob")]), "own");
    assert.equal(answers(person(), [of("alice"), { requester: "alice", approvers: null }]), "own");
  });

  it("counts for a release as soon as it counts for one of its files", () => {
    assert.equal(answers(person(), [of("alice", "alice"), of("bob", "alice")]), "may");
    assert.equal(answers(person(), [of("alice", "alice"), of("bob", "carol")]), "may-not");
  });

  it("is refused to who is no approver of the rule, and left open where the rule is gone", () => {
    assert.equal(answers(person(), [of("bob", "carol")]), "may-not");
    assert.equal(answers(person(), [{ requester: "bob", approvers: null }]), "may");
  });
});
