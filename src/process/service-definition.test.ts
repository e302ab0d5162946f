// Definitions of Windows services: identity, command line, and what is refused.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ProcessError } from "./errors.ts";
import { commandLine, isWindowsPath, serviceDefinition, serviceSid } from "./service-definition.ts";

const NODE = "C:\\Program Files\\nodejs\\node.exe";

/** "Parsing C command-line arguments" of Microsoft, written again: 2n backslashes before a mark are n, 2n+1 are n and a mark. */
function parsed(line: string): readonly string[] {
  const words: string[] = [];
  // The program: up to the closing mark, backslashes are plain.
  const program = /^"([^"]*)"/.exec(line)![1]!;
  words.push(program);
  let [word, inside, any]: [string, boolean, boolean] = ["", false, false];
  for (let i = program.length + 2; i < line.length; i++) {
    if (line[i] === "\\") {
      let n = 0;
      while (line[i + n] === "\\") n++;
      if (line[i + n] === '"') {
        word += "\\".repeat(Math.floor(n / 2));
        if (n % 2 === 1) word += '"';
        else inside = !inside;
        i += n;
      } else {
        word += "\\".repeat(n);
        i += n - 1;
      }
      any = true;
    } else if (line[i] === '"') [inside, any] = [!inside, true];
    else if (/[ \t]/.test(line[i]!) && !inside) {
      if (any) words.push(word);
      [word, any] = ["", false];
    } else [word, any] = [word + line[i]!, true];
  }
  if (any) words.push(word);
  return words;
}

describe("the definition of a Windows service", () => {
  it("runs as a virtual account of its own with one harmless privilege, and comes back after failures", () => {
    const made = serviceDefinition("signer", [NODE, "main.ts"]);
    assert.deepEqual(
      [made.name, made.account, made.privileges, made.dependencies],
      ["upkeep-signer", "NT SERVICE\\upkeep-signer", ["SeChangeNotifyPrivilege"], ["Tcpip"]],
    );
    assert.deepEqual(made.failure, { restartAfter: [5000, 30_000, 60_000], resetAfter: 86_400 });
  });

  it("knows the SID of a service as Windows makes it", () => {
    // TrustedInstaller's is in Microsoft's documentation of well-known SIDs.
    assert.equal(
      serviceSid("TrustedInstaller"),
      "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
    );
    assert.equal(serviceSid("UPKEEP-signer"), serviceSid("upkeep-signer"));
  });

  it("has a command line of which Windows makes the same words again", () => {
    for (const words of [
      ["daemon", "run", "signer", "--folder", "C:\\ProgramData\\upkeep-signer"],
      ["a b", "", 'say "hi"', "tail\\", "two words\\", 'x\\"y', "\\\\server\\share", 'b\\\\"', "&|<>^%PATH%"],
      ["-", "--name", "updates.example.org", "[::1]:8443"],
    ])
      assert.deepEqual(parsed(commandLine([NODE, ...words])), [NODE, ...words]);
  });

  it("always quotes the program, so that no C:\\Program.exe is started in its place", () => {
    assert.ok(commandLine([NODE]).startsWith(`"${NODE}"`));
    assert.ok(commandLine(["C:\\a.exe"]).startsWith('"C:\\a.exe"'));
  });

  it("refuses programs and words that no command line can carry", () => {
    for (const words of [
      [],
      ["node.exe"],
      ["\\\\server\\share\\node.exe"],
      ['C:\\a"b.exe'],
      ["C:\\folder\\"],
      ["C:\\a\\..\\node.exe"],
      [NODE, "line\nfeed"],
      [NODE, "nul\0"],
      [NODE, "x".repeat(9000)],
    ])
      assert.throws(
        () => commandLine(words),
        (error) => error instanceof ProcessError && error.code === "process/bad-service",
        JSON.stringify(words).slice(0, 60),
      );
  });

  it("takes folders on a drive only, without streams, devices' wildcards and ways out", () => {
    for (const path of ["C:\\ProgramData\\upkeep-signer", "d:/upkeep", "C:\\a b\\c"])
      assert.ok(isWindowsPath(path), path);
    for (const path of [
      "upkeep",
      "\\upkeep",
      "\\\\server\\share",
      "\\\\?\\C:\\x",
      "C:upkeep",
      "C:\\a\\..\\b",
      "C:\\a:stream",
      "C:\\a*",
      "C:\\a\u0000",
      `C:\\${"a".repeat(5000)}?`,
    ])
      assert.ok(!isWindowsPath(path), path);
  });
});
