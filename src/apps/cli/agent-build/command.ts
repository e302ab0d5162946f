// The noun `agent` as operators have it: all of it, and the making of the agent's executable, which the executable itself leaves out.

import { agentNoun } from "../../agent/commands.ts";
import type { CommandSpec, NounSpec } from "../../framework/command.ts";

const build: CommandSpec = {
  name: "build",
  about: "build the agent as one executable, which needs nothing installed",
  details:
    "Bundles the agent into the Node.js that runs this, stripped. With --publisher-cert the executable checks its own\nsignature at every start; sign it afterwards with a certificate of that chain, then release it.\nThe same checkout gives the same bytes; with --publisher-cert also set SOURCE_DATE_EPOCH, because the time of the build is inside.",
  options: [
    { flags: "--out <file>", about: "where it goes", required: true },
    {
      flags: "--platform <platform>",
      about: "linux-x64, linux-arm64 or windows-x64; otherwise the one this runs on",
    },
    {
      flags: "--publisher-cert <file>",
      about: "certificate chain of the publisher that will sign it, PEM",
    },
    { flags: "--publisher-root <file>", about: "the authority that chain ends at, PEM" },
  ],
  examples: [
    "upkeep agent build --out upkeep-agent --publisher-cert chain.pem --publisher-root root.pem",
    "upkeep sign --cert chain.pem --key key.pem --product upkeep-agent --release-version 0.1.0 --release-number 1 upkeep-agent",
  ],
  run: async (call) => (await import("./build.ts")).agentBuild(call),
};

export const agentWithBuildNoun: NounSpec = { ...agentNoun, commands: [...agentNoun.commands, build] };
