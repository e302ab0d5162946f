// Programs of a signing service for tests: commands that end, commands that run, ports that are free.

import assert from "node:assert/strict";
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";

export { freePort } from "./_ports.ts";

const main = join(new URL("../..", import.meta.url).pathname, "src/apps/cli/main.ts");

export const PASSPHRASE = "correct horse battery staple";
export type Env = { readonly [name: string]: string };
export type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** What a program is started with: nothing of this process but where programs, and what Node.js compiled before, are. */
export function plainEnvironment(home: string): { readonly [name: string]: string } {
  const { PATH = "", NODE_COMPILE_CACHE } = process.env;
  return { PATH, HOME: home, ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }) };
}

export class Programs {
  readonly folder: string;
  readonly #env: Env;
  readonly #running = new Set<ChildProcess>();

  constructor(folder: string, env: Env) {
    this.folder = folder;
    this.#env = { ...plainEnvironment(folder), ...env };
  }

  run(args: readonly string[], env: Env = {}): Promise<Ran> {
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        [main, ...args],
        { cwd: this.folder, env: { ...this.#env, ...env }, timeout: 120_000, maxBuffer: 64 * 1024 * 1024 },
        (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : Number(error.code ?? 99), stdout, stderr }),
      );
    });
  }

  /** Standard output of a command that must succeed. */
  async ok(args: readonly string[], env: Env = {}): Promise<string> {
    const ran = await this.run(args, env);
    assert.equal(ran.code, 0, `${args.join(" ")}\n${ran.stdout}${ran.stderr}`);
    return ran.stdout;
  }

  /** Starts a command that runs until it is stopped, and waits until it says that it is ready. */
  start(args: readonly string[], env: Env = {}): Promise<ChildProcess> {
    const child = spawn(process.execPath, [main, "--json", ...args], {
      cwd: this.folder,
      env: { ...this.#env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#running.add(child);
    child.once("exit", () => this.#running.delete(child));
    return new Promise((resolve, reject) => {
      let said = "";
      child.stderr.on("data", (part: Buffer) => (said = (said + part.toString()).slice(-20_000)));
      child.stdout.on("data", (part: Buffer) => {
        if (part.toString().includes('"ready":true')) resolve(child);
      });
      child.once("exit", (code) => reject(new Error(`${args.join(" ")} ended with ${code}: ${said}`)));
      setTimeout(() => reject(new Error(`${args.join(" ")} was not ready: ${said}`)), 30_000).unref();
    });
  }

  async stop(child: ChildProcess, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await gone;
  }

  async stopAll(): Promise<void> {
    for (const child of this.#running) await this.stop(child, "SIGKILL");
  }
}
