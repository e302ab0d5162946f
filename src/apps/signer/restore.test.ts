// Backup and restore of a signer: what comes back is what was there, and whatever was changed is refused by name.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { concat, fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import type { Disk } from "../../core/disk.ts";
import { systemClock } from "../../io/system/clock.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { systemRandom } from "../../io/system/random.ts";
import { localSigner } from "../../keys/signer.ts";
import { tarEnd, tarHeader, tarPadding, type TarEntry } from "../../release/tar-writer.ts";
import { AuditLog } from "../../signing/audit/log.ts";
import { noteKeyFromSpki } from "../../signing/audit/note.ts";
import { verifyLog } from "../../signing/audit/verify.ts";
import { formatSums } from "../../signing/custody/backup.ts";
import { formatSealed, lockWithShares, sealKey, wrappingKey } from "../../signing/custody/custody.ts";
import { readTar } from "../../slot/tar.ts";
import { backupSigner } from "./backup.ts";
import { restoreSigner } from "./restore.ts";
import { logOrigin, signerFolder } from "./settings.ts";

const TOML =
  'version = 1\n\n[service]\nname = "s1"\ngateways = []\n\n[keys.release]\ncustody = "file"\nscheme = "ed25519"\n';
let place: string;
let count = 0;
type Made = { readonly data: string; readonly secret: Uint8Array; readonly spki: Uint8Array };

before(() => {
  place = mkdtempSync(join(tmpdir(), "upkeep-backup-"));
});
after(() => rmSync(place, { recursive: true, force: true }));

/** A signer's folder with `entries` entries in its log, every third with a document too large to stand in it. */
async function signer(entries: number, name = "s1", documents = true): Promise<Made> {
  const data = join(place, `data-${count++}`);
  const folder = signerFolder(data);
  for (const sub of ["keys", "certificates", "audit"]) mkdirSync(join(folder.root, sub), { recursive: true });
  const secret = systemRandom.bytes(32);
  writeFileSync(folder.config, TOML.replace('"s1"', `"${name}"`));
  writeFileSync(folder.unlock, formatSealed(lockWithShares(secret, 2, 3, systemRandom).unlock));
  let logKey = generateKeyPairSync("ed25519");
  for (const key of ["identity", "log", "release"]) {
    const pair = generateKeyPairSync("ed25519");
    if (key === "log") logKey = pair;
    const spki = new Uint8Array(pair.publicKey.export({ type: "spki", format: "der" }));
    const plain = new Uint8Array(pair.privateKey.export({ type: "pkcs8", format: "der" }));
    const sealed = sealKey(
      wrappingKey(secret, key),
      { name: key, holds: "pkcs8", spki, plain },
      systemRandom,
    );
    writeFileSync(folder.key(key), formatSealed(sealed));
  }
  const logSigner = localSigner(logKey.privateKey, "ed25519");
  const { spki } = logSigner.publicKey;
  const { log } = await AuditLog.open({
    disk: systemDisk,
    clock: systemClock,
    folder: folder.audit,
    key: noteKeyFromSpki(logOrigin(name), spki),
    sign: (message) => logSigner.sign(message, "ed25519"),
  });
  const config = sha256Hex(readFileSync(folder.config));
  const waiting: Promise<unknown>[] = [];
  for (let i = 0; i < entries; i++) {
    if (i % 3 !== 1 || !documents) waiting.push(log.append({ kind: "config", config, note: `entry ${i}` }));
    else {
      const document = await log.keep(toUtf8(`document ${i} `.repeat(2000)));
      const hash = sha256Hex(toUtf8(String(i)));
      waiting.push(
        log.append({
          kind: "denied",
          user: "eve",
          session: "0".repeat(32),
          address: "192.0.2.1",
          request: hash.slice(0, 32),
          requestHash: hash,
          certificate: "release",
          operation: "cms",
          file: "setup.exe",
          digest: "sha256:00",
          fileSha256: hash,
          reasons: ["no rule"],
          document,
        }),
      );
    }
  }
  await Promise.all(waiting);
  await log.close();
  return { data, secret, spki };
}

async function backup({ data }: Made): Promise<string> {
  const to = join(place, `backup-${count++}.tar`);
  await backupSigner({
    disk: systemDisk,
    clock: systemClock,
    folder: signerFolder(data),
    log: { disk: systemDisk, folder: signerFolder(data).audit },
    to,
    onBytes: () => {},
  });
  return to;
}

