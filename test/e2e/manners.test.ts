// A hospital's machine: when updates are activated and who is asked, with a real agent, server and command line.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually, Site, type Json } from "./_agent.ts";

const root = new URL("../..", import.meta.url).pathname;
const node = join(root, "node_modules/.bin/node");
const main = join(root, "src/apps/cli/main.ts");

const at = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
const minute = (ms: number): string => new Date(ms).toISOString().slice(11, 16);

describe("a hospital's machine", { timeout: 170_000 }, () => {
  let site: Site;
  before(async () => {
    site = await Site.create();
    site.publish("1.0.0");
    await site.startServer();
    site.enroll();
  });
  after(() => site.remove());

  const policy = (...args: string[]): void =>
    void site.ok(site.upkeep(site.operator, "fleet", "policy", "default", ...args));
  const agent = (...args: string[]) => site.upkeep(site.device, "agent", ...args);
  const json = (...args: string[]): Json => JSON.parse(site.ok(agent(...args, "--json")).stdout) as Json;
  const shop = (): Json & {
    readonly wait: { readonly rule: string; readonly until: string; readonly command: string } | null;
  } => (site.status()["components"] as never[])[0]!;
  const rule = (name: string): Promise<true> =>
    eventually(`the rule is ${name}`, () => (shop().wait?.rule === name ? true : null), 30_000);
  const checked = (): void => void agent("update");

  it("installs what is new on it at once, whatever the hour", async () => {
    const now = Date.now();
    policy("--when", "ask", "--active-hours", `${minute(now - 3_600_000)}-${minute(now + 3_600_000)} UTC`);
    policy("--kind", "security", "--when", "now");
    site.startAgent();
    await site.until("1.0.0");
  });

  it("fetches a feature and asks; the person says later twice, and status names rule, end and command", async () => {
    site.publish("1.1.0");
    await eventually("the release is ready", () => {
      checked();
      return shop().wait === null ? null : true;
    });
    assert.equal(shop().wait?.rule, "asks");
    assert.match(
      site.ok(agent("status")).stdout,
      /1\.1\.0 ready[\s\S]*A person is asked .*`upkeep agent answer shop accept` changes it/,
    );
    const { prompts } = json("prompts", "--lang", "de") as { prompts: readonly Json[] };
    assert.equal(prompts[0]!["id"], "shop@1.1.0");
    assert.match(String(prompts[0]!["text"]), /kann installiert werden/);
    for (const time of ["1h", "2h"]) site.ok(agent("answer", "shop@1.1.0", "later", "--for", time));
    await eventually("status says who waits", () =>
      /said later to 1\.1\.0/.test(String(shop()["why"])) ? true : null,
    );
    assert.equal(agent("update").status, 4, "others act first");
    assert.equal(agent("answer", "shop@9.9.9", "accept").status, 2);
    assert.equal(await site.ask(), "1.0.0");
  });

  it("keeps waiting when its agent is killed while something is ready", async () => {
    await site.stopAgent("SIGKILL");
    assert.equal(await site.ask(), "1.0.0");
    site.startAgent();
    await rule("asks");
    assert.equal(await site.ask(), "1.0.0");
    const journal = readFileSync(join(site.device, "components/shop/journal"), "latin1");
    assert.match(journal, /"event":"ready".*"rule":"asks"/);
  });

  it("says what would happen at a time, and whose word each part is", () => {
    const { verdicts } = json("policy", "test", "--at", at(Date.now() + 30 * 86_400_000)) as {
      verdicts: readonly Json[];
    };
    assert.deepEqual([verdicts[0]!["do"], verdicts[0]!["rule"]], ["wait", "asks"]);
    assert.match(site.ok(agent("policy")).stdout, /shop +feature +when +ask +group/);
  });

  it("activates nothing while a command is guarded, and nothing is blocked by a guard that was killed", async () => {
    const guard = spawn(
      node,
      [main, "--data", site.device, "agent", "guard", "shop", "--holder", "commit", "--", "sleep", "60"],
      {
        stdio: "ignore",
      },
    );
    const file = join(site.device, "components/shop/locks/commit");
    await eventually("the lock is taken", () => (existsSync(file) ? true : null));
    site.ok(agent("answer", "shop", "accept"));
    await rule("busy");
    assert.match(String(shop()["why"]), /commit is in the middle of something: sleep/);
    assert.equal(agent("update", "--now").status, 4, "a person in a hurry waits for a safe point, too");
    assert.equal(await site.ask(), "1.0.0");
    guard.kill("SIGKILL");
    await site.until("1.1.0");
  });

  it("lets the owner's hold outlast a person in a hurry, and a security release, but not its deadline", async () => {
    site.ok(agent("hold", "shop", "--for", "2d"));
    // Eight seconds for the warning, which comes first whatever the time is.
    policy("--kind", "security", "--when", "now", "--deadline", at(Date.now() + 12_000), "--warn", "8s");
    site.publish("1.1.1", "", ["--security"]);
    await eventually("the release is ready", () => {
      checked();
      return shop().wait === null ? null : true;
    });
    assert.equal(shop().wait?.rule, "held");
    assert.equal(agent("update", "--now").status, 4);
    assert.equal(await site.ask(), "1.1.0");
    await site.until("1.1.1");
    assert.match(site.agentLog, /deadline-warning/);
    site.ok(agent("release", "shop"));
  });

  it("waits for an interlock of its owner, whose executable is asked without a shell", async () => {
    await site.stopAgent();
    const hook = join(site.folder, "is-parked");
    writeFileSync(
      hook,
      `#!/bin/sh\ntest -e ${join(site.folder, "parked")} && exit 0\necho "$UPKEEP_PRODUCT drives"\nexit 1\n`,
    );
    chmodSync(hook, 0o755);
    writeFileSync(
      join(site.device, "agent.toml"),
      `[[policy.interlocks]]\nname = "parked"\ncommand = [${JSON.stringify(hook)}]\n`,
    );
    policy("--clear");
    site.startAgent();
    site.publish("1.2.0");
    await eventually("the release is ready", () => {
      checked();
      return shop().wait === null ? null : true;
    });
    assert.match(String(shop()["why"]), /The interlock parked does not let it through: shop drives/);
    writeFileSync(join(site.folder, "parked"), "");
    await site.until("1.2.0");
  });

  it("leaves the machine alone after an opt-out, until somebody asks", async () => {
    site.ok(agent("opt-out"));
    site.publish("1.3.0");
    await eventually("it is known", () => {
      checked();
      return shop().wait?.rule === "opted-out" ? true : null;
    });
    assert.equal(await site.ask(), "1.2.0");
    site.ok(agent("update", "--now"));
    await site.until("1.3.0");
    site.ok(agent("opt-in"));
  });

  it("waits for a file that an application touches, and says no to settings that cannot be meant", async () => {
    const locks = join(site.device, "components/shop/locks");
    mkdirSync(locks, { recursive: true });
    writeFileSync(join(locks, "till"), "");
    utimesSync(join(locks, "till"), new Date(0), new Date(0));
    site.publish("1.4.0");
    await eventually("the release is ready", () => {
      checked();
      return shop().wait?.rule === "busy" ? true : null;
    });
    spawnSync("rm", [join(locks, "till")]);
    await site.until("1.4.0");
    assert.equal(agent("hold", "shop", "--for", "soon").status, 2);
    assert.equal(agent("hold", "shop", "--until", "2020-01-01T00:00:00Z").status, 2);
    assert.equal(
      site.upkeep(site.operator, "fleet", "policy", "default", "--when", "now", "--window", "noon").status,
      2,
    );
  });
});
