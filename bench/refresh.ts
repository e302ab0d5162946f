// Headline: cold and warm refresh over loopback HTTP, beside tuf-js; then 100,000 and 1,000,000 targets in hash bins.
//
//   node bench/refresh.ts            tuf-js up to 10,000 targets, which takes it minutes
//   node bench/refresh.ts --quick    tuf-js up to 1,000 targets, no bins of 1,000,000

import { fork, type ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Body, TargetFile } from "../src/repository/metadata.ts";
import { inChild, measure, table, type Measured } from "./_measure.ts";

const self = new URL(import.meta.url);
const [mode, ...args] = process.argv.slice(2);
const nameOf = (i: number): string => `products/p/1.0.0/file-${i}.bin`;

if (mode === "ours") await measure(() => ours(args[0]!, args[1]!, args[2] === "twice"));
else if (mode === "tuf-js") await measure(() => tufJs(args[0]!, args[1]!));
else if (mode === "make") await make(args[0]!, Number(args[1]), args[2] === "bins");
else await compare(mode === "--quick");

async function compare(quick: boolean): Promise<void> {
  const rows = [["targets", "client", "check", "CPU", "peak RSS", "on the wire", "requests"]];
  for (const count of [100, 1_000, 10_000]) {
    await inRepository(count, false, async (url, repository) => {
      await both(rows, count.toLocaleString("en"), "ours", url, repository);
      if (count > (quick ? 1_000 : 1_000_000)) return;
      await both(rows, count.toLocaleString("en"), "tuf-js", url, repository);
    });
  }
  for (const count of quick ? [100_000] : [100_000, 1_000_000]) {
    await inRepository(count, true, (url, repository) =>
      both(rows, `${count.toLocaleString("en")} in bins`, "ours", url, repository),
    );
  }
  console.log(table(rows));
  console.log(
    "\ncold: nothing but the root is known, and one target is looked up. warm: a new process, nothing new." +
      "\nagain: the second check of a process that keeps running. CPU without loading modules; wire: both ways, headers included.",
  );
}

/** Cold, warm, and (ours) again; each in a process of its own. */
async function both(
  rows: string[][],
  targets: string,
  client: string,
  url: string,
  repository: string,
): Promise<void> {
  const store = mkdtempSync(join(tmpdir(), "upkeep-bench-store-"));
  try {
    writeFileSync(join(store, "root.json"), readFileSync(join(repository, "metadata", "1.root.json")));
    for (const check of client === "ours" ? ["cold", "warm", "again"] : ["cold", "warm"]) {
      const before = await stats(url);
      const kind =
        client === "ours"
          ? ["ours", url, store, ...(check === "again" ? ["twice"] : [])]
          : ["tuf-js", url, store];
      const result: Measured | null = inChild(self, kind, 600_000);
      const after = await stats(url);
      const share = check === "again" ? 2 : 1;
      rows.push([
        targets,
        client,
        check,
        result === null ? "over 10 min" : `${result.cpu.toFixed(1)} ms`,
        result === null ? "" : `${result.rss.toFixed(0)} MiB`,
        `${((after.bytes - before.bytes) / 1024 / share).toFixed(1)} KiB`,
        String((after.requests - before.requests) / share),
      ]);
    }
  } finally {
    rmSync(store, { recursive: true });
  }
}

async function ours(
  url: string,
  store: string,
  twice: boolean,
): Promise<() => Promise<{ [name: string]: number }>> {
  const { mirrorAt, openRepository } = await import("../src/repository/client/client.ts");
  const { diskStore } = await import("../src/repository/client/store.ts");
  const { httpSource } = await import("../src/io/source/http.ts");
  const { systemDisk } = await import("../src/io/system/disk.ts");
  const { systemClock } = await import("../src/io/system/clock.ts");
  const { systemRandom } = await import("../src/io/system/random.ts");
  const source = httpSource(url, { plainHttp: "allowed" });
  const client = openRepository({
    mirrors: [mirrorAt(source)],
    store: diskStore(systemDisk, store),
    clock: systemClock,
    random: systemRandom,
    trustedRoot: new Uint8Array(readFileSync(join(store, "root.json"))),
  });
  if (twice) await client.refresh();
  return async () => {
    const { changed } = await client.refresh();
    if (changed && (await client.target(nameOf(0))) === null) throw new Error("the target is not there");
    source.close();
    return {};
  };
}

