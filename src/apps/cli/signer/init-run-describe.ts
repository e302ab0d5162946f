// What the verbs of `signer` do: making, running, checking and describing one.

import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { resolve } from "node:path";
import { fromUtf8, toBase64, toUtf8 } from "../../../core/bytes.ts";
import { sha256Hex } from "../../../core/digest.ts";
import {
  exists,
  makeDirectories,
  parentOf,
  readOrNull,
  removeTree,
  writeAtomic,
  type Disk,
} from "../../../core/disk.ts";
import { DAY, formatInstant } from "../../../core/instant.ts";
import type { Random } from "../../../core/random.ts";
import { fromBase64 } from "../../../core/bytes.ts";
import { whyUnfit } from "../../../artifact/signing-certificate.ts";
import { parseSealedKey, type Unlock } from "../../../signing/custody/custody.ts";
import {
  formatSealed,
  lockWithPassphrase,
  lockWithShares,
  parseUnlock,
  sealKey,
  unlockSecret,
  wrappingKey,
} from "../../../signing/custody/custody.ts";
import { formatNoteKey, noteKeyFromSpki } from "../../../signing/audit/note.ts";
import { describeRoots, formatDescription, parseDescription } from "../../../signing/wire/description.ts";
import { SigningError } from "../../../signing/errors.ts";
import { formatShare, parseShare, type Share } from "../../../signing/custody/shamir.ts";
import {
  IDENTITY_KEY,
  loadSettings,
  LOG_KEY,
  logOrigin,
  signerFolder,
  signerFolderAt,
  type SignerFolder,
} from "../../signer/settings.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { identitySpki, readDescription, readIdentity } from "../service/inputs.ts";
import { columns } from "../../framework/style.ts";
import { refuseTraces } from "./traces.ts";

export async function signerInit(call: Call): Promise<Result> {
  const { context } = call;
  const { disk, random } = context;
  const { root } = signerFolder(context.data);
  const name = call.needed("name");
  const gateways = call.list("gateway").map(parseGateway);
  await refuseTraces(disk, root);
  const secret = random.bytes(32);
  const { unlock, shares } = await lock(call, secret);
  // Made aside and put in its place when it is whole: what was refused or interrupted leaves no half a signer.
  const folder = signerFolderAt(`${root}.making`);
  await removeTree(disk, folder.root);
  for (const sub of ["", "/keys", "/certificates", "/audit"])
    await makeDirectories(disk, `${folder.root}${sub}`, 0o700);
  const sealed = async (key: string): Promise<string> => {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    const spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
    await writeSealedKey(disk, folder, secret, key, privateKey, spki, random);
    return key === LOG_KEY ? formatNoteKey(noteKeyFromSpki(logOrigin(name), spki)) : sha256Hex(spki);
  };
  const spki = await sealed(IDENTITY_KEY);
  const log = await sealed(LOG_KEY);
  await writeAtomic(disk, folder.unlock, formatSealed(unlock), 0o600);
  const written: string[] = [];
  for (const share of shares) {
    const path = `${resolve(call.needed("share-folder"))}/share-${share.index}.txt`;
    await writeAtomic(disk, path, toUtf8(`${formatShare(share)}\n`), 0o600);
    written.push(path);
  }
  await writeAtomic(disk, folder.config, toUtf8(template(name, gateways)), 0o600);
  if (await exists(disk, root)) await removeTree(disk, root);
  await disk.rename(folder.root, root);
  await disk.syncDirectory(parentOf(root));
  secret.fill(0);
  return {
    text: [
      `signer ${name} in ${root}`,
      `identity ${spki}`,
      `log ${log}`,
      ...(written.length > 0
        ? [`shares ${written.join(" ")}`, "Give each share to another person, then delete the files."]
        : []),
      `Let it connect: upkeep gateway add ${name}=${spki}`,
    ].join("\n"),
    json: { name, folder: root, spki, log, shares: written },
  };
}

