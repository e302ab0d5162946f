// Recalls with real programs: a thief with stolen keys, the documented steps, and devices that end on the good release; a probation ended by a recall.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually, Site, type Json } from "./_agent.ts";

const json = (ran: { readonly stdout: string }): Json => JSON.parse(ran.stdout) as Json;
const shopOf = (status: Json): Json => (status["components"] as readonly Json[])[0]!;

/** Lines of a page's code blocks that are commands of the story. */
function documented(page: string, heading: string): readonly string[] {
  const text = readFileSync(new URL(`../../docs/operate/${page}`, import.meta.url), "utf8");
  const section = text.slice(text.indexOf(`## ${heading}`) + 3).split(/^## /m)[0]!;
  return [...section.matchAll(/^upkeep (.+?)(?: +#.*)?$/gm)].map(([, words]) => words!.trim());
}
const words = (line: string): readonly string[] =>
  [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!);

describe("a thief with the keys of products, releases and online", { timeout: 300_000 }, () => {
  let site: Site;
  before(async () => {
    site = await Site.create();
    site.publish("1.0.0");
    await site.startServer();
    site.enroll();
    site.ok(site.updateTo("1.0.0"));
    site.publish("1.1.0");
    site.ok(site.updateTo("1.1.0"));
  });
  after(() => site.remove());
  let lastGood = 0;

  it("gets his release onto devices, with a floor that keeps them there", async () => {
    lastGood = Math.max(
      ...readdirSync(join(site.operator, "repository/metadata")).map((name) =>
        Number(/^(\d+)\.product\.shop\.json$/.exec(name)?.[1] ?? 0),
      ),
    );
    site.publish("666.0.0", "", ["--floor", "666.0.0"]);
    site.ok(site.updateTo("666.0.0"));
    assert.equal(await site.ask(), "666.0.0");
    assert.equal(shopOf(site.status())["floor"], "666.0.0");
  });

  it("is undone by the documented steps alone: devices end on the good release", async () => {
    const steps = documented("repository.md", "After a theft of keys");
    assert.ok(steps.length >= 4, steps.join("\n"));
    for (const step of steps) {
      const line = step.replaceAll("product.shop=7", `product.shop=${lastGood}`);
      site.ok(site.upkeep(site.operator, ...words(line)));
    }
    const ran = site.ok(site.updateTo("1.1.0"));
    assert.match(ran.stdout, /"result":"updated"/);
    assert.equal(await site.ask(), "1.1.0");
    const shop = shopOf(site.status());
    assert.deepEqual([shop["committed"], shop["floor"], shop["recalled"]], ["1.1.0", null, null]);
    site.ok(site.upkeep(site.operator, "repo", "doctor"));
  });

  it("has used his number up: nobody releases under it again, and no roll back leads to it", () => {
    const again = site.upkeep(site.operator, "release", "promote", "shop", "666.0.0");
    assert.notEqual(again.status, 0);
    assert.match(again.stderr, /666\.0\.0 was recalled and stays so/);
    const back = site.upkeep(site.device, "agent", "rollback", "shop", "--json");
    assert.ok(!back.stdout.includes('"to":"666.0.0"'), back.stdout);
    assert.notEqual(shopOf(site.status())["committed"], "666.0.0");
  });

  it("left a trail: promotion, recovery, rotations and recall are in the audit log with before and after", () => {
    const { rows, holds } = json(site.ok(site.upkeep(site.operator, "fleet", "audit", "--json"))) as {
      rows: readonly { action: string; subject: string; facts: Json }[];
      holds: boolean;
    };
    assert.equal(holds, true);
    const of = (action: string) => rows.filter((row) => row.action === action);
    assert.deepEqual(
      of("channel/promoted").map(({ facts }) => [facts["before"], facts["after"]]),
      [
        [null, "1.0.0"],
        ["1.0.0", "1.1.0"],
        ["1.1.0", "666.0.0"],
      ],
    );
    assert.equal(of("repository/recovered").length, 1);
    assert.ok(of("key/rotated").length >= 3);
    assert.deepEqual(
      of("release/recalled").map(({ subject, facts }) => [subject, facts["before"], facts["liftsFloor"]]),
      [["shop 666.0.0", "not listed", true]],
    );
  });
});

describe("a recall while a device tries the release", { timeout: 240_000 }, () => {
  let site: Site;
  before(async () => {
    site = await Site.create();
    site.publish("1.0.0");
    await site.startServer();
    site.enroll();
    site.ok(site.updateTo("1.0.0"));
    site.startAgent();
    await site.until("1.0.0");
  });
  after(() => site.remove());

  it("counts the device, ends its probation at once, and the report says why", async () => {
    site.publish("1.1.0", "", ["--probation", "3600"]);
    await eventually("1.1.0 is tried", async () => ((await site.ask()) === "1.1.0" ? true : null), 60_000);
    const affected = await eventually(
      "the server learns who tries it",
      () => {
        const found = json(
          site.ok(site.upkeep(site.operator, "release", "affected", "shop", "1.1.0", "--json")),
        );
        const devices = found["affected"] as readonly Json[];
        return devices.length > 0 ? devices : null;
      },
      60_000,
    );
    assert.deepEqual(
      affected.map((one) => one["trying"]),
      [true],
    );
    const done = json(
      site.ok(
        site.upkeep(
          site.operator,
          "release",
          "recall",
          "shop",
          "1.1.0",
          "--reason",
          "loses orders",
          "--json",
        ),
      ),
    );
    assert.equal((done["affected"] as readonly Json[]).length, 1);
    await eventually("1.0.0 is back", async () => ((await site.ask()) === "1.0.0" ? true : null), 60_000);
    const last = await eventually(
      "the report arrives",
      () => site.attempts().find((one) => one["to"] === "1.1.0") ?? null,
      60_000,
    );
    assert.deepEqual([last["outcome"], last["code"]], ["rolled-back", "release/recalled"]);
  });
});
