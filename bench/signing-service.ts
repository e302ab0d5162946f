// Signatures a second through gateway, policy and audit log, beside the raw rate of node:crypto in the same run.
//
//   node bench/signing-service.ts [seconds] [postgres]
//
// With `postgres` the signer's log is in a database of this machine's own instead of its folder.

import { spawn, execFileSync, type ChildProcess } from "node:child_process";
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toBase64 } from "../src/core/bytes.ts";
import { sha256Hex } from "../src/core/digest.ts";
import { systemClock } from "../src/io/system/clock.ts";
import { identityOf } from "../src/io/signing/pinned-tls.ts";
import { systemRandom } from "../src/io/system/random.ts";
import { SigningClient } from "../src/io/signing/client.ts";
import { parseDescription } from "../src/signing/wire/description.ts";
import { startPostgres } from "../src/testing/postgres-cluster.ts";
import type { Scheme } from "../src/keys/scheme.ts";

const seconds = Number(process.argv[2] ?? 5);
const cluster = process.argv[3] === "postgres" ? await startPostgres() : null;
const IN_FLIGHT = 64;
const root = new URL("..", import.meta.url).pathname;
const main = join(root, "src/apps/cli/main.ts");
const folder = mkdtempSync(join(tmpdir(), "upkeep-bench-signing-"));
const env = { PATH: process.env["PATH"] ?? "", HOME: folder, UPKEEP_UNLOCK: "a passphrase for the bench" };
const upkeep = (...args: string[]): string =>
  execFileSync(process.execPath, [main, ...args], { cwd: folder, env, encoding: "utf8" });
const children: ChildProcess[] = [];

