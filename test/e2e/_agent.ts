// A publisher, a server and a device with a real HTTP service, all real processes on loopback, for whole-program tests.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePort } from "./_ports.ts";

export { freePort };

const root = new URL("../..", import.meta.url).pathname;
const node = join(root, "node_modules/.bin/node");
const main = join(root, "src/apps/cli/main.ts");

export type Ran = {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
};
export type Json = { readonly [name: string]: unknown };

export async function eventually<T>(
  what: string,
  look: () => T | null | Promise<T | null>,
  ms = 60_000,
): Promise<T> {
  for (const end = Date.now() + ms; ;) {
    const found = await look();
    if (found !== null) return found;
    if (Date.now() > end) throw new Error(`it did not come to this within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** One operator's folder and one device's folder in a temporary place. */
export class Site {
  readonly folder = mkdtempSync(join(tmpdir(), "upkeep-agent-"));
  readonly operator = join(this.folder, "operator");
  readonly device = join(this.folder, "device");
  servicePort = 0;
  serverPort = 0;
  #server: ChildProcess | null = null;
  #agent: ChildProcess | null = null;
  agentLog = "";
  serverLog = "";

  static async create(): Promise<Site> {
    const site = new Site();
    site.servicePort = await freePort();
    site.serverPort = await freePort();
    site.ok(site.upkeep(site.operator, "repo", "init"));
    return site;
  }

  /** Runs the command line program to its end. */
  upkeep(data: string, ...args: string[]): Ran {
    const { status, signal, stdout, stderr } = spawnSync(node, [main, "--data", data, ...args], {
      encoding: "utf8",
      timeout: 60_000,
      env: { ...process.env, UPKEEP_TOKEN: "" },
    });
    return { status, signal, stdout, stderr };
  }

  ok(ran: Ran): Ran {
    if (ran.status !== 0) throw new Error(`exit code ${ran.status}: ${ran.stderr}${ran.stdout}`);
    return ran;
  }

  /** Publishes a release of the service `shop`; `behaviour` is JavaScript that runs first. */
  publish(version: string, behaviour = "", options: readonly string[] = []): void {
    this.add(version, behaviour, ["--promote", ...options]);
  }

  /** The same without pointing a channel to it. */
  add(version: string, behaviour = "", options: readonly string[] = []): void {
    const artifact = join(this.folder, `shop-${version}`);
    mkdirSync(join(artifact, "bin"), { recursive: true });
    const program = join(artifact, "bin/shop");
    writeFileSync(program, `#!${process.execPath}\n${SERVICE.replace("/*FIRST*/", behaviour)}`);
    chmodSync(program, 0o755);
    const config = join(this.folder, "release.toml");
    writeFileSync(config, CONFIG.replace("@@", String(this.servicePort)));
    this.ok(
      this.upkeep(this.operator, "release", "add", "shop", version, artifact, "--config", config, ...options),
    );
  }

  async startServer(): Promise<void> {
    this.ok(this.upkeep(this.operator, "fleet", "assign", "default", "shop", "stable"));
    await this.serve();
  }

  async serve(): Promise<void> {
    const args = [
      "server",
      "--listen",
      `127.0.0.1:${this.serverPort}`,
      "--name",
      "127.0.0.1",
      "--admin",
      "off",
    ];
    const server = spawn(node, [main, "--data", this.operator, ...args], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#server = server;
    this.serverLog = "";
    server.stderr.on("data", (part: Buffer) => (this.serverLog += part.toString()));
    await eventually("the server starts", () => {
      if (server.exitCode !== null) throw new Error(this.serverLog);
      return this.serverLog.includes("server/started") ? true : null;
    });
  }

  async stopServer(): Promise<void> {
    await end(this.#server, "SIGTERM");
    this.#server = null;
  }

  enroll(): void {
    const made = JSON.parse(this.ok(this.upkeep(this.operator, "token", "new", "--json")).stdout) as {
      token: string;
    };
    const file = join(this.folder, "token");
    writeFileSync(file, `${made.token}\n`, { mode: 0o600 });
    const server = `127.0.0.1:${this.serverPort}`;
    this.ok(this.upkeep(this.device, "agent", "enroll", "--server", server, "--token-file", file));
  }

  /** `agent update`, by the running agent or without one. */
  update(): Ran & { readonly json: Json } {
    const ran = this.upkeep(this.device, "agent", "update", "--json");
    return { ...ran, json: JSON.parse(ran.stdout === "" ? "{}" : ran.stdout) as Json };
  }

  /** Checks until the server offers the version: it looks at its repository folder twice a second. */
  updateTo(version: string): Ran & { readonly json: Json } {
    for (let tries = 0; ; tries++) {
      const ran = this.update();
      if (ran.stdout.includes(`"${version}"`) || tries === 8) return ran;
      spawnSync("sleep", ["0.3"]);
    }
  }

  /** The same in a process that kills itself at a named point, or under another program such as strace. */
  updateUntil(
    version: string,
    point: string,
    wrapper: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
  ): Ran {
    const script = new URL("_agent-process.ts", import.meta.url).pathname;
    const [program, ...args] = [...wrapper, process.execPath, script, this.device, point];
    for (let tries = 0; ; tries++) {
      const { status, signal, stdout, stderr } = spawnSync(program!, args, {
        encoding: "utf8",
        timeout: 60_000,
        env: { ...process.env, ...env },
      });
      // An answer without the new version came before the server had seen it.
      if (stdout === "" || stdout.includes(`"${version}"`) || tries === 8)
        return { status, signal, stdout, stderr };
      spawnSync("sleep", ["0.3"]);
    }
  }

  startAgent(): ChildProcess {
    const agent = spawn(node, [main, "--data", this.device, "agent", "run"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    agent.stderr.on("data", (part: Buffer) => (this.agentLog += part.toString()));
    this.#agent = agent;
    return agent;
  }

  async stopAgent(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await end(this.#agent, signal);
    this.#agent = null;
  }

  /** What the service says, or null if nothing answers. */
  async ask(): Promise<string | null> {
    try {
      const answer = await fetch(`http://127.0.0.1:${this.servicePort}/`, {
        signal: AbortSignal.timeout(2000),
      });
      return await answer.text();
    } catch {
      return null;
    }
  }

  until(version: string): Promise<true> {
    return eventually(`${version} answers`, async () => ((await this.ask()) === version ? true : null));
  }

  status(): Json {
    return JSON.parse(this.ok(this.upkeep(this.device, "agent", "status", "--json")).stdout) as Json;
  }

  /** Terminal reports as the server has them, oldest first. */
  attempts(): readonly Json[] {
    const { stdout } = this.ok(this.upkeep(this.operator, "report", "list", "--json"));
    const { reports } = JSON.parse(stdout) as { reports: readonly { kind: string; envelope: string }[] };
    return reports
      .filter((report) => report.kind === "attempt")
      .map(({ envelope }) => JSON.parse(envelope) as { payload: string })
      .map(({ payload }) => JSON.parse(Buffer.from(payload, "base64").toString("utf8")) as Json)
      .toReversed();
  }

  /** Processes of this device's components, by pid. */
  services(): readonly number[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .filter((name) => {
        try {
          return readFileSync(`/proc/${name}/environ`, "latin1").includes(`UPKEEP_SLOT=${this.device}/`);
        } catch {
          return false;
        }
      })
      .map(Number);
  }

  /** Stops what this site started, by pid, and removes its folder. */
  async remove(): Promise<void> {
    await this.stopAgent();
    await this.stopServer();
    for (const pid of this.services()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended by itself.
      }
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function end(child: ChildProcess | null, signal: NodeJS.Signals): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill(signal);
  await Promise.race([ended, new Promise<void>((resolve) => setTimeout(resolve, 15_000).unref())]);
  if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
}

const SERVICE = `
const { UPKEEP_VERSION: version, PORT: port, UPKEEP_COMPONENT_DATA: data } = process.env;
/*FIRST*/
require("node:fs").writeFileSync(data + "/last-version", version);
require("node:http").createServer((_, answer) => answer.end(version)).listen(Number(port), "127.0.0.1");
`;

const CONFIG = `
entryPoint = { command = ["bin/shop"], env = { PORT = "@@" } }
[health]
kind = "http"
path = "/"
port = { env = "PORT" }
startSeconds = 10
intervalSeconds = 1
timeoutSeconds = 2
successes = 1
failures = 2
probationSeconds = 0
`;
