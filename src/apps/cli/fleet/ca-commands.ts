// The noun `ca`: the authorities that server and devices know each other by, and how they are replaced.

import type { CommandSpec, NounSpec } from "../../framework/command.ts";
import { SIGNING_KEYS } from "../key/key-options.ts";

const run = () => import("./ca.ts");
const key = { name: "<key>", about: "SHA-256 of the authority's key, at least its first 8 digits" };

const move = (name: "activate" | "taint" | "revoke", about: string, details: string): CommandSpec => ({
  name,
  about,
  details,
  arguments: [key],
  options: SIGNING_KEYS,
  examples: [`upkeep ca ${name} 3f2a91c0`],
  run: async (call) => (await run()).caMove(call, name),
});

export const caNoun: NounSpec = {
  name: "ca",
  about: "replace the authorities that server and devices know each other by",
  commands: [
    {
      name: "list",
      about: "list the authorities, their states, and whether their keys are here",
      details:
        "prepared: trusted, issues nothing. active: issues; there is always one. tainted: trusted, and what it issued is being\nreplaced. revoked: not trusted, permanently. The list is trust/bundle.json, a target signed by the targets role.",
      examples: ["upkeep ca list", "upkeep ca list --json"],
      run: async (call) => (await run()).caList(call),
    },
    {
      name: "prepare",
      about: "make a new authority and publish it before it issues anything",
      details:
        "The key is made in the server's data folder. Devices learn of it at their next check. Wait a few days, then activate it;\nin an emergency activate it at once: a device that does not know it yet reads the list without trusting the connection.",
      arguments: [{ name: "<kind>", about: "server (devices know the server by it) or device" }],
      options: SIGNING_KEYS,
      examples: ["upkeep ca prepare server", "upkeep ca prepare device"],
      run: async (call) => (await run()).caPrepare(call),
    },
    move(
      "activate",
      "make a prepared authority the one that issues; the active one stands by",
      "A running server follows within a second. Enrollment tokens made before pin the previous authority: make new ones.\nActivating the old authority again takes it back.",
    ),
    move(
      "taint",
      "replace what an authority issued; it stays trusted",
      "Devices with a certificate of it renew at their next check. The active authority cannot be tainted: activate another first.",
    ),
    move(
      "revoke",
      "revoke an authority permanently",
      "A running server refuses its certificates at once and closes their connections. Devices that were away renew by their own key\nwhen they are back, up to a year after their certificate ended.",
    ),
  ],
};
