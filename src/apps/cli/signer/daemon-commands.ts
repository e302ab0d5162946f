// The noun `daemon`: the programs that run all the time, as services of this Windows.

import type { NounSpec, OptionSpec } from "../../framework/command.ts";

const PROGRAM = { name: "<program>", about: "signer, gateway or server" };
const FOLDER: OptionSpec = {
  flags: "--folder <path>",
  about: "data folder of the service; by default C:\\ProgramData\\upkeep-PROGRAM",
};
const WAIT: OptionSpec = { flags: "--timeout <seconds>", about: "how long to wait for it", default: "90" };

export const daemonNoun: NounSpec = {
  name: "daemon",
  about: "run signer, gateway or server as a Windows service (experimental) (experimental)",
  commands: [
    {
      name: "install",
      about: "make the service: started with the system, started again when it fails",
      details:
        "It runs as the virtual account NT SERVICE\\upkeep-PROGRAM, without password, with no privilege but to pass through folders. Its data folder\nis given to that account, the system and administrators; others are shut out, which is verified. It starts some time after boot,\nis started again 5, 30 and 60 seconds after a failure, and is notified before the system shuts down. Words after -- go to the program.\nOn Linux the systemd units do this: upkeep signer units. Tried under Wine only; docs/operate/windows.md says what was tried.",
      arguments: [PROGRAM, { name: "[words...]", about: "more words for the program, after --" }],
      options: [
        FOLDER,
        { flags: "--start", about: "start it now as well" },
        { flags: "--print", about: "only print what would be made; works on every system" },
      ],
      examples: [
        "upkeep daemon install signer",
        "upkeep daemon install server --start -- --name updates.example.org",
        "upkeep daemon install gateway --print --json",
      ],
      run: async (call) => (await import("./daemon.ts")).daemonInstall(call),
    },
    {
      name: "uninstall",
      about: "stop the service and remove it; its data folder stays",
      arguments: [PROGRAM],
      options: [WAIT],
      examples: ["upkeep daemon uninstall gateway"],
      run: async (call) => (await import("./daemon.ts")).daemonUninstall(call),
    },
    {
      name: "start",
      about: "start the service and wait until it serves",
      arguments: [PROGRAM],
      options: [WAIT],
      examples: ["upkeep daemon start signer"],
      run: async (call) => (await import("./daemon.ts")).daemonStart(call),
    },
    {
      name: "stop",
      about: "stop the service in order and wait for it",
      arguments: [PROGRAM],
      options: [WAIT],
      examples: ["upkeep daemon stop signer"],
      run: async (call) => (await import("./daemon.ts")).daemonStop(call),
    },
    {
      name: "reload",
      about: "have the service of a signer or gateway read its configuration again",
      arguments: [PROGRAM],
      examples: ["upkeep daemon reload gateway"],
      run: async (call) => (await import("./daemon.ts")).daemonReload(call),
    },
    {
      name: "status",
      about: "say whether the service runs, and how it ended last",
      details: "Ends with 0 if it runs, else with 4.",
      arguments: [PROGRAM],
      examples: ["upkeep daemon status signer --json"],
      run: async (call) => (await import("./daemon.ts")).daemonStatus(call),
    },
    {
      name: "run",
      about: "what the Service Control Manager starts; not for people",
      details: "What the program writes goes to service.log in its data folder, 16 MiB at most, eight files.",
      arguments: [PROGRAM, { name: "[words...]", about: "more words for the program, after --" }],
      options: [FOLDER],
      examples: ["upkeep daemon run gateway"],
      run: async (call) => (await import("./daemon.ts")).daemonRun(call),
    },
  ],
};
