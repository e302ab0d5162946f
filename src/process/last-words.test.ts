// The first error of a program's output is found whatever language it is written in.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { firstErrorLine, lastWords } from "./last-words.ts";

describe("the first error line", () => {
  const rows: readonly (readonly [string, string, string | null])[] = [
    [
      "Node",
      "starting\nnode:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\nError: Cannot find module 'express'\n    at Module._resolve (x.js:1)\n",
      "Error: Cannot find module 'express'",
    ],
    [
      "Python",
      "Traceback (most recent call last):\n  File \"/app/error.py\", line 1, in <module>\nModuleNotFoundError: No module named 'flask'\n",
      "ModuleNotFoundError: No module named 'flask'",
    ],
    [
      "Go",
      "listening\npanic: runtime error: index out of range\n\ngoroutine 1 [running]:\n",
      "panic: runtime error: index out of range",
    ],
    ["a shell", "bin/app: 3: exec: nodee: not found\n", "bin/app: 3: exec: nodee: not found"],
    [
      "a structured log",
      '{"level":"info"}\n{"level":"error","msg":"disk"}\n',
      '{"level":"error","msg":"disk"}',
    ],
    [
      "Java",
      'Exception in thread "main" java.net.BindException: Address already in use\n',
      'Exception in thread "main" java.net.BindException: Address already in use',
    ],
    ["one that is well", "0 errors, no failures\nready without errors\nerrors: 0\n", null],
    ["nobody", "", null],
  ];
  for (const [language, output, line] of rows)
    it(`of ${language}`, () => {
      assert.equal(firstErrorLine(output), line);
    });

  it("is bounded", () => {
    assert.equal(firstErrorLine(`error: ${"x".repeat(5000)}`)!.length, 300);
  });
});

describe("last words", () => {
  it("are the first error and the end, the same thing once", () => {
    const stack = "    at frame (file.js:1)\n".repeat(40);
    assert.match(
      lastWords(`Error: no database\n${stack}`, stack),
      /^; its first error: Error: no database; the end of its output: .*at frame/s,
    );
    assert.equal(lastWords("Error: short\n", "Error: short\n"), "; the end of its output: Error: short");
    assert.equal(lastWords("", "  \n"), "");
    assert.ok(lastWords("error x".repeat(999), "y".repeat(9999)).length < 700);
  });
});
