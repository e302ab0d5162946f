// The noun `license`: what was sold, to whom, and on how many devices it is used.

import type { CommandSpec, NounSpec, OptionSpec } from "../../framework/command.ts";
import { KEYS_AT_SERVICE, SIGNING_KEYS } from "../key/key-options.ts";

const issue = () => import("./issue.ts");
const look = () => import("./look.ts");
const change = () => import("./change.ts");

const license = { name: "<license>", about: "its id, lic- and 16 digits" };
const limit: OptionSpec = { flags: "--limit <n>", about: "at most so many", default: "50" };
const yes: OptionSpec = { flags: "--yes", about: "do not ask" };
const LEASE_KEY: OptionSpec = {
  flags: "--lease-key <key>",
  about: "the key that signs leases; default: the one here that the repository trusts",
};

const TERMS: readonly OptionSpec[] = [
  { flags: "--plan <plan>", about: "terms that were stored with license plan set" },
  { flags: "--terms <file>", about: "terms from a TOML file" },
  { flags: "--feature <feature>", about: "a feature on top: NAME, or NAME=NUMBER", repeat: true },
  { flags: "--seats <n>", about: "how many devices" },
  { flags: "--days <n>", about: "how long, from the begin" },
  { flags: "--until <date>", about: "when it ends, instead of --days" },
  { flags: "--from <date>", about: "when it begins; default: now" },
  { flags: "--out <file>", about: "where the license goes when issuers elsewhere have to sign it too" },
];

const plan: NounSpec = {
  name: "plan",
  about: "keep terms that licenses are made by",
  commands: [
    {
      name: "set",
      about: "store terms under a name",
      arguments: [
        { name: "<plan>", about: "its name" },
        { name: "<file>", about: "TOML, as docs/guides/licenses.md shows" },
      ],
      examples: ["upkeep license plan set team team.toml"],
      run: async (call) => (await change()).planSet(call),
    },
    {
      name: "list",
      about: "show all plans",
      examples: ["upkeep license plan list"],
      run: async (call) => (await change()).planList(call),
    },
    {
      name: "remove",
      about: "remove a plan; licenses that were made by it stay",
      arguments: [{ name: "<plan>", about: "which plan" }],
      examples: ["upkeep license plan remove team"],
      run: async (call) => (await change()).planRemove(call),
    },
  ],
};

const made: readonly CommandSpec[] = [
  {
    name: "keys",
    about: "have the repository trust keys for licenses: the issuer's, offline, and one for leases, online",
    details:
      "Without --issuer and --lease the keys licenses and leases are made here. Devices and applications learn of them from the\nrepository alone. upkeep repo rotate licenses|leases exchanges them later, upkeep repo revoke takes one away.",
    options: [
      {
        flags: "--issuer <file>",
        about: "public key of an issuer, as `key show --out` writes it",
        repeat: true,
      },
      { flags: "--threshold <n>", about: "how many issuers must sign (more than half)" },
      { flags: "--lease <file>", about: "public key that signs leases" },
      { flags: "--product <product>", about: "for this product only (all)", repeat: true },
      { flags: "--passphrase", about: "wrap the issuer's key that is made here" },
      { flags: "--passphrase-file <file>", about: "wrap it under the first line of this file" },
      ...KEYS_AT_SERVICE,
    ],
    examples: [
      "upkeep license keys",
      "upkeep license keys --issuer alice.json --issuer bob.json --issuer carol.json --threshold 2",
    ],
    run: async (call) => (await import("./keys.ts")).licenseKeys(call),
  },
  {
    name: "new",
    about: "make a license, and a code that activates it",
    details:
      "The code is shown once. What is not in the plan, the terms or the options is not granted; docs/guides/licenses.md shows a file of terms.\nWhere the threshold of issuers is above one, --out takes the license to the others.",
    options: [
      { flags: "--customer <name>", about: "who bought it", required: true },
      { flags: "--product <product>", about: "of which product, without --plan and --terms" },
      ...TERMS,
      ...SIGNING_KEYS,
    ],
    examples: [
      'upkeep license new --plan team --customer "Acme Ltd"',
      "upkeep license new --product shop --customer acme --feature sso --feature nodes=5 --seats 5 --days 365",
    ],
    run: async (call) => (await issue()).licenseNew(call),
  },
  {
    name: "revise",
    about: "sign the next revision of a license",
    details:
      "With --plan or --terms the license is made from these under its id; without, only what is named changes. Devices get it at their next check-in.",
    arguments: [license],
    options: [
      { flags: "--customer <name>", about: "another name of the customer" },
      { flags: "--drop-feature <feature>", about: "a feature that is no longer granted", repeat: true },
      { flags: "--updates-until <date>", about: "releases up to this day come with it" },
      ...TERMS,
      ...SIGNING_KEYS,
    ],
    examples: [
      "upkeep license revise lic-0123456789abcdef --days 365",
      "upkeep license revise lic-0123456789abcdef --seats 10 --feature audit",
    ],
    run: async (call) => (await issue()).licenseRevise(call),
  },
  {
    name: "sign",
    about: "add an issuer's signature to a license in a file",
    arguments: [{ name: "<file>", about: "from license new --out" }],
    options: SIGNING_KEYS,
    examples: ["upkeep license sign acme.license"],
    run: async (call) => (await issue()).licenseSign(call),
  },
  {
    name: "import",
    about: "take in a license that all its issuers have signed",
    arguments: [{ name: "<file>", about: "the signed license" }],
    examples: ["upkeep license import acme.license"],
    run: async (call) => (await issue()).licenseImport(call),
  },
  {
    name: "claim",
    about: "make another code for a license; the one before opens nothing any more",
    arguments: [license],
    examples: ["upkeep license claim lic-0123456789abcdef"],
    run: async (call) => (await issue()).licenseClaim(call),
  },
];

