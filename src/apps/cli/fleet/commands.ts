// The nouns `fleet`, `device`, `token` and `report`: what an operator asks and changes while the server runs.

import { LIVENESS } from "../../../fleet/liveness.ts";
import { HOLD_REASONS } from "../../../message/hold-reasons.ts";
import { RESULTS } from "../../../report/outcomes.ts";
import type { NounSpec } from "../../framework/command.ts";

const run = () => import("./fleet.ts");
const dump = () => import("./export-import.ts");
const limit = { flags: "--limit <n>", about: "how many to show", default: "50" };

export const fleetNoun: NounSpec = {
  name: "fleet",
  about: "say what groups of devices should run",
  commands: [
    {
      name: "assign",
      about: "let a group follow a channel, stay at a version, or hold",
      details: "Takes effect within a second on a running server; devices that listen are woken.",
      arguments: [
        { name: "<group>", about: "made if there is none" },
        { name: "<product>", about: "what to keep up to date" },
        { name: "<channel>", about: "which channel to follow" },
      ],
      options: [
        { flags: "--stay-at <version>", about: "stay at this release instead of following the channel" },
        { flags: "--hold <reason>", about: "change nothing on these devices for now", choices: HOLD_REASONS },
        { flags: "--until <time>", about: "when the hold ends, as 2026-11-21T04:00:00Z" },
      ],
      examples: [
        "upkeep fleet assign default shop stable",
        "upkeep fleet assign tills shop stable --hold paused",
      ],
      run: async (call) => (await run()).fleetAssign(call),
    },
    {
      name: "unassign",
      about: "tell a group nothing about a product any more; what is installed stays",
      arguments: [
        { name: "<group>", about: "the group" },
        { name: "<product>", about: "the product" },
      ],
      examples: ["upkeep fleet unassign tills shop"],
      run: async (call) => (await run()).fleetUnassign(call),
    },
    {
      name: "list",
      about: "list groups and what they should run",
      examples: ["upkeep fleet list"],
      run: async (call) => (await run()).fleetList(call),
    },
    {
      name: "interval",
      about: "set the seconds between check-ins of a group",
      arguments: [
        { name: "<group>", about: "made if there is none" },
        { name: "<seconds>", about: "10 to 86400" },
      ],
      examples: ["upkeep fleet interval tills 900"],
      run: async (call) => (await run()).fleetInterval(call),
    },
    {
      name: "wake",
      about: "ask devices to check now; it can say nothing else to them",
      options: [
        { flags: "--group <group>", about: "this group only" },
        { flags: "--device <id>", about: "this device only" },
      ],
      examples: ["upkeep fleet wake", "upkeep fleet wake --group tills"],
      run: async (call) => (await run()).fleetWake(call),
    },
    {
      name: "alarms",
      about: "list what somebody should look at",
      options: [limit],
      examples: ["upkeep fleet alarms"],
      run: async (call) => (await run()).fleetAlarms(call),
    },
    {
      name: "audit",
      about: "show the audit log and check that it holds together",
      options: [limit],
      examples: ["upkeep fleet audit --limit 20"],
      run: async (call) => (await run()).fleetAudit(call),
    },
    {
      name: "export",
      about: "write the fleet's records into one new file, as a backup or to move them",
      details:
        "One moment of the store, whether servers run or not. Only its owner can read the file: who runs what is in it, and digests of\nenrolment tokens. It goes into a data folder or a PostgreSQL database alike; server/tls, keys and repository are not in it.",
      arguments: [{ name: "<file>", about: "must not be there yet" }],
      examples: ["upkeep fleet export fleet-2026-11-21.dump"],
      run: async (call) => (await dump()).fleetExport(call),
    },
    {
      name: "import",
      about: "take the records of an exported file into a store that is empty",
      details:
        "All or nothing, after every row, the digest of the file and the chain of its audit log were checked. Run it before the first\nserver uses the store.",
      arguments: [{ name: "<file>", about: "written by fleet export" }],
      examples: ["upkeep --store postgres://upkeep@db.example.org/upkeep fleet import fleet-2026-11-21.dump"],
      run: async (call) => (await dump()).fleetImport(call),
    },
  ],
};

export const deviceNoun: NounSpec = {
  name: "device",
  about: "show and revoke devices",
  commands: [
    {
      name: "list",
      about: "list devices, whether they are there, and what they run",
      options: [
        { flags: "--group <group>", about: "of this group only" },
        { flags: "--state <state>", about: "in this state only", choices: LIVENESS },
        limit,
      ],
      examples: ["upkeep device list", "upkeep device list --state dead --json"],
      run: async (call) => (await run()).deviceList(call),
    },
    {
      name: "show",
      about: "show one device",
      arguments: [{ name: "<device>", about: "its id" }],
      examples: ["upkeep device show 0a0b0c0d-0000-4000-8000-000000000001"],
      run: async (call) => (await run()).deviceShow(call),
    },
    {
      name: "move",
      about: "put a device into another group",
      arguments: [
        { name: "<device>", about: "its id" },
        { name: "<group>", about: "made if there is none" },
      ],
      examples: ["upkeep device move 0a0b0c0d-0000-4000-8000-000000000001 tills"],
      run: async (call) => (await run()).deviceMove(call),
    },
    {
      name: "revoke",
      about: "let a device's keys open nothing any more",
      details:
        "Open connections end within seconds. The device may enrol again with a new token and new keys.",
      arguments: [{ name: "<device>", about: "its id" }],
      examples: ["upkeep device revoke 0a0b0c0d-0000-4000-8000-000000000001"],
      run: async (call) => (await run()).deviceRevoke(call),
    },
  ],
};

export const tokenNoun: NounSpec = {
  name: "token",
  about: "make one-time enrolment tokens",
  commands: [
    {
      name: "new",
      about: "make a token that enrols one device",
      details:
        "It is shown once. Hand it to the device in UPKEEP_TOKEN, in a file or on stdin, never as an argument.",
      options: [
        { flags: "--group <group>", about: "where the device will belong", default: "default" },
        { flags: "--hours <n>", about: "how long it can be used, 1 to 168", default: "24" },
      ],
      examples: ["upkeep token new", "upkeep token new --group tills --hours 1"],
      run: async (call) => (await run()).tokenNew(call),
    },
    {
      name: "list",
      about: "list tokens and what became of them",
      options: [limit],
      examples: ["upkeep token list"],
      run: async (call) => (await run()).tokenList(call),
    },
  ],
};

export const reportNoun: NounSpec = {
  name: "report",
  about: "show what devices reported",
  commands: [
    {
      name: "list",
      about: "list signed reports, newest first",
      options: [
        { flags: "--device <id>", about: "of this device" },
        { flags: "--product <product>", about: "on this product" },
        { flags: "--outcome <outcome>", about: "with this outcome", choices: RESULTS },
        limit,
      ],
      examples: ["upkeep report list", "upkeep report list --outcome rolled-back --product shop"],
      run: async (call) => (await run()).reportList(call),
    },
  ],
};
