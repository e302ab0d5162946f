// What publishing one release costs in a repository that already lists many targets: CPU, memory, files written.
//
//   node bench/publish.ts              10,000, 100,000 and 1,000,000 targets
//   node bench/publish.ts 50000        one size

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sha256Hex, sha512Hex } from "../src/core/digest.ts";
import { toHex, toUtf8 } from "../src/core/bytes.ts";
import { systemClock } from "../src/io/system/clock.ts";
import { diskSource } from "../src/io/source/disk.ts";
import { systemDisk } from "../src/io/system/disk.ts";
import { generateKey } from "../src/io/keys/key-store.ts";
import { publisherLock } from "../src/io/system/publisher-lock.ts";
import { systemRandom } from "../src/io/system/random.ts";
import { localSigner, type Signer } from "../src/keys/signer.ts";
import { mirrorAt, openRepository } from "../src/repository/client/client.ts";
import { emptyTargets } from "../src/repository/publish/draft.ts";
import { NO_EXTRA, type TargetFile } from "../src/repository/metadata.ts";
import { makeRoot, productDelegation } from "../src/repository/publish/new-repository.ts";
import { openPublisher } from "../src/repository/publish/publisher.ts";
import { memoryStore } from "../src/repository/client/store.ts";

const SIZES = [10_000, 100_000, 1_000_000];

const [mode, argument] = process.argv.slice(2);
if (mode === "--one") await one(Number(argument));
else {
  console.log(
    "targets      bins  making it: CPU   one release: CPU      wall  peak memory  metadata written",
  );
  for (const size of mode === undefined ? SIZES : [Number(mode)]) {
    const child = spawnSync(process.execPath, [import.meta.filename, "--one", String(size)], {
      stdio: ["ignore", "inherit", "inherit"],
      timeout: 600_000,
    });
    if (child.status !== 0) process.exit(1);
  }
}

async function one(size: number): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), "upkeep-bench-publish-"));
  try {
    const signers: Signer[] = [];
    const key = (name: string) => {
      const signer = localSigner(generateKey("ed25519"), "ed25519");
      signers.push(signer);
      return { name, key: signer.publicKey };
    };
    const folder = join(root, "repository");
    const tools = {
      disk: systemDisk,
      folder,
      clock: systemClock,
      ring: async (wanted: readonly { readonly spki: Uint8Array }[]) => {
        const spki = new Set(wanted.map((one) => toHex(one.spki)));
        return signers.filter((signer) => spki.has(toHex(signer.publicKey.spki)));
      },
      lock: publisherLock(join(root, "lock"), { disk: systemDisk, clock: systemClock }),
      lookFromOutside: async () => {
        const client = openRepository({
          mirrors: [mirrorAt(diskSource(systemDisk, folder))],
          store: memoryStore(),
          clock: systemClock,
          random: systemRandom,
          trustedRoot: await systemDisk.read(join(folder, "metadata/1.root.json"), 1 << 20),
        });
        await client.refresh();
      },
    };
    const publisher = openPublisher(tools);
    const role = (name: string) => ({ keys: [key(name)], threshold: 1 });
    const setup = {
      root: role("root"),
      targets: role("targets"),
      snapshot: role("snapshot"),
      timestamp: role("timestamp"),
    };
    const product = productDelegation("shop", role("products"));
    const before = process.cpuUsage();
    await publisher.create(makeRoot(setup), async (draft) => {
      draft.put("targets", emptyTargets());
      await draft.delegate("targets", product.role, product.keys);
      await draft.changeTargets("product.shop", { put: targets(0, size) });
    });
    const made = seconds(process.cpuUsage(before));
    const bins = readdirSync(join(folder, "metadata")).filter((name) => name.includes(".bin-")).length;

    // A process of its own would publish: what making the repository left in memory does not count.
    const fresh = openPublisher(tools);
    const known = new Set(readdirSync(join(folder, "metadata")));
    globalThis.gc?.();
    const start = performance.now();
    const cpu = process.cpuUsage();
    await fresh.change((draft) => draft.changeTargets("product.shop", { put: targets(size, size + 2) }));
    const spent = seconds(process.cpuUsage(cpu));
    const wall = (performance.now() - start) / 1000;
    const written = readdirSync(join(folder, "metadata"))
      .filter((name) => !known.has(name) || name === "timestamp.json")
      .reduce((total, name) => total + statSync(join(folder, "metadata", name)).size, 0);
    const memory = process.resourceUsage().maxRSS / 1024;
    console.log(
      [
        String(size).padStart(9),
        String(bins).padStart(7),
        `${made.toFixed(2)} s`.padStart(15),
        `${spent.toFixed(3)} s`.padStart(18),
        `${wall.toFixed(3)} s`.padStart(9),
        `${Math.round(memory)} MiB`.padStart(12),
        `${Math.round(written / 1024)} KiB`.padStart(17),
      ].join(" "),
    );
  } finally {
    rmSync(root, { recursive: true });
  }
}

function targets(from: number, to: number): ReadonlyMap<string, TargetFile> {
  const out = new Map<string, TargetFile>();
  for (let n = from; n < to; n++) {
    const name = toUtf8(`target ${n}`);
    out.set(`products/shop/1.0.${n}/shop-linux-x64.tar.gz`, {
      length: 1_000_000 + n,
      hashes: { sha256: sha256Hex(name), sha512: sha512Hex(name) },
      extra: NO_EXTRA,
    });
  }
  return out;
}

function seconds(usage: NodeJS.CpuUsage): number {
  return (usage.user + usage.system) / 1e6;
}
