// Fuzzes every parser for as long as wanted, and prints each finding as base64 that can be kept as a vector.
//
//   node bench/fuzz.ts [MINUTES] [SEED] [PARSER]      1 minute, a seed of its own, all parsers

import { UpkeepError } from "../src/core/errors.ts";
import { generator, mutate } from "../test/fuzz/mutate.ts";
import { fuzzTargets } from "../test/fuzz/targets.ts";

const [minutes = "1", seedText = String(Date.now() % 2 ** 31), only = ""] = process.argv.slice(2);
const until = performance.now() + Number(minutes) * 60_000;
const random = generator(Number(seedText));
const targets = (await fuzzTargets()).filter((target) => target.name.includes(only));
const counts = new Map<string, { runs: number; accepted: number; slowest: number }>();
let findings = 0;

console.log(`seed ${seedText}, ${targets.length} parsers, ${minutes} minute(s)`);
while (performance.now() < until) {
  for (const target of targets) {
    const count = counts.get(target.name) ?? { runs: 0, accepted: 0, slowest: 0 };
    counts.set(target.name, count);
    for (const seed of target.seeds) {
      // Now and then a mutation of a mutation of a mutation.
      let bytes = seed;
      for (let depth = 0; depth < 50; depth++) {
        bytes = mutate(random() < 0.2 ? seed : bytes, random);
        if (bytes.length > 100_000) break;
        const from = performance.now();
        try {
          await target.run(bytes);
          count.accepted++;
        } catch (error) {
          if (!(error instanceof UpkeepError)) report(target.name, bytes, error);
        }
        const took = performance.now() - from;
        if (took > 1000) report(target.name, bytes, `took ${Math.round(took)} ms`);
        count.slowest = Math.max(count.slowest, took);
        count.runs++;
      }
    }
  }
}
for (const [name, { runs, accepted, slowest }] of counts) {
  console.log(
    `${name.padEnd(22)} ${String(runs).padStart(9)} runs ${String(accepted).padStart(8)} accepted, slowest ${slowest.toFixed(1)} ms`,
  );
}
console.log(`${findings} finding(s)`);
process.exitCode = findings === 0 ? 0 : 1;

function report(name: string, bytes: Uint8Array, error: unknown): void {
  findings++;
  console.log(
    `FINDING in ${name}: ${String(error).split("\n")[0]!}\n${Buffer.from(bytes).toString("base64")}`,
  );
}
