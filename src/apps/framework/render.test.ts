// Tests of how errors are shown.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { JsonError } from "../../core/json.ts";
import { DAY, HOUR, MINUTE } from "../../core/instant.ts";
import { renderError } from "./render.ts";
import { timeLeft } from "./style.ts";

const people = { json: false, colour: false, verbose: false };

describe("an error for people", () => {
  it("keeps what others wrote from steering the terminal", () => {
    const error = new JsonError(
      "json/syntax",
      "The file \u001b]0;title\u0007x\u009b2J is bad:\nline 2",
      { name: "a\u001b[31m\nerror core/fine: all is well" },
      { cause: new Error("Unexpected token\r\nhint: run this"), hint: "Look at \u001b[8mit" },
    );
    assert.equal(
      renderError(error, people).text,
      [
        "error json/syntax: The file \\x1B]0;title\\x07x\\x9B2J is bad:",
        "line 2",
        "  name: a\\x1B[31m error core/fine: all is well",
        "  because: Unexpected token\\x0D hint: run this",
        "hint: Look at \\x1B[8mit",
        "",
      ].join("\n"),
    );
  });
});

describe("what the system refuses", () => {
  const refused = (code: string): Error =>
    Object.assign(new Error(`${code}: open 'x'`), { code, errno: -24 });

  it("is no defect of the program: too many open files are said with what helps", () => {
    for (const error of [refused("EMFILE"), new Error("outer", { cause: refused("EMFILE") })]) {
      const { text, exit } = renderError(error, people);
      assert.match(text, /^error cli\/failed: .*too many files open/s);
      assert.doesNotMatch(text, /defect/);
      assert.equal(exit, 1);
    }
    assert.match(renderError(refused("EXDEV"), people).text, /The system refused it \(EXDEV\)/);
  });

  it("is told apart from a defect, which is still called one", () => {
    assert.match(renderError(new TypeError("x is not a function"), people).text, /defect of Upkeep/);
    const odd = Object.assign(new Error("odd"), { code: "ERR_INVALID_ARG_TYPE" });
    assert.match(renderError(odd, people).text, /defect of Upkeep/);
  });
});

describe("the time that is left", () => {
  it("is never called nothing while there is some", () => {
    assert.deepEqual(
      [-1, 0, 1, 59 * MINUTE, HOUR, 26 * HOUR, 3 * DAY - 1, 3 * DAY, 395.5 * DAY].map(timeLeft),
      ["none", "none", "1 min", "59 min", "1 h", "26 h", "71 h", "3 d", "395 d"],
    );
  });
});
