// The server tells people in time that a role expires.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY } from "../../core/instant.ts";
import { touchDue } from "../../repository/publish/status.ts";
import { FOLDER, OperatorWorld } from "../../testing/operator-world.ts";
import { ExpiryWatch } from "./expiry-watch.ts";
import { Metrics } from "./metrics.ts";

type Line = { readonly level: string; readonly event: string; readonly facts: { [fact: string]: unknown } };

async function watched() {
  const world = new OperatorWorld();
  await world.create();
  const metrics = new Metrics();
  const lines: Line[] = [];
  const watch = new ExpiryWatch(FOLDER, {
    disk: world.disk,
    metrics,
    log: (level, event, facts = {}) => void lines.push({ level, event, facts }),
  });
  const about = (role: string) => lines.filter((line) => line.facts["role"] === role);
  return { world, metrics, lines, watch, about };
}

describe("the expiry watch of the server", () => {
  it("logs once at each of 60, 30, 14, 7 and 1 days, and at the end", async () => {
    const { world, watch, about } = await watched();
    const days = [0, 1, 2, 335, ...Array.from({ length: 62 }, (_, i) => 336 + i), 400];
    for (const day of days) await watch.look(world.clock.now() + day * DAY);
    assert.deepEqual(
      about("root").map(({ level, event, facts }) => [level, event, facts["alarmDays"] ?? null]),
      [
        ["warn", "repository/role-expiring", 60],
        ["warn", "repository/role-expiring", 30],
        ["warn", "repository/role-expiring", 14],
        ["error", "repository/role-expiring", 7],
        ["error", "repository/role-expiring", 1],
        ["error", "repository/role-expired", null],
      ],
    );
    assert.equal(about("targets").length, 6);
    // What the server renews by itself is not announced, but its end is.
    assert.deepEqual(
      about("timestamp").map(({ event }) => event),
      ["repository/role-expired"],
    );
  });

  it("says who must sign, in the log and in the metrics", async () => {
    const { world, metrics, watch, about } = await watched();
    await watch.look(world.clock.now() + 370 * DAY);
    const [line] = about("root");
    assert.match(String(line?.facts["reason"]), /^The metadata of root expires in less than 30 days: \d of /);
    const couldSign = line?.facts["couldSign"];
    assert.ok(Array.isArray(couldSign) && couldSign.length > 0);
    const text = metrics.text();
    assert.match(text, /upkeep_repository_role_days_left\{role="root",by="people",keys="[^"]+"\} 26\n/);
    assert.match(text, /upkeep_repository_role_alarm\{role="root",[^}]+\} 2\n/);
    assert.match(text, /upkeep_repository_role_days_left\{role="timestamp",by="server",[^}]+\} -\d+\n/);
  });

  it("says when a role was signed again", async () => {
    const { world, metrics, lines, watch } = await watched();
    world.clock.setWall(world.clock.now() + 390 * DAY);
    await watch.look(world.clock.now());
    const before = lines.length;
    assert.ok(before > 0);
    await world.publisher().change(async (draft) => {
      await touchDue(draft, world.clock.now());
    });
    await watch.look(world.clock.now());
    const after = lines.slice(before);
    assert.ok(after.some(({ facts }) => facts["role"] === "root"));
    assert.ok(after.every(({ level, event }) => level === "info" && event === "repository/role-renewed"));
    assert.match(metrics.text(), /upkeep_repository_role_alarm\{role="root",[^}]+\} 0\n/);
  });

  it("has nothing to say where there is no repository", async () => {
    const world = new OperatorWorld();
    const watch = new ExpiryWatch(FOLDER, {
      disk: world.disk,
      metrics: new Metrics(),
      log: () => assert.fail("a line was logged"),
    });
    await watch.look(world.clock.now());
  });
});
