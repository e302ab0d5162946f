// A device with a service, a command-line program, a data set with an add-on and a Debian package: all updated together, one release bad and taken back, one uninstalled.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually, Site, type Json } from "./_agent.ts";

const examples = new URL("../../examples/handlers/", import.meta.url).pathname;
const hasDpkg = existsSync("/usr/bin/dpkg") && existsSync("/usr/bin/dpkg-deb");
const isRoot = process.getuid?.() === 0;

describe("a device with components of every kind", { skip: hasDpkg ? false : "needs dpkg" }, () => {
  let site: Site;
  let bin: string;
  let root: string;
  before(async () => {
    site = await Site.create();
    // Users of the machine come as far as the commands, and no further.
    chmodSync(site.folder, 0o711);
    bin = join(site.folder, "usr/bin");
    root = join(site.folder, "machine");
    mkdirSync(bin, { recursive: true });
    mkdirSync(join(root, "var/lib/dpkg/updates"), { recursive: true });
    mkdirSync(join(root, "var/lib/dpkg/info"), { recursive: true });
    writeFileSync(join(root, "var/lib/dpkg/status"), "");
  });
  after(() => site.remove());

  function write(name: string, text: string, mode = 0o644): string {
    const path = join(site.folder, name);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  }
  function add(product: string, version: string, artifact: string, ...options: string[]): void {
    site.ok(
      site.upkeep(site.operator, "release", "add", product, version, artifact, "--promote", ...options),
    );
  }
  /** The service reads the data set at each SIGHUP, and is not well when it cannot be read. */
  const service = (version: string): void =>
    site.publish(
      version,
      `const read = () => {
        const text = require("node:fs").readFileSync(process.env.UPKEEP_COMPONENTS + "/tables/current/prices", "utf8");
        if (text.includes("bad")) process.exit(9);
        require("node:fs").writeFileSync(data + "/read", text);
      };
      process.on("SIGHUP", read);
      try { read(); } catch {}`,
    );
  const command = (version: string): void => {
    write(
      `tool-${version}/bin/shopctl`,
      `#!/bin/sh\nexec cat "$(dirname "$(readlink -f "$0")")/../words"\n`,
      0o755,
    );
    const words = write(`tool-${version}/words`, `shopctl ${version}\n`);
    add("shopctl", version, join(words, ".."), "--kind", "command", "--command", "bin/shopctl");
  };
  const tables = (version: string, text = version): void =>
    add(
      "tables",
      version,
      join(write(`tables-${version}/prices`, `prices ${text}`), ".."),
      "--kind",
      "data",
      "--reload",
      "signal:shop",
    );
  const addon = (version: string): void =>
    add(
      "tables-north",
      version,
      join(write(`north-${version}/prices`, `north ${version}`), ".."),
      "--kind",
      "data",
      "--extends",
      "tables",
      "--needs",
      "tables@*",
    );
  const deb = (version: string, broken = false): void => {
    const control = `Package: shop-base\nVersion: ${version}\nArchitecture: all\nMaintainer: Shop <shop@example.org>\nDescription: base\n`;
    write(`deb-${version}/DEBIAN/control`, control);
    write(`deb-${version}/opt/base`, version);
    // A package that another one cannot be replaced by: its script fails.
    if (broken) write(`deb-${version}/DEBIAN/preinst`, "#!/bin/sh\nexit 1\n", 0o755);
    const out = join(site.folder, `shop-base_${version}_all.deb`);
    const tree = join(site.folder, `deb-${version}`);
    const made = spawnSync("dpkg-deb", ["--root-owner-group", "--build", tree, out], { encoding: "utf8" });
    assert.equal(made.status, 0, made.stderr);
    add("base", version, out, "--kind", "handler", "--handler", "debian-package");
  };
  const call = (): string => {
    const how = isRoot ? { uid: 65_534, gid: 65_534 } : {};
    const ran = spawnSync(join(bin, "shopctl"), [], { encoding: "utf8", cwd: "/", ...how });
    return `${ran.stdout}${ran.stderr}`.trim();
  };
  const read = (): string | null => {
    const path = join(site.device, "components/shop/data/read");
    return existsSync(path) ? readFileSync(path, "utf8") : null;
  };
  const installed = (): string | null =>
    existsSync(join(root, "opt/base")) ? readFileSync(join(root, "opt/base"), "utf8") : null;
  const current = (product: string): string =>
    readlinkSync(join(site.device, "components", product, "current"));
  const log = (): readonly Json[] =>
    (
      JSON.parse(site.ok(site.upkeep(site.device, "agent", "log", "--lines", "1000", "--json")).stdout) as {
        records: Json[];
      }
    ).records;

  /** How the attempt at this version ended, as the device's log has it. */
  const endOf = (product: string, to: string): Promise<readonly unknown[]> =>
    eventually(
      `${product} ${to} ends`,
      () => {
        const of = (one: Json): boolean => one["event"] === "end" && one["product"] === product;
        const found = log().find((one) => of(one) && one["to"] === to);
        return found === undefined ? null : [found["end"], found["code"]];
      },
      60_000,
    );

  it("installs all of them, each in its way", async () => {
    service("1.0.0");
    command("1.0.0");
    tables("1.0.0");
    addon("1.0.0");
    deb("1.0.0");
    await site.startServer();
    for (const product of ["shopctl", "tables", "tables-north", "base"])
      site.ok(site.upkeep(site.operator, "fleet", "assign", "default", product, "stable"));
    site.enroll();
    writeFileSync(
      join(site.device, "agent.toml"),
      `commandFolder = "${bin}"\n[handlers.debian-package]\nprogram = "${examples}debian-package"\nargs = ["--root", "${root}", "--package", "shop-base"]\nproducts = ["base"]\n`,
    );
    site.startAgent();
    await site.until("1.0.0");
    await eventually("the package is there", () => (installed() === "1.0.0" ? true : null), 60_000);
    await eventually("the command is there", () => (call() === "shopctl 1.0.0" ? true : null));
    await eventually("the service reads the data", () => (read() === "prices 1.0.0" ? true : null));
    await eventually("all attempts are reported", () => (site.attempts().length >= 5 ? true : null));
    const north = join(site.device, "components/tables/addons/tables-north/prices");
    assert.equal(readFileSync(north, "utf8"), "north 1.0.0");
    // What belongs to the agent stays closed to the users of the machine, who can call the command.
    if (isRoot) {
      const peek = spawnSync("ls", [join(site.device, "components")], { uid: 65_534, gid: 65_534 });
      assert.notEqual(peek.status, 0);
    }
  });

  it("updates all of them together, and no service is restarted for the data", async () => {
    command("1.1.0");
    tables("1.1.0");
    addon("1.1.0");
    deb("1.1.0");
    const [pid] = site.services();
    await eventually(
      "all are current",
      () => {
        // Wake-ups bring them.
        return installed() === "1.1.0" && call() === "shopctl 1.1.0" && read() === "prices 1.1.0"
          ? true
          : null;
      },
      60_000,
    );
    assert.deepEqual(site.services(), [pid], "the same process");
    await eventually("the add-on follows", () => (current("tables-north").includes("1.1.0") ? true : null));
  });

  it("takes a bad data set back, and the service reads what it read before", async () => {
    tables("1.2.0", "bad");
    // By a wake-up, or by the owner's check: whichever comes first.
    assert.deepEqual(await endOf("tables", "1.2.0"), ["rolled-back", "process/reload-failed"]);
    assert.match(current("tables"), /1\.1\.0/);
    await site.until("1.0.0");
    assert.equal(read(), "prices 1.1.0");
  });

  it("takes a bad package back", async () => {
    deb("1.2.0", true);
    assert.deepEqual(await endOf("base", "1.2.0"), ["rolled-back", "process/handler-failed"]);
    assert.equal(installed(), "1.1.0");
  });

  it("goes back by hand, with what users call", () => {
    site.ok(site.upkeep(site.device, "agent", "rollback", "shopctl"));
    assert.equal(call(), "shopctl 1.0.0");
  });

  it("uninstalls what its owner does not want, whatever the server assigns, also without a running agent", async () => {
    const refused = site.upkeep(site.device, "agent", "uninstall", "tables", "--json");
    assert.equal(refused.status, 3, refused.stderr);
    assert.match(refused.stderr + refused.stdout, /agent\/needed/);
    site.ok(site.upkeep(site.device, "agent", "uninstall", "shopctl"));
    assert.deepEqual(readdirSync(bin), []);
    site.ok(site.upkeep(site.device, "agent", "uninstall", "base"));
    assert.equal(installed(), null);
    await site.stopAgent();
    appendFileSync(join(site.device, "components/shop/data/note"), "of the owner");
    site.ok(site.upkeep(site.device, "agent", "uninstall", "shop"));
    assert.equal(readFileSync(join(site.device, "components/shop/data/note"), "utf8"), "of the owner");
    assert.deepEqual(site.services(), []);
    const checked = site.update();
    assert.equal(checked.status, 0, checked.stderr);
    assert.equal(await site.ask(), null);
    const status = site.status()["components"] as readonly Json[];
    for (const product of ["shop", "shopctl", "base"]) {
      const found = status.find((one) => one["product"] === product)!;
      assert.equal(found["code"], "agent/uninstalled");
      assert.match(String(found["why"]), new RegExp(`upkeep agent install ${product}`));
    }
    const alarms = site.ok(site.upkeep(site.operator, "fleet", "alarms", "--json")).stdout;
    assert.match(alarms, /agent\/uninstalled/);
  });

  it("lets a handler that outlived its agent end before it is asked again", async () => {
    const trace = join(site.folder, "trace");
    const slow = write(
      "slow-handler",
      `#!/bin/sh\nstep=$(sed 's/.*"step":"\\([a-z]*\\)".*/\\1/')\necho "begin $step" >> ${trace}\n[ $step = install ] && sleep 3\necho "end $step" >> ${trace}\necho '{"format":1}'\n`,
      0o755,
    );
    appendFileSync(join(site.device, "agent.toml"), `[handlers.slow]\nprogram = "${slow}"\n`);
    add("slow", "1.0.0", write("slow.img", "image"), "--as-file", "--kind", "handler", "--handler", "slow");
    site.ok(site.upkeep(site.operator, "fleet", "assign", "default", "slow", "stable"));
    const lines = (): readonly string[] =>
      existsSync(trace) ? readFileSync(trace, "utf8").trim().split("\n") : [];
    site.startAgent();
    await eventually("the handler works", () => (lines().includes("begin install") ? true : null));
    await site.stopAgent("SIGKILL");
    assert.equal(lines().at(-1), "begin install", "it goes on alone");
    assert.equal(site.update().status, 0);
    const steps = ["prepare", "install", "install", "verify", "commit", "cleanup"];
    assert.deepEqual(
      lines(),
      steps.flatMap((step) => [`begin ${step}`, `end ${step}`]),
    );
  });

  it("installs it again when its owner takes that back, with the data that was left", async () => {
    site.ok(site.upkeep(site.device, "agent", "install", "shop"));
    await site.until("1.0.0");
    assert.equal(readFileSync(join(site.device, "components/shop/data/note"), "utf8"), "of the owner");
  });

  it("has a log in which every attempt has one end, under the ids of the reports", async () => {
    site.ok(site.upkeep(site.device, "agent", "log", "verify"));
    const records = log();
    const ids = (event: string): readonly unknown[] =>
      records.flatMap((record) => (record["event"] === event ? [record["attempt"]] : []));
    assert.deepEqual(ids("end").toSorted(), ids("begin").toSorted());
    const reported = site.attempts().map(({ attempt }) => attempt);
    assert.deepEqual(ids("end").toSorted(), reported.toSorted());
    const bad = records.find((record) => record["end"] === "rolled-back" && record["product"] === "tables")!;
    assert.match(String(bad["reason"]), /shop received the signal for the new data and/);
    writeFileSync(
      join(site.device, "log/000000000001.jsonl"),
      readFileSync(join(site.device, "log/000000000001.jsonl"), "utf8").replace("rolled-back", "committed11"),
    );
    assert.equal(site.upkeep(site.device, "agent", "log", "verify").status, 6);
  });
});
