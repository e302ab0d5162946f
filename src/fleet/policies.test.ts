// The policy of a group at the server: set, changed line by line, taken away; each change is in the audit log and wakes its devices.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY_ZERO } from "../testing/fleet-of-one.ts";
import { MemoryFleet } from "../testing/memory-fleet.ts";
import type { Line, Policy } from "../manners/policy.ts";
import { addGroup, removeGroup } from "./groups.ts";
import { policyOf, setPolicy, withLine } from "./policies.ts";

const ASK: Policy = { format: 1, lines: [{ when: "ask" }] };

describe("the policy of a group", () => {
  it("is kept, audited, and wakes the group once for each change", async () => {
    const records = new MemoryFleet();
    assert.equal(await policyOf(records, "default"), null);
    assert.deepEqual(await setPolicy(records, DAY_ZERO, { group: "default", policy: ASK }, "operator:eve"), {
      changed: true,
    });
    assert.deepEqual(await policyOf(records, "default"), ASK);
    const seq = (await records.wakes()).get("group:default");
    assert.deepEqual(await setPolicy(records, DAY_ZERO, { group: "default", policy: ASK }), {
      changed: false,
    });
    assert.equal((await records.wakes()).get("group:default"), seq);
    await setPolicy(records, DAY_ZERO, { group: "default", policy: null });
    assert.equal(await policyOf(records, "default"), null);
    const rows = (await records.audit(0, 10)).filter(({ action }) => action.startsWith("group/policy"));
    assert.deepEqual(
      rows.map(({ action, actor }) => [action, actor]),
      [
        ["group/policy-set", "operator:eve"],
        ["group/policy-cleared", "operator"],
      ],
    );
  });

  it("is refused for a group that there is not, and with a line that no device would read", async () => {
    const records = new MemoryFleet();
    await assert.rejects(setPolicy(records, DAY_ZERO, { group: "tills", policy: ASK }), {
      code: "fleet/unknown-group",
    });
    const bad = { format: 1, lines: [{ when: "soon" }] } as unknown as Policy;
    await assert.rejects(setPolicy(records, DAY_ZERO, { group: "default", policy: bad }), {
      code: "schema/invalid",
    });
  });

  it("goes with its group", async () => {
    const records = new MemoryFleet();
    await addGroup(records, DAY_ZERO, { name: "tills", interval: 60 }, "operator");
    await setPolicy(records, DAY_ZERO, { group: "tills", policy: ASK });
    await removeGroup(records, DAY_ZERO, "tills", "operator");
    await addGroup(records, DAY_ZERO, { name: "tills", interval: 60 }, "operator");
    assert.equal(await policyOf(records, "tills"), null);
  });

  it("takes a line in the place of one for the same, and puts what says more before what says less", () => {
    const security: Line = { kinds: ["security"], when: "now" };
    const till: Line = { products: ["till"], when: "when-possible" };
    const two = withLine(withLine(ASK, security), till);
    assert.deepEqual(two.lines, [till, security, { when: "ask" }]);
    const changed: Line = { kinds: ["security"], when: "ask" };
    assert.deepEqual(withLine(two, changed).lines, [till, changed, { when: "ask" }]);
    assert.deepEqual(withLine(null, till).lines, [till]);
    const both: Line = { products: ["till"], kinds: ["security"], when: "now" };
    assert.deepEqual(withLine(two, both).lines[0], both);
  });
});