const changed: readonly CommandSpec[] = [
  {
    name: "options",
    about: "switch what was paid for on or off, at once",
    details:
      "Only options that the license was signed with. The devices are asked to check in, and applications see it without a restart.",
    arguments: [license],
    options: [
      { flags: "--enable <option>", about: "switch on", repeat: true },
      { flags: "--disable <option>", about: "switch off", repeat: true },
    ],
    examples: ["upkeep license options lic-0123456789abcdef --enable pro"],
    run: async (call) => (await change()).licenseOptions(call),
  },
  {
    name: "revoke",
    about: "take a license back",
    details:
      "Every lease says so from then on. With --publish the list of revoked licenses in the repository says so as well, which also\nreaches devices that get a bundle and never ask a server. Applications fall back, keep their data, and get security releases.",
    arguments: [license],
    options: [
      { flags: "--reason <text>", about: "why, for the audit log and the list", required: true },
      { flags: "--at <date>", about: "from when on; default: now" },
      { flags: "--publish", about: "also in the repository (needs the issuer's and the targets keys)" },
      yes,
      ...SIGNING_KEYS,
    ],
    examples: ['upkeep license revoke lic-0123456789abcdef --reason "not paid" --publish'],
    run: async (call) => (await change()).licenseRevoke(call),
  },
  {
    name: "transfer",
    about: "take a seat from a device, so that another can have it",
    details:
      "As often as the license says in 30 days. A device with a lease by file keeps its seat until that ends or its receipt comes;\n--override does it all the same, and the audit log keeps the reason.",
    arguments: [license],
    options: [
      {
        flags: "--from <device>",
        about: "which device: name, id, or the beginning of its id",
        required: true,
      },
      { flags: "--override <reason>", about: "beyond what the license allows" },
    ],
    examples: ["upkeep license transfer lic-0123456789abcdef --from till-7"],
    run: async (call) => (await change()).licenseTransfer(call),
  },
  {
    name: "activate",
    about: "answer the request of a device without network, by file",
    arguments: [{ name: "<file>", about: "from agent license request" }],
    options: [
      { flags: "--days <n>", about: "how long the lease lasts, as far as the license allows", default: "30" },
      { flags: "--out <file>", about: "the lease for the device", required: true },
      LEASE_KEY,
    ],
    examples: ["upkeep license activate island-1.request --days 90 --out island-1.lease"],
    run: async (call) => (await change()).licenseActivate(call),
  },
  {
    name: "receipt",
    about: "take the receipt of a device that gave its seat back, by file",
    arguments: [{ name: "<file>", about: "from agent license release --out" }],
    options: [{ flags: "--override", about: "beyond the transfers that the license allows" }],
    examples: ["upkeep license receipt island-1.receipt"],
    run: async (call) => (await change()).licenseReceipt(call),
  },
  {
    name: "webhook",
    about: "make the secret that a payment service signs its calls with",
    details:
      "POST /v1/license/webhook takes {id, license, enable, disable}. The header upkeep-signature is t=SECONDS,v1=HEX: HMAC-SHA256 under\nthis secret, over the seconds, a dot, and the body.",
    options: [{ flags: "--new", about: "exchange the secret that is there" }],
    examples: ["upkeep license webhook"],
    run: async (call) => (await change()).licenseWebhook(call),
  },
];

const shown: readonly CommandSpec[] = [
  {
    name: "list",
    about: "list licenses, newest first",
    options: [
      { flags: "--product <product>", about: "of this product" },
      { flags: "--customer <name>", about: "of this customer" },
      limit,
    ],
    examples: ["upkeep license list", "upkeep license list --customer acme --json"],
    run: async (call) => (await look()).licenseList(call),
  },
  {
    name: "show",
    about: "show one license and the devices that use it",
    arguments: [license],
    examples: ["upkeep license show lic-0123456789abcdef"],
    run: async (call) => (await look()).licenseShow(call),
  },
  {
    name: "export",
    about: "write licenses, their use and their rows of the audit log into a new file",
    arguments: [{ name: "<file>", about: "must not be there yet" }],
    options: [
      { flags: "--license <license>", about: "this one only" },
      { flags: "--customer <name>", about: "those of this customer only" },
    ],
    examples: ["upkeep license export acme.json --customer acme"],
    run: async (call) => (await look()).licenseExport(call),
  },
  {
    name: "check",
    about: "ask on a device whether a feature is granted, for scripts and other languages",
    details:
      "Ends with 0 when it is granted, 3 when it is not, 5 when that could not be found out (no agent runs). Prints the reason, and until when.\n--data names the agent's data folder.",
    arguments: [{ name: "<feature>", about: "its name" }],
    options: [{ flags: "--product <product>", about: "of which product", required: true }],
    examples: ["upkeep license check sso --product shop --data /var/lib/upkeep"],
    run: async (call) => (await import("../../agent/license-commands.ts")).licenseCheck(call),
  },
];

export const licenseNoun: NounSpec = {
  name: "license",
  about: "sell features and updates for single devices",
  commands: [...made, ...changed, ...shown, plan],
};
