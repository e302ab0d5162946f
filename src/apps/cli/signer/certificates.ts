// What `signer cert` does: requests, import, self-signed certificates, and taking them out of use.

import { resolve } from "node:path";
import { fromUtf8, toBase64, toUtf8 } from "../../../core/bytes.ts";
import { makeDirectories } from "../../../core/disk.ts";
import { DAY, formatInstant } from "../../../core/instant.ts";
import type { X509Scheme } from "../../../der/algorithms.ts";
import { buildCsr } from "../../../der/csr.ts";
import { buildCertificate } from "../../../der/issue.ts";
import { commonName } from "../../../der/names.ts";
import * as oids from "../../../der/oids.ts";
import { toPem } from "../../../der/pem.ts";
import { certificatePem, isSignedBy, parseCertificatesPem } from "../../../der/x509.ts";
import { whyUnfit } from "../../../artifact/signing-certificate.ts";
import { openCustody, type Custody } from "../../../io/keys/custody.ts";
import { appendTable, editSetting, removeTable } from "../../../signing/policy/config-text.ts";
import { openKey, parseSealedKey, wrappingKey } from "../../../signing/custody/custody.ts";
import { SigningError } from "../../../signing/errors.ts";
import { loadSettings, signerFolder, type SignerFolder } from "../../signer/settings.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { unlocked } from "./init-run-describe.ts";
import { done, edit, known, nameFor } from "./edit-config.ts";

const ACTIONS = ["csr", "import", "self", "add", "list", "show", "enable", "disable", "remove"];

export async function signerCert(call: Call): Promise<Result> {
  const { context } = call;
  const folder = signerFolder(context.data);
  const action = call.argument(0);
  if (action === "list") return (await import("./init-run-describe.ts")).signerCheck(call);
  const name = nameFor(call, "cert", ACTIONS);
  if (action === "show") return (await import("./show.ts")).showCertificate(call, name);
  if (action === "import" && call.argumentOr(2) === undefined)
    throw usage("signer cert import needs a file: PEM with the leaf first, then its intermediates.");
  if (["enable", "disable", "remove"].includes(action)) await known(call, folder, "certificates", name);
  const settings = await loadSettings(context.disk, folder);
  const existing = settings.config.certificates[name];
  const key = call.text("key") ?? existing?.key ?? name;
  const keyConfig = settings.config.keys[key];
  if (keyConfig === undefined && action !== "remove") {
    throw new SigningError(
      "signing/not-found",
      `There is no key ${key}.`,
      { key },
      { hint: `Make one with "upkeep signer key new ${key}".` },
    );
  }
  const at = ["certificates", name];
  const entry = (text: string): string => {
    if (existing === undefined) return appendTable(text, at, { key });
    return existing.key === key ? text : editSetting(text, at, "key", key);
  };
  switch (action) {
    case "csr":
    case "self": {
      const subject = commonName(call.text("subject") ?? name);
      const scheme = keyConfig!.scheme as X509Scheme;
      const { signer, close } = await custodyOf(call, folder, key);
      try {
        if (action === "csr") {
          const pem = toPem("CERTIFICATE REQUEST", await buildCsr({ subject, signer, scheme }));
          // Asking for a certificate takes nothing out of use: the one that is there stays with its key until the new one is imported.
          if (existing === undefined) await edit(call, folder, entry);
          return { text: pem.trimEnd(), json: { certificate: name, csr: pem } };
        }
        const certificate = await buildCertificate({
          serial: context.random.bytes(16).with(0, 1),
          issuer: { signer, scheme },
          subject,
          spki: signer.publicKey.spki,
          notBefore: context.clock.now() - DAY,
          notAfter: context.clock.now() + (call.whole("days", 1, 36_500) ?? 365) * DAY,
          eku: [oids.codeSigning],
        });
        return await imported(call, folder, name, certificatePem(certificate), entry);
      } finally {
        await close();
      }
    }
    case "import":
      return imported(
        call,
        folder,
        name,
        fromUtf8(await context.disk.read(resolve(call.argument(2)), 1024 * 1024)),
        entry,
      );
    case "add":
      await edit(call, folder, entry);
      return done(
        `The key ${key} may be used as ${name}, for raw signatures only until a certificate is imported.`,
        {
          certificate: name,
          key,
        },
      );
    case "enable":
    case "disable":
      await edit(call, folder, (text) =>
        editSetting(text, at, "disabled", action === "disable" ? true : undefined),
      );
      return done(`The certificate ${name} is ${action}d.`, { certificate: name, action });
    default: // remove
      await edit(call, folder, (text) => removeTable(text, at));
      return done(`The certificate ${name} is out of use.`, { certificate: name, action });
  }
}

async function imported(
  call: Call,
  folder: SignerFolder,
  name: string,
  pem: string,
  entry: (text: string) => string,
): Promise<Result> {
  const { disk, clock } = call.context;
  const settings = await loadSettings(disk, folder);
  const key = call.text("key") ?? settings.config.certificates[name]?.key ?? name;
  const chain = parseCertificatesPem(pem);
  const leaf = chain[0];
  if (leaf === undefined) throw new SigningError("signing/refused", "The file holds no certificate.");
  const bad = (what: string): SigningError =>
    new SigningError("signing/refused", `The certificate is not imported: ${what}.`, { certificate: name });
  const { spki } = parseSealedKey(await disk.read(folder.key(key), 64 * 1024));
  if (spki !== undefined && toBase64(leaf.spki) !== spki) throw bad(`it is for another key than ${key}`);
  if (leaf.notAfter <= clock.now()) throw bad(`it expired at ${formatInstant(leaf.notAfter)}`);
  const unfit = whyUnfit(leaf);
  if (unfit.length > 0)
    throw bad(`every verification would refuse what it signs: ${unfit.join(" ").replace(/\.$/, "")}`);
  chain.slice(0, -1).forEach((certificate, i) => {
    if (!isSignedBy(certificate, chain[i + 1]!))
      throw bad(
        `certificate ${i + 2} of the file did not issue certificate ${i + 1}; the order is leaf first`,
      );
  });
  await makeDirectories(disk, `${folder.root}/certificates`, 0o700);
  const bytes = toUtf8(chain.map(certificatePem).join(""));
  await edit(call, folder, entry, [{ path: folder.certificate(name), bytes }]);
  return done(`The certificate ${name} is in use until ${formatInstant(leaf.notAfter)}.`, {
    certificate: name,
    key,
    expires: formatInstant(leaf.notAfter),
    chain: chain.length,
  });
}

/** The key where it really is; whoever opens a token closes it. */
async function custodyOf(call: Call, folder: SignerFolder, key: string): Promise<Custody> {
  const { disk } = call.context;
  const { config } = await loadSettings(disk, folder);
  const secret = await unlocked(call, folder);
  const sealed = parseSealedKey(await disk.read(folder.key(key), 64 * 1024));
  return openCustody(key, config.keys[key]!, sealed, openKey(wrappingKey(secret, key), sealed));
}
