// Private keys in a folder: one file each, readable by their owner only.

import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { toHex } from "../../core/bytes.ts";
import { makePrivateDirectory, parentOf, statOrNull, type Disk } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import type { Instant } from "../../core/instant.ts";
import type { Random } from "../../core/random.ts";
import { nameSchema, z } from "../../core/schema.ts";
import { KeyError } from "../../keys/errors.ts";
import { KEY_FILE_LIMIT, openKeyFile, readKeyInfo, writeKeyFile, type KeyInfo } from "../../keys/key-file.ts";
import type { PublicKey } from "../../keys/public-key.ts";
import { SCHEMES, type Scheme } from "../../keys/scheme.ts";
import { localSigner, type Signer } from "../../keys/signer.ts";
import { privateHint } from "../system/platform.ts";

/** Asked once per wrapped key; null means that nobody can be asked. */
export type AskPassphrase = (info: KeyInfo) => Promise<string | null>;

export interface KeyStore {
  readonly folder: string;
  /** All keys, by name. A file that others may read is refused, not skipped. */
  list(): Promise<readonly KeyInfo[]>;
  /** By name, key id or a beginning of it (8 digits or more). Errors: `key/not-found`, `key/ambiguous`, `key/readable-by-others`. */
  find(nameOrId: string): Promise<KeyInfo>;
  signer(nameOrId: string): Promise<Signer>;
  /** Every key of the store that is among these, whatever their ids; the others are elsewhere, which is no error. */
  signersFor(wanted: readonly PublicKey[]): Promise<readonly Signer[]>;
  /** Makes a key and its file, or writes the file for a key that comes from elsewhere. Throws `key/exists`. */
  create(key: {
    readonly name: string;
    readonly scheme: Scheme;
    readonly passphrase: string | null;
    readonly created: Instant;
    readonly privateKey?: KeyObject;
  }): Promise<KeyInfo>;
}

const SUFFIX = ".key.json";

