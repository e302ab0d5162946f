// The noun `agent`: enrol a device, run its agent, and talk to it.

import type { NounSpec } from "../framework/command.ts";
import { mannersCommands } from "./manners-commands.ts";
import { LOG_LEVEL } from "../framework/program-log.ts";

const product = { name: "<product>", about: "of which product" };

const licenseNoun: NounSpec = {
  name: "license",
  about: "activate licenses on this device, and see how they stand",
  commands: [
    {
      name: "show",
      about: "show state, reason, end and next step of each license",
      examples: ["upkeep agent license show", "upkeep agent license show --json"],
      run: async (call) => (await import("./license-commands.ts")).agentLicenseShow(call),
    },
    {
      name: "activate",
      about: "take a seat of a license for this device",
      details:
        "The code comes from the environment variable UPKEEP_LICENSE, from --code-file or from the terminal, never from the command line.\nWhile the server cannot be reached, the wish waits for the next check.",
      arguments: [product],
      options: [
        { flags: "--code-file <file>", about: "file (mode 0600) whose first line is the code" },
        {
          flags: "--license <license>",
          about: "instead of a code: a license that this device has used before",
        },
      ],
      examples: [
        "UPKEEP_LICENSE=... upkeep agent license activate shop",
        "upkeep agent license activate shop --code-file code",
      ],
      run: async (call) => (await import("./license-commands.ts")).agentLicenseActivate(call),
    },
    {
      name: "request",
      about: "write the request for a seat into a file, on a device without network",
      arguments: [product],
      options: [
        { flags: "--out <file>", about: "a new file", required: true },
        { flags: "--code-file <file>", about: "file (mode 0600) whose first line is the code" },
        {
          flags: "--license <license>",
          about: "instead of a code: a license that this device has used before",
        },
      ],
      examples: ["upkeep agent license request shop --code-file code --out island-1.request"],
      run: async (call) => (await import("./license-commands.ts")).agentLicenseRequest(call),
    },
    {
      name: "import",
      about: "take a lease that came by file",
      arguments: [{ name: "<file>", about: "from license activate" }],
      examples: ["upkeep agent license import island-1.lease"],
      run: async (call) => (await import("./license-commands.ts")).agentLicenseImport(call),
    },
    {
      name: "release",
      about: "give this device's seat back",
      details:
        "The application falls back at once. Without a network, --out writes the receipt that frees the seat at the vendor.",
      arguments: [product],
      options: [{ flags: "--out <file>", about: "where the receipt goes as well" }],
      examples: [
        "upkeep agent license release shop",
        "upkeep agent license release shop --out island-1.receipt",
      ],
      run: async (call) => (await import("./license-commands.ts")).agentLicenseRelease(call),
    },
  ],
};

