// The log of a program as a person reads it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Call } from "./command.ts";
import { programLog, readableLine } from "./program-log.ts";

function logged(given: {
  level?: string;
  quiet?: boolean;
  verbose?: boolean;
  isTTY?: boolean;
}): readonly string[] {
  const lines: string[] = [];
  const { level, quiet = false, verbose = false, isTTY = false } = given;
  const clock = { now: () => Date.UTC(2026, 10, 21, 4) };
  const terminal = { stderr: { isTTY, write: (text: string) => lines.push(text) } };
  const call = {
    text: () => level,
    context: { terminal, clock, quiet, verbose, json: false },
  } as unknown as Call;
  const { log } = programLog(call);
  for (const at of ["debug", "info", "warn", "error"] as const)
    log(at, "a/b", { port: 8443, reason: "It is so." });
  return lines;
}

describe("the log of a program", () => {
  it("is one object a line in a pipe, and a readable line on a terminal", () => {
    assert.deepEqual(JSON.parse(logged({})[0]!), {
      time: "2026-11-21T04:00:00Z",
      level: "info",
      event: "a/b",
      port: 8443,
      reason: "It is so.",
    });
    assert.equal(logged({ isTTY: true })[0], '04:00:00 info  a/b  port=8443  reason="It is so."\n');
  });

  it("holds as much as was asked for", () => {
    const count = (given: Parameters<typeof logged>[0]): number => logged(given).length;
    assert.deepEqual(
      [
        count({}),
        count({ quiet: true }),
        count({ verbose: true }),
        count({ level: "error" }),
        count({ level: "debug", quiet: true }),
      ],
      [3, 2, 4, 1, 4],
    );
  });

  it("does not let what others wrote steer the terminal", () => {
    const line = JSON.stringify({
      time: "2026-11-21T04:00:00Z",
      level: "warn",
      event: "a/b",
      name: "x\u001b[2J\u009b1m",
    });
    // eslint-disable-next-line no-control-regex -- control characters are what must not be there
    assert.doesNotMatch(readableLine(line).trimEnd(), /[\u0000-\u001f\u007f-\u009f]/);
  });
});