async function tufJs(url: string, store: string): Promise<() => Promise<{ [name: string]: number }>> {
  const { Updater } = await import("tuf-js");
  const fresh = !readdirHas(store, "targets.json");
  return async () => {
    const updater = new Updater({ metadataDir: store, metadataBaseUrl: `${url}/metadata` });
    await updater.refresh();
    if (fresh && (await updater.getTargetInfo(nameOf(0))) === undefined)
      throw new Error("the target is not there");
    return {};
  };
}

function readdirHas(folder: string, name: string): boolean {
  try {
    readFileSync(join(folder, name));
    return true;
  } catch {
    return false;
  }
}

/** Writes a repository of `count` targets, with both digests each as our publisher does. */
async function make(folder: string, count: number, bins: boolean): Promise<void> {
  const { digestsOf } = await import("../src/core/digest.ts");
  const { bitsFor } = await import("../src/repository/publish/hash-bins.ts");
  const { binName, binOf, NO_EXTRA, SPEC_VERSION } = await import("../src/repository/metadata.ts");
  const { targetNameHash, roleFile } = await import("../src/repository/names.ts");
  const { signMetadata } = await import("../src/repository/publish/write-metadata.ts");
  const { localSigner } = await import("../src/keys/signer.ts");

  const signer = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
  const { keyid, tuf } = signer.publicKey;
  const role = { keyids: [keyid], threshold: 1, extra: NO_EXTRA };
  const keys = new Map([[keyid, tuf]]);
  const head = {
    specVersion: SPEC_VERSION,
    version: 1,
    expires: Date.now() + 30 * 86_400_000,
    extra: NO_EXTRA,
  };
  mkdirSync(join(folder, "metadata"), { recursive: true });
  const publish = async (name: string, body: Body, version?: number): Promise<void> =>
    writeFileSync(
      join(folder, "metadata", roleFile(name, version)),
      (await signMetadata(body, [signer])).bytes,
    );
  const describe = (i: number): TargetFile => ({
    length: 1_000_000 + i,
    hashes: digestsOf(new TextEncoder().encode(String(i))),
    extra: NO_EXTRA,
  });

  const bits = bins ? bitsFor(count) : 0;
  const succinct = { bitLength: bits, namePrefix: "targets.bin", ...role };
  const meta = new Map([["targets", { version: 1, extra: NO_EXTRA }]]);
  const top = new Map<string, TargetFile>();
  if (bits === 0) {
    for (let i = 0; i < count; i++) top.set(nameOf(i), describe(i));
  } else {
    const dealt = Array.from({ length: 2 ** bits }, (): number[] => []);
    for (let i = 0; i < count; i++) dealt[binOf(succinct, targetNameHash(nameOf(i)))]!.push(i);
    for (const [bin, members] of dealt.entries()) {
      const name = binName(succinct, bin);
      const targets = new Map(members.map((i) => [nameOf(i), describe(i)]));
      await publish(name, { ...head, type: "targets", targets, delegations: null }, 1);
      meta.set(name, { version: 1, extra: NO_EXTRA });
    }
  }
  const delegations = bits === 0 ? null : { keys, roles: [], succinct, extra: NO_EXTRA };
  await publish("targets", { ...head, type: "targets", targets: top, delegations }, 1);
  await publish("snapshot", { ...head, type: "snapshot", meta }, 1);
  await publish("timestamp", { ...head, type: "timestamp", snapshot: { version: 1, extra: NO_EXTRA } });
  const roles = { root: role, timestamp: role, snapshot: role, targets: role };
  await publish("root", { ...head, type: "root", consistentSnapshot: true, keys, roles }, 1);
  process.stdout.write(`${JSON.stringify({ cpu: 0, wall: 0, rss: 0, note: {} })}\n`);
}

async function inRepository(
  count: number,
  bins: boolean,
  use: (url: string, folder: string) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "upkeep-bench-repository-"));
  let server: ChildProcess | undefined;
  try {
    inChild(self, ["make", folder, String(count), ...(bins ? ["bins"] : [])], 600_000);
    server = fork(new URL("./_static-server.ts", import.meta.url), [folder]);
    const port = await new Promise<number>((resolve) =>
      server!.once("message", (message) => resolve(message as number)),
    );
    await use(`http://127.0.0.1:${port}`, folder);
  } finally {
    server?.disconnect();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function stats(url: string): Promise<{ bytes: number; requests: number }> {
  return (await (await fetch(`${url}/stats`)).json()) as { bytes: number; requests: number };
}
