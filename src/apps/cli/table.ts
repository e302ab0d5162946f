// The command table: every noun and verb of the program, one row each.

import { agentWithBuildNoun } from "./agent-build/command.ts";
import { catalogCommand } from "./sign/catalog-command.ts";
import type { CommandSpec, TableEntry } from "../framework/command.ts";
import { SHELLS, type Shell } from "../framework/completion.ts";
import { daemonNoun } from "./signer/daemon-commands.ts";
import { deltaNoun } from "./delta/commands.ts";
import { demoCommand } from "./demo/command.ts";
import { caNoun } from "./fleet/ca-commands.ts";
import { deviceNoun, fleetNoun, groupNoun, reportNoun, tokenNoun } from "./fleet/commands.ts";
import { keyNoun } from "./key/commands.ts";
import { licenseNoun } from "./license/commands.ts";
import { messageNoun } from "./message/commands.ts";
import { releaseNoun } from "./release/commands.ts";
import { repoNoun } from "./repo/commands.ts";
import { serverCommand } from "./fleet/server-command.ts";
import { removeCommand, signCommand, timestampCommand } from "./sign/commands.ts";
import { verifyCommand } from "./sign/verify-command.ts";
import { auditNoun } from "./service/audit-commands.ts";
import { gatewayNoun } from "./signer/gateway-commands.ts";
import { serviceNoun } from "./service/commands.ts";
import { signerNoun } from "./signer/commands.ts";

const completion: CommandSpec = {
  name: "completion",
  about: "print a completion script for a shell",
  arguments: [{ name: "<shell>", about: SHELLS.join(", ") }],
  examples: ["source <(upkeep completion bash)", "upkeep completion fish | source"],
  run: async (call) => {
    const shell = call.argument(0);
    if (!SHELLS.includes(shell as Shell)) {
      const { usage } = await import("../framework/errors.ts");
      throw usage(`There is no completion for "${shell.slice(0, 40)}".`, `One of: ${SHELLS.join(", ")}.`);
    }
    const { completionScript } = await import("../framework/completion.ts");
    const script = completionScript(TABLE, shell as Shell);
    return { text: script.trimEnd(), json: { shell, script } };
  },
};

export const TABLE: readonly TableEntry[] = [
  demoCommand,
  keyNoun,
  repoNoun,
  releaseNoun,
  deltaNoun,
  serverCommand,
  agentWithBuildNoun,
  fleetNoun,
  groupNoun,
  deviceNoun,
  tokenNoun,
  messageNoun,
  caNoun,
  licenseNoun,
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
