// `sign --service --dry-run`: the digest and the request as it would be sent; needs no network and no key.

import { basename, resolve } from "node:path";
import { toHex } from "../../core/bytes.ts";
import { canonicalJson } from "../../core/canonical-json.ts";
import { fromUtf8 } from "../../core/bytes.ts";
import type { Json } from "../../core/json.ts";
import { digestContent } from "../../artifact/content-digest.ts";
import { nameSchema } from "../../core/schema.ts";
import { withFileSource } from "../../io/file-source.ts";
import { digestWord } from "../../signing/request.ts";
import type { Call, Result } from "./command.ts";
import { usage } from "./errors.ts";
import { forEachFile } from "./many-files.ts";
import { nameOf } from "./run-service-sign.ts";
import { kindOf, wantedFor } from "./service-operation.ts";
import { planOf } from "./service-plan.ts";
import { releaseOf } from "./service-release.ts";

/**
 * The request is canonical and lacks what only a session gives it: `id` (without --request-id), `requester`, `created`, `expires`, `session`
 * and `signer`. The service was not asked which key it has: without --hash, the digest is that of an RSA key.
 */
export async function dryServiceSign(call: Call, files: readonly string[]): Promise<Result> {
  // Nobody is asked which certificate a subject belongs to; signtool's /n may be the name itself.
  const certificate = call.text("cert") ?? call.text("subject");
  if (certificate === undefined || !nameSchema.safeParse(certificate).success)
    throw usage(
      "--cert is needed: the name of a certificate of the signing service, which is not asked now.",
    );
  const scheme = "rsa-pkcs1v15-sha256";
  const plan = planOf(call, { name: certificate, scheme }, false);
  const listed = files.map((file) => ({ path: resolve(file), plan }));
  const release = call.flag("one-release") ? await releaseOf(listed, scheme, call.context.random) : null;
  const id = call.text("request-id");
  return forEachFile(call, files, (file) =>
    withFileSource(resolve(file), async (source) => {
      const kind = await kindOf(source, file, plan.as);
      const signed = typeof kind === "object" && (await kind.isSigned(source));
      const { operation } = await wantedFor(kind, source, plan, scheme);
      const whole = await digestContent(source, source.size, ["sha256"]);
      const request = {
        version: 1,
        ...(id === undefined ? {} : { id }),
        certificate,
        operation,
        file: { name: basename(file), length: source.size, sha256: toHex(whole.of("sha256")!) },
        ...(release === null ? {} : { release: release[files.indexOf(file)]! }),
      };
      const [hash, digest] = digestWord(operation).split(":");
      const canonical = fromUtf8(canonicalJson(request as unknown as Json));
      const title = typeof kind === "object" ? kind.title : kind;
      return {
        text: `${call.context.style.faint("-")} ${file}: ${title}${signed ? ", signed already" : ""}, ${hash!} ${digest!}\n${canonical}`,
        json: { file, ok: true, status: "dry-run", format: nameOf(kind), signed, hash, digest, request },
      };
    }),
  );
}