async function lock(
  call: Call,
  secret: Uint8Array,
): Promise<{ readonly unlock: Unlock; readonly shares: readonly Share[] }> {
  const { context } = call;
  const split = call.text("shares");
  if (split !== undefined) {
    const match = /^(\d+)\/(\d+)$/.exec(split);
    if (match === null) throw usage("--shares is written m/n, such as 2/3.");
    call.needed("share-folder");
    return lockWithShares(secret, Number(match[1]), Number(match[2]), context.random);
  }
  const passphrase = await context.secret({
    what: "New unlock passphrase",
    env: "UPKEEP_UNLOCK",
    file: call.text("passphrase-file"),
    option: "--passphrase-file",
    twice: true,
  });
  return { unlock: await lockWithPassphrase(secret, toUtf8(passphrase), context.random), shares: [] };
}

/** Passphrase or shares, as the signer was made. */
export async function unlocking(
  call: Call,
  unlock: Unlock,
): Promise<{ passphrase?: Uint8Array; shares?: readonly Share[] }> {
  const { context } = call;
  if (unlock.kind === "passphrase") {
    const passphrase = await context.secret({
      what: "Unlock passphrase",
      env: "UPKEEP_UNLOCK",
      file: call.text("passphrase-file"),
      option: "--passphrase-file",
    });
    return { passphrase: toUtf8(passphrase) };
  }
  const shares: Share[] = [];
  for (const file of call.list("share-file")) {
    shares.push(parseShare(fromUtf8(await context.disk.read(resolve(file), 4096))));
  }
  while (shares.length < unlock.needed) {
    const text = await context.secret({
      what: `Operator share ${shares.length + 1} of ${unlock.needed}`,
      env: "UPKEEP_SHARE",
      option: "--share-file",
    });
    shares.push(parseShare(text));
    if (context.terminal.env["UPKEEP_SHARE"] !== undefined) break;
  }
  return { shares };
}

/** The unlock secret, for commands that seal something. Errors: `signing/locked`. */
export async function unlocked(call: Call, folder: SignerFolder): Promise<Uint8Array> {
  const unlock = await readUnlock(call.context.disk, folder);
  return unlockSecret(unlock, await unlocking(call, unlock));
}

async function readUnlock(disk: Disk, folder: SignerFolder): Promise<Unlock> {
  if (!(await exists(disk, folder.unlock))) {
    throw new SigningError(
      "signing/not-found",
      `There is no signer in ${folder.root}.`,
      { folder: folder.root },
      {
        hint: 'Make one with "upkeep signer init".',
      },
    );
  }
  return parseUnlock(await disk.read(folder.unlock, 64 * 1024));
}

export async function signerRun(call: Call): Promise<Result> {
  const { context } = call;
  const folder = signerFolder(context.data);
  const settings = await loadSettings(context.disk, folder);
  const { runSigner } = await import("../../signer/main.ts");
  await runSigner({
    data: context.data,
    unlock: (unlock) => unlocking(call, unlock),
    signal: context.signal,
    waiting: ({ holder, since }) => {
      const { name } = settings.config.service;
      if (context.json)
        context.terminal.stdout.write(
          `${JSON.stringify({ ready: false, waiting: true, signer: name, holder, since })}\n`,
        );
      else context.note(`signer ${name} waits: its log is written by ${holder} since ${since}`);
    },
    ready: ({ entries }) => {
      context.terminal.ready?.();
      const { name } = settings.config.service;
      if (context.json)
        context.terminal.stdout.write(`${JSON.stringify({ ready: true, signer: name, entries })}\n`);
      else context.note(`signer ${name} is ready; its log has ${entries} entries`);
    },
  });
  return { text: "", json: { stopped: true } };
}

