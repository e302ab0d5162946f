// The commands `sign`, `timestamp` and `remove`: signatures inside files.

import type { CommandSpec, OptionSpec } from "../../framework/command.ts";
import { SIGN_FORMAT_OPTIONS } from "../files/format-options.ts";
import { SIGN_AT_SERVICE } from "../service/commands.ts";

const FILES = {
  name: "<file...>",
  about: "files, patterns such as 'out/**/*.dll', or @LIST with one path a line",
};

const MANY: readonly OptionSpec[] = [{ flags: "--jobs <n>", about: "files at the same time", default: "4" }];

const STAMPS: readonly OptionSpec[] = [
  { flags: "--timestamp-url <url>", about: "RFC 3161 authority; several are tried in order", repeat: true },
  {
    flags: "--timestamp-hash <hash>",
    about: "digest of the timestamp",
    choices: ["sha256", "sha384", "sha512"],
    default: "sha256",
  },
];

export const signCommand: CommandSpec = {
  name: "sign",
  about: "sign programs, libraries, drivers, installers and scripts",
  details:
    "The key comes from a PEM or PKCS#12 file, from a PKCS#11 token, or from the data folder. Passphrases come from\nUPKEEP_CERT_PASSWORD, --password-file or a prompt; a token's PIN from UPKEEP_PKCS11_PIN, --pin-file or a prompt.\nsigntool's own words are understood as well: upkeep sign /fd SHA256 /tr URL /td SHA256 /f cert.pfx app.exe\nWith --service, or with UPKEEP_SERVICE and no key or certificate file named, the signing service signs; `upkeep sign wait FILE.pending`\ngoes on with what --leave-pending left (a file called wait is signed as ./wait).\nEnds with 1 when some of several files failed, with 4 when some wait for approval; each failure is reported by its file.",
  arguments: [FILES],
  options: [
    { flags: "--cert <file>", about: "certificates, with the key or without", env: "UPKEEP_CERT" },
    { flags: "--key <file>", about: "the private key, PEM" },
    { flags: "--key-name <name>", about: "the private key, from the data folder" },
    { flags: "--add-cert <file>", about: "more certificates of the chain", repeat: true },
    { flags: "--password-file <file>", about: "its first line opens the key or the PKCS#12 file" },
    { flags: "--pkcs11-module <file>", about: "the token's library" },
    { flags: "--pkcs11-token <label>", about: "which token" },
    { flags: "--pkcs11-key <label>", about: "which key on it" },
    { flags: "--pin-file <file>", about: "its first line is the token's PIN" },
    { flags: "--subject <text>", about: "the certificate's subject has to contain this" },
    { flags: "--issuer <text>", about: "the certificate's issuer has to contain this" },
    { flags: "--sha1 <digest>", about: "the certificate has to have this SHA-1 fingerprint" },
    {
      flags: "--hash <hash>",
      about: "digest of the file (SHA-256, or by the format)",
      choices: ["sha256", "sha384", "sha512"],
    },
    ...STAMPS,
    { flags: "--legacy-timestamp-url <url>", about: "authority of the old Authenticode protocol" },
    { flags: "--description <text>", about: "the program's name, shown to users" },
    { flags: "--url <url>", about: "the program's home page, shown to users" },
    { flags: "--page-hashes", about: "sign each memory page as well, for drivers" },
    { flags: "--page-hashes-sha1", about: "the same for old systems" },
    ...SIGN_FORMAT_OPTIONS,
    {
      flags: "--as <how>",
      about: "`detached` is --detached, also for a file that is not what its name says",
      choices: ["auto", "detached"],
    },
    { flags: "--replace", about: "replace the signature of a signed file" },
    { flags: "--append", about: "add a signature to a signed file" },
    { flags: "--skip-signed", about: "leave signed files alone" },
    { flags: "--output <file>", about: "write here instead of changing the file" },
    ...SIGN_AT_SERVICE,
    {
      flags: "--dry-run",
      about:
        "print the digest that would be signed, with --service the request too, and with --identity or --user what its rules would say; changes nothing",
    },
    { flags: "--allow-expired", about: "sign with a certificate that is not valid now" },
    { flags: "--recheck", about: "verify what was written also for files above 64 MiB" },
    {
      flags: "--password-in-argv <text>",
      about: "for signtool's /p only; visible to every user of the machine",
    },
    ...MANY,
  ],
  examples: [
    "upkeep sign --cert publisher.pfx --timestamp-url http://timestamp.example.com app.exe",
    "upkeep sign --cert chain.pem --key key.pem --skip-signed --json 'build/**/*.dll' @more.txt",
    'upkeep sign /fd SHA256 /f publisher.pfx /d "My app" app.exe',
    "upkeep sign --cert chain.pem --key key.pem --product app --release-version 1.4.0 --release-number 17 ./app",
    "upkeep sign --service service.json --identity build-1.pem --cert release --timestamp setup.exe",
    "upkeep sign wait setup.exe.pending --service service.json --identity build-1.pem",
  ],
  run: async (call) => {
    const [first, ...rest] = call.argumentsFrom(0);
    if (first === "wait") return (await import("../service/sign.ts")).serviceWait(call, rest);
    const { goesToService, refuseServiceWords } = await import("../service/options.ts");
    if (goesToService(call)) return (await import("../service/sign.ts")).serviceSign(call, "sign");
    refuseServiceWords(call);
    return (await import("./sign.ts")).sign(call);
  },
};

export const timestampCommand: CommandSpec = {
  name: "timestamp",
  about: "put a new timestamp on signed files",
  arguments: [FILES],
  options: [...STAMPS, ...MANY],
  examples: ["upkeep timestamp --timestamp-url http://timestamp.example.com app.exe"],
  run: async (call) => (await import("./sign.ts")).timestamp(call),
};

export const removeCommand: CommandSpec = {
  name: "remove",
  about: "remove the signatures from files",
  arguments: [FILES],
  options: [{ flags: "--output <file>", about: "write here instead of changing the file" }, ...MANY],
  examples: ["upkeep remove app.exe"],
  run: async (call) => (await import("./sign.ts")).remove(call),
};
