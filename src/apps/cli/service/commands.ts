// The noun `service`: a client's side of the signing service.

import type { NounSpec, OptionSpec } from "../../framework/command.ts";

export const SERVICE_OPTIONS: readonly OptionSpec[] = [
  { flags: "--service <file>", about: "the service description", env: "UPKEEP_SERVICE" },
  {
    flags: "--identity <file>",
    about: "private key of this machine",
    env: "UPKEEP_IDENTITY",
    otherwise: "one for this run",
  },
  {
    flags: "--user <name>",
    about:
      "sign in as this person; the password comes from UPKEEP_PASSWORD or --password-file, the code from UPKEEP_CODE, or both are asked for",
  },
  { flags: "--password-file <file>", about: "the password is the first line of this file" },
  { flags: "--oidc-token-file <file>", about: "sign in with this identity token", env: "UPKEEP_OIDC_TOKEN" },
  { flags: "--oidc-audience <name>", about: "ask GitHub Actions for a token bound to this run's key" },
  { flags: "--signer <name>", about: "ask this signer of the service alone" },
  { flags: "--patience <seconds>", about: "how long to try through broken connections", default: "300" },
];

/** Options of `sign` that go with --service; --cert is then the name of a certificate there. */
export const SIGN_AT_SERVICE: readonly OptionSpec[] = [
  {
    flags: "--service <file>",
    about: "have the signing service sign; --cert names one of its certificates",
  },
  ...SERVICE_OPTIONS.filter(({ flags }) => !/^--(service|password-file) /.test(flags)),
  { flags: "--timestamp", about: "service: with a timestamp of the service's authorities" },
  { flags: "--receipts <folder>", about: "service: where to write receipts, by default beside the files" },
  { flags: "--one-release", about: "service: all files as one release: one approval covers them" },
  { flags: "--leave-pending", about: "service: do not wait for approvals; `sign wait` goes on" },
  { flags: "--request-id <hex>", about: "service: idempotency key for one file, 32 hex digits" },
  { flags: "--timeout <seconds>", about: "`sign wait`: give up then, with exit code 4" },
];

export const serviceNoun: NounSpec = {
  name: "service",
  about: "have files signed by the signing service",
  commands: [
    {
      name: "sign",
      about: "sign files: Windows programs, ELF programs, or any file with a signature beside it",
      details:
        "Only digests travel. One line per file; ends with 0 if all are signed, with the code of the only file, or of several with 4 if some\nwait for approval and else with 1. The same --request-id again is never signed twice: the id chooses the signer, unless --signer does.\nA request that was sent to a signer and not answered is not given to another one; if that signer stays away the file fails with\nsigning/outcome-unknown.",
      arguments: [
        { name: "<file...>", about: "files, patterns such as 'out/**/*.dll', or @LIST with one path a line" },
      ],
      options: [
        ...SERVICE_OPTIONS,
        { flags: "--cert <name>", about: "which certificate", required: true },
        {
          flags: "--as <format>",
          about: "auto, detached or raw",
          choices: ["auto", "detached", "raw"],
          default: "auto",
        },
        { flags: "--purpose <word>", about: "raw: what the bytes are, such as tuf/targets" },
        { flags: "--scheme <scheme>", about: "raw: the signature scheme, by default the key's" },
        {
          flags: "--hash <name>",
          about: "sha256, sha384 or sha512",
          choices: ["sha256", "sha384", "sha512"],
        },
        { flags: "--product <name>", about: "ELF: product in the manifest" },
        { flags: "--release-version <version>", about: "ELF: version in the manifest" },
        { flags: "--release-number <n>", about: "ELF: number that grows with each release" },
        { flags: "--channel <name>", about: "ELF: channel in the manifest" },
        { flags: "--description <text>", about: "Windows: what it is (/d)" },
        { flags: "--url <url>", about: "Windows: where to read more (/du)" },
        { flags: "--timestamp", about: "with a timestamp of the service's authorities" },
        { flags: "--page-hashes", about: "Windows: with page hashes" },
        { flags: "--replace", about: "replace a signature that is there" },
        { flags: "--append", about: "add to a signature that is there" },
        { flags: "--receipts <folder>", about: "where to write receipts, by default beside the files" },
        { flags: "--one-release", about: "all files as one release: one approval covers them" },
        { flags: "--leave-pending", about: "do not wait for approvals; `service wait` goes on" },
        { flags: "--jobs <n>", about: "files at a time", default: "8" },
        { flags: "--request-id <hex>", about: "idempotency key for one file, 32 hex digits" },
      ],
      examples: [
        "upkeep service sign setup.exe --cert release --service service.json --identity build-1.pem",
        "upkeep service sign dist/*.exe --cert release --one-release --leave-pending",
      ],
      run: async (call) => (await import("./sign.ts")).serviceSign(call, "service"),
    },
    {
      name: "wait",
      about: "wait for approvals of what `service sign --leave-pending` left, and finish it",
      arguments: [{ name: "<file...>", about: "the .pending files" }],
      options: [
        ...SERVICE_OPTIONS,
        { flags: "--timeout <seconds>", about: "give up then, with exit code 4", default: "86400" },
      ],
      examples: ["upkeep service wait setup.exe.pending"],
      run: async (call) => (await import("./sign.ts")).serviceWait(call),
    },
    {
      name: "pending",
      about: "list requests that wait for approval, at every signer of the service",
      details:
        "A request waits at one signer. One that cannot be asked is named; the command fails only if none answers.",
      options: SERVICE_OPTIONS,
      examples: ["upkeep service pending --user alice"],
      run: async (call) => (await import("./approvals.ts")).servicePending(call),
    },
    {
      name: "approve",
      about: "approve a request, or a whole release, after looking at it with `service pending`",
      arguments: [{ name: "<subject>", about: "request id, request hash or release root" }],
      options: [
        ...SERVICE_OPTIONS,
        { flags: "--reject", about: "say no instead" },
        { flags: "--hours <n>", about: "how long the approval is good", default: "8" },
      ],
      examples: ["upkeep service approve 5f0c1e... --user alice"],
      run: async (call) => (await import("./approvals.ts")).serviceApprove(call),
    },
    {
      name: "certificates",
      about: "list the certificates that you may use",
      options: SERVICE_OPTIONS,
      examples: ["upkeep service certificates --json"],
      run: async (call) => (await import("./status.ts")).serviceCertificates(call),
    },
  ],
};