/** What others know this signer by: the hash of its identity key, and the key of its audit log. */
async function ownKeys(
  disk: Disk,
  folder: SignerFolder,
  name: string,
): Promise<{ readonly spki: string; readonly log: string }> {
  const spkiOf = async (key: string): Promise<Uint8Array> =>
    fromBase64(parseSealedKey(await disk.read(folder.key(key), 64 * 1024)).spki ?? "");
  return {
    spki: sha256Hex(await spkiOf(IDENTITY_KEY)),
    log: formatNoteKey(noteKeyFromSpki(logOrigin(name), await spkiOf(LOG_KEY))),
  };
}

export async function signerCheck(call: Call): Promise<Result> {
  const { context } = call;
  const folder = signerFolder(context.data);
  const settings = await loadSettings(context.disk, folder);
  const { config, certificates } = settings;
  const own = await ownKeys(context.disk, folder, config.service.name);
  const keys = new Map<string, string | undefined>();
  for (const key of Object.keys(config.keys)) {
    const sealed = await readOrNull(context.disk, folder.key(key), 64 * 1024);
    keys.set(key, sealed === null ? undefined : parseSealedKey(sealed).spki);
  }
  const rows = Object.entries(config.certificates).map(([name, certificate]) => {
    const leaf = certificates.get(name)?.chain[0];
    const spki = keys.get(certificate.key);
    // Where the key itself is elsewhere, its public part need not be known here.
    const fits = leaf === undefined || spki === undefined || toBase64(leaf.spki) === spki;
    const unfit = leaf === undefined ? [] : whyUnfit(leaf);
    const days = leaf === undefined ? null : Math.floor((leaf.notAfter - context.clock.now()) / DAY);
    const alarm =
      !certificate.disabled &&
      (!fits ||
        unfit.length > 0 ||
        days === null ||
        certificate["alarm-days"].some((limit) => days <= limit));
    return {
      name,
      key: certificate.key,
      disabled: certificate.disabled,
      expires: leaf === undefined ? null : formatInstant(leaf.notAfter),
      days,
      fits,
      unfit,
      alarm,
    };
  });
  return {
    text: [
      `${Object.keys(config.users).length} users, ${Object.keys(config.keys).length} keys, ${rows.length} certificates: the configuration is good`,
      `identity ${own.spki}`,
      `log ${own.log}`,
      ...(rows.length === 0
        ? []
        : [
            columns([
              ["CERTIFICATE", "KEY", "EXPIRES", "STATE"],
              ...rows.map((row) => [
                row.name,
                row.key,
                row.expires ?? "-",
                row.disabled
                  ? "disabled"
                  : !row.fits
                    ? `not for the key ${row.key}`
                    : row.unfit.length > 0
                      ? `refused by every verification: ${row.unfit.join(" ")}`
                      : row.days === null
                        ? "not imported"
                        : row.days < 0
                          ? "expired"
                          : row.alarm
                            ? `expires in ${row.days} days`
                            : "good",
              ]),
            ]),
          ]),
    ].join("\n"),
    json: { config: settings.sha256, ...own, certificates: rows },
    exit: rows.some((row) => row.alarm) ? 4 : 0,
  };
}

export async function signerDescribe(call: Call): Promise<Result> {
  const { context } = call;
  const folder = signerFolder(context.data);
  const { config, timestampRoots } = await loadSettings(context.disk, folder);
  const { name } = config.service;
  const others = [];
  for (const file of call.list("add")) others.push(await readDescription(context.disk, resolve(file)));
  const description = {
    version: 1 as const,
    gateways: [
      ...call.list("gateway").map(parseGateway),
      ...others.flatMap((other) => other.gateways),
    ].filter((gateway, i, all) => all.findIndex((other) => other.address === gateway.address) === i),
    signers: [
      {
        name,
        ...(await ownKeys(context.disk, folder, name)),
        ...(timestampRoots === undefined ? {} : { timestampRoots: [...describeRoots(timestampRoots)] }),
      },
      ...others.flatMap((other) => other.signers),
    ],
  };
  if (description.gateways.length === 0)
    throw usage("Name the gateways with --gateway host:port=spki, as clients reach them.");
  const text = formatDescription(parseDescription(toUtf8(formatDescription(description))));
  return { text: text.trimEnd(), json: description };
}

