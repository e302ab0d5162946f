// Taking over a repository that another implementation wrote: the models of tuf-js, RSA and ECDSA keys, key ids that are mere names.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { constants, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
  Key,
  Metadata,
  MetaFile,
  Root,
  Signature,
  Snapshot,
  TargetFile,
  Targets,
  Timestamp,
} from "@tufjs/models";
import { digestsOf } from "../../src/core/digest.ts";

const root = new URL("../..", import.meta.url).pathname;

type Foreign = { readonly id: string; readonly key: KeyObject; readonly form: unknown };

function foreign(id: string, kind: "rsa" | "ecdsa"): Foreign {
  const { privateKey, publicKey } =
    kind === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const scheme = kind === "rsa" ? "rsassa-pss-sha256" : "ecdsa-sha2-nistp256";
  const pem = publicKey.export({ type: "spki", format: "pem" });
  return { id, key: privateKey, form: { keytype: kind, scheme, keyval: { public: pem } } };
}

function signatureOf({ key, id }: Foreign, bytes: Buffer): Signature {
  const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
  const sig = sign("sha256", bytes, key.asymmetricKeyType === "rsa" ? pss : key);
  return new Signature({ keyID: id, sig: sig.toString("hex") });
}

describe("repo import", { timeout: 90_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "upkeep-import-"));
  const theirs = join(folder, "theirs");
  const rootKeys = [foreign("acme root 1", "rsa"), foreign("acme root 2", "ecdsa")];
  const [targetsKey, onlineKey] = [foreign("acme-targets", "rsa"), foreign("acme-online", "ecdsa")];
  after(() => rmSync(folder, { recursive: true }));

  const upkeep = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(
      join(root, "node_modules/.bin/node"),
      [join(root, "src/apps/cli/main.ts"), "--data", join(folder, "data"), ...args],
      { encoding: "utf8", timeout: 60_000, cwd: folder },
    );
    return { status, all: `${stdout}${stderr}` };
  };

  before(() => {
    const head = { version: 1, specVersion: "1.0.31" };
    const far = { ...head, expires: new Date(Date.now() + 300 * 864e5).toISOString().replace(/\.\d+/, "") };
    // Another lifetime than ours: no sign of a wrong clock.
    const near = { ...head, expires: new Date(Date.now() + 30 * 864e5).toISOString().replace(/\.\d+/, "") };
    const put = (path: string, content: Buffer | string): void => {
      mkdirSync(dirname(join(theirs, path)), { recursive: true });
      writeFileSync(join(theirs, path), content);
    };
    const publish = (
      path: string,
      signed: Root | Timestamp | Snapshot | Targets,
      signers: readonly Foreign[],
    ): void => {
      const metadata = new Metadata(signed);
      for (const signer of signers) metadata.sign((bytes) => signatureOf(signer, bytes));
      put(`metadata/${path}`, JSON.stringify(metadata.toJSON(), null, 1));
    };
    const first = new Root({ ...far, consistentSnapshot: true });
    const add = (one: Foreign, role: string): void =>
      first.addKey(Key.fromJSON(one.id, one.form as never), role);
    for (const one of rootKeys) add(one, "root");
    add(targetsKey, "targets");
    add(onlineKey, "snapshot");
    add(onlineKey, "timestamp");
    const content = Buffer.from("of another house");
    const hashes = { sha256: digestsOf(content).sha256 };
    const targets = new Targets(far);
    targets.addTarget(new TargetFile({ path: "lib/thing.bin", length: content.length, hashes }));
    put(`targets/lib/${hashes.sha256}.thing.bin`, content);
    publish("1.root.json", first, rootKeys);
    publish("1.targets.json", targets, [targetsKey]);
    publish(
      "1.snapshot.json",
      new Snapshot({ ...near, meta: { "targets.json": new MetaFile({ version: 1 }) } }),
      [onlineKey],
    );
    publish("timestamp.json", new Timestamp({ ...near, snapshotMeta: new MetaFile({ version: 1 }) }), [
      onlineKey,
    ]);
  });

  it("takes over what the models of tuf-js wrote, byte for byte", () => {
    const ran = upkeep("repo", "import", "theirs");
    assert.equal(ran.status, 0, ran.all);
    assert.match(ran.all, /to release into it: upkeep repo adopt/);
    for (const file of ["1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"]) {
      const ours = readFileSync(join(folder, "data/repository/metadata", file));
      assert.deepEqual(ours, readFileSync(join(theirs, "metadata", file)), file);
    }
    const doctor = upkeep("repo", "doctor");
    assert.equal(doctor.status, 0, doctor.all);
    assert.doesNotMatch(doctor.all, /^[!✗]/m);
  });

  it("publishes on with their keys, under their key ids", () => {
    for (const { id, key } of [onlineKey, targetsKey]) {
      writeFileSync(join(folder, `${id}.pem`), key.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
      const ran = upkeep("key", "import", id, `${id}.pem`);
      assert.equal(ran.status, 0, ran.all);
    }
    const recovered = upkeep("repo", "recover");
    assert.equal(recovered.status, 0, recovered.all);
    assert.match(recovered.all, /a fresh client follows/);
    type File = { readonly signatures: readonly { readonly keyid: string }[] };
    const signers = (file: string): readonly string[] =>
      (
        JSON.parse(readFileSync(join(folder, "data/repository/metadata", file), "utf8")) as File
      ).signatures.map(({ keyid }) => keyid);
    assert.deepEqual(signers("timestamp.json"), ["acme-online"]);
    assert.deepEqual(signers("2.snapshot.json"), ["acme-online"]);
    assert.deepEqual(signers("2.targets.json"), ["acme-targets"]);
    const doctor = upkeep("repo", "doctor");
    assert.equal(doctor.status, 0, doctor.all);
  });

  it("has a way to release into it, and keys go by the names they have here", () => {
    const early = upkeep("release", "add", "shop", "1.0.0", "any=acme-online.pem", "--data-only");
    assert.notEqual(early.status, 0);
    assert.match(early.all, /upkeep repo adopt/);
    const adopted = upkeep("repo", "adopt");
    assert.equal(adopted.status, 0, adopted.all);
    assert.equal(upkeep("repo", "adopt").status, 0);
    const added = upkeep(
      "release",
      "add",
      "shop",
      "1.0.0",
      "any=acme-online.pem",
      "--data-only",
      "--promote",
    );
    assert.equal(added.status, 0, added.all);
    for (const [n, one] of rootKeys.entries()) {
      writeFileSync(join(folder, `r${n}.pem`), one.key.export({ type: "pkcs8", format: "pem" }), {
        mode: 0o600,
      });
      assert.equal(upkeep("key", "import", `acme-root-${n + 1}`, `r${n}.pem`).status, 0);
    }
    const rotated = upkeep("repo", "rotate", "root", "--old", "acme-root-2");
    assert.equal(rotated.status, 0, rotated.all);
    assert.match(rotated.all, /root: acme-root-2 -> acme-root-r2|root: acme-root-2 -> acme-root-2-r2/);
    const doctor = upkeep("repo", "doctor");
    assert.equal(doctor.status, 0, doctor.all);
    assert.doesNotMatch(doctor.all, /a clock is wrong/);
  });

  it("refuses a copy in which one bit was changed", () => {
    const file = join(theirs, "metadata/1.targets.json");
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace('"length": 16', '"length": 17'));
    const ran = upkeep("--data", join(folder, "again"), "repo", "import", "theirs");
    writeFileSync(file, text);
    assert.notEqual(ran.status, 0);
    assert.match(ran.all, /1\.targets\.json/);
  });
});
