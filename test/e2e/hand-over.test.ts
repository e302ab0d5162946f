// A service is updated while clients use it: two versions share a socket that the agent holds, and nobody notices the change.

import assert from "node:assert/strict";
import { get, type Agent } from "node:http";
import { after, before, describe, it } from "node:test";
import { eventually, freePort, Site } from "./_agent.ts";
import { amongClients, publishWeb, type Seen } from "./_web.ts";

let site: Site;
let port = 0;

const publish = (version: string, first = "", options: readonly string[] = []): void =>
  publishWeb(site, port, { version, first, options });

function assertUnnoticed({ answers, failures }: Seen, versions: readonly string[]): void {
  assert.deepEqual(failures, []);
  assert.deepEqual(Object.keys(answers["short"]!).toSorted(), versions.toSorted());
  assert.ok(Object.keys(answers["download"]!).length > 0 && Object.keys(answers["talk"]!).length > 0);
}

function ask(path: string, agent?: Agent): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const call = get(
      { port, host: "127.0.0.1", path, ...(agent === undefined ? {} : { agent }) },
      (answer) => {
        let body = "";
        answer.on("data", (part: Buffer) => (body += part.toString()));
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body }));
        answer.on("error", reject);
      },
    );
    call.on("error", reject);
  });
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const committed = (version: string): Promise<true> =>
  eventually(
    `${version} is committed`,
    () =>
      site.attempts().some((one) => one["to"] === version && one["outcome"] === "success") ? true : null,
    60_000,
  );
const says = (version: string): Promise<true> =>
  eventually(
    `${version} answers`,
    async () => ((await ask("/").catch(() => null))?.body === version ? true : null),
    60_000,
  ).catch((error: unknown) => {
    throw new Error(site.agentLog.slice(-6000), { cause: error });
  });
const alone = (): Promise<true> =>
  eventually("one process is left", () => (site.services().length === 1 ? true : null), 30_000);

before(async () => {
  site = await Site.create();
  port = await freePort();
  publish("1.0.0");
  site.ok(site.upkeep(site.operator, "fleet", "assign", "default", "web", "stable"));
  await site.serve();
  site.enroll();
});
after(() => site.remove());

describe("a service with a socket of the agent", () => {
  it("is installed, and listens on the socket that it inherits", async () => {
    const ran = site.updateTo("1.0.0");
    assert.equal(ran.status, 0, ran.stderr + ran.stdout);
    await says("1.0.0");
  });

  it("is updated by an agent that did not bind the socket, and no request fails", async () => {
    publish("1.1.0");
    const seen = await amongClients(port, async () => {
      const ran = site.updateTo("1.1.0");
      assert.equal(ran.status, 0, ran.stderr + ran.stdout);
      await says("1.1.0");
    });
    assertUnnoticed(seen, ["1.0.0", "1.1.0"]);
    await alone();
  });

  it("goes on when the next version ends at once, or is found sick before it was let in alone", async () => {
    const bad = {
      "1.2.0": "process.exit(1);",
      "1.4.0": "globalThis.health = 500;",
    };
    const [pid] = site.services();
    const seen = await amongClients(port, () => {
      for (const [version, first] of Object.entries(bad)) {
        publish(version, first, ["--start-grace", "3"]);
        const ran = site.updateTo(version);
        assert.match(ran.stdout, /"rolled-back"/, version);
      }
    });
    assert.deepEqual(seen.failures, []);
    assert.deepEqual(site.services(), [pid]);
    await says("1.1.0");
  });

  for (const [version, point] of [
    ["2.0.0", "after activating:switch-forward"],
    ["2.1.0", "hand-over:ready"],
  ] as const)
    it(`survives the end of its agent by SIGKILL ${point}, and no request fails`, async () => {
      publish(version);
      const seen = await amongClients(port, async () => {
        const killed = site.updateUntil(version, point);
        assert.equal(killed.signal, "SIGKILL", `${killed.stdout}${killed.stderr}`);
        await pause(500);
        const ran = site.update();
        assert.equal(ran.status, 0, ran.stderr + ran.stdout);
        await says(version);
        await alone();
      });
      assert.deepEqual(seen.failures, []);
    });
});

describe("a service under a running agent", () => {
  it("goes through swaps among clients without a failed request, and the agent stays the same process", async () => {
    const agent = site.startAgent();
    // What is published before it listens is looked at with the crowd, within the interval of checks.
    await eventually("the agent listens", () =>
      site.agentLog.includes("agent/started") && site.status()["wakeUps"] === "connected" ? true : null,
    );
    const versions = ["3.0.0", "3.1.0", "3.2.0"];
    const seen = await amongClients(port, async () => {
      for (const version of versions) {
        publish(version);
        await says(version);
        await committed(version);
      }
    });
    assertUnnoticed(seen, ["2.1.0", ...versions]);
    assert.equal(agent.exitCode, null);
    await alone();
  });

  it("is handed back when the new version fails on its probation, and no request fails", async () => {
    publish("3.4.0", "setTimeout(() => (globalThis.health = 500), 3000);", ["--probation", "60"]);
    const seen = await amongClients(port, async () => {
      await eventually("it was tried", () => (site.agentLog.includes("handed-over") ? true : null), 30_000);
      await eventually(
        "the server hears of it",
        () => (site.attempts().some((one) => one["to"] === "3.4.0") ? true : null),
        60_000,
      );
      await says("3.2.0");
    });
    assert.deepEqual(seen.failures, []);
    const [report] = site.attempts().filter((one) => one["to"] === "3.4.0");
    assert.equal(report?.["code"], "process/unhealthy");
    await alone();
  });
});