try {
  const [clients, signers] = [await freePort(), await freePort()];
  const { spki } = JSON.parse(
    upkeep(
      "--json",
      "--data",
      "g",
      "gateway",
      "init",
      "--clients",
      `127.0.0.1:${clients}`,
      "--signers",
      `127.0.0.1:${signers}`,
    ),
  ) as { spki: string };
  writeFileSync(
    join(folder, "g/gateway/gateway.toml"),
    `${readFileSync(join(folder, "g/gateway/gateway.toml"), "utf8")}\n[limits]\nsession-bytes = 1073741824\nbytes-per-second = 1073741824\n`,
  );
  const made = JSON.parse(
    upkeep(
      "--json",
      "--data",
      "s",
      "signer",
      "init",
      "--name",
      "bench",
      "--gateway",
      `127.0.0.1:${signers}=${spki}`,
    ),
  ) as { spki: string };
  upkeep("--data", "g", "gateway", "add", `bench=${made.spki}`);
  const identity = await identityOf(
    generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey,
    systemClock,
    systemRandom,
  );
  upkeep("--data", "s", "signer", "user", "add", "load", "--key", identity.spki);
  const keys: { name: string; scheme: Scheme; pem: string }[] = [];
  for (const [name, scheme] of [
    ["p256", "ecdsa-sha2-nistp256"],
    ["rsa3072", "rsa-pkcs1v15-sha256"],
  ] as const) {
    const { privateKey } =
      name === "p256"
        ? generateKeyPairSync("ec", { namedCurve: "prime256v1" })
        : generateKeyPairSync("rsa", { modulusLength: 3072 });
    const pem = String(privateKey.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(join(folder, `${name}.pem`), pem);
    upkeep("--data", "s", "signer", "key", "import", name, `${name}.pem`, "--scheme", scheme);
    upkeep("--data", "s", "signer", "cert", "self", name);
    upkeep("--data", "s", "signer", "policy", "set", name, "--user", "load", "--operation", "raw");
    keys.push({ name, scheme, pem });
  }
  if (cluster !== null)
    appendFileSync(
      join(folder, "s/signer/signer.toml"),
      `\n[store]\nurl = "${await cluster.createDatabase()}"\npassword-file = "${cluster.passwordFile}"\n`,
    );
  const service = upkeep("--data", "s", "signer", "describe", "--gateway", `127.0.0.1:${clients}=${spki}`);
  const gateway = await start(["--data", "g", "gateway", "run"]);
  const signer = await start(["--data", "s", "signer", "run"]);
  const client = new SigningClient(
    { clock: systemClock, random: systemRandom },
    { service: parseDescription(Buffer.from(service)), identity, signIn: async () => ({ method: "key" }) },
  );

  console.log(
    `${seconds} s each, ${IN_FLIGHT} requests in flight, one client, one session; CPU is of the named processes`,
  );
  for (const { name, scheme, pem } of keys) {
    const raw = rawRate(pem, seconds);
    const offered = await client.certificate(name);
    const one = async (i: number): Promise<void> => {
      const message = Buffer.from(`message ${name} ${i}`);
      const outcome = await client.sign(
        {
          certificate: name,
          operation: { kind: "raw", scheme, message: toBase64(message), purpose: "bench" },
          file: { name: "bench", length: message.length, sha256: sha256Hex(message) },
        },
        offered,
      );
      if (outcome.state !== "signed") throw new Error("it was not signed");
    };
    for (let i = 0; i < 100; i++) await one(-i);
    const before = { signer: cpu(signer), gateway: cpu(gateway), own: process.cpuUsage() };
    const times: number[] = [];
    const from = performance.now();
    let next = 0;
    await Promise.all(
      Array.from({ length: IN_FLIGHT }, async () => {
        while (performance.now() - from < seconds * 1000) {
          const started = performance.now();
          await one(next++);
          times.push(performance.now() - started);
        }
      }),
    );
    const wall = (performance.now() - from) / 1000;
    const own = process.cpuUsage(before.own);
    const used = {
      signer: cpu(signer) - before.signer,
      gateway: cpu(gateway) - before.gateway,
      client: (own.user + own.system) / 1e6,
    };
    times.sort((a, b) => a - b);
    const rate = times.length / wall;
    console.log(
      [
        `${scheme}:`,
        `  service  ${rate.toFixed(0)}/s wall; ${(times.length / used.signer).toFixed(0)} per CPU second of the signer (all its processes)`,
        `  raw      ${raw.toFixed(0)}/s per CPU second, node:crypto, one thread`,
        `  ratio    ${((100 * rate) / raw).toFixed(0)} % of the raw rate of one core`,
        `  latency  p50 ${times[Math.floor(times.length * 0.5)]!.toFixed(1)} ms, p99 ${times[Math.floor(times.length * 0.99)]!.toFixed(1)} ms`,
        `  a signature  ${perSignature(used, times.length)}`,
        `  CPU      signer ${used.signer.toFixed(2)} s, gateway ${used.gateway.toFixed(2)} s, client ${used.client.toFixed(2)} s for ${times.length} signatures in ${wall.toFixed(1)} s`,
      ].join("\n"),
    );
  }
  console.log(
    `memory: signer ${memory(signer)} in ${pidsOf(signer).length} processes, gateway ${memory(gateway)}`,
  );
  console.log(upkeep("--data", "s", "audit", "verify").trim());
  await client.close();
} finally {
  for (const child of children.toReversed()) {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
  }
  rmSync(folder, { recursive: true, force: true });
  await cluster?.remove();
}

function perSignature(used: { readonly [who: string]: number }, n: number): string {
  const each = Object.entries(used).map(([who, s]) => `${who} ${((1000 * s) / n).toFixed(3)} ms`);
  const all = Object.values(used).reduce((sum, s) => sum + s, 0);
  return `${each.join(", ")}; all ${((1000 * all) / n).toFixed(3)} ms`;
}

function rawRate(pem: string, duration: number): number {
  const key = createPrivateKey(pem);
  const before = process.cpuUsage();
  const from = performance.now();
  let n = 0;
  for (; performance.now() - from < duration * 500; n++) sign("sha256", Buffer.from(`message ${n}`), key);
  const used = process.cpuUsage(before);
  return n / ((used.user + used.system) / 1e6);
}

function start(args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [main, "--json", ...args], {
    cwd: folder,
    env,
    stdio: ["ignore", "pipe", "ignore"],
  });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.stdout.on("data", (part: Buffer) => {
      if (part.toString().includes('"ready":true')) resolve(child);
    });
    child.once("exit", () => reject(new Error(`${args.join(" ")} ended`)));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function pidsOf(child: ChildProcess): readonly number[] {
  const pid = child.pid!;
  const below = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return [
    pid,
    ...below
      .split(" ")
      .filter((text) => text !== "")
      .map(Number),
  ];
}

/** CPU seconds of a process and its children; 100 ticks a second. */
function cpu(child: ChildProcess): number {
  let ticks = 0;
  for (const pid of pidsOf(child)) {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / 100;
}

/** Resident, and with pages that several processes share counted once. */
function memory(child: ChildProcess): string {
  const mib = (field: RegExp, file: string): number => {
    let kib = 0;
    for (const pid of pidsOf(child))
      kib += Number(field.exec(readFileSync(`/proc/${pid}/${file}`, "utf8"))?.[1] ?? 0);
    return Math.round(kib / 1024);
  };
  return `${mib(/VmRSS:\s+(\d+)/, "status")} MiB (${mib(/^Pss:\s+(\d+)/m, "smaps_rollup")} shared out)`;
}
