// The noun `message`: messages that can only say "look", for one device's eyes, carried by whoever likes.

import { MESSAGE_KINDS, MESSAGE_TIMES } from "../../../message/sealed/body.ts";
import type { NounSpec } from "../../framework/command.ts";

const load = () => import("./messages.ts");

export const messageNoun: NounSpec = {
  name: "message",
  about: "seal messages to devices, for ways that a server does not go",
  commands: [
    {
      name: "init",
      about: "make the messenger key, and have the repository name it",
      details:
        "Only for repositories from before sealed messages: `repo init` does it for new ones. Devices that know the key take no bare wake-ups\nfrom then on. `upkeep repo rotate messenger` and `upkeep repo revoke` replace it.",
      options: [{ flags: "--passphrase-file <file>", about: "opens the targets key" }],
      examples: ["upkeep message init"],
      run: async (call) => (await load()).messageInit(call),
    },
    {
      name: "seal",
      about: "seal one message for one device into a file",
      details:
        "For a device that no connection reaches: carry the file there, and run `upkeep agent message deliver FILE`, or put it into the folder\n`messages` of the agent's data folder. Whoever finds it can read nothing in it, and no other device takes it.",
      arguments: [{ name: "<device>", about: "its name, its id, or the start of its id" }],
      options: [
        { flags: "--kind <kind>", about: "what to ask for", choices: MESSAGE_KINDS, default: "update-check" },
        { flags: "--when <time>", about: "when to check", choices: MESSAGE_TIMES, default: "now" },
        { flags: "--hours <n>", about: "how long it is good, 1 to 24", default: "24" },
        { flags: "--messenger <key>", about: "the key that signs it", default: "messenger" },
        { flags: "--reason <text>", about: "why, for the audit log" },
        { flags: "--out <file>", about: "a new file, usually NAME.sealed", required: true },
      ],
      examples: [
        "upkeep message seal till-7 --out till-7.sealed",
        'upkeep message seal till-7 --kind report --reason "audit" --out till-7.sealed',
      ],
      run: async (call) => (await load()).messageSeal(call),
    },
    {
      name: "show",
      about: "show the form of a sealed message, and for which device it is",
      details: "What it says only that device can read.",
      arguments: [{ name: "<file>", about: "the message" }],
      examples: ["upkeep message show till-7.sealed"],
      run: async (call) => (await load()).messageShow(call),
    },
    {
      name: "deliver",
      about: "put a sealed message into an agent's drop folder on this machine or a share",
      details: "The agent looks there every few seconds, and removes what it has judged.",
      arguments: [
        { name: "<file>", about: "the message" },
        { name: "<folder>", about: "the folder `messages` in the agent's data folder" },
      ],
      examples: ["upkeep message deliver till-7.sealed /var/lib/upkeep/messages"],
      run: async (call) => (await load()).messageDeliver(call),
    },
  ],
};
