// README, tutorial and operating pages are followed to the letter with a service that others wrote, until a device runs it and stays well.

import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { commandsOf } from "../_documents.ts";
import { eventually, freePort, type Json } from "./_agent.ts";

const root = new URL("../..", import.meta.url).pathname;
const node = join(root, "node_modules/.bin/node");

/** A machine on which the documents are followed: what is typed stays as it is printed, but for places that only a real machine has. */
class Desk {
  readonly folder = mkdtempSync(join(tmpdir(), "upkeep-documents-"));
  readonly device = join(this.folder, "device");
  readonly stick = join(this.folder, "stick");
  readonly #running: ChildProcess[] = [];
  #port = 0;
  #env: NodeJS.ProcessEnv = {};

  static async create(): Promise<Desk> {
    const desk = new Desk();
    desk.#port = await freePort();
    const bin = join(desk.folder, "bin");
    for (const folder of [
      bin,
      desk.stick,
      join(desk.folder, ".config/upkeep"),
      join(desk.folder, "dist/bin"),
    ])
      mkdirSync(folder, { recursive: true });
    for (const [name, main] of [
      ["upkeep", "cli"],
      ["upkeep-agent", "agent"],
    ] as const) {
      const path = join(bin, name);
      writeFileSync(path, `#!/bin/sh\nexec "${node}" "${root}src/apps/${main}/main.ts" "$@"\n`);
      chmodSync(path, 0o755);
    }
    // README is read in a checkout, where the program lies in the folder itself.
    cpSync(join(bin, "upkeep"), join(desk.folder, "upkeep"));
    // Probation of a minute, and the port that everybody has: the settings file says otherwise, so that nothing typed has to.
    writeFileSync(
      join(desk.folder, ".config/upkeep/config.toml"),
      `[server]\nlisten = "127.0.0.1:${desk.#port}"\nadmin = "off"\n[release.add]\nprobation = 3\n`,
      { mode: 0o600 },
    );
    // Python's own web server, started as its users start it: it knows nothing of us but PORT.
    writeFileSync(
      join(desk.folder, "dist/bin/shop"),
      '#!/bin/sh\nexec python3 -m http.server --bind 127.0.0.1 "$PORT"\n',
    );
    chmodSync(join(desk.folder, "dist/bin/shop"), 0o755);
    writeFileSync(join(desk.folder, "dist/health"), "well\n");
    desk.#env = {
      PATH: `${bin}:${process.env["PATH"] ?? ""}`,
      HOME: desk.folder,
      UPKEEP_PASSPHRASE: "correct horse battery staple",
    };
    return desk;
  }

  #typed(command: string): string {
    return command
      .replaceAll("updates.example.org:8443", `localhost:${this.#port}`)
      .replaceAll("updates.example.org", "localhost")
      .replaceAll("/var/lib/upkeep", this.device)
      .replaceAll("/mnt/stick", this.stick);
  }

  /** Runs one line to its end; `env` is what the page says to set. */
  type(command: string, env: NodeJS.ProcessEnv = {}): string {
    const ran = spawnSync("/bin/sh", ["-c", this.#typed(command)], {
      cwd: this.folder,
      env: { ...this.#env, ...env },
      encoding: "utf8",
      timeout: 90_000,
    });
    assert.equal(ran.status, 0, `${command}\n${ran.stderr}${ran.stdout}`);
    return ran.stdout;
  }

  /** Leaves one line running until the desk is cleared. */
  async leave(command: string, said: string): Promise<void> {
    const child = spawn("/bin/sh", ["-c", `exec ${this.#typed(command)}`], {
      cwd: this.folder,
      env: this.#env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#running.push(child);
    let log = "";
    child.stderr.on("data", (part: Buffer) => (log += part.toString()));
    await eventually(`${command} says ${said}`, () => {
      if (child.exitCode !== null) throw new Error(`${command}\n${log}`);
      return log.includes(said) ? true : null;
    });
  }

  token(printed: string): string {
    return /upkeep1\.\S+/.exec(printed)![0];
  }

  /** What `agent status` shows of the shop once it was committed. */
  async runs(version: string): Promise<Json> {
    return eventually(
      `the device runs ${version}`,
      () => {
        const status = JSON.parse(this.type("upkeep --data /var/lib/upkeep agent status --json")) as {
          components: Json[];
        };
        const shop = status.components.find((one) => one["product"] === "shop");
        if (shop !== undefined && Array.isArray(shop["skipped"]) && shop["skipped"].length > 0)
          throw new Error(
            `${JSON.stringify(shop)}\n${this.type("upkeep --data /var/lib/upkeep agent output")}`,
          );
        return shop?.["running"] === version && shop["committed"] === version ? shop : null;
      },
      60_000,
    );
  }

  /** Asks the service on the port that the agent gave it. */
  async answer(): Promise<string> {
    const { ports } = JSON.parse(readFileSync(join(this.device, "components/shop/ports.json"), "utf8")) as {
      ports: { PORT: number };
    };
    return (await fetch(`http://127.0.0.1:${ports.PORT}/health`)).text();
  }

  async clear(): Promise<void> {
    for (const child of this.#running.toReversed()) {
      if (child.exitCode !== null) continue;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const python = spawnSync("python3", ["-c", "import http.server"]).status === 0;
const skip = python ? false : "python3, whose web server is the service of others here, is not installed";
const of = (page: string, start: string): string => {
  const found = commandsOf(page).filter(({ command }) => command.startsWith(start));
  assert.equal(found.length > 0, true, `${page} shows no command ${start}`);
  return found[0]!.command;
};

describe("README", { skip }, () => {
  let desk: Desk;
  before(async () => (desk = await Desk.create()));
  after(() => desk.clear());

  it("leads from nothing to a release, which a device of the operating page installs and keeps", async () => {
    for (const { command } of commandsOf("README.md"))
      if (!/^\.\/upkeep (?:demo|test)$/.test(command) && command.startsWith("./upkeep ")) desk.type(command);
    const page = "docs/operate/agent.md";
    for (const start of ["upkeep group add tills", "upkeep fleet assign tills"])
      desk.type(of("docs/operate/server.md", start));
    await desk.leave(of("docs/operate/server.md", "upkeep server --name"), "server/started");
    const token = desk.token(desk.type(of(page, "upkeep token new --group tills")));
    desk.type(of(page, "UPKEEP_TOKEN=").replace("upkeep1.…", token));
    await desk.leave(of(page, "upkeep-agent --data /var/lib/upkeep run"), "agent/started");
    await desk.runs("1.0.0");
    assert.equal(await desk.answer(), "well\n");
    for (const word of ["status", "log", "update"])
      desk.type(of(page, `upkeep-agent --data /var/lib/upkeep ${word}`));
  });
});

describe("the tutorial", { skip }, () => {
  let desk: Desk;
  before(async () => (desk = await Desk.create()));
  after(() => desk.clear());
  const page = "docs/tutorial.md";

  it("leads an operator through the first hour, to the letter", async () => {
    const all = commandsOf(page).map(({ command }) => command);
    const done = new Set<string>();
    const next = (start: string): string => {
      const command = all.find((one) => one.startsWith(start) && !done.has(one));
      assert.ok(command !== undefined, `the tutorial shows no command ${start}`);
      done.add(command);
      return command;
    };
    desk.type(next("upkeep repo init"));
    desk.type(next("upkeep release add"));
    desk.type(next("upkeep release promote"));
    await desk.leave(next("upkeep server"), "server/started");
    desk.type(next("upkeep fleet assign"));
    const token = desk.token(desk.type(next("upkeep token new")));
    writeFileSync(join(desk.folder, "token"), `${token}\n`, { mode: 0o600 });
    desk.type(next("upkeep --data /var/lib/upkeep agent enroll"));
    await desk.leave(next("upkeep --data /var/lib/upkeep agent run"), "agent/started");
    await desk.runs("1.0.0");
    assert.equal(await desk.answer(), "well\n");

    desk.type(next("upkeep repo bundle"));
    desk.type(next("upkeep agent update --from"), { UPKEEP_DATA: desk.device });
    desk.type(next("upkeep repo status"));
    desk.type(next("upkeep repo doctor"));
    const target = spawnSync(
      "find",
      [join(desk.folder, ".local/share/upkeep/repository/targets"), "-name", "*.tar"],
      { encoding: "utf8" },
    );
    desk.type(next("upkeep verify FILE").replace("FILE", target.stdout.trim().split("\n")[0]!));

    desk.type("upkeep release add shop 1.1.0 ./dist --promote");
    await desk.runs("1.1.0");
    desk.type(next("upkeep release recall shop 1.1.0"));
    desk.type("upkeep --data /var/lib/upkeep agent update || true");
    await desk.runs("1.0.0");
    assert.equal(await desk.answer(), "well\n");
    assert.deepEqual(
      all.filter((one) => !done.has(one)),
      [],
      "every command of the page was typed",
    );
  });
});
