// The noun `repo`: the TUF repository and its roles.

import { DEMANDS } from "../../../release/demands.ts";
import type { NounSpec } from "../../framework/command.ts";
import { KEYS_AT_SERVICE, SIGNING_KEYS } from "../key/key-options.ts";

export const repoNoun: NounSpec = {
  name: "repo",
  about: "make and look after the repository",
  commands: [
    {
      name: "init",
      about: "make a repository: keys, root, roles, first publication",
      details:
        "Makes the keys that are missing (root-1.., targets, products, releases, online, director) and publishes version 1\nof everything. Versions and expiry are never typed: they follow from the roles. Keys that sign rarely (root, targets)\nare wrapped with --passphrase or --passphrase-file; afterwards, move them to media that you lock away.",
      options: [
        { flags: "--root-keys <n>", about: "how many root keys", default: "3" },
        { flags: "--root-threshold <n>", about: "how many of them must sign (more than half)" },
        { flags: "--ceremony", about: "root keys belong to people elsewhere, whose public keys are given" },
        {
          flags: "--root-key <file>",
          about: "public key of a signer, as `key show --out` writes it",
          repeat: true,
        },
        { flags: "--targets-key <file>", about: "public key of a signer of targets", repeat: true },
        { flags: "--targets-threshold <n>", about: "how many of them must sign (1)" },
        {
          flags: "--timestamp-days <n>",
          about: "life of the timestamp: how long a mirror may withhold news unnoticed",
          default: "1",
        },
        { flags: "--passphrase", about: "wrap root and targets keys under a passphrase" },
        { flags: "--passphrase-file <file>", about: "wrap them under the first line of this file" },
      ],
      examples: [
        "upkeep repo init",
        "upkeep repo init --root-keys 5 --root-threshold 3 --passphrase",
        "upkeep repo init --ceremony --root-key alice.json --root-key bob.json --root-key carol.json",
      ],
      run: async (call) => (await import("./init.ts")).repoInit(call),
    },
    {
      name: "status",
      about: "say who signed what until when, and who must sign next",
      details:
        "For cron: ends with 0 when all is well, 4 when somebody must sign soon, 1 when something has expired.",
      examples: ["upkeep repo status", "upkeep repo status --json"],
      run: async (call) => (await import("./status-and-renew.ts")).repoStatus(call),
    },
    {
      name: "renew",
      about: "sign again what is due: snapshot and timestamp, and other roles whose keys are here",
      details:
        "The server renews snapshot and timestamp by itself; this is for repositories on plain web servers, from cron.",
      options: SIGNING_KEYS,
      examples: ["upkeep repo renew"],
      run: async (call) => (await import("./status-and-renew.ts")).repoRenew(call),
    },
    {
      name: "forget-time",
      about: "have the server of this data folder forget the time that it remembers",
      details:
        "A server refuses a clock that shows an earlier time than the server has seen before. After a clock was ahead, newer\nmetadata corrects the remembered time; this command is for when nothing new can be signed. Prints what you give up by it.",
      examples: ["upkeep repo forget-time"],
      run: async (call) => (await import("./status-and-renew.ts")).repoForgetTime(call),
    },
    {
      name: "lifetimes",
      about: "show or change how long each role's metadata lives",
      details:
        "ROLE is root, targets, snapshot, timestamp, product.NAME, online (snapshot and timestamp) or products (every product).\nThe lives are signed: those of root, targets, snapshot and timestamp by root, those of products by targets. The timestamp's life is\nhow long news can be kept from a device before it notices; it is from 1 to 90 days, the snapshot's to 180. For one offline\nstick, leave them as they are and give repo bundle its own with --days.",
      arguments: [{ name: "[role=days...]", about: "for example timestamp=7" }],
      options: SIGNING_KEYS,
      examples: ["upkeep repo lifetimes", "upkeep repo lifetimes timestamp=7 snapshot=14"],
      run: async (call) => (await import("./lifetimes.ts")).repoLifetimes(call),
    },
    {
      name: "publishers",
      about: "list or change the authorities below which devices trust publishers' signatures",
      details:
        "A release may pin its publisher (publisher in --config of release add). Devices then check the artifact's own signature:\nAuthenticode or CMS, by a certificate that chains to one of these authorities. The list is a target signed by the targets role.",
      options: [
        { flags: "--add <file>", about: "certificates of authorities, PEM", repeat: true },
        {
          flags: "--remove <spki>",
          about: "SHA-256 of an authority's key, at least its first 8 digits",
          repeat: true,
        },
        ...SIGNING_KEYS,
      ],
      examples: ["upkeep repo publishers", "upkeep repo publishers --add code-signing-root.pem"],
      run: async (call) => (await import("./publishers.ts")).repoPublishers(call),
    },
    {
      name: "gates",
      about: "list or set what a product demands of a release before a channel may point to it",
      details:
        "The list is a target signed by the targets role, above the product's own keys. release promote and release add --promote refuse a\nrelease that lacks something. A release that channels point to already stays.",
      arguments: [{ name: "[product]", about: "whose gate to set; without it all are listed" }],
      options: [
        { flags: "--demand <demand>", about: "what each release needs", choices: DEMANDS, repeat: true },
        { flags: "--none", about: "demand nothing any more" },
        ...SIGNING_KEYS,
      ],
      examples: ["upkeep repo gates", "upkeep repo gates shop --demand sbom --demand provenance"],
      run: async (call) => (await import("./gates.ts")).repoGates(call),
    },
    {
      name: "sign",
      about: "sign a request after reading what it changes",
      details:
        "On your own machine, with or without a network: reads the request, says role by role what signing it would change\n(computed from the bytes), asks, and writes a signature file to hand back. Without FILE: the open request of this data folder.",
      arguments: [{ name: "[file]", about: "the signing request" }],
      options: [
        { flags: "--key <name>", about: "only with this key", repeat: true },
        { flags: "--out <file>", about: "where the signatures go" },
        { flags: "--yes", about: "sign without asking" },
        ...SIGNING_KEYS,
      ],
      examples: ["upkeep repo sign request.json", "upkeep repo sign request.json --key alice --yes"],
      run: async (call) => (await import("./sign-and-collect.ts")).repoSign(call),
    },
    {
      name: "collect",
      about: "take in signature files; publishes when the last one is there",
      arguments: [{ name: "[file...]", about: "signature files" }],
      examples: ["upkeep repo collect request.alice.sig.json request.bob.sig.json"],
      run: async (call) => (await import("./sign-and-collect.ts")).repoCollect(call),
    },
    {
      name: "cancel",
      about: "drop the change that waits for signatures",
      examples: ["upkeep repo cancel"],
      run: async (call) => (await import("./sign-and-collect.ts")).repoCancel(call),
    },
    {
      name: "rotate",
      about: "put a new key in the place of an old one",
      details:
        "WHAT is a role (root, targets, snapshot, timestamp, product.NAME), online (snapshot and timestamp), products (every\nproduct), releases, director or messenger. The new key is made here, unless --new names another person's public key.",
      arguments: [{ name: "<what>", about: "role or kind of key" }],
      options: [
        { flags: "--old <key>", about: "which key goes, when there are several" },
        { flags: "--new <file>", about: "public key that comes, as `key show --out` writes it" },
        { flags: "--here", about: "make the new key here although the old one is not here" },
        { flags: "--passphrase-file <file>", about: "opens and wraps keys" },
        ...KEYS_AT_SERVICE,
      ],
      examples: [
        "upkeep repo rotate online",
        "upkeep repo rotate root --old root-1",
        "upkeep repo rotate releases",
      ],
      run: async (call) => (await import("./rotate-revoke-recover.ts")).repoRotate(call),
    },
    {
      name: "revoke",
      about: "take a key away everywhere",
      details:
        "Refused when too few keys would be left: rotate first. Revoking an old releases key signs every document again.",
      arguments: [{ name: "<key>", about: "name or id" }],
      options: SIGNING_KEYS,
      examples: ["upkeep repo revoke root-2", "upkeep repo revoke releases"],
      run: async (call) => (await import("./rotate-revoke-recover.ts")).repoRevoke(call),
    },
    {
      name: "recover",
      about: "make the repository whole again: expired roles, lost snapshot, fast-forward attack, stolen key",
      details:
        "Takes for every role the newest version on disk that verifies, makes new snapshot and timestamp metadata, and signs again what\nis due or expired. For a stolen key name what it signed with --compromised, and with --last-good the version before the theft.",
      options: [
        {
          flags: "--compromised <what>",
          about: "replace these keys: online, targets, products, or a role",
          repeat: true,
        },
        { flags: "--last-good <role=version>", about: "pass over later versions of this role", repeat: true },
        {
          flags: "--seen <role=version>",
          about: "go above this number: a device reports that it trusted it (repository/rollback)",
          repeat: true,
        },
        { flags: "--here", about: "make new keys here although the old ones are not here" },
        ...SIGNING_KEYS,
      ],
      examples: [
        "upkeep repo recover",
        "upkeep repo recover --seen timestamp=412 --seen snapshot=97",
        "upkeep repo recover --compromised targets --last-good targets=4",
      ],
      run: async (call) => (await import("./rotate-revoke-recover.ts")).repoRecover(call),
    },
    {
      name: "rehearse",
      about: "try a command on a copy, with a simulated client at every historical root",
      details:
        "Everything after -- is run as a command on a copy of repository, keys and open request; then a client that was built when\neach historical root was the newest follows what came out. Without a command: what is published now is tried.",
      arguments: [{ name: "[command...]", about: "for example: -- repo rotate online" }],
      options: [{ flags: "--passphrase-file <file>", about: "opens wrapped keys" }],
      examples: ["upkeep repo rehearse", "upkeep repo rehearse -- repo rotate root --old root-1"],
      run: async (call) => (await import("./doctor.ts")).repoRehearse(call),
    },
    {
      name: "clean",
      about: "remove what nothing lists any more: superseded metadata and withdrawn files",
      options: [
        { flags: "--keep <n>", about: "how many superseded versions of each role stay", default: "20" },
      ],
      examples: ["upkeep repo clean"],
      run: async (call) => (await import("./doctor.ts")).repoClean(call),
    },
    {
      name: "doctor",
      about: "look at every file, signature and digest",
      examples: ["upkeep repo doctor"],
      run: async (call) => (await import("./doctor.ts")).repoDoctor(call),
    },
    {
      name: "export",
      about: "copy the verified repository to a folder that any web server or USB stick can carry",
      arguments: [{ name: "<folder>", about: "where to" }],
      examples: ["upkeep repo export /mnt/stick/upkeep"],
      run: async (call) => (await import("./doctor.ts")).repoExport(call),
    },
    {
      name: "bundle",
      about: "write the verified repository into one file, for devices without a network",
      details:
        "A device installs from it with `agent update --from FILE`, and trusts nothing in it that is not signed and in time: a bundle\nlives as long as its timestamp, which is a day unless `repo lifetimes` says otherwise. With --days this one bundle lives longer: it gets\nits own snapshot and timestamp, and the repository continues above their numbers. It holds the releases that channels point to,\nthe steps to them for old devices, and what they depend on; no others.",
      arguments: [{ name: "<file>", about: "where to" }],
      options: [
        { flags: "--product <name>", about: "only these products, and what they depend on", repeat: true },
        { flags: "--channel <name>", about: "only these channels", repeat: true },
        {
          flags: "--days <n>",
          about: "how long it is good, up to 90 (as long as the repository's timestamp)",
        },
        ...SIGNING_KEYS,
      ],
      examples: [
        "upkeep repo bundle upkeep.bundle",
        "upkeep repo bundle /mnt/stick/shop.bundle --product shop --channel stable --days 30",
      ],
      run: async (call) => (await import("./bundle.ts")).repoBundle(call),
    },
    {
      name: "import",
      about: "take over an existing TUF repository; its key ids stay",
      arguments: [{ name: "<folder>", about: "holds metadata/ and targets/" }],
      options: [{ flags: "--root-sha256 <digest>", about: "its first root must have this SHA-256" }],
      examples: ["upkeep repo import ./old-repository"],
      run: async (call) => (await import("./import-and-adopt.ts")).repoImport(call),
    },
    {
      name: "adopt",
      about: "get a repository that was taken over ready for releases",
      details:
        "Makes the keys products, releases and director where they are missing, and has the targets role list those that sign\nreleases, channels and assignments. Whatever the repository holds already stays. Needs the targets keys, or becomes a request.",
      options: SIGNING_KEYS,
      examples: ["upkeep repo adopt"],
      run: async (call) => (await import("./import-and-adopt.ts")).repoAdopt(call),
    },
  ],
};
