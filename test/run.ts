// Runs everything: prepare, format, lint, types, then unit tests in one process beside whole-program tests, each in its own.
//
//   node test/run.ts                 everything
//   node test/run.ts --no-install    everything, without installing Debian packages that tests use as witnesses
//   node test/run.ts --unit [TEXT]   unit tests only, of files whose path contains TEXT
//   node test/run.ts --e2e [TEXT]    whole-program tests only

import { spawn, spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { relative } from "node:path";
import { run } from "node:test";
import { prepare } from "./prepare.ts";

const root = new URL("..", import.meta.url).pathname;
process.chdir(root);
// Programs are started hundreds of times: what they are compiled to is kept, as `./upkeep` does for people.
process.env["NODE_COMPILE_CACHE"] ??= `${root}node_modules/.cache/v8`;
enableCompileCache(process.env["NODE_COMPILE_CACHE"]);
const install = !process.argv.includes("--no-install");
const args = process.argv.slice(2).filter((word) => word !== "--no-install");
const only = args[0] === "--unit" ? "unit" : args[0] === "--e2e" ? "e2e" : null;
const filter = (only === null ? args[0] : args[1]) ?? "";

const totals = { passed: 0, failed: 0, skipped: 0 };
const started = performance.now();

/** Whole-program files at a time; the machine has work left over for this many, measured on two cores. */
const AT_ONCE = 2;
/** Files that take longest, so that none of them begins when all others are done. */
const SLOWEST = [
  "signing-service",
  "agent-process",
  "agent-kill-matrix",
  "signer-store",
  "demo",
  "signing-many",
];

// Whatever hangs, the run ends and says so.
const LONGEST = 40 * 60_000;
/** No single test is silent for so long. */
const SILENCE = 5 * 60_000;
let heard = performance.now();
let ended = false;
const underWay = new Set<string>();
setInterval(() => {
  const now = performance.now();
  if (now - started > LONGEST) giveUp(`the run did not end within ${LONGEST / 60_000} minutes`);
  if (now - heard > SILENCE) giveUp(`nothing was heard of any test for ${SILENCE / 60_000} minutes`);
}, 5000).unref();
process.on("exit", (code) => {
  if (!ended && code === 13) report("the run ended although tests were waiting for something");
});

if (only === null && filter === "") {
  prepare(install);
  check("format", ["oxfmt", "--check", "."]);
  check("lint", ["oxlint", "--deny-warnings", "."]);
  check("types", ["tsc", "--noEmit"]);
}
const matching = (patterns: string[]): string[] =>
  globSync(patterns)
    .filter((file) => file.includes(filter))
    .sort();
// Of a whole run the unit tests get a process of their own, beside the whole-program tests, which mostly wait.
const beside = only === null && filter === "" ? unitTestsBeside() : null;
if (only !== "e2e" && beside === null)
  await tests("unit", matching(["src/**/*.test.ts", "test/*.test.ts"]), "none");
// Whole-program tests start processes and listen on ports: each file in its own process, a few at a time, since they mostly wait.
if (only !== "unit") await tests("e2e", slowestFirst(matching(["test/e2e/**/*.test.ts"])), "process");
const unit = await beside;
totals.passed += unit?.passed ?? 0;
totals.failed += unit?.failed ?? 0;
totals.skipped += unit?.skipped ?? 0;

console.log(
  `${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped in ${Math.round((performance.now() - started) / 1000)} s`,
);
ended = true;
process.exit(totals.failed > 0 || totals.passed === 0 ? 1 : 0);

function check(name: string, command: string[]): void {
  const { status } = spawnSync(`node_modules/.bin/${command[0]!}`, command.slice(1), {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) {
    totals.failed++;
    console.error(`✗ ${name}`);
  } else {
    totals.passed++;
    console.log(`✓ ${name}`);
  }
}

/** What they print comes when they are done; without their last line they have failed. */
function unitTestsBeside(): Promise<typeof totals> {
  const child = spawn(process.execPath, [import.meta.filename, "--unit"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  process.on("exit", () => child.kill());
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      heard = performance.now();
      said += text;
    });
  return new Promise((resolve) => {
    child.on("close", (code) => {
      const last = /^(\d+) passed, (\d+) failed, (\d+) skipped in \d+ s\n$/m.exec(said);
      process.stdout.write(last === null ? said : said.replace(last[0], ""));
      const [passed = 0, failed = 0, skipped = 0] = (last ?? []).slice(1).map(Number);
      const broken = last === null || (code !== 0 && failed === 0);
      if (broken) console.error(`✗ the unit tests ended with ${code}`);
      resolve({ passed, failed: broken ? failed + 1 : failed, skipped });
    });
  });
}

function report(why: string): void {
  console.error(`✗ ${why}; ${totals.passed} had passed; under way:\n  ${[...underWay].join("\n  ")}`);
}

function giveUp(why: string): never {
  report(why);
  process.exit(1);
}

async function tests(name: string, files: string[], isolation: "none" | "process"): Promise<void> {
  if (files.length === 0) return;
  const before = { ...totals };
  const from = performance.now();
  const stream = run({
    files,
    isolation,
    concurrency: isolation === "none" ? true : AT_ONCE,
    timeout: isolation === "none" ? 120_000 : 300_000,
  });
  const done = new Promise<void>((resolve) => stream.on("end", resolve));
  const perFile = new Map<string, number>();
  const note = (data: { file?: string; nesting: number; details: { duration_ms: number } }): void => {
    if (data.nesting > 0 || data.file === undefined) return;
    perFile.set(data.file, (perFile.get(data.file) ?? 0) + data.details.duration_ms);
  };
  // The suites above a test, so that a failure is named by its whole sentence; starts come in the order of definition.
  const above = new Map<string, string[]>();
  const sentenceOf = (data: { file?: string; nesting: number; name: string }): string =>
    [...(above.get(data.file ?? "") ?? []).slice(0, data.nesting), data.name].join(" ");
  stream.on("test:start", (data) => {
    const names = above.get(data.file ?? "") ?? [];
    names.splice(data.nesting, names.length, data.name);
    above.set(data.file ?? "", names);
  });
  const placeOf = (data: { file?: string; line?: number; name: string }): string =>
    `${relative(root, data.file ?? "")}:${data.line ?? 0} ${data.name}`;
  stream.on("test:dequeue", (data) => {
    heard = performance.now();
    underWay.add(placeOf(data));
  });
  stream.on("test:complete", (data) => {
    heard = performance.now();
    underWay.delete(placeOf(data));
  });
  stream.on("test:pass", (data) => {
    note(data);
    if (data.details.type === "suite") return;
    if (data.skip !== undefined) {
      totals.skipped++;
      console.log(
        `- skipped: ${sentenceOf(data)} (${typeof data.skip === "string" ? data.skip : "no reason given"})`,
      );
    } else {
      totals.passed++;
    }
  });
  stream.on("test:fail", (data) => {
    note(data);
    // A suite whose tests failed was counted by them; one whose own hooks failed was not.
    if (data.details.type === "suite" && failureType(data.details.error) === "subtestsFailed") return;
    totals.failed++;
    console.error(
      `✗ ${data.file ?? ""}:${data.line ?? 0} ${sentenceOf(data)}\n`,
      data.details.error.cause ?? data.details.error,
    );
  });
  stream.on("test:stderr", (data) => {
    if (isolation === "process") process.stderr.write(data.message);
  });
  stream.resume();
  await done;
  const seconds = ((performance.now() - from) / 1000).toFixed(1);
  console.log(
    `${totals.failed === before.failed ? "✓" : "✗"} ${name}: ${totals.passed - before.passed} in ${seconds} s`,
  );
  const slowest = [...perFile].sort(([, a], [, b]) => b - a).slice(0, 5);
  const shown = slowest.map(([file, ms]) => `${relative(root, file)} ${(ms / 1000).toFixed(1)} s`);
  if (shown.length > 1) console.log(`  slowest: ${shown.join(", ")}`);
}

function slowestFirst(files: readonly string[]): string[] {
  const rank = (file: string): number => {
    const place = SLOWEST.findIndex((name) => file.includes(name));
    return place < 0 ? SLOWEST.length : place;
  };
  return files.toSorted((a, b) => rank(a) - rank(b));
}

/** Node says why a test failed on its error; the types do not know of it. */
function failureType(error: Error): unknown {
  return (error as Error & { readonly failureType?: unknown }).failureType;
}
