// The command table: every noun and verb of the program, one row each.

import { agentWithBuildNoun } from "./agent-build.ts";
import { catalogCommand } from "./catalog.ts";
import type { CommandSpec, TableEntry } from "./command.ts";
import { SHELLS, type Shell } from "./completion.ts";
import { daemonNoun } from "./daemon.ts";
import { demoCommand } from "./demo.ts";
import { caNoun } from "./ca.ts";
import { deviceNoun, fleetNoun, reportNoun, tokenNoun } from "./fleet.ts";
import { keyNoun } from "./key.ts";
import { releaseNoun } from "./release.ts";
import { repoNoun } from "./repo.ts";
import { serverCommand } from "./server.ts";
import { removeCommand, signCommand, timestampCommand } from "./sign.ts";
import { verifyCommand } from "./verify.ts";
import { auditNoun } from "./audit.ts";
import { gatewayNoun } from "./gateway.ts";
import { serviceNoun } from "./service.ts";
import { signerNoun } from "./signer.ts";

const completion: CommandSpec = {
  name: "completion",
  about: "print a completion script for a shell",
  arguments: [{ name: "<shell>", about: SHELLS.join(", ") }],
  examples: ["source <(upkeep completion bash)", "upkeep completion fish | source"],
  run: async (call) => {
    const shell = call.argument(0);
    if (!SHELLS.includes(shell as Shell)) {
      const { usage } = await import("./errors.ts");
      throw usage(`There is no completion for "${shell.slice(0, 40)}".`, `One of: ${SHELLS.join(", ")}.`);
    }
    const { completionScript } = await import("./completion.ts");
    const script = completionScript(TABLE, shell as Shell);
    return { text: script.trimEnd(), json: { shell, script } };
  },
};

export const TABLE: readonly TableEntry[] = [
  demoCommand,
  keyNoun,
  repoNoun,
  releaseNoun,
  serverCommand,
  agentWithBuildNoun,
  fleetNoun,
  deviceNoun,
  tokenNoun,
  caNoun,
  reportNoun,
  signCommand,
  timestampCommand,
  removeCommand,
  verifyCommand,
  catalogCommand,
  serviceNoun,
  signerNoun,
  gatewayNoun,
  auditNoun,
  daemonNoun,
  completion,
];
