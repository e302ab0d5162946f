// The agent as a program of its own, built into one executable: checks its own image, then does what `upkeep agent` does.

import { agentNoun } from "./commands.ts";
import { homeFolder, takeEnvironment } from "../../io/system/environment.ts";
import { ownVersion } from "../framework/own-program.ts";
import { runProgram } from "../framework/program.ts";
import { renderError } from "../framework/render.ts";
import { checkOwnImage } from "./self-check.ts";

async function main(): Promise<number> {
  const words = process.argv.slice(2);
  const json = words.includes("--json");
  try {
    const outcome = await checkOwnImage();
    if (outcome === "unsigned-build" && words.includes("run"))
      process.stderr.write(
        "upkeep-agent: built for no publisher, so it cannot check itself; not for devices you care about\n",
      );
  } catch (error) {
    const rendered = renderError(error, { json, colour: false, verbose: words.includes("--verbose") });
    process.stderr.write(rendered.text);
    return rendered.exit;
  }
  const program = {
    table: agentNoun.commands,
    version: ownVersion(),
    name: "upkeep-agent",
  };
  return runProgram(program, words, {
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    env: takeEnvironment(),
    home: homeFolder(),
  });
}

void main().then((code) => {
  process.exitCode = code;
});
