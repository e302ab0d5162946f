// The verb `fleet policy`: when the devices of a group activate updates.

import type { CommandSpec } from "../../framework/command.ts";
import { KINDS, WHENS } from "../../../manners/policy-words.ts";

export const policyCommand: CommandSpec = {
  name: "policy",
  about: "say when the devices of a group activate updates, and whom they ask",
  details: `Without options it shows the policy of the group. --when puts one line in, for the products and kinds that are named (all of them);
it takes the place of a line for the same. --file replaces the whole policy by a TOML or JSON document, --clear takes it away.
The policy goes with each signed assignment. Owners of devices may delay more, up to the deadline, and weaken nothing.
Hours are written as "mon-fri 22:00-04:00 Europe/Berlin"; without days each day, without zone that of the device.
A line without conditions: now. when-possible waits for a load up to 100 percent, for mains or 30 percent of battery, and for a link that is not metered.`,
  arguments: [{ name: "<group>", about: "which group" }],
  options: [
    { flags: "--when <when>", about: "put a line in", choices: WHENS },
    { flags: "--kind <kind>", about: `only for updates of this kind: ${KINDS.join(", ")}`, repeat: true },
    { flags: "--product <name>", about: "only for this product", repeat: true },
    { flags: "--window <hours>", about: "only within these hours", repeat: true },
    { flags: "--active-hours <hours>", about: "never within these hours", repeat: true },
    { flags: "--idle <time>", about: "only when no person has worked on the machine for so long, as 10m" },
    { flags: "--max-load <percent>", about: "only while the load is at most so much of the processors" },
    { flags: "--min-battery <percent>", about: "on battery only from this on; 101 is never on battery" },
    { flags: "--no-metered-link", about: "fetch nothing over a metered link" },
    {
      flags: "--deadline <time>",
      about: "activate at the latest so long after the device knows of it, as 2d, or at 2026-12-01T04:00:00Z",
    },
    { flags: "--warn <time>", about: "warn people so long before the deadline, as 1h", repeat: true },
    {
      flags: "--stop-after",
      about: "after the deadline the old version does not run until the update is there",
    },
    { flags: "--over-interlocks", about: "the deadline passes the interlocks of a device" },
    {
      flags: "--block-at-start",
      about: "at a start of the device, bring it up to date before the old version serves",
    },
    {
      flags: "--block-for <time>",
      about: "with --block-at-start: serve the old version after so long (5m); 0s waits without end",
    },
    {
      flags: "--serves-from <version>",
      about: "with --block-at-start: this version and later ones serve at once",
    },
    { flags: "--file <file>", about: "replace the policy by this document" },
    { flags: "--clear", about: "take the policy away" },
    { flags: "--create", about: "make the group if there is none" },
  ],
  examples: [
    "upkeep fleet policy wards",
    "upkeep fleet policy wards --when ask --active-hours '07:00-19:00 Europe/Berlin'",
    "upkeep fleet policy wards --kind security --when now --deadline 2d --warn 1d --warn 1h --stop-after",
    "upkeep fleet policy wards --file policy.toml",
    "upkeep fleet policy wards --clear",
  ],
  run: async (call) => (await import("./policy.ts")).fleetPolicy(call),
};
