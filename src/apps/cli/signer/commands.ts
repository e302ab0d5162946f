// The noun `signer`: the machine that guards the keys.

import type { NounSpec, OptionSpec } from "../../framework/command.ts";

const UNLOCK: readonly OptionSpec[] = [
  {
    flags: "--passphrase-file <file>",
    about: "the unlock passphrase is the first line of this file",
    env: "UPKEEP_UNLOCK",
    otherwise: "asked for",
  },
  {
    flags: "--share-file <file>",
    about: "a file with one operator share; repeat it until there are enough",
    repeat: true,
  },
];

const ADMIN: OptionSpec = {
  flags: "--admin <name>",
  about:
    "where administrators are: who accepts the change; the one-time code comes from UPKEEP_CODE or is asked for",
};

export const signerNoun: NounSpec = {
  name: "signer",
  about: "guard signing keys and sign by policy",
  commands: [
    {
      name: "init",
      about: "make a signer: its identity, its audit log key, an empty configuration",
      details:
        "Everything secret is sealed under one unlock secret, which exists only under a passphrase or as operator shares:\na copy of the data folder signs nothing.",
      options: [
        { flags: "--name <name>", about: "what the signer is called", default: "signer" },
        {
          flags: "--gateway <host:port=spki>",
          about: "a gateway's signer port and key; may be repeated",
          repeat: true,
        },
        { flags: "--passphrase-file <file>", about: "the unlock passphrase is the first line of this file" },
        {
          flags: "--shares <m/n>",
          about: "split the unlock secret among n operators, m of whom start the signer",
        },
        { flags: "--share-folder <folder>", about: "where to write the shares, one file each" },
      ],
      examples: [
        "upkeep signer init --name signer-1 --gateway gw.example:7444=4f0c...",
        "upkeep signer init --shares 2/3 --share-folder /media/ceremony",
      ],
      run: async (call) => (await import("./init-run-describe.ts")).signerInit(call),
    },
    {
      name: "run",
      about: "unlock, connect to the gateways and sign until stopped",
      details: "Reloads its configuration when the file changes and on SIGHUP; running sessions go on.",
      options: UNLOCK,
      examples: ["upkeep signer run --passphrase-file /run/credentials/upkeep-signer.service/unlock"],
      run: async (call) => (await import("./init-run-describe.ts")).signerRun(call),
    },
    {
      name: "check",
      about: "check configuration and certificates as a start would, and show what expires",
      details:
        "Ends with 3 and the line of the fault if a start would be refused, with 4 if a certificate needs attention.",
      examples: ["upkeep signer check"],
      run: async (call) => (await import("./init-run-describe.ts")).signerCheck(call),
    },
    {
      name: "status",
      about: "ask the signer that runs on this data folder whether it signs, or waits for another one",
      details:
        "Ends with 0 if it signs, with 4 if it starts or waits (for another signer that writes its log, or for the database that it is in), with 1\nif none runs.",
      examples: ["upkeep signer status"],
      run: async (call) => (await import("./accept-and-admin.ts")).signerStatus(call),
    },
    {
      name: "describe",
      about: "print the service description that clients are given",
      details: "Nothing in it is secret, but clients trust it: hand it over as you would a root certificate.",
      options: [
        {
          flags: "--gateway <host:port=spki>",
          about: "a gateway's client port and key; may be repeated",
          repeat: true,
        },
        {
          flags: "--add <file>",
          about: "also the signers of this description; may be repeated",
          repeat: true,
        },
      ],
      examples: ["upkeep signer describe --gateway gw.example:7443=4f0c... > service.json"],
      run: async (call) => (await import("./init-run-describe.ts")).signerDescribe(call),
    },
    {
      name: "user",
      about: "manage users: add, list, show, enable, disable, remove, reset",
      arguments: [
        { name: "<action>", about: "add, list, show, enable, disable, remove, reset" },
        { name: "[name]", about: "the user" },
      ],
      options: [
        {
          flags: "--kind <kind>",
          about: "who it is",
          choices: ["person", "machine", "ci"],
          default: "machine",
        },
        { flags: "--role <role>", about: "requester, approver or auditor; may be repeated", repeat: true },
        {
          flags: "--key <sha256>",
          about: "machine: SHA-256 of its public key; person: key to approve with; may be repeated",
          repeat: true,
        },
        { flags: "--expires <instant>", about: "machine: until when, such as 2027-01-01T00:00:00Z" },
        { flags: "--issuer <name>", about: "ci: which [oidc] issuer" },
        {
          flags: "--claim <name=pattern>",
          about: "ci: a claim that must fit; may be repeated",
          repeat: true,
        },
        {
          flags: "--password-file <file>",
          about: "person: the password is the first line of this file",
          env: "UPKEEP_PASSWORD",
          otherwise: "asked for",
        },
        ...UNLOCK,
        ADMIN,
      ],
      examples: [
        "upkeep signer user add build-1 --key 9f86d0...",
        "upkeep signer user add alice --kind person --role approver",
        "upkeep signer user add pipeline --kind ci --issuer github --claim repository=acme/app --claim ref=refs/heads/main",
        "upkeep signer user disable alice",
      ],
      run: async (call) => (await import("./users-keys-policy.ts")).signerUser(call),
    },
    {
      name: "key",
      about: "manage keys: new, import, add, list, remove",
      details:
        "`new` makes a key here, `import` seals one from a PEM file, `add` names one that lives in a token or key service\n(its PIN or credentials come from UPKEEP_KEY_SECRET, --secret-file, or are asked for). No command gives a private key back.",
      arguments: [
        { name: "<action>", about: "new, import, add, list, remove" },
        { name: "[name]", about: "the key" },
        {
          name: "[file]",
          about: "import: a PEM file or a key file of a data folder; add: a PEM file with the public key",
        },
      ],
      options: [
        { flags: "--scheme <scheme>", about: "how it signs", default: "rsa-pkcs1v15-sha256" },
        { flags: "--bits <n>", about: "RSA: size of a new key", default: "3072" },
        {
          flags: "--set <name=value>",
          about: "add: a setting of its table, such as custody=pkcs11; may be repeated",
          repeat: true,
        },
        { flags: "--secret-file <file>", about: "add: PIN or credentials" },
        ...UNLOCK,
        ADMIN,
      ],
      examples: [
        "upkeep signer key new release --scheme ecdsa-sha2-nistp256",
        "upkeep signer key add hsm --set custody=pkcs11 --set module=/usr/lib/softhsm/libsofthsm2.so --set token=prod --set label=release",
      ],
      run: async (call) => (await import("./users-keys-policy.ts")).signerKey(call),
    },
    {
      name: "cert",
      about: "manage certificates: csr, import, self, add, list, show, enable, disable, remove",
      arguments: [
        {
          name: "<action>",
          about: "csr, import, self, add (a key without certificate), list, show, enable, disable, remove",
        },
        { name: "[name]", about: "the certificate" },
        { name: "[file]", about: "import: PEM with the leaf and its intermediates" },
      ],
      options: [
        { flags: "--key <name>", about: "which key it is for; by default the key of the same name" },
        { flags: "--subject <name>", about: "csr, self: common name" },
        { flags: "--days <n>", about: "self: how long", default: "365" },
        ...UNLOCK,
        ADMIN,
      ],
      examples: [
        'upkeep signer cert csr release --subject "Acme Inc." > release.csr',
        "upkeep signer cert import release release-chain.pem",
        "upkeep signer cert list",
      ],
      run: async (call) => (await import("./certificates.ts")).signerCert(call),
    },
    {
      name: "policy",
      about: "manage who may sign what with a certificate: set, show, remove",
      details:
        "A rule needs --user and --operation. Setting one replaces all of it. A request is allowed if one rule lets all of it pass.",
      arguments: [
        { name: "<action>", about: "set, show, remove" },
        { name: "<certificate>", about: "the certificate" },
        { name: "[rule]", about: "name of the rule, by default: default" },
      ],
      options: [
        { flags: "--user <name>", about: "who may sign; may be repeated", repeat: true },
        {
          flags: "--operation <kind>",
          about: "authenticode, elf, cms or raw; may be repeated",
          repeat: true,
        },
        { flags: "--format <name>", about: "pe, msi, cab, ...; may be repeated", repeat: true },
        { flags: "--algorithm <name>", about: "sha256, sha384, sha512; may be repeated", repeat: true },
        { flags: "--file-name <pattern>", about: "such as setup-*.exe; may be repeated", repeat: true },
        { flags: "--purpose <pattern>", about: "raw: such as tuf/*; may be repeated", repeat: true },
        {
          flags: "--member <pattern>",
          about: "catalogs: names of the files they may list; may be repeated",
          repeat: true,
        },
        { flags: "--unread-catalogs", about: "also catalogs too long for the signer to see what they list" },
        { flags: "--timestamp <need>", about: "required or optional", choices: ["required", "optional"] },
        { flags: "--hours <span>", about: "UTC, such as 08:00-18:00" },
        { flags: "--day <day>", about: "mon to sun; may be repeated", repeat: true },
        { flags: "--address <network>", about: "such as 10.0.0.0/8; may be repeated", repeat: true },
        { flags: "--per-hour <n>", about: "at most so many signatures an hour" },
        { flags: "--per-day <n>", about: "at most so many signatures a day" },
        { flags: "--total <n>", about: "at most so many signatures at all" },
        { flags: "--until <instant>", about: "the rule ends then" },
        { flags: "--approvals <n>", about: "how many people must approve" },
        { flags: "--approver <name>", about: "who may approve; may be repeated", repeat: true },
        ...UNLOCK,
        ADMIN,
      ],
      examples: [
        "upkeep signer policy set release --user build-1 --operation authenticode --file-name 'setup-*.exe'",
        "upkeep signer policy set release --user alice --operation elf --approvals 2 --approver bob --approver carol",
        "upkeep signer policy show release",
      ],
      run: async (call) => (await import("./users-keys-policy.ts")).signerPolicy(call),
    },
    {
      name: "accept",
      about: "put the changed configuration and certificates into effect",
      details:
        "Once there is an administrator, no change takes effect without this command: a running signer keeps its configuration, and a start is\nrefused. A running signer checks the code itself; one that does not run is unlocked for it.",
      options: [ADMIN, ...UNLOCK],
      examples: ["upkeep signer accept --admin carol"],
      run: async (call) => (await import("./accept-and-admin.ts")).signerAccept(call),
    },
    {
      name: "admin",
      about: "manage administrators, whose one-time codes changes need: add, list, remove",
      details:
        "The first one needs no code of another. After the last one is removed, every configuration takes effect again.",
      arguments: [
        { name: "<action>", about: "add, list, remove" },
        { name: "[name]", about: "the administrator" },
      ],
      options: [ADMIN, ...UNLOCK],
      examples: [
        "upkeep signer admin add carol",
        "upkeep signer admin add dave --admin carol",
        "upkeep signer admin remove carol --admin dave",
      ],
      run: async (call) => (await import("./accept-and-admin.ts")).signerAdmin(call),
    },
    {
      name: "backup",
      about: "write one file from which this signer can be made again",
      details:
        "Works while the signer runs. In it: configuration, certificates, sealed keys, the unlock file, the audit log up to a signed\ncheckpoint. It signs nothing without the unlock passphrase or shares, which are not in it: keep those as well.",
      arguments: [
        {
          name: "<file>",
          about: "where to write it (mode 0600); an older one is replaced when the new one is whole",
        },
      ],
      examples: ["upkeep signer backup /backup/signer-1.tar"],
      run: async (call) => (await import("./backup.ts")).signerBackup(call),
    },
    {
      name: "restore",
      about: "make a signer from a backup, in an empty place",
      details:
        "Checks every digest, opens every seal and verifies the whole audit log before anything is there; then the log continues with an\nentry that says so. Never let the original run again.",
      arguments: [{ name: "<file>", about: "what signer backup wrote" }],
      options: [
        {
          flags: "--accept-configuration",
          about: "also if the configuration is not the one that the backup's log names last",
        },
        {
          flags: "--log-store <where>",
          about:
            "where the log will be kept: folder, or postgres://USER@HOST/DATABASE; by default where it was",
        },
        {
          flags: "--log-password-file <file>",
          about: "the database's password, in the form of PostgreSQL's own .pgpass",
        },
        ...UNLOCK,
      ],
      examples: [
        "upkeep signer restore /backup/signer-1.tar --data /var/lib/upkeep-signer",
        "upkeep signer restore /backup/signer-1.tar --data NEW --log-store postgres://upkeep@db.example/upkeep",
      ],
      run: async (call) => (await import("./backup.ts")).signerRestore(call),
    },
    {
      name: "identity",
      about: "print the identity to register for a client machine; makes its key if needed",
      arguments: [{ name: "<file>", about: "where to write the private key (mode 0600)" }],
      examples: ["upkeep signer identity build-1.pem"],
      run: async (call) => (await import("./init-run-describe.ts")).signerIdentity(call),
    },
    {
      name: "units",
      about: "print a hardened systemd unit",
      details:
        "The unit runs as the system user upkeep-signer or upkeep-gateway; --sysusers prints the line that makes it. Data lies in\n/var/lib/upkeep-signer. The task for Windows was never run on Windows.",
      arguments: [{ name: "<program>", about: "signer or gateway" }],
      options: [
        { flags: "--program <path>", about: "where upkeep is installed; by default /usr/bin/upkeep" },
        { flags: "--sysusers", about: "print the line for /etc/sysusers.d instead" },
        { flags: "--windows", about: "print a task for the Windows Task Scheduler instead" },
      ],
      examples: [
        "upkeep signer units signer > /etc/systemd/system/upkeep-signer.service",
        "upkeep signer units signer --sysusers > /etc/sysusers.d/upkeep-signer.conf",
      ],
      run: async (call) => (await import("./init-run-describe.ts")).signerUnits(call),
    },
  ],
};
