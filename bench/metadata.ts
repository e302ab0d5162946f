// Headline: loading and verifying one targets role of 100 to 100,000 targets, beside npm's tuf-js in the same run.
//
//   node bench/metadata.ts            all sizes; tuf-js up to 10,000, which takes it about a minute
//   node bench/metadata.ts --quick    tuf-js up to 1,000

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inChild, measure, table } from "./_measure.ts";

const WANTED = "products/p/1.0.0/file-0.bin";
const [mode, folder] = process.argv.slice(2);
if (mode === "ours") await measure(ours);
else if (mode === "tuf-js") await measure(tufJs);
else if (mode === "make") await make(Number(process.argv[4]));
else compare(mode === "--quick");

function compare(quick: boolean): void {
  const self = new URL(import.meta.url);
  const rows = [
    ["targets", "file", "ours CPU", "ours peak RSS", "tuf-js CPU", "tuf-js peak RSS", "tuf-js / ours"],
  ];
  for (const count of [100, 1_000, 10_000, 100_000]) {
    const at = mkdtempSync(join(tmpdir(), "upkeep-bench-"));
    try {
      inChild(self, ["make", at, String(count)]);
      const mine = inChild(self, ["ours", at])!;
      const theirs = count <= (quick ? 1_000 : 10_000) ? inChild(self, ["tuf-js", at], 400_000) : null;
      rows.push([
        count.toLocaleString("en"),
        `${(mine.note["bytes"]! / 1e6).toFixed(2)} MB`,
        `${mine.cpu.toFixed(0)} ms`,
        `${mine.rss.toFixed(0)} MiB`,
        theirs === null ? "not run" : `${theirs.cpu.toFixed(0)} ms`,
        theirs === null ? "" : `${theirs.rss.toFixed(0)} MiB`,
        theirs === null ? "" : ratio(theirs.cpu / mine.cpu),
      ]);
    } finally {
      rmSync(at, { recursive: true, force: true });
    }
  }
  console.log(table(rows));
  console.log(
    "\nCPU is user plus system time of load and verify alone, modules loaded before; peak RSS is the whole process, Node included.",
  );
}

function ratio(value: number): string {
  return value.toFixed(value < 10 ? 1 : 0);
}

/** Reads, parses, checks every field, verifies the signature, and finds one target. */
async function ours(): Promise<() => Promise<{ bytes: number }>> {
  const { initialRoot, newTargets } = await import("../src/repository/trusted-set.ts");
  const { parseSnapshot } = await import("../src/repository/parse-metadata.ts");
  return async () => {
    const root = initialRoot(read("root.json"));
    const bytes = read("targets.json");
    const { keys, roles } = root.signed;
    const snapshot = parseSnapshot(read("snapshot.json"));
    const { signed } = newTargets(snapshot, "targets", { keys, role: roles.targets }, bytes, Date.now());
    if (!signed.targets.has(WANTED)) throw new Error("the target is not there");
    return { bytes: bytes.length };
  };
}

/** The same with the classes a tuf-js client is made of. */
async function tufJs(): Promise<() => Promise<{ bytes: number }>> {
  const { Metadata, MetadataKind } = await import("@tufjs/models");
  const load = (name: string): never => JSON.parse(Buffer.from(read(name)).toString("utf8")) as never;
  return async () => {
    const root = Metadata.fromJSON(MetadataKind.Root, load("root.json"));
    const bytes = read("targets.json");
    const targets = Metadata.fromJSON(
      MetadataKind.Targets,
      JSON.parse(Buffer.from(bytes).toString("utf8")) as never,
    );
    root.verifyDelegate("targets", targets);
    if (targets.signed.targets[WANTED] === undefined) throw new Error("the target is not there");
    return { bytes: bytes.length };
  };
}

async function make(count: number): Promise<void> {
  const { RepositorySimulator } = await import("../src/testing/repository-simulator.ts");
  const { digestsOf } = await import("../src/core/digest.ts");
  const { NO_EXTRA } = await import("../src/repository/metadata.ts");
  const repository = await RepositorySimulator.create({ now: Date.now() });
  for (let i = 0; i < count; i++) {
    const hashes = { sha256: digestsOf(new TextEncoder().encode(String(i))).sha256 };
    repository.targets.targets.set(`products/p/1.0.0/file-${i}.bin`, {
      length: 1_000_000 + i,
      hashes,
      extra: NO_EXTRA,
    });
  }
  await repository.publish();
  for (const [name, path] of [
    ["root.json", "1.root.json"],
    ["snapshot.json", "2.snapshot.json"],
    ["targets.json", "2.targets.json"],
  ] as const) {
    writeFileSync(join(folder!, name), repository.source.files.get(`metadata/${path}`)!);
  }
  process.stdout.write(`${JSON.stringify({ cpu: 0, wall: 0, rss: 0, note: {} })}\n`);
}

function read(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(folder!, name)));
}