export async function signerIdentity(call: Call): Promise<Result> {
  const { disk } = call.context;
  const path = resolve(call.argument(0));
  if (await exists(disk, path)) {
    const spki = identitySpki(createPublicKey(await readIdentity(disk, path)));
    return { text: spki, json: { file: path, spki, made: false } };
  }
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const file = await disk.open(path, "create", 0o600);
  try {
    await file.write(0, toUtf8(String(privateKey.export({ type: "pkcs8", format: "pem" }))));
    await file.sync();
  } finally {
    await file.close();
  }
  const spki = identitySpki(publicKey);
  return { text: spki, json: { file: path, spki, made: true } };
}

export async function signerUnits(call: Call): Promise<Result> {
  const { systemdUnit, sysusersLine, windowsTask } = await import("../../signer/units.ts");
  const program = call.argument(0);
  if (program !== "signer" && program !== "gateway") throw usage("There are units for signer and gateway.");
  const [sysusers, windows] = [call.flag("sysusers"), call.flag("windows")];
  if (sysusers && windows) throw usage("--sysusers and --windows are two different texts; ask for one.");
  const path =
    call.text("program") ?? (windows ? "C:\\Program Files\\upkeep\\upkeep.exe" : "/usr/bin/upkeep");
  // systemd splits at spaces and expands % and $; a path with them would start something else.
  if (!windows && !/^\/[\w./+@-]+$/.test(path))
    throw usage("--program must be an absolute path of letters, digits and . / + @ - _ only.");
  if (windows && !/^[A-Za-z]:\\[^"\p{Cc}<>|?*]+$/u.test(path))
    throw usage("--program must be an absolute Windows path.");
  const text = sysusers
    ? sysusersLine(program)
    : windows
      ? windowsTask(program, { path })
      : systemdUnit(program, { path });
  return { text: text.trimEnd(), json: { program, unit: text } };
}

/** Seals a key and writes its file; refuses a name that is taken. */
export async function writeSealedKey(
  disk: Disk,
  folder: SignerFolder,
  secret: Uint8Array,
  name: string,
  privateKey: KeyObject,
  spki: Uint8Array,
  random: Random,
): Promise<void> {
  if (await exists(disk, folder.key(name)))
    throw new SigningError("signing/exists", `There is a key ${name} already.`, { key: name });
  const plain = new Uint8Array(privateKey.export({ type: "pkcs8", format: "der" }));
  const key = sealKey(wrappingKey(secret, name), { name, holds: "pkcs8", spki, plain }, random);
  plain.fill(0);
  await writeAtomic(disk, folder.key(name), formatSealed(key), 0o600);
}

export function parseGateway(text: string): { readonly address: string; readonly spki: string } {
  const match = /^(\S+:\d{1,5})=([0-9a-f]{64})$/.exec(text);
  if (match === null)
    throw usage(
      `"${text.slice(0, 120)}" is not of the form host:port=spki.`,
      "upkeep gateway init prints the gateway's spki.",
    );
  return { address: match[1]!, spki: match[2]! };
}

function template(
  name: string,
  gateways: readonly { readonly address: string; readonly spki: string }[],
): string {
  return `# Configuration of the signer. The format is described in docs/operate/signer-toml.md.
# It is read at the start and whenever it changes; a fault is named with its line and changes nothing.
version = 1

[service]
name = "${name}"
${gateways.length === 0 ? "gateways = []\n" : `gateways = [\n${gateways.map(({ address, spki }) => `  { address = "${address}", spki = "${spki}" },\n`).join("")}]\n`}`;
}