export function openKeyStore(
  folder: string,
  tools: { readonly disk: Disk; readonly random: Random; readonly ask: AskPassphrase },
): KeyStore {
  const { disk, random, ask } = tools;
  const opened = new Map<string, Signer>();

  const read = async (name: string): Promise<Uint8Array> => {
    const path = `${folder}/${name}${SUFFIX}`;
    const { kind, mode } = await disk.stat(path);
    if (kind !== "file" || (mode & 0o077) !== 0) {
      throw new KeyError(
        "key/readable-by-others",
        `The key file ${path} may be used by other users of this machine, so it is not used at all.`,
        { path, mode: mode.toString(8) },
        { hint: `If nobody else could have read it, run: ${privateHint(path)}` },
      );
    }
    return disk.read(path, KEY_FILE_LIMIT);
  };
  const list = async (): Promise<readonly KeyInfo[]> => {
    if ((await statOrNull(disk, folder)) === null) return [];
    const infos: KeyInfo[] = [];
    for (const file of await disk.list(folder)) {
      if (!file.endsWith(SUFFIX)) continue;
      const name = file.slice(0, -SUFFIX.length);
      // The file's name is what people type; a name inside that differs came with a copied file.
      infos.push({ ...naming(`${folder}/${file}`, readKeyInfo, await read(name)), name });
    }
    return infos;
  };
  const find = async (nameOrId: string): Promise<KeyInfo> => {
    const infos = await list();
    const byName = infos.filter((info) => info.name === nameOrId);
    const found =
      byName.length > 0
        ? byName
        : infos.filter(({ publicKey }) =>
            nameOrId.length >= 8 ? publicKey.keyid.startsWith(nameOrId) : publicKey.keyid === nameOrId,
          );
    if (found.length === 0) {
      throw new KeyError(
        "key/not-found",
        `There is no key "${nameOrId.slice(0, 80)}" in ${folder}.`,
        { key: nameOrId.slice(0, 80), folder },
        { hint: "upkeep key list shows the keys that are there." },
      );
    }
    if (found.length > 1) {
      throw new KeyError("key/ambiguous", `More than one key id begins with ${nameOrId}.`, {
        keys: found.map((info) => info.publicKey.keyid),
      });
    }
    return found[0]!;
  };
  const signer = async (nameOrId: string): Promise<Signer> => {
    const info = await find(nameOrId);
    const cached = opened.get(info.publicKey.keyid);
    if (cached !== undefined) return cached;
    const passphrase = info.wrapped ? await ask(info) : null;
    const open = (bytes: Uint8Array): Signer => openKeyFile(bytes, passphrase);
    const made = naming(`${folder}/${info.name}${SUFFIX}`, open, await read(info.name));
    opened.set(info.publicKey.keyid, made);
    return made;
  };
  return {
    folder,
    list,
    find,
    signer,
    signersFor: async (wanted) => {
      const spki = new Set(wanted.map((key) => toHex(key.spki)));
      const here = (await list()).filter((info) => spki.has(toHex(info.publicKey.spki)));
      const signers: Signer[] = [];
      for (const info of here) signers.push(await signer(info.name));
      return signers;
    },
    create: async ({ name, scheme, passphrase, created, privateKey = generateKey(scheme) }) => {
      if (!z.safeParse(nameSchema, name).success) {
        throw new KeyError(
          "key/malformed",
          `"${name.slice(0, 80)}" cannot name a key; use lower-case letters, digits, dots and dashes.`,
          { name: name.slice(0, 80) },
        );
      }
      await makePrivateDirectory(disk, folder);
      const path = `${folder}/${name}${SUFFIX}`;
      if ((await statOrNull(disk, path)) !== null) {
        throw new KeyError(
          "key/exists",
          `A key named ${name} exists already; it is not overwritten.`,
          { path },
          { hint: "Choose another name, or move the old file away first." },
        );
      }
      const bytes = writeKeyFile({ name, scheme, created, privateKey, passphrase }, random);
      await writeNew(disk, path, bytes);
      const info = readKeyInfo(bytes);
      opened.set(info.publicKey.keyid, localSigner(privateKey, scheme));
      return info;
    },
  };
}

/** What is wrong with a file is said with the file's name: one broken line in one of many. Errors: `key/malformed`, and those of `key/`. */
function naming<T>(path: string, open: (bytes: Uint8Array) => T, bytes: Uint8Array): T {
  try {
    return open(bytes);
  } catch (cause) {
    if (!(cause instanceof UpkeepError) || cause instanceof KeyError) throw cause;
    throw new KeyError(
      "key/malformed",
      `The key file ${path} is not as it was written: somebody changed it, or it was damaged.`,
      { path },
      { cause, hint: "Put it back from a backup. Other keys are not affected once it is out of the folder." },
    );
  }
}

/** A new private key from the system's generator. RSA keys have 3072 bits. */
export function generateKey(scheme: Scheme): KeyObject {
  const { node, curve } = SCHEMES[scheme];
  switch (node) {
    case "ed25519":
      return generateKeyPairSync("ed25519").privateKey;
    case "ec":
      return generateKeyPairSync("ec", { namedCurve: curve! }).privateKey;
    case "rsa":
      return generateKeyPairSync("rsa", { modulusLength: 3072 }).privateKey;
    case "ml-dsa-44":
    case "ml-dsa-65":
    case "ml-dsa-87":
      return generateKeyPairSync(node).privateKey;
    default:
      throw new KeyError("key/unknown-scheme", `Keys for ${scheme} cannot be made here.`, { scheme });
  }
}

/** Complete or absent after a crash, never readable by others on the way, never over an existing file. */
async function writeNew(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const beside = `${path}.tmp`;
  if ((await statOrNull(disk, beside)) !== null) await disk.removeFile(beside);
  const file = await disk.open(beside, "create", 0o600);
  try {
    await file.write(0, bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(beside, path);
  await disk.syncDirectory(parentOf(path));
}
