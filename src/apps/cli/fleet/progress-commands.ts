// The verbs `fleet status`, `fleet progress` and `fleet why`: how far the fleet is, and why a device is not.

import type { CommandSpec } from "../../framework/command.ts";

const run = () => import("./progress.ts");

export const progressCommands: readonly CommandSpec[] = [
  {
    name: "status",
    about: "show how far every group is, what fails and by what, and the rollouts under way",
    details:
      "From the server's records and signed reports; what a device merely says when it checks in counts for nothing here.",
    examples: ["upkeep fleet status", "upkeep fleet status --json"],
    run: async (call) => (await run()).fleetStatus(call),
  },
  {
    name: "progress",
    about: "show how far one product is: who is open and why, and the time to 50, 90 and 99 percent",
    arguments: [{ name: "<product>", about: "which product" }],
    options: [{ flags: "--limit <n>", about: "how many open devices to show", default: "50" }],
    examples: ["upkeep fleet progress shop"],
    run: async (call) => (await run()).fleetProgress(call),
  },
  {
    name: "why",
    about: "say why a device does not run what it should, with the rule and its time",
    arguments: [
      { name: "<device>", about: "its name, its id, or the start of its id" },
      { name: "[product]", about: "this product only" },
    ],
    examples: ["upkeep fleet why till-7", "upkeep fleet why till-7 shop --json"],
    run: async (call) => (await run()).fleetWhy(call),
  },
];