async function restore(from: string, secret: Uint8Array, acceptConfiguration = false): Promise<string> {
  const data = join(place, `restored-${count++}`);
  mkdirSync(data);
  await restoreSigner({
    disk: systemDisk,
    clock: systemClock,
    from,
    folder: signerFolder(data),
    unlock: async () => secret.slice(),
    acceptConfiguration,
    onBytes: () => {},
  });
  return data;
}

/** A refusal that leaves nothing behind. */
async function refused(
  from: string,
  secret: Uint8Array,
  expected: { code: string; message?: RegExp },
): Promise<void> {
  const data = join(place, `restored-${count}`);
  await assert.rejects(restore(from, secret), expected);
  assert.ok(
    !existsSync(join(data, "signer")) && !existsSync(join(data, "signer.restoring")),
    "nothing is left",
  );
}

type Files = (readonly [path: string, bytes: Uint8Array])[];
async function filesOf(path: string): Promise<Files> {
  const files: Files = [];
  const source = async function* (): AsyncGenerator<Uint8Array> {
    yield readFileSync(path);
  };
  for await (const entry of readTar(source())) {
    const parts: Uint8Array[] = [];
    for await (const part of entry.content) parts.push(part.slice());
    files.push([entry.path, concat(parts)]);
  }
  return files;
}

/** A backup as somebody would write it who knows the format: with a list of digests that fits. */
function forge(files: Files, extra: readonly TarEntry[] = []): string {
  const listed = files.filter(([path]) => path !== "SHA256SUMS");
  const sums = formatSums(listed.map(([path, bytes]) => [path, sha256Hex(bytes)]));
  const parts: Uint8Array[] = [];
  for (const entry of extra) parts.push(tarHeader(entry));
  for (const [path, bytes] of [...listed, ["SHA256SUMS", sums] as const])
    parts.push(
      tarHeader({ kind: "file", path, size: bytes.length, executable: false }),
      bytes,
      tarPadding(bytes.length),
    );
  const to = join(place, `forged-${count++}.tar`);
  writeFileSync(to, concat([...parts, tarEnd()]));
  return to;
}
const changed = (files: Files, path: string | RegExp, change: (bytes: Uint8Array) => Uint8Array): Files =>
  files.map(([name, bytes]) => [
    name,
    (typeof path === "string" ? name === path : path.test(name)) ? change(bytes) : bytes,
  ]);

