// How a version is run here: its environment, its port, and when a running process is still the right one.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Json } from "../core/json.ts";
import type { ReleaseManifest } from "../release/manifest.ts";
import {
  askedPort,
  environmentOf,
  isService,
  launchOf,
  parseRun,
  portOf,
  rulesOf,
  runOf,
} from "./run-spec.ts";
import { componentSettings, parseSettings } from "./settings.ts";

const manifest: ReleaseManifest = {
  product: "shop",
  version: "1.1.0",
  channel: "stable",
  published: "2026-11-21T04:00:00Z",
  security: false,
  artifacts: [],
  entryPoint: { command: ["bin/shop", "--serve"], env: { MODE: "production" } },
  health: {
    kind: "http",
    path: "/health",
    port: { env: "PORT" },
    startSeconds: 10,
    intervalSeconds: 5,
    timeoutSeconds: 5,
    successes: 2,
    failures: 3,
    probationSeconds: 60,
  },
  dependencies: [],
};
const run = parseRun(runOf(manifest));
const place = {
  product: "shop",
  slot: "/all/shop/slots/1.1.0-a",
  data: "/all/shop/data",
  components: "/all",
  locks: "/all/shop/locks",
  log: "/all/shop/output.log",
};
const settings = componentSettings(parseSettings({}), "shop");
const host = { PATH: "/bin", SECRET_TOKEN: "s", UPKEEP_TOKEN: "t", NODE_OPTIONS: "--inspect" };

describe("a run record", () => {
  it("comes back from the manifest as it was signed", () => {
    assert.deepEqual(run.entryPoint, manifest.entryPoint);
    assert.deepEqual(run.health, manifest.health);
    assert.equal(isService(run), true);
    assert.throws(() => parseRun({ version: "1.0.0", command: "x" }), { code: "schema/invalid" });
  });

  it("gives the program nothing of the agent's environment but a few names", () => {
    const env = environmentOf(run, place, settings, host, {});
    assert.deepEqual(Object.keys(env).sort(), [
      "MODE",
      "PATH",
      "UPKEEP_COMPONENTS",
      "UPKEEP_COMPONENT_DATA",
      "UPKEEP_LOCKS",
      "UPKEEP_PRODUCT",
      "UPKEEP_SLOT",
      "UPKEEP_VERSION",
    ]);
  });

  it("lets the operator's settings win over the release, and nothing over what the agent says", () => {
    const own = parseSettings({
      components: { shop: { env: { MODE: "test", PORT: "81", UPKEEP_VERSION: "9.9.9" } } },
    });
    const env = environmentOf(run, place, componentSettings(own, "shop"), host, { PORT: 20_001 });
    assert.deepEqual([env["MODE"], env["PORT"], env["UPKEEP_VERSION"]], ["test", "81", "1.1.0"]);
  });

  it("is launched inside its slot, without a shell", () => {
    const { spec } = launchOf({ ...run, entryPoint: run.entryPoint! }, place, settings, host);
    assert.equal(spec.program, "/all/shop/slots/1.1.0-a/bin/shop");
    assert.deepEqual(spec.args, ["--serve"]);
    assert.equal(spec.cwd, place.slot);
  });

  it("is another launch when slot, entry point or settings change, and not when the agent's PATH does", () => {
    const digest = (changes: object = {}, env = host) => {
      const { settings: other = settings, place: where = place } = changes as {
        settings?: typeof settings;
        place?: typeof place;
      };
      return launchOf({ ...run, entryPoint: run.entryPoint! }, where, other, env).digest;
    };
    assert.equal(digest(), digest({}, { ...host, PATH: "/usr/bin" }));
    assert.notEqual(digest(), digest({ place: { ...place, slot: "/all/shop/slots/1.1.0-b" } }));
    assert.notEqual(digest(), digest({ settings: { ...settings, env: { PORT: "1" } } }));
  });

  it("finds its probe's port, and says which setting is missing", () => {
    const { health } = run;
    assert.ok(health?.kind === "http");
    assert.equal(portOf(health, { PORT: "8080" }, "shop"), 8080);
    for (const PORT of ["", "0", "x", "65536", "080"])
      assert.throws(() => portOf(health, { PORT }, "shop"), { code: "process/no-port" }, PORT);
    assert.equal(portOf({ ...health, port: 7 }, {}, "shop"), 7);
  });

  it("is given a port where its release asks for one and nobody set it", () => {
    assert.equal(askedPort(run, settings), "PORT");
    assert.equal(environmentOf(run, place, settings, host, { PORT: 20_001 })["PORT"], "20001");
    assert.equal(askedPort(run, { ...settings, env: { PORT: "81" } }), null);
    const own = { ...run, entryPoint: { ...run.entryPoint!, env: { PORT: "82" } } };
    assert.equal(askedPort(own, settings), null);
    const { health } = run;
    assert.ok(health?.kind === "http");
    assert.equal(askedPort({ ...run, health: { ...health, port: 8080 } }, settings), null);
  });

  it("is watched by the rules of its manifest", () => {
    const rules = rulesOf(run, true);
    assert.deepEqual(
      [rules.job, rules.failures, rules.probationSeconds, rules.wellBefore],
      [false, 3, 60, true],
    );
  });
});

describe("settings", () => {
  const bad: readonly (readonly [string, Json])[] = [
    ["an unknown member", { url: "https://example.org" }],
    ["a version for a component", { components: { shop: { version: "1.0.0" } } }],
    ["a frantic interval", { interval: 1 }],
    ["a name that is no environment variable", { components: { shop: { env: { "A B": "x" } } } }],
    ["a product that is none", { components: { "../shop": {} } }],
  ];
  for (const [what, value] of bad) {
    it(`are refused with ${what}`, () => {
      assert.throws(() => parseSettings(value), { code: "schema/invalid" });
    });
  }
});
