// The command `demo`: the main job from a signing key to a running process, with the real programs, on this machine alone.

import type { CommandSpec } from "../../framework/command.ts";

export const demoCommand: CommandSpec = {
  name: "demo",
  about: "show the whole job on this machine: sign, publish, update, roll back, report",
  details:
    "Makes a repository, a server on loopback and a device, in a new folder, and lets them work; each line says what\nwas proved. Nothing leaves this machine. With --keep the server and the agent stay up afterwards.",
  options: [
    { flags: "--keep", about: "leave the server and the agent running and print where they are" },
    { flags: "--folder <folder>", about: "where to put everything; must not exist yet (a temporary folder)" },
  ],
  examples: ["upkeep demo", "upkeep demo --keep"],
  run: async (call) => (await import("./run-demo.ts")).runDemo(call),
};
