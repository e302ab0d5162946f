// The nouns `fleet`, `group`, `device`, `token` and `report`: what an operator asks and changes while the server runs.

import { LIVENESS } from "../../../fleet/liveness.ts";
import { OPERATOR_HOLDS } from "../../../message/hold-reasons.ts";
import { MESSAGE_TIMES } from "../../../message/sealed/body.ts";
import { RESULTS } from "../../../report/outcomes.ts";
import type { NounSpec } from "../../framework/command.ts";
import { policyCommand } from "./policy-command.ts";
import { progressCommands } from "./progress-commands.ts";
import { rolloutNoun } from "./rollout-commands.ts";

const run = () => import("./fleet.ts");
const dump = () => import("./export-import.ts");
const asks = () => import("./ask.ts");
const groups = () => import("./groups.ts");
const devices = () => import("./devices.ts");
const tokens = () => import("./tokens.ts");
const labels = () => import("./labels.ts");
const reports = () => import("./reports-and-alarms.ts");
const create = { flags: "--create", about: "make the group if there is none" };
const whom = [
  { flags: "--group <group>", about: "this group only" },
  { flags: "--device <device>", about: "this device only" },
];
const reason = { flags: "--reason <text>", about: "why, for the audit log" };
const yes = { flags: "--yes", about: "do it without asking" };
const device = { name: "<device>", about: "its name, its id, or the start of its id" };
const where = {
  flags: "--where <expression>",
  about:
    'for which this holds: tag = till and not arch = arm64, attr.site in (berlin, "new york"), name = till-*',
};
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
        { name: "<group>", about: "which group" },
        { name: "<product>", about: "what to keep up to date" },
        { name: "<channel>", about: "which channel to follow" },
      ],
      options: [
        { flags: "--stay-at <version>", about: "stay at this release instead of following the channel" },
        {
          flags: "--hold <reason>",
          about: "change nothing on these devices for now",
          choices: OPERATOR_HOLDS,
        },
        { flags: "--until <time>", about: "when the hold ends, as 2026-11-21T04:00:00Z" },
        create,
      ],
      examples: [
        "upkeep fleet assign default shop stable",
        "upkeep fleet assign tills shop stable --hold paused",
      ],
      run: async (call) => (await run()).fleetAssign(call),
    },
    {
      name: "unassign",
      about: "stop assigning a product to a group; what is installed stays",
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
    policyCommand,
    {
      name: "interval",
      about: "set the seconds between check-ins of a group",
      arguments: [
        { name: "<group>", about: "which group" },
        { name: "<seconds>", about: "10 to 86400" },
      ],
      options: [create],
      examples: ["upkeep fleet interval tills 900"],
      run: async (call) => (await run()).fleetInterval(call),
    },
    {
      name: "wake",
      about: "ask devices to check now",
      details:
        "The message is sealed for each device and says nothing but this: it can hold no address, no version and no command. A device\nfollows a few in an hour; what is more waits for its next turn. Devices that open no sealed messages get a bare number with --when now.",
      arguments: [{ name: "[who]", about: "a group or a device; else all" }],
      options: [
        ...whom,
        {
          flags: "--when <time>",
          about: "at once, in a quiet moment, at the agent's next start, or when its user is asked",
          choices: MESSAGE_TIMES,
          default: "now",
        },
        { flags: "--splay <seconds>", about: "spread the devices over so many seconds, up to 3600" },
        reason,
      ],
      examples: [
        "upkeep fleet wake",
        'upkeep fleet wake tills --splay 120 --reason "till fix 1.4.1"',
        "upkeep fleet wake --group tills --when idle",
      ],
      run: async (call) => (await asks()).fleetWake(call),
    },
    {
      name: "ask-report",
      about: "ask devices to report what really runs on them",
      details:
        "Each sends a signed inventory: running versions, slots, digests, boot, disk, platform. `upkeep report list` shows them.",
      arguments: [{ name: "[who]", about: "a group or a device; else all" }],
      options: [...whom, reason],
      examples: ["upkeep fleet ask-report", 'upkeep fleet ask-report till-7 --reason "audit"'],
      run: async (call) => (await asks()).fleetAsk(call, "report"),
    },
    {
      name: "ask-trust",
      about: "ask devices to read signed metadata again, and with it whom they trust",
      arguments: [{ name: "[who]", about: "a group or a device; else all" }],
      options: [...whom, reason],
      examples: ["upkeep fleet ask-trust", "upkeep fleet ask-trust tills"],
      run: async (call) => (await asks()).fleetAsk(call, "refresh-trust"),
    },
    {
      name: "ask-certificate",
      about: "ask devices to renew their certificates and their keys for messages",
      arguments: [{ name: "[who]", about: "a group or a device; else all" }],
      options: [...whom, reason],
      examples: ["upkeep fleet ask-certificate till-7"],
      run: async (call) => (await asks()).fleetAsk(call, "rotate-certificate"),
    },
    rolloutNoun,
    ...progressCommands,
    {
      name: "devices",
      about: "list every device with its state, also as a file for other programs",
      details:
        "new: never checked in. online, late, dead: by the last check-in and the interval of its group. held: nothing is changed for now, by\nits owner or its group. opted-out, disabled: by its owner. revoked: by an operator.",
      options: [
        { flags: "--state <state>", about: "in this state only", choices: LIVENESS },
        { flags: "--group <group>", about: "of this group only" },
        { flags: "--format <form>", about: "how", choices: ["table", "csv", "json"], default: "table" },
        { flags: "--out <file>", about: "into a new file that only its owner can read" },
      ],
      examples: [
        "upkeep fleet devices --state dead",
        "upkeep fleet devices --format csv --out devices.csv",
        "upkeep fleet devices --json",
      ],
      run: async (call) => (await import("./export-devices.ts")).fleetDevices(call),
    },
    {
      name: "alarms",
      about: "list alarms that are not acknowledged",
      details:
        "An attempt that failed, a device that is kept from the news, a clone, and what devices report by themselves. Alarms about updates\nend when the device runs what it should.",
      options: [{ flags: "--all", about: "also those that are over or acknowledged" }, limit],
      examples: ["upkeep fleet alarms", "upkeep fleet alarms --all"],
      run: async (call) => (await reports()).fleetAlarms(call),
    },
    {
      name: "acknowledge",
      about: "acknowledge the alarms of a device; the audit log records who did",
      arguments: [device, { name: "[code]", about: "this alarm only; else all of the device" }],
      examples: ["upkeep fleet acknowledge till-7", "upkeep fleet acknowledge till-7 device/clone-suspected"],
      run: async (call) => (await reports()).fleetAcknowledge(call),
    },
    {
      name: "audit",
      about: "show the audit log and check that it holds together",
      details:
        "Devices keep the newest head of the log that they were given; a log that lost its tail raises fleet/audit-cut at their next check-in.\nWith --contains a head that you noted is looked for: its number and hash, as this command prints them.",
      options: [{ flags: "--contains <head>", about: "as 41:HASH; the log has to hold this row" }, limit],
      examples: ["upkeep fleet audit --limit 20"],
      run: async (call) => (await run()).fleetAudit(call),
    },
    {
      name: "export",
      about: "write the fleet's records into one new file, as a backup or to move them",
      details:
        "One moment of the store, whether servers run or not. Only its owner can read the file: who runs what is in it, and digests of\nenrollment tokens. It goes into a data folder or a PostgreSQL database alike; server/tls, keys and repository are not in it.",
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

export const groupNoun: NounSpec = {
  name: "group",
  about: "make and remove groups of devices",
  commands: [
    {
      name: "add",
      about: "make a group; the group default always exists",
      arguments: [{ name: "<group>", about: "its name" }],
      options: [{ flags: "--interval <seconds>", about: "between check-ins, 10 to 86400", default: "300" }],
      examples: ["upkeep group add tills", "upkeep group add tills --interval 900"],
      run: async (call) => (await groups()).groupAdd(call),
    },
    {
      name: "list",
      about: "list groups and how many devices are in them",
      examples: ["upkeep group list"],
      run: async (call) => (await groups()).groupList(call),
    },
    {
      name: "fill",
      about: "move every device for which an expression holds into a group",
      arguments: [{ name: "<group>", about: "which group" }],
      options: [
        { ...where, required: true },
        { flags: "--dry-run", about: "show which devices would move, and move none" },
        create,
      ],
      examples: ['upkeep group fill tills --where "tag = till"'],
      run: async (call) => (await labels()).groupFill(call),
    },
    {
      name: "remove",
      about: "remove a group that has no devices",
      details: "Refused while devices are in it, or enrollment tokens that may still be used lead into it.",
      arguments: [{ name: "<group>", about: "which group" }],
      options: [yes],
      examples: ["upkeep group remove tills --yes"],
      run: async (call) => (await groups()).groupRemove(call),
    },
  ],
};

export const deviceNoun: NounSpec = {
  name: "device",
  about: "show, name, move, revoke and remove devices",
  commands: [
    {
      name: "list",
      about: "list devices, whether they are there, and what they run",
      options: [
        { flags: "--group <group>", about: "of this group only" },
        { flags: "--state <state>", about: "in this state only", choices: LIVENESS },
        where,
        limit,
      ],
      examples: [
        "upkeep device list",
        "upkeep device list --state dead --json",
        'upkeep device list --where "tag = till and arch = arm64"',
      ],
      run: async (call) => (await devices()).deviceList(call),
    },
    {
      name: "show",
      about: "show one device",
      arguments: [device],
      examples: ["upkeep device show till-7", "upkeep device show 0a0b0c0d"],
      run: async (call) => (await devices()).deviceShow(call),
    },
    {
      name: "label",
      about: "set and remove tags and attributes of a device",
      details:
        "For filters (--where, phases of rollouts) and for people. At most 32 of each; what changed stands in the audit log.",
      arguments: [device],
      options: [
        { flags: "--tag <tag>", about: "add this tag", repeat: true },
        { flags: "--untag <tag>", about: "remove this tag", repeat: true },
        { flags: "--set <name=value>", about: "set this attribute", repeat: true },
        { flags: "--unset <name>", about: "remove this attribute", repeat: true },
      ],
      examples: ["upkeep device label till-7 --tag canary --set site=berlin"],
      run: async (call) => (await labels()).deviceLabel(call),
    },
    {
      name: "move",
      about: "put a device into another group",
      arguments: [device, { name: "<group>", about: "which group" }],
      options: [create],
      examples: ["upkeep device move till-7 tills"],
      run: async (call) => (await devices()).deviceMove(call),
    },
    {
      name: "approve",
      about: "approve devices that enrolled with a token that asks for it",
      details: "device list --state pending shows who waits; compare names and keys with what you expect.",
      arguments: [{ name: "<device...>", about: "names, ids, or starts of ids" }],
      examples: ["upkeep device approve till-7 till-8"],
      run: async (call) => (await devices()).deviceApprove(call),
    },
    {
      name: "revoke",
      about: "revoke a device: the server refuses its keys",
      details:
        "Open connections end within seconds. The device may enroll again with a new token and new keys.",
      arguments: [device],
      examples: ["upkeep device revoke till-7"],
      run: async (call) => (await devices()).deviceRevoke(call),
    },
    {
      name: "rename",
      about: "give a device another name for people",
      arguments: [device, { name: "<name>", about: "one line; no other device has it" }],
      examples: ["upkeep device rename 0a0b0c0d till-7"],
      run: async (call) => (await devices()).deviceRename(call),
    },
    {
      name: "remove",
      about: "forget a device that is gone, with its reports and alarms",
      details:
        "The server refuses its keys, as after device revoke, which keeps the device's records. The audit log keeps both.",
      arguments: [device],
      options: [yes],
      examples: ["upkeep device remove till-7 --yes"],
      run: async (call) => (await devices()).deviceRemove(call),
    },
  ],
};

export const tokenNoun: NounSpec = {
  name: "token",
  about: "make enrollment tokens",
  commands: [
    {
      name: "new",
      about: "make a token that enrolls a device, or several",
      details:
        "It is shown once. Hand it to the device in UPKEEP_TOKEN, in a file or on stdin, never as an argument.",
      options: [
        { flags: "--group <group>", about: "where the device will belong", default: "default" },
        { flags: "--hours <n>", about: "how long it can be used, 1 to 168", default: "24" },
        { flags: "--uses <n>", about: "how many devices it enrolls, 1 to 10000", default: "1" },
        { flags: "--approve", about: "devices wait until a person approves each: upkeep device approve" },
        {
          flags: "--out <file>",
          about: "write it into a new file (mode 0600) for agent enroll --token-file",
        },
        create,
      ],
      examples: [
        "upkeep token new",
        "upkeep token new --group tills --hours 1",
        "upkeep token new --out till-7.token",
        "upkeep token new --group tills --uses 200 --approve --out site.token",
      ],
      run: async (call) => (await tokens()).tokenNew(call),
    },
    {
      name: "list",
      about: "list tokens and what became of them",
      options: [limit],
      examples: ["upkeep token list"],
      run: async (call) => (await tokens()).tokenList(call),
    },
    {
      name: "remove",
      about: "remove a token; it enrolls no device any more, and the device it enrolled stays",
      arguments: [{ name: "<token>", about: "its id, as token list shows it" }],
      options: [yes],
      examples: ["upkeep token remove 0123456789abcdef --yes"],
      run: async (call) => (await tokens()).tokenRemove(call),
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
        { flags: "--device <device>", about: "of this device" },
        { flags: "--product <product>", about: "on this product" },
        { flags: "--outcome <outcome>", about: "with this outcome", choices: RESULTS },
        limit,
      ],
      examples: ["upkeep report list", "upkeep report list --outcome rolled-back --product shop"],
      run: async (call) => (await reports()).reportList(call),
    },
  ],
};
