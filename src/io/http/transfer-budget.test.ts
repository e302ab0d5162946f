// Transfers within their budgets: a greedy caller is refused and an unread transfer is ended, and others notice nothing.

import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { TransferBudget } from "./transfer-budget.ts";

/** A response whose reader takes `perMs` bytes each millisecond. */
function responseOf(): { response: ServerResponse; read: (bytes: number) => void; destroyed: () => boolean } {
  const socket = { bytesWritten: 0, writableLength: 0 };
  let destroyed = false;
  const response = { socket, destroy: () => (destroyed = true) } as unknown as ServerResponse;
  return { response, read: (bytes) => (socket.bytesWritten += bytes), destroyed: () => destroyed };
}
const never = (): { end: () => void; done: Promise<void> } => {
  let end = (): void => {};
  const done = new Promise<void>((resolve) => (end = resolve));
  return { end, done };
};

describe("a budget of transfers", () => {
  it("refuses a device that opens more than its share (300 unread downloads), and nobody else", async () => {
    const budget = new TransferBudget({ perDevice: 8 });
    const held = never();
    const all = Array.from({ length: 300 }, () =>
      budget
        .carry("greedy", "192.0.2.1", responseOf().response, () => held.done)
        .then(
          () => "sent",
          (error: { code: string }) => error.code,
        ),
    );
    budget.check("modest", "192.0.2.1");
    budget.check(null, "192.0.2.1");
    assert.throws(() => budget.check("greedy", "192.0.2.9"), { code: "http/too-many" });
    held.end();
    const results = await Promise.all(all);
    assert.equal(results.filter((one) => one === "sent").length, 8);
    assert.equal(results.filter((one) => one === "http/too-many").length, 292);
    assert.equal(budget.refused, 293);
    // What is over counts no more, also after an error.
    budget.check("greedy", "192.0.2.1");
    await assert.rejects(
      budget.carry("greedy", "192.0.2.1", responseOf().response, () => Promise.reject(new Error("cut"))),
    );
    assert.equal(budget.size, 0);
  });

  it("counts callers without a certificate by their address", async () => {
    const budget = new TransferBudget({ perAddress: 1 });
    const held = never();
    const first = budget.carry(null, "192.0.2.1", responseOf().response, () => held.done);
    assert.throws(() => budget.check(null, "192.0.2.1"), { code: "http/too-many" });
    budget.check(null, "192.0.2.2");
    held.end();
    await first;
  });

  it("ends a transfer that nobody reads, and none that is read slowly but steadily", async (t) => {
    t.mock.timers.enable({ apis: ["setInterval"] });
    const budget = new TransferBudget({ pace: 1000, paceMs: 60_000 });
    const [unread, slow] = [responseOf(), responseOf()];
    const [one, two] = [never(), never()];
    const carried = [
      budget.carry("a", "192.0.2.1", unread.response, () => one.done),
      budget.carry("b", "192.0.2.1", slow.response, () => two.done),
    ];
    unread.read(999);
    slow.read(1000);
    t.mock.timers.tick(60_000);
    assert.deepEqual([unread.destroyed(), slow.destroyed(), budget.cut], [true, false, 1]);
    one.end();
    two.end();
    await Promise.all(carried);
  });
});
