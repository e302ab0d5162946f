// The post: when a device that knows of news which it cannot read says so.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MINUTE } from "../core/instant.ts";
import { ScriptedClock } from "../testing/scripted-clock.ts";
import type { Mailbox } from "./mailbox.ts";
import type { MessageKeys } from "./message-keys.ts";
import { BEHIND_AT_LEAST, Post, type PostOwner } from "./post.ts";

function post(spoken: { timestamp: number }): { readonly post: Post; readonly clock: ScriptedClock } {
  const clock = new ScriptedClock();
  const owner = { world: { log: () => {}, random: undefined as never, clock } } as unknown as PostOwner;
  const state = {
    accepted: 0,
    coalesced: 0,
    pending: {},
    dropped: {},
    get timestamp() {
      return spoken.timestamp;
    },
  };
  const mailbox = { state, checked: async () => {} } as unknown as Mailbox;
  return { post: new Post(owner, { mailbox, keys: undefined as unknown as MessageKeys }), clock };
}

describe("news that a signed message spoke of and that cannot be read", () => {
  it("are no alarm for a message that overtook a check", async () => {
    const { post: it_ } = post({ timestamp: 3 });
    assert.deepEqual(await it_.checked(2), []);
    assert.deepEqual(await it_.checked(3), []);
  });

  it("are an alarm when they stay away, also while more of them are spoken of", async () => {
    const spoken = { timestamp: 3 };
    const { post: it_, clock } = post(spoken);
    assert.deepEqual(await it_.checked(2), []);
    await clock.advance(BEHIND_AT_LEAST - MINUTE);
    spoken.timestamp = 5;
    assert.deepEqual(await it_.checked(2), []);
    await clock.advance(MINUTE);
    const [notice] = await it_.checked(2);
    assert.equal(notice?.code, "message/behind");
    assert.deepEqual(await it_.checked(5), []);
    spoken.timestamp = 6;
    assert.deepEqual(await it_.checked(5), [], "it begins anew");
  });
});
