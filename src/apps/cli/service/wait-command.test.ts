// Tests of the command that is printed for a request that waits: each word as a shell reads it back.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import { describe, it } from "node:test";
import { waitCommand } from "./wait-command.ts";

const printed = (pending: string, options: { readonly [name: string]: string } = {}): readonly string[] => {
  const command = waitCommand({ text: (name) => options[name] }, resolve(pending));
  const read = execFileSync("sh", ["-c", `upkeep() { printf '%s\\n' "$@"; }; ${command}`], {
    encoding: "utf8",
  });
  return read.trimEnd().split("\n");
};

describe("the command that goes on with a request that waits", () => {
  it("names the file once with its .pending, and service and identity as they were given", () => {
    assert.deepEqual(printed("out/setup.exe.pending", { service: "s.json", identity: "my key.pem" }), [
      "service",
      "wait",
      "out/setup.exe.pending",
      "--service",
      "s.json",
      "--identity",
      "my key.pem",
    ]);
  });

  it("holds names that a shell or our own command line would read as something else", () => {
    for (const [name, word] of [
      ["it's $HOME `id`.pending", "it's $HOME `id`.pending"],
      ["-x.pending", "./-x.pending"],
      ["@list.pending", "./@list.pending"],
      ["a*.pending", "a*.pending"],
    ] as const)
      assert.deepEqual(printed(name), ["service", "wait", word]);
  });

  it("says nothing that the environment said, and never a secret", () => {
    assert.deepEqual(printed("a.pending", { cert: "release", hash: "sha256" }), [
      "service",
      "wait",
      "a.pending",
    ]);
  });
});
