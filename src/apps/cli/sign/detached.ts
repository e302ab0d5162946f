// What `sign --detached` and `verify` do with signatures beside files.

import { resolve } from "node:path";
import { readOrNull, writeAtomic } from "../../../core/disk.ts";
import { formatName } from "../../../der/names.ts";
import { hashOf } from "../../../artifact/content-sign.ts";
import {
  DETACHED_LIMIT,
  DETACHED_SUFFIX,
  detachedReport,
  signDetached,
  verifyDetached,
} from "../../../artifact/detached/detached.ts";
import { ArtifactError } from "../../../artifact/errors.ts";
import type { SigningHash } from "../../../artifact/cms-build.ts";
import type { SignatureMaker } from "../../../artifact/make-signature.ts";
import type { FileReport, VerifyPolicy } from "../../../artifact/report.ts";
import { withFileSource } from "../../../io/source/file.ts";
import type { Call } from "../../framework/command.ts";
import { CliError } from "../../framework/errors.ts";
import type { Outcome } from "../files/many-files.ts";

/** Writes FILE.sig, or `--output`. Errors: `artifact/already-signed`, those of the disk, of the key and of the time-stamp authorities. */
export async function signBeside(call: Call, file: string, maker: SignatureMaker): Promise<Outcome> {
  const { disk, style } = call.context;
  const output = resolve(call.text("output") ?? `${file}${DETACHED_SUFFIX}`);
  const present = await readOrNull(disk, output, DETACHED_LIMIT);
  if (present !== null && call.flag("skip-signed")) {
    return {
      text: `${style.faint("-")} ${file}: signed already, left alone`,
      json: { file, ok: true, status: "skipped", format: "detached", output },
    };
  }
  if (present !== null && !call.flag("replace") && !call.flag("append")) {
    throw new ArtifactError(
      "artifact/already-signed",
      `${output} is there already.`,
      { output },
      { hint: "--replace takes its place, --append adds a signer to it." },
    );
  }
  const wanted = call.text("hash") as SigningHash | undefined;
  const signer = { ...maker, ...(wanted === undefined ? {} : { hash: wanted }) };
  const cms = await withFileSource(resolve(file), (source) =>
    signDetached(source, [signer], {
      ...(maker.stamp === undefined ? {} : { stamp: maker.stamp }),
      ...(present !== null && call.flag("append") ? { beside: present } : {}),
    }),
  );
  await writeAtomic(disk, output, cms);
  const subject = formatName(maker.certificate.subject);
  return {
    text: `${style.good("✓")} ${file}: signed as ${subject}, in ${output}`,
    json: { file, ok: true, status: "signed", format: "detached", output, hash: hashOf(signer), subject },
  };
}

/** Where the signature of this file is, if it is one beside it. `unsignable`: the file has no place for one inside. */
export async function besideOf(
  call: Call,
  file: string,
  unsignable: () => Promise<boolean>,
): Promise<string | null> {
  const named = call.text("signature");
  if (named !== undefined) return resolve(named);
  const path = resolve(`${file}${DETACHED_SUFFIX}`);
  if (call.flag("detached")) return path;
  const there = (await readOrNull(call.context.disk, path, DETACHED_LIMIT)) !== null;
  return there && (await unsignable()) ? path : null;
}

/** Errors: `cli/not-found`, `artifact/bad-signature` (not a signature at all) and those of the disk. */
export async function verifyBeside(
  call: Call,
  file: string,
  signature: string,
  policy: VerifyPolicy,
): Promise<FileReport> {
  const bytes = await readOrNull(call.context.disk, signature, DETACHED_LIMIT);
  if (bytes === null)
    throw new CliError("cli/not-found", `There is no signature at ${signature}.`, { signature });
  const report = await withFileSource(resolve(file), (source) => verifyDetached(source, bytes, policy));
  return { ...detachedReport(report), about: { signature } };
}
