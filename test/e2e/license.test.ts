// The story of a license with real programs: sold, activated, upgraded by a payment, taken to an island, revoked, renewed.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { createHmac } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually, freePort, Site, type Json } from "./_agent.ts";

const root = new URL("../..", import.meta.url).pathname;
const node = join(root, "node_modules/.bin/node");

const PLAN = `
product = "shop"
days = 365
[features]
notes = 1000
export = true
[fallback]
notes = 1
[options.archive.features]
archive = true
[seats]
max = 2
`;

describe("a license", () => {
  let site: Site;
  let claim: string;
  let id: string;
  let secret: string;
  let app: ChildProcess | null = null;
  let said = "";
  let port = 0;

  const vendor = (...args: string[]): Json =>
    JSON.parse(site.ok(site.upkeep(site.operator, ...args, "--json")).stdout) as Json;
  const check = (feature: string, device = site.device): number | null =>
    site.upkeep(device, "license", "check", feature, "--product", "shop").status;
  const code = (text: string): string => {
    const file = join(site.folder, "code");
    writeFileSync(file, `${text}\n`, { mode: 0o600 });
    return file;
  };
  const get = async (path: string, body?: string): Promise<readonly [number, string]> => {
    const answer = await fetch(
      `http://127.0.0.1:${port}${path}`,
      body === undefined ? {} : { method: "POST", body },
    );
    return [answer.status, (await answer.text()).trim()];
  };
  /** The example application, as its folder has it; only the package's name is that of this checkout. */
  const startApp = async (): Promise<void> => {
    const folder = join(site.folder, "app");
    mkdirSync(folder, { recursive: true });
    const text = readFileSync(join(root, "examples/licensed-app/app.mjs"), "utf8")
      .replace('"upkeep/license"', JSON.stringify(join(root, "src/doors/license.ts")))
      .replace('product: "notebook"', 'product: "shop"');
    writeFileSync(join(folder, "app.mjs"), text);
    copyFileSync(join(site.operator, "repository/metadata/1.root.json"), join(folder, "1.root.json"));
    said = "";
    app = spawn(node, [join(folder, "app.mjs")], {
      env: {
        ...process.env,
        PORT: String(port),
        UPKEEP_COMPONENT_DATA: folder,
        UPKEEP_LICENSES: join(site.device, "licenses"),
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    app.stdout!.on("data", (part: Buffer) => (said += part.toString()));
    await eventually("the application starts", async () =>
      (await fetch(`http://127.0.0.1:${port}/health`).catch(() => null))?.ok === true ? true : null,
    );
  };
  const stopApp = async (): Promise<void> => {
    const running = app;
    if (running === null) return;
    await new Promise((resolve) => {
      running.once("exit", resolve);
      running.kill();
    });
    app = null;
  };
  const pay = (event: object, key = secret): Promise<number> => {
    const body = JSON.stringify(event);
    const seconds = Math.floor(Date.now() / 1000);
    const mac = createHmac("sha256", Buffer.from(key, "hex")).update(`${seconds}.${body}`).digest("hex");
    const headers = { "content-type": "application/json", "upkeep-signature": `t=${seconds},v1=${mac}` };
    return new Promise((resolve, reject) => {
      const call = request(
        {
          host: "127.0.0.1",
          port: site.serverPort,
          path: "/v1/license/webhook",
          method: "POST",
          headers,
          rejectUnauthorized: false,
        },
        (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        },
      );
      call.once("error", reject);
      call.end(body);
    });
  };

  before(async () => {
    site = await Site.create();
    port = await freePort();
    site.publish("1.0.0", "", ["--licensed"]);
    site.ok(site.upkeep(site.operator, "license", "keys"));
    const plan = join(site.folder, "plan.toml");
    writeFileSync(plan, PLAN);
    vendor("license", "plan", "set", "team", plan);
    secret = String(vendor("license", "webhook")["secret"]);
    ({ claim, license: id } = vendor("license", "new", "--plan", "team", "--customer", "Acme Ltd") as {
      claim: string;
      license: string;
    } & Json);
    await site.startServer();
    site.enroll();
    site.startAgent();
    await eventually("the agent answers", () => (check("export") === 5 ? null : true));
  });
  after(async () => {
    await stopApp();
    await site.remove();
  });

  it("is needed for a release that comes with one, and opens it once it is activated", async () => {
    assert.equal(site.update().status, 3);
    assert.match(site.update().stdout, /license\/not-entitled/);
    assert.equal(check("export"), 3);
    site.ok(site.upkeep(site.device, "agent", "license", "activate", "shop", "--code-file", code(claim)));
    assert.equal(check("export"), 0);
    assert.equal(site.update().status, 0);
  });

  it("gives the application its features, and those that are paid for later without a restart", async () => {
    await startApp();
    assert.match(said, /^all features/);
    assert.equal((await get("/notes", "first"))[0], 201);
    assert.equal((await get("/notes", "second"))[0], 201);
    assert.equal((await get("/export"))[0], 200);
    assert.equal(check("archive"), 3);
    const event = { id: "evt-1", license: id, enable: ["archive"] };
    assert.equal(await pay(event, "00".repeat(32)), 401);
    assert.equal(check("archive"), 3);
    assert.equal(await pay(event), 200);
    assert.equal(await pay(event), 200);
    await eventually("the feature is there", () => (check("archive") === 0 ? true : null));
  });

  it("takes a seat of a device without a network by file, refuses the third device, and gets the seat back by a receipt", async () => {
    const island = join(site.folder, "island");
    site.ok(
      site.upkeep(
        island,
        "agent",
        "enroll",
        "--server",
        `127.0.0.1:${site.serverPort}`,
        "--token-file",
        token(),
      ),
    );
    site.upkeep(island, "agent", "update");
    const [wish, lease, receipt] = ["wish", "lease", "receipt"].map((name) =>
      join(site.folder, `island.${name}`),
    );
    site.ok(
      site.upkeep(island, "agent", "license", "request", "shop", "--code-file", code(claim), "--out", wish!),
    );
    vendor("license", "activate", wish!, "--days", "60", "--out", lease!);
    assert.match(
      site.ok(site.upkeep(island, "agent", "license", "import", lease!)).stdout,
      /valid \(LEASE\)/,
    );
    const other = site.upkeep(site.device, "agent", "license", "import", lease!);
    assert.match(other.stderr, /another device|another question|asked for no lease/);
    const third = join(site.folder, "third");
    site.ok(
      site.upkeep(
        third,
        "agent",
        "enroll",
        "--server",
        `127.0.0.1:${site.serverPort}`,
        "--token-file",
        token(),
      ),
    );
    const refused = site.upkeep(
      third,
      "agent",
      "license",
      "activate",
      "shop",
      "--code-file",
      code(claim),
      "--json",
    );
    assert.match(refused.stderr + refused.stdout, /license\/seat-held/);
    await site.stopServer();
    site.ok(site.upkeep(island, "agent", "license", "release", "shop", "--out", receipt!));
    await site.serve();
    assert.equal(vendor("license", "receipt", receipt!)["freed"], true);
    site.ok(site.upkeep(third, "agent", "license", "activate", "shop", "--code-file", code(claim)));
  });

  it("is the same when the vendor's server is down and the application starts again", async () => {
    await site.stopServer();
    await stopApp();
    await startApp();
    assert.match(said, /^all features/);
    assert.equal((await get("/export"))[0], 200);
    await site.serve();
  });

  it("that is revoked leaves the application running with its fallback, its data, and security releases", async () => {
    const { license } = vendor("license", "revoke", id, "--reason", "not paid", "--publish", "--yes");
    assert.equal(license, id);
    // The server was away: an agent that has not come back to it yet would look within the interval of its checks.
    site.update();
    await eventually("the application degrades", () => (said.includes("limited (REVOKED)") ? true : null));
    assert.deepEqual(await get("/notes"), [200, "first\nsecond"]);
    assert.equal((await get("/notes", "third"))[0], 402);
    assert.equal((await get("/export"))[0], 402);
    site.publish("2.0.0", "", ["--licensed"]);
    assert.doesNotMatch(site.updateTo("2.0.0").stdout, /updated/);
    site.publish("2.0.1", "", ["--licensed", "--security"]);
    const updated = site.updateTo("2.0.1");
    assert.match(updated.stdout, /"running":"2\.0\.1"/);
  });

  it("that is bought anew brings everything back, and the audit log tells the story", async () => {
    const next = vendor("license", "new", "--plan", "team", "--customer", "Acme Ltd");
    site.ok(
      site.upkeep(
        site.device,
        "agent",
        "license",
        "activate",
        "shop",
        "--code-file",
        code(String(next["claim"])),
      ),
    );
    await eventually("the application comes back", () =>
      said.trimEnd().split("\n").at(-1)!.startsWith("all features") ? true : null,
    );
    assert.equal((await get("/notes", "third"))[0], 201);
    const out = join(site.folder, "acme.json");
    vendor("license", "export", out, "--customer", "Acme Ltd");
    const { audit } = JSON.parse(readFileSync(out, "utf8")) as { audit: { action: string }[] };
    const actions = audit.map(({ action }) => action);
    for (const action of [
      "license/issued",
      "license/activated",
      "license/options",
      "license/released",
      "license/revoked",
    ])
      assert.ok(actions.includes(action), action);
  });

  function token(): string {
    const file = join(site.folder, `token-${Math.random().toString(36).slice(2)}`);
    vendor("token", "new", "--out", file);
    return file;
  }
});
