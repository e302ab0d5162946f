// Where the signing commands get their key and certificates from: files, the data folder, or a token.

import { resolve } from "node:path";
import {
  readKeyMaterial,
  chooseIdentity,
  chooseKey,
  signerOf,
  type CertificateChoice,
  type KeyMaterial,
  type SigningIdentity,
} from "../../../artifact/identity.ts";
import { refuseUnfit } from "../../../artifact/signing-certificate.ts";
import type { Certificate } from "../../../der/x509.ts";
import type { Signer } from "../../../keys/signer.ts";
import type { Call } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";

const LIMIT = 1024 * 1024;

export type OpenIdentity = SigningIdentity & { readonly close: () => Promise<void> };

/** Errors: `cli/usage`, `cli/no-secret`, `artifact/bad-key`, `artifact/bad-certificate`, the disk's and the token's. */
export async function openIdentity(call: Call): Promise<OpenIdentity> {
  const { context } = call;
  let remembered: Promise<string> | undefined;
  const inArgv = call.text("password-in-argv");
  if (inArgv !== undefined) {
    context.note(
      "warning: a passphrase on the command line can be read by every user of this machine; set UPKEEP_CERT_PASSWORD instead",
    );
    remembered = Promise.resolve(inArgv);
  }
  const passphrase = (): Promise<string> =>
    (remembered ??= context.secret({
      what: "Passphrase of the key",
      env: "UPKEEP_CERT_PASSWORD",
      file: call.text("password-file"),
      option: "--password-file",
    }));
  const load = async (path: string): Promise<KeyMaterial> =>
    readKeyMaterial(await context.disk.read(resolve(path), LIMIT), passphrase);

  const certificateFile = call.text("cert") ?? context.terminal.env["UPKEEP_CERT"];
  // A token may keep its certificate itself.
  if (certificateFile === undefined && call.text("pkcs11-module") === undefined) {
    throw usage(
      "--cert is needed: a file with the publisher's certificate.",
      "A PKCS#12 file holds the key as well; with PEM, --key may name it. UPKEEP_CERT is used when --cert is not given.",
    );
  }
  const main = certificateFile === undefined ? { keys: [], certificates: [] } : await load(certificateFile);
  const more = await Promise.all(call.list("add-cert").map(load));
  const given = [...main.certificates, ...more.flatMap((each) => each.certificates)];
  const { signer, certificates, close } = await openSigner(call, main, load, given);
  try {
    const identity = chooseIdentity(signer, [...given, ...certificates], choiceOf(call), context.clock.now());
    // The kernel asks its certificates for no purpose.
    if (!call.flag("kernel")) refuseUnfit(identity.certificate);
    return { ...identity, close };
  } catch (error) {
    await close();
    throw error;
  }
}

type OpenSigner = {
  readonly signer: Signer;
  readonly certificates: readonly Certificate[];
  readonly close: () => Promise<void>;
};

async function openSigner(
  call: Call,
  main: KeyMaterial,
  load: (path: string) => Promise<KeyMaterial>,
  certificates: readonly Certificate[],
): Promise<OpenSigner> {
  const { context } = call;
  const nothing = async (): Promise<void> => {};
  const pkcs11Module = call.text("pkcs11-module");
  if (pkcs11Module !== undefined) {
    const { openToken } = await import("../../../io/keys/pkcs11.ts");
    const pin = await context.secret({
      what: "PIN of the token",
      env: "UPKEEP_PKCS11_PIN",
      file: call.text("pin-file"),
      option: "--pin-file",
    });
    return openToken({
      module: resolve(pkcs11Module),
      token: call.text("pkcs11-token"),
      key: call.text("pkcs11-key"),
      pin,
    });
  }
  const keyName = call.text("key-name");
  if (keyName !== undefined) {
    const { keysOf } = await import("../key/keys.ts");
    return { signer: await keysOf(call).signer(keyName), certificates: [], close: nothing };
  }
  const keyFile = call.text("key");
  const keys = keyFile === undefined ? main.keys : (await load(keyFile)).keys;
  return { signer: signerOf(chooseKey(keys, certificates)), certificates: [], close: nothing };
}

function choiceOf(call: Call): CertificateChoice {
  const [subject, issuer, sha1] = [call.text("subject"), call.text("issuer"), call.text("sha1")];
  return {
    ...(subject === undefined ? {} : { subject }),
    ...(issuer === undefined ? {} : { issuer }),
    ...(sha1 === undefined ? {} : { sha1 }),
    allowExpired: call.flag("allow-expired"),
  };
}
