// Connections within the descriptors that there are, and readiness that says what is short.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { connectionsWithin, shortOf } from "./capacity.ts";

describe("the number of connections", () => {
  it("is what was asked for where descriptors suffice or nobody says how many there are", () => {
    assert.equal(connectionsWithin(10_000, 65_536), 10_000);
    assert.equal(connectionsWithin(10_000, null), 10_000);
  });

  it("leaves descriptors for files and the database where they do not suffice", () => {
    assert.equal(connectionsWithin(10_000, 1024), 716);
    assert.equal(connectionsWithin(10_000, 16), 1);
  });
});

describe("readiness", () => {
  it("is given while there is room", () => {
    assert.equal(shortOf({ open: 899, limit: 1000 }, { open: 899, limit: 1000 }), null);
    assert.equal(shortOf({ open: 0, limit: 1000 }, null), null);
  });

  it("names the descriptors when nine in ten are open", () => {
    assert.match(shortOf({ open: 0, limit: 1000 }, { open: 900, limit: 1000 })!, /^900 of 1000 file descr/);
  });

  it("names the connections when nine in ten are open", () => {
    assert.match(shortOf({ open: 900, limit: 1000 }, { open: 0, limit: 1000 })!, /^900 of 1000 connections/);
  });
});
