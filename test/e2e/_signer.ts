// A gateway, a signer and a client in one folder, as processes, for tests of how they are operated.

import assert from "node:assert/strict";
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, PASSPHRASE, plainEnvironment, type Env, type Ran } from "./_programs.ts";

export { PASSPHRASE, type Ran } from "./_programs.ts";

const main = new URL("../../src/apps/cli/main.ts", import.meta.url).pathname;
export type Running = {
  readonly child: ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;
};

/** Milliseconds until a program has said that it is ready; a loaded machine takes its time. */
const START_AT_MOST = 90_000;

export class SignerBench {
  readonly folder: string;
  readonly #running = new Set<ChildProcess>();
  gatewayPorts = { clients: 0, signers: 0 };

  constructor(folder: string) {
    this.folder = folder;
  }

  static async make(): Promise<SignerBench> {
    const bench = new SignerBench(await mkdtemp(join(tmpdir(), "upkeep-signer-ops-")));
    await bench.#setUp();
    return bench;
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  get toml(): string {
    return this.at("signer/signer/signer.toml");
  }

  run(args: readonly string[], env: Env = {}, wrap: readonly string[] = []): Promise<Ran> {
    const [program, ...rest] = [...wrap, process.execPath, main, ...args];
    return new Promise((resolve) => {
      execFile(
        program!,
        rest,
        {
          cwd: this.folder,
          env: { ...plainEnvironment(this.folder), ...env },
          timeout: 60_000,
          maxBuffer: 16 * 1024 * 1024,
        },
        (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : Number(error.code ?? 99), stdout, stderr }),
      );
    });
  }

  async ok(args: readonly string[], env: Env = {}): Promise<string> {
    const ran = await this.run(args, env);
    assert.equal(ran.code, 0, `${args.join(" ")}\n${ran.stdout}${ran.stderr}`);
    return ran.stdout;
  }

  /** A command on the signer, with the passphrase. */
  admin(args: readonly string[], env: Env = {}): Promise<Ran> {
    return this.run(["--data", "signer", ...args], { UPKEEP_UNLOCK: PASSPHRASE, ...env });
  }

  async adminOk(...args: string[]): Promise<string> {
    return this.ok(["--data", "signer", "signer", ...args], { UPKEEP_UNLOCK: PASSPHRASE });
  }

  /** Resolves as soon as standard output holds `until`. */
  start(args: readonly string[], env: Env = {}, until = '"ready":true'): Promise<Running> {
    const child = spawn(process.execPath, [main, "--json", ...args], {
      cwd: this.folder,
      env: { ...plainEnvironment(this.folder), ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#running.add(child);
    child.once("exit", () => this.#running.delete(child));
    let [out, said] = ["", ""];
    child.stderr.on("data", (part: Buffer) => (said += part.toString()));
    return new Promise((resolve, reject) => {
      child.stdout.on("data", (part: Buffer) => {
        out += part.toString();
        if (!out.includes(until)) return;
        clearTimeout(late);
        resolve({ child, stdout: () => out, stderr: () => said });
      });
      child.once("exit", (code) => reject(new Error(`${args.join(" ")} ended with ${code}: ${said}`)));
      const late = setTimeout(() => {
        // It would hold the folder that the next test starts one in.
        child.kill("SIGKILL");
        reject(new Error(`${args.join(" ")} was not ready in time: ${said}`));
      }, START_AT_MOST);
      child.once("exit", () => clearTimeout(late));
      late.unref();
    });
  }

  startSigner(data = "signer", until?: string): Promise<Running> {
    return this.start(["--data", data, "signer", "run"], { UPKEEP_UNLOCK: PASSPHRASE }, until);
  }

  startGateway(): Promise<Running> {
    return this.start(["--data", "gateway", "gateway", "run"]);
  }

  async stop({ child }: Running, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("close", resolve));
    child.kill(signal);
    await gone;
  }

  /** Signs one file as the machine `build`. */
  sign(file: string, ...more: string[]): Promise<Ran> {
    const args = ["--json", "service", "sign", file, "--cert", "release", "--identity", "build.pem", ...more];
    return this.run(args, { UPKEEP_SERVICE: this.at("service.json") });
  }

  async end(): Promise<void> {
    for (const child of this.#running) {
      const gone = new Promise((resolve) => child.once("close", resolve));
      child.kill("SIGKILL");
      await gone;
    }
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Adds a line to `[service]`. */
  service(line: string): void {
    const text = readFileSync(this.toml, "utf8");
    writeFileSync(this.toml, text.replace("[service]\n", `[service]\n${line}\n`));
  }

  async #setUp(): Promise<void> {
    const ports = { clients: await freePort(), signers: await freePort() };
    this.gatewayPorts = ports;
    const gateway = JSON.parse(
      await this.ok([
        "--json",
        "--data",
        "gateway",
        "gateway",
        "init",
        "--clients",
        `127.0.0.1:${ports.clients}`,
        "--signers",
        `127.0.0.1:${ports.signers}`,
      ]),
    ) as { spki: string };
    const signer = JSON.parse(
      await this.ok(
        [
          "--json",
          "--data",
          "signer",
          "signer",
          "init",
          "--name",
          "signer-1",
          "--gateway",
          `127.0.0.1:${ports.signers}=${gateway.spki}`,
        ],
        { UPKEEP_UNLOCK: PASSPHRASE },
      ),
    ) as { spki: string };
    await this.ok(["--data", "gateway", "gateway", "add", `signer-1=${signer.spki}`]);
    const build = (await this.ok(["signer", "identity", "build.pem"])).trim();
    await this.adminOk("user", "add", "build", "--key", build);
    await this.adminOk("key", "new", "release", "--scheme", "ecdsa-sha2-nistp256");
    await this.adminOk("cert", "self", "release");
    await this.adminOk("policy", "set", "release", "--user", "build", "--operation", "cms");
    writeFileSync(
      this.at("service.json"),
      await this.adminOk("describe", "--gateway", `127.0.0.1:${ports.clients}=${gateway.spki}`),
    );
    writeFileSync(this.at("notes.txt"), "hello\n");
  }
}

export function childrenOf(pid: number): readonly number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter((text) => text !== "")
    .map(Number);
}

/** A host that loses its power: the process and everything below it, at once and without a word. */
export async function killWhole(child: ChildProcess): Promise<void> {
  const below = (pid: number): readonly number[] => [pid, ...childrenOf(pid).flatMap(below)];
  const gone = new Promise((resolve) => child.once("close", resolve));
  for (const pid of below(child.pid!)) process.kill(pid, "SIGKILL");
  await gone;
}
