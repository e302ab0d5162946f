// Tests of crash reports: real processes that end by an error nobody caught.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { CrashReport } from "./crash.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-crash-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const here = new URL(".", import.meta.url).href;

/** Runs `code` in a process with crash reports, and gives its log line and what it left in the folder. */
function crash(code: string, into: string) {
  const script = `
    import { reportCrashes } from "${here}crash.ts";
    import { systemClock } from "${here}clock.ts";
    import { jsonLog } from "${here}log.ts";
    import { SigningError } from "${here}../../signing/errors.ts";
    reportCrashes({ program: "test", clock: systemClock, say: jsonLog(systemClock), folder: ${JSON.stringify(join(folder, into))} });
    ${code}`;
  const ran = spawnSync(process.execPath, ["--no-warnings", "--input-type=module-typescript", "-e", script], {
    encoding: "utf8",
    timeout: 20_000,
  });
  return ran;
}
const reports = (into: string): CrashReport[] =>
  readdirSync(join(folder, into))
    .toSorted()
    .map((name) => JSON.parse(readFileSync(join(folder, into, name), "utf8")) as CrashReport);

describe("a crash", () => {
  it("is one line of the log and one private file, and ends the process with 1", () => {
    const ran = crash("function deep() { null.x } setTimeout(deep, 1); setInterval(() => {}, 1000);", "a");
    assert.equal(ran.status, 1);
    const lines = ran.stderr.trim().split("\n");
    assert.equal(lines.length, 1);
    const { level, event, name } = JSON.parse(lines[0]!) as { [name: string]: unknown };
    assert.deepEqual([level, event, name], ["error", "crash", "TypeError"]);
    const [report] = reports("a");
    assert.match(report!.frames[0]!, /^(Timeout\.)?deep/);
    const [file] = readdirSync(join(folder, "a"));
    assert.equal(statSync(join(folder, "a", file!)).mode & 0o777, 0o600);
  });

  it("of a promise that nobody waits for is one too", () => {
    const ran = crash(
      'void Promise.reject(new SigningError("signing/log-closed", "The audit log takes no more entries."));',
      "b",
    );
    assert.equal(ran.status, 1);
    const [report] = reports("b");
    assert.deepEqual(
      [report!.code, report!.message],
      ["signing/log-closed", "The audit log takes no more entries."],
    );
  });

  it("never tells what the runtime quotes from a secret", () => {
    const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ";
    for (const [i, code] of [
      `JSON.parse('{"ticketKey": ${secret}}')`,
      `throw new Error("${secret}")`,
      `throw new Error("x\\n    at ${secret} (here:1:1)")`,
      `throw "${secret}"`,
      `throw { code: "${secret} ${secret}", message: "${secret}" }`,
      `new Map().get(1)["${secret}"]()`,
    ].entries()) {
      const ran = crash(`setTimeout(() => { ${code} }, 1)`, `c${i}`);
      assert.equal(ran.status, 1, code);
      const told = `${ran.stderr}${ran.stdout}${JSON.stringify(reports(`c${i}`))}`;
      assert.ok(!told.includes(secret), told);
    }
  });

  it("again and again fills no disk", () => {
    for (let i = 0; i < 12; i++) crash("throw new RangeError()", "d");
    assert.equal(reports("d").length, 10);
  });
});
