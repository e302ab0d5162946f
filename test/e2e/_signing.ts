// A signing service as real programs for whole-program tests: gateway, signer, a registered build machine, one certificate under a root.

import { execFile, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { certificatePem } from "../../src/der/x509.ts";
import { publisherPki, type Pki } from "../../src/testing/publisher-pki.ts";
import { freePort, PASSPHRASE, Programs, type Env, type Ran } from "./_programs.ts";

const UNLOCK = { UPKEEP_UNLOCK: PASSPHRASE };

export type { Ran } from "./_programs.ts";
export type Line = { readonly [member: string]: unknown };

/** Skips a test by the name of what is not installed. */
export const needs = (...commands: readonly string[]): { skip?: string } => {
  const missing = commands.filter((command) => spawnSync("sh", ["-c", `command -v ${command}`]).status !== 0);
  return missing.length === 0 ? {} : { skip: `${missing.join(" and ")} not installed` };
};

export class SigningWorld {
  readonly folder: string = mkdtempSync(join(tmpdir(), "upkeep-signing-e2e-"));
  readonly service: string = join(this.folder, "service.json");
  readonly identity: string = join(this.folder, "build.pem");
  readonly #programs = new Programs(this.folder, { UPKEEP_SERVICE: this.service });
  #gateway = { address: "", spki: "" };
  pki!: Pki;
  signer!: ChildProcess;

  /** Paths of the pki: `root.pem`, and `chain.pem` with `key.pem` for signing without the service. */
  static async start(operations: readonly string[] = ["authenticode", "elf", "cms"]): Promise<SigningWorld> {
    const world = new SigningWorld();
    const [clients, signers] = [await freePort(), await freePort()];
    const ports = ["--clients", `127.0.0.1:${clients}`, "--signers", `127.0.0.1:${signers}`];
    const made = await world.ok(["--json", "--data", "gateway", "gateway", "init", ...ports]);
    const { spki } = JSON.parse(made) as { spki: string };
    world.#gateway = { address: `127.0.0.1:${clients}`, spki };
    const at = ["--gateway", `127.0.0.1:${signers}=${spki}`];
    const init = await world.ok(
      ["--json", "--data", "signer", "signer", "init", "--name", "signer-1", ...at],
      UNLOCK,
    );
    const signer = (JSON.parse(init) as { spki: string }).spki;
    await world.ok(["--data", "gateway", "gateway", "add", `signer-1=${signer}`]);
    world.pki = await publisherPki({ now: Date.now(), key: "rsa2048" });
    const { leaf, authority, root } = world.pki;
    world.put("key.pem", String(leaf.privateKey.export({ type: "pkcs8", format: "pem" })));
    world.put("chain.pem", [leaf, authority].map((holder) => certificatePem(holder.certificate)).join(""));
    world.put("root.pem", certificatePem(root.certificate));
    const build = (await world.ok(["signer", "identity", world.identity])).trim();
    await world.admin("user", "add", "build", "--key", build);
    await world.admin("key", "import", "release", "key.pem", "--scheme", "rsa-pkcs1v15-sha256");
    await world.admin("cert", "import", "release", "chain.pem");
    const allowed = operations.flatMap((operation) => ["--operation", operation]);
    await world.admin("policy", "set", "release", "--user", "build", ...allowed);
    await world.describe();
    await world.#programs.start(["--data", "gateway", "gateway", "run"]);
    await world.startSigner();
    return world;
  }

  async startSigner(): Promise<void> {
    this.signer = await this.#programs.start(["--data", "signer", "signer", "run"], UNLOCK);
  }

  /** Writes the service's description as it is now. */
  async describe(): Promise<void> {
    const { address, spki } = this.#gateway;
    const text = await this.ok(["--data", "signer", "signer", "describe", "--gateway", `${address}=${spki}`]);
    writeFileSync(this.service, text);
  }

  admin(...args: readonly string[]): Promise<string> {
    return this.ok(["--data", "signer", "signer", ...args], UNLOCK);
  }

  /** `sign --service` with --json; the lines are those of the files. */
  async sign(...args: readonly string[]): Promise<Ran & { readonly lines: readonly Line[] }> {
    const at = ["--service", this.service, "--identity", this.identity, "--cert", "release"];
    const ran = await this.upkeep(["--json", "sign", ...at, ...args]);
    return { ...ran, lines: linesOf(ran.stdout) };
  }

  put(name: string, content: string | Uint8Array): string {
    writeFileSync(join(this.folder, name), content);
    return name;
  }

  read(name: string): Uint8Array {
    return new Uint8Array(readFileSync(join(this.folder, name)));
  }

  /** Another program, in the folder; its output whatever its exit code. */
  run(program: string, ...args: readonly string[]): Promise<string> {
    return new Promise((resolve) =>
      execFile(program, args, { cwd: this.folder, timeout: 60_000 }, (_error, stdout, stderr) =>
        resolve(stdout + stderr),
      ),
    );
  }

  upkeep(args: readonly string[], env: Env = {}): Promise<Ran> {
    return this.#programs.run(args, env);
  }

  ok(args: readonly string[], env: Env = {}): Promise<string> {
    return this.#programs.ok(args, env);
  }

  async close(): Promise<void> {
    await this.#programs.stopAll();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Ends the signer as its operator does. */
  stopSigner(): Promise<void> {
    return this.#programs.stop(this.signer);
  }
}

export function linesOf(stdout: string): readonly Line[] {
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Line);
}