describe("a backup", () => {
  it("brings back every file, and a log that is whole and goes on with an entry that says so", async () => {
    const made = await signer(700);
    const from = await backup(made);
    assert.equal(statSync(from).mode & 0o777, 0o600);
    const data = await restore(from, made.secret);
    const [old, fresh] = [signerFolder(made.data), signerFolder(data)];
    for (const path of [
      [old.config, fresh.config],
      [old.unlock, fresh.unlock],
      [old.key("release"), fresh.key("release")],
      [`${old.audit}/tiles/tile/0/000`, `${fresh.audit}/tiles/tile/0/000`],
      [`${old.audit}/tiles/tile/entries/001`, `${fresh.audit}/tiles/tile/entries/001`],
    ] as const)
      assert.deepEqual(readFileSync(path[1]), readFileSync(path[0]), path[1]);
    assert.equal(statSync(fresh.root).mode & 0o777, 0o700);
    assert.equal(statSync(fresh.key("release")).mode & 0o777, 0o600);
    const key = noteKeyFromSpki(logOrigin("s1"), made.spki);
    const kinds: string[] = [];
    const verdict = await verifyLog(systemDisk, fresh.audit, key, [], (entry) => kinds.push(entry.kind));
    assert.deepEqual([verdict.faults, verdict.size, kinds.at(-1)], [[], 701, "restored"]);
  });

  it("can be taken of a signer that never ran, and of one that was restored", async () => {
    const made = await signer(0);
    const data = await restore(await backup(made), made.secret);
    const again = await restore(await backup({ ...made, data }), made.secret);
    const key = noteKeyFromSpki(logOrigin("s1"), made.spki);
    assert.deepEqual((await verifyLog(systemDisk, signerFolder(again).audit, key)).counts, { restored: 2 });
  });

  it("holds what a signed checkpoint covers while the log grows, and never a half-written entry", async () => {
    const made = await signer(10);
    // What a running signer has written behind its last checkpoint.
    const segment = join(signerFolder(made.data).audit, "entries/000000000000.jsonl");
    writeFileSync(segment, concat([readFileSync(segment), toUtf8('{"n":10,"ki')]));
    const data = await restore(await backup(made), made.secret);
    const key = noteKeyFromSpki(logOrigin("s1"), made.spki);
    assert.deepEqual((await verifyLog(systemDisk, signerFolder(data).audit, key)).faults, []);
  });

  it("takes no more memory than a piece of a segment, and refuses a segment that changes under it", async () => {
    const made = await signer(6000, "s1", false);
    const folder = signerFolder(made.data);
    let most = 0;
    let reads = 0;
    let change = false;
    const isSegment = (path: string): boolean => path.includes("/entries/");
    const watched: Disk = {
      ...systemDisk,
      read: async (path, limit) => {
        if (isSegment(path)) reads++;
        return systemDisk.read(path, limit);
      },
      open: async (path, how, mode) => {
        const file = await systemDisk.open(path, how, mode);
        if (!isSegment(path)) return file;
        let at = 0;
        return {
          write: (position, bytes) => file.write(position, bytes),
          truncate: (length) => file.truncate(length),
          sync: () => file.sync(),
          close: () => file.close(),
          read: async (position, length) => {
            const bytes = await file.read(position, length);
            most = Math.max(most, bytes.length);
            return change && at++ === 0 && reads++ > 0 ? bytes.with(20, bytes[20]! ^ 1) : bytes;
          },
        };
      },
    };
    const to = join(place, `backup-${count++}.tar`);
    const given = {
      disk: watched,
      log: { disk: watched, folder: folder.audit },
      clock: systemClock,
      folder,
      to,
      onBytes: () => {},
    };
    await backupSigner(given);
    assert.ok(statSync(join(folder.audit, "entries/000000000000.jsonl")).size > 512 * 1024);
    assert.ok(most <= 256 * 1024, `${most} bytes at once`);
    assert.equal(reads, 0);
    await restore(to, made.secret);
    // Intact while it is checked, another one while it is copied.
    change = true;
    await assert.rejects(backupSigner({ ...given, to: join(place, "changed.tar") }), {
      code: "signing/log-damaged",
      message: /Entry 0 of the audit log: its segment was changed while it was copied/,
    });
    assert.ok(!existsSync(join(place, "changed.tar")) && !existsSync(join(place, "changed.tar.part")));
  });

  it("is not made of a log that was edited, cut off, or lost a document", async () => {
    for (const damage of ["edit", "cut", "document"] as const) {
      const made = await signer(10);
      const segment = join(signerFolder(made.data).audit, "entries/000000000000.jsonl");
      const text = readFileSync(segment, "utf8");
      if (damage === "edit") writeFileSync(segment, text.replace("entry 3", "entry 4"));
      if (damage === "cut")
        writeFileSync(segment, text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1));
      if (damage === "document") rmSync(join(signerFolder(made.data).audit, "blobs"), { recursive: true });
      const to = join(place, `bad-${damage}.tar`);
      await assert.rejects(
        backupSigner({
          disk: systemDisk,
          clock: systemClock,
          folder: signerFolder(made.data),
          log: { disk: systemDisk, folder: signerFolder(made.data).audit },
          to,
          onBytes: () => {},
        }),
        damage === "document" ? { code: "disk/missing" } : { code: "signing/log-damaged" },
      );
      assert.ok(!existsSync(to) && !existsSync(`${to}.part`));
    }
  });

  it("is refused with one bit flipped, wherever that is, and cut off anywhere", async () => {
    const made = await signer(6);
    const bytes = readFileSync(await backup(made));
    const bad = join(place, "flipped.tar");
    for (let at = 0; at < bytes.length; at += 1009) {
      const copy = Buffer.from(bytes);
      copy[at]! ^= 1;
      writeFileSync(bad, copy);
      await refused(bad, made.secret, { code: "signing/bad-backup" });
    }
    for (const length of [0, 1, 511, 512, 2048, bytes.length >> 1, bytes.length - 1024, bytes.length - 1]) {
      writeFileSync(bad, bytes.subarray(0, length));
      await refused(bad, made.secret, { code: "signing/bad-backup" });
    }
    writeFileSync(bad, concat([bytes, toUtf8("more")]));
    await refused(bad, made.secret, { code: "signing/bad-backup" });
  });

  it("is refused if it is something else", async () => {
    const made = await signer(3);
    const files = await filesOf(await backup(made));
    writeFileSync(join(place, "text"), "hello\n".repeat(500));
    await refused(join(place, "text"), made.secret, { code: "signing/bad-backup" });
    await refused(forge(files.slice(1)), made.secret, {
      code: "signing/bad-backup",
      message: /does not begin as one/,
    });
    await refused(forge(changed(files, "backup.json", () => toUtf8('{"kind":"other"}\n'))), made.secret, {
      code: "signing/bad-backup",
      message: /something else than a backup/,
    });
  });

  it("is refused with files outside the folder, links, files of other names, in another order or twice", async () => {
    const made = await signer(3);
    const files = await filesOf(await backup(made));
    const [head] = files;
    const evil = toUtf8("evil");
    for (const path of [
      "../evil",
      "/etc/evil",
      "keys/../../evil.json",
      "keys/Evil.json",
      "run.sh",
      "audit/head",
      "lock",
    ])
      await refused(forge([head!, [path, evil], ...files.slice(1)]), made.secret, {
        code: "signing/bad-backup",
      });
    await refused(forge(files, [{ kind: "link", path: "keys", target: "/etc" }]), made.secret, {
      code: "signing/bad-backup",
    });
    await refused(forge([head!, ...files.slice(1).toReversed()]), made.secret, {
      code: "signing/bad-backup",
    });
    await refused(
      forge(files.flatMap((file) => (file[0] === "unlock.json" ? [file, file] : [file]))),
      made.secret,
      {
        code: "signing/bad-backup",
      },
    );
  });

  it("is refused if anything of it was exchanged, though its digests fit", async () => {
    const [made, other] = [await signer(9), await signer(9)];
    const [files, others] = [await filesOf(await backup(made)), new Map(await filesOf(await backup(other)))];
    const swap = (path: string): string => forge(changed(files, path, () => others.get(path)!));
    await refused(swap("keys/release.json"), made.secret, { code: "signing/locked" });
    await refused(swap("keys/identity.json"), made.secret, { code: "signing/locked" });
    await refused(swap("keys/log.json"), made.secret, { code: "signing/locked" });
    await refused(swap("audit/checkpoint"), made.secret, {
      code: "signing/bad-backup",
      message: /not signed by the log's key/,
    });
    const head = files.findIndex(([path]) => path === "unlock.json") + 1;
    const admins = toUtf8(
      '{"version":1,"admins":{"eve":"AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}',
    );
    await refused(forge(files.toSpliced(head, 0, ["admins.json", admins])), made.secret, {
      code: "signing/bad-backup",
      message: /administrator eve/,
    });
    const edited = (bytes: Uint8Array): Uint8Array => toUtf8(fromUtf8(bytes).replace("entry 5", "entry 6"));
    await refused(forge(changed(files, /entries/, edited)), made.secret, {
      code: "signing/bad-backup",
      message: /Entry 5/,
    });
    const shortened = (bytes: Uint8Array): Uint8Array =>
      toUtf8(`${fromUtf8(bytes).trimEnd().split("\n").slice(0, -1).join("\n")}\n`);
    await refused(forge(changed(files, /entries/, shortened)), made.secret, {
      code: "signing/bad-backup",
      message: /missing/,
    });
    await refused(forge(files.filter(([path]) => path !== "audit/checkpoint")), made.secret, {
      code: "signing/bad-backup",
      message: /checkpoint of its log is missing/,
    });
    for (const path of ["keys/release.json", "keys/log.json", "signer.toml"])
      await refused(forge(files.filter(([name]) => name !== path)), made.secret, {
        code: "signing/bad-backup",
      });
    await refused(forge(files.filter(([name]) => !name.startsWith("audit/blobs/"))), made.secret, {
      code: "signing/bad-backup",
      message: /document/,
    });
  });

  it("is refused with a policy that the log does not name, until somebody has read it", async () => {
    const made = await signer(9);
    const files = await filesOf(await backup(made));
    const toml = toUtf8(`${TOML}\n[users.eve]\nkind = "machine"\nkeys = ["${"ab".repeat(32)}"]\n`);
    const head = JSON.parse(fromUtf8(files[0]![1])) as { [name: string]: unknown };
    const forged = changed(files, "signer.toml", () => toml);
    await refused(forge(forged), made.secret, {
      code: "signing/bad-backup",
      message: /belongs to another backup/,
    });
    const consistent = forge(
      changed(forged, "backup.json", () => toUtf8(JSON.stringify({ ...head, config: sha256Hex(toml) }))),
    );
    await refused(consistent, made.secret, {
      code: "signing/refused",
      message: /not the one that its audit log names/,
    });
    await restore(consistent, made.secret, true);
  });

  it("is refused with the wrong secret, and for a place where a signer is", async () => {
    const made = await signer(3);
    const from = await backup(made);
    await refused(from, systemRandom.bytes(32), { code: "signing/locked" });
    await assert.rejects(
      restoreSigner({
        disk: systemDisk,
        clock: systemClock,
        from,
        folder: signerFolder(made.data),
        unlock: async () => made.secret.slice(),
        acceptConfiguration: false,
        onBytes: () => {},
      }),
      { code: "signing/exists" },
    );
  });
});
