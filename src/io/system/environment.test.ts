// What a program was handed in its environment is not there for others to read afterwards.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";

const module = JSON.stringify(new URL("./environment.ts", import.meta.url).href);

/** What a program sees that takes its environment; `after` is JavaScript that prints one JSON value. */
function run(env: { readonly [name: string]: string }, after: string): unknown {
  const code = `const { takeEnvironment } = await import(${module}); const taken = takeEnvironment();
    const { readFileSync } = await import("node:fs");
    const shown = () => readFileSync("/proc/self/environ", "latin1");
    console.log(JSON.stringify(${after}));`;
  const ran = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
    env,
    encoding: "utf8",
    timeout: 20_000,
  });
  assert.equal(ran.status, 0, ran.stderr);
  return JSON.parse(ran.stdout) as unknown;
}

describe(
  "secrets in the environment",
  { skip: process.platform === "linux" ? false : "no /proc here" },
  () => {
    it("are taken, and then neither /proc nor a child shows them", () => {
      const env = {
        LANG: "C",
        UPKEEP_UNLOCK: "horse battery",
        UPKEEP_CODE: "",
        UPKEEP_PASSWORD: "p\u00e4ss=w\nrd",
      };
      const [taken, own, block, child] = run(
        env,
        `[taken, { ...process.env }, shown(), (await import("node:child_process")).execFileSync("/usr/bin/env", { encoding: "utf8" })]`,
      ) as [{ [name: string]: string }, object, string, string];
      assert.deepEqual({ ...taken }, env);
      assert.deepEqual({ ...own }, { LANG: "C" });
      for (const text of ["horse", "w\nrd"]) {
        assert.ok(!block.includes(text));
        assert.ok(!child.includes(text));
      }
      assert.ok(block.startsWith("LANG=C\0"), "what is no secret stays as it was");
    });

    it("are the only thing that is touched, whatever stands beside them", () => {
      const env = {
        A: "UPKEEP_UNLOCK=x",
        UPKEEP_UNLOCKED: "y",
        UPKEEP_TOKEN: "zzz",
        B: "",
        XUPKEEP_TOKEN: "w",
      };
      const [taken, block] = run(env, "[taken, shown()]") as [object, string];
      assert.deepEqual({ ...taken }, env);
      assert.deepEqual(
        block
          .split("\0")
          .filter((text) => text !== "")
          .sort(),
        ["A=UPKEEP_UNLOCK=x", "B=", "UPKEEP_TOKEN=", "UPKEEP_UNLOCKED=y", "XUPKEEP_TOKEN=w"],
      );
    });

    it("cost nothing where there are none", () => {
      assert.deepEqual(run({ B: "1" }, "[taken, shown()]"), [{ B: "1" }, "B=1\0"]);
    });
  },
);
