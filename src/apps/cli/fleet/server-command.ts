// The command `server`: static plane, dynamic plane and admin plane of one data folder.

import type { CommandSpec } from "../../framework/command.ts";
import { LOG_LEVEL } from "../../framework/program-log.ts";

export const serverCommand: CommandSpec = {
  name: "server",
  about: "run the update server of this data folder until it is stopped",
  details:
    "Devices reach it over TLS 1.3. Its authorities are made on first use and stay in server/tls; its own certificate is made\nat every start. One JSON line per event goes to stderr (on a terminal: a readable one); the line server/started names the port.\nSIGTERM and SIGINT stop it gracefully: it closes event streams and finishes answers in progress.\nSeveral servers, each with its own data folder, work on one fleet with --store: their folders have the same server/tls,\nthe same director and the same repository, which one of them keeps fresh.",
  options: [
    { flags: "--listen <address>", about: "where devices reach it", default: "0.0.0.0:8443" },
    {
      flags: "--name <name>",
      about: "host name or address in its certificate; default: this host and loopback",
      repeat: true,
    },
    {
      flags: "--admin <address>",
      about: "health and metrics: loopback address, socket path, or off",
      default: "127.0.0.1:8444",
    },
    { flags: "--director <key>", about: "the key that signs assignments", default: "director" },
    {
      flags: "--lease-key <key>",
      about: "the key that signs leases of licenses; default: the one here that the repository trusts",
    },
    {
      flags: "--messenger <key>",
      about: "the key that signs messages to devices; without one they get bare wake-ups",
      default: "messenger",
    },
    {
      flags: "--renewed-elsewhere",
      about: "do not renew snapshot and timestamp: another server does",
    },
    {
      flags: "--begin-empty",
      about: "the fleet's records are lost or new, and every device is to be enrolled again",
    },
    { flags: "--max-connections <n>", about: "connections of devices at once", default: "10000" },
    {
      flags: "--follow-days <n>",
      about:
        "days that devices may follow their channels, from mirrors, while they reach no server; 0: not at all",
      default: "7",
    },
    {
      flags: "--max-per-address <n>",
      about: "connections at once from one address; default: a quarter of all",
    },
    {
      flags: "--shared-address <address>",
      about: "a balancer or NAT with many devices behind it: no limit of one address holds for it",
      repeat: true,
    },
    LOG_LEVEL,
  ],
  examples: ["upkeep server --name updates.example.org", "upkeep server --listen 127.0.0.1:8443 --admin off"],
  run: async (call) => (await import("./server.ts")).runServer(call),
};