export const agentNoun: NounSpec = {
  name: "agent",
  about: "keep this device up to date",
  commands: [
    {
      name: "enroll",
      about: "exchange a one-time token for this device's identity",
      details:
        "The token comes from the environment variable UPKEEP_TOKEN, from --token-file or from standard input, never from the\ncommand line. It pins the server and the root of trust: no other server ever receives the token.",
      options: [
        {
          flags: "--server <address>",
          about:
            "host:port of the update server; further ones are used in turn when the first does not answer",
          repeat: true,
        },
        { flags: "--token-file <file>", about: "file (mode 0600) whose first line is the token" },
        { flags: "--name <name>", about: "name for people; default: this host's name" },
      ],
      examples: [
        "UPKEEP_TOKEN=... upkeep agent enroll --server updates.example.org:8443",
        "upkeep agent enroll --server 127.0.0.1:8443 --token-file token",
      ],
      run: async (call) => (await import("./run-commands.ts")).agentEnroll(call),
    },
    {
      name: "run",
      about: "run the agent of this data folder until it is stopped",
      details:
        "Checks at the start, by schedule and at wake-ups; runs and watches the installed components. One JSON line per event goes\nto stderr (on a terminal: a readable one). SIGTERM and SIGINT stop it and its components gracefully. Settings of this device are read from agent.toml.",
      options: [LOG_LEVEL],
      examples: ["upkeep agent run --data /var/lib/upkeep", "upkeep agent run --log-level debug"],
      run: async (call) => (await import("./run-commands.ts")).agentRun(call),
    },
    {
      name: "update",
      about: "check now, exactly as the schedule would",
      details:
        "Asks the running agent, or does the same check itself when none runs. Ends with 0 when every component is as it should be,\n3 when something was refused, 5 when server or repository could not be reached, 1 when an update failed or was taken back.\nWith --from, a copy of the repository takes the server's place, as `repo bundle` or `repo export` makes it: everything is verified\nas always, and reports wait until the server can be reached. A version that failed here, or was left by hand, is skipped until a newer one\ncomes; --retry-skipped forgets that once.",
      options: [
        {
          flags: "--from <path>",
          about:
            "bundle, folder with metadata/ and targets/ such as a USB stick, or the https:// address of a mirror",
        },
        {
          flags: "--product <name>",
          about: "with --from: what to install (what is installed already)",
          repeat: true,
        },
        { flags: "--channel <name>", about: "with --from: the channel to follow (stable)" },
        { flags: "--retry-skipped", about: "try again what failed on this device before" },
        {
          flags: "--now",
          about:
            "activate what is at hand whatever the hour, the load and unanswered prompts say; locks, interlocks and holds stay",
        },
      ],
      examples: [
        "upkeep agent update",
        "upkeep agent update --json",
        "upkeep agent update --retry-skipped",
        "upkeep agent update --now",
        "upkeep agent update --from /mnt/stick/upkeep.bundle",
        "upkeep agent update --from /mnt/stick/upkeep --product shop",
        "upkeep agent update --from https://mirror.example.org/upkeep/",
      ],
      run: async (call) => (await import("./run-commands.ts")).agentUpdate(call),
    },
    {
      name: "status",
      about: "show what runs, what is in progress, and what it is waiting for",
      options: [
        {
          flags: "--scomo",
          about: "show it as the inventories of OMA SCOMO, with its status values and result codes",
        },
      ],
      examples: ["upkeep agent status", "upkeep agent status --json", "upkeep agent status --scomo --json"],
      run: async (call) => (await import("./run-commands.ts")).agentStatus(call),
    },
    {
      name: "message",
      about: "messages that were carried here by hand",
      commands: [
        {
          name: "deliver",
          about: "hand a sealed message to this device's agent",
          details:
            "The file comes from `upkeep message seal`. It proves itself, so it does not matter who brought it: the agent opens it with its own\nkey and does what it says once, within its budgets: a check, a report, or a renewal, and nothing else. Without a running agent it lies\nin the folder `messages` until one starts.",
          arguments: [{ name: "<file>", about: "the message" }],
          examples: ["upkeep agent message deliver /mnt/stick/till-7.sealed"],
          run: async (call) => (await import("./message-commands.ts")).messageDeliver(call),
        },
        {
          name: "status",
          about: "show how many messages came, and what became of them",
          examples: ["upkeep agent message status", "upkeep agent message status --json"],
          run: async (call) => (await import("./message-commands.ts")).messageStatus(call),
        },
      ],
    },
    {
      name: "log",
      about: "show what happened on this device: every attempt with its end, alarms, what its owner asked",
      details:
        "The log is bounded and a chain: each line has the SHA-256 of the one before, and `agent log verify` shows what was changed or\ncut off (exit code 6). Each attempt has one begin and one end, whatever came between; its id is that of the server's report.",
      arguments: [{ name: "[verify]", about: "check the chain instead" }],
      options: [
        { flags: "--product <name>", about: "only of this component" },
        { flags: "--lines <n>", about: "the last lines (100)" },
        { flags: "--follow", about: "go on showing what is written, until Ctrl-C" },
      ],
      examples: [
        "upkeep agent log",
        "upkeep agent log --product shop --json",
        "upkeep agent log --follow",
        "upkeep agent log verify",
      ],
      run: async (call) => (await import("./history-commands.ts")).agentLog(call),
    },
    {
      name: "output",
      alias: "logs",
      about: "show what installed components wrote, in this run and in the one before",
      details:
        "After an update that was taken back, the run before is that of the version that failed. With --follow, what is written from\nnow on as well, until Ctrl-C.",
      arguments: [{ name: "[product]", about: "the component (all of them)" }],
      options: [
        { flags: "--lines <n>", about: "last lines of each run (100)" },
        { flags: "--follow", about: "go on showing what is written" },
      ],
      examples: [
        "upkeep agent output",
        "upkeep agent output shop --lines 20",
        "upkeep agent output shop --follow",
      ],
      run: async (call) => (await import("./output.ts")).agentOutput(call),
    },
    licenseNoun,
    {
      name: "forget-time",
      about: "forget the time that this device remembers, after its clock was ahead",
      details:
        "A device refuses a clock that shows an earlier time than its last refresh, so that expired metadata stays expired.\nAfter a clock was ahead, newer metadata corrects the remembered time; this command is for when none can be had. Prints what you give up.",
      examples: ["upkeep agent forget-time"],
      run: async (call) => (await import("./run-commands.ts")).agentForgetTime(call),
    },
    {
      name: "check",
      about: "read back every byte of what is installed",
      details:
        "Compares each installed version with the record that was made when it was verified: content, modes, links, nothing missing or\nadded. Also those that are kept to go back to. Ends with 6 if one is damaged; a running agent then repairs it, without one the next\n`upkeep agent update` does. What runs is not stopped by a check.",
      examples: ["upkeep agent check", "upkeep agent check --json"],
      run: async (call) => (await import("./run-commands.ts")).agentCheck(call),
    },
    {
      name: "rollback",
      about: "go back to the last version that was good on this device",
      details:
        "Never below the floor. The version that is left is not installed again until a newer one is released.",
      arguments: [{ name: "<product>", about: "the component" }],
      examples: ["upkeep agent rollback shop"],
      run: async (call) => (await import("./run-commands.ts")).agentRollback(call),
    },
    ...mannersCommands,
    {
      name: "uninstall",
      about: "stop a component and remove it from this device, until you take that back",
      details:
        "Its data stays, unless --purge. The decision lasts over restarts, whatever the server assigns: the device reports it, and\n`status` shows it. Refused while other installed products need it. Floor and skip list stay.",
      arguments: [{ name: "<product>", about: "the component" }],
      options: [{ flags: "--purge", about: "remove its data and output as well; that cannot be taken back" }],
      examples: ["upkeep agent uninstall shop", "upkeep agent uninstall shop --purge"],
      run: async (call) => (await import("./owner-commands.ts")).agentUninstall(call),
    },
    {
      name: "install",
      about: "take an uninstall back: what is assigned to this device is installed again, now",
      details:
        "What is installed is decided by signed data as always; this lifts the owner's decision and checks.",
      arguments: [{ name: "<product>", about: "the component" }],
      examples: ["upkeep agent install shop"],
      run: async (call) => (await import("./owner-commands.ts")).agentInstall(call),
    },
  ],
};
