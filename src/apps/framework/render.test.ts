// Tests of how errors are shown.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { JsonError } from "../../core/json.ts";
import { renderError } from "./render.ts";

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
