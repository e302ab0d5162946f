// What `service certificates` does: which certificates this user may use, at which signers.

import type { OfferedCertificate } from "../../../signing/wire/protocol.ts";
import type { Call, Result } from "../../framework/command.ts";
import { openService } from "./client.ts";
import { columns } from "../../framework/style.ts";

export async function serviceCertificates(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const { answers, silent } = await client.certificatesEverywhere();
    if (answers.length === 0) throw silent[0]!.error;
    for (const { signer, error } of silent)
      call.context.note(`${signer} could not be asked: ${error.message}`);
    // The same name with the same key is one certificate, whichever signer is asked for it.
    const found = new Map<string, OfferedCertificate & { readonly signers: string[] }>();
    for (const { signer, answer } of answers) {
      for (const each of answer) {
        const known = found.get(`${each.name} ${each.spki}`);
        if (known === undefined) found.set(`${each.name} ${each.spki}`, { ...each, signers: [signer] });
        else known.signers.push(signer);
      }
    }
    const certificates = [...found.values()];
    return {
      text:
        certificates.length === 0
          ? "There is no certificate that you may use."
          : columns(
              [
                ["NAME", "SCHEME", "OPERATIONS", "EXPIRES", "SIGNERS"],
                ...certificates.map((c) => [
                  c.name,
                  c.scheme,
                  c.operations.join(","),
                  c.expires ?? "-",
                  c.signers.join(","),
                ]),
              ],
              call.context.width,
            ),
      json: {
        user: client.user,
        certificates,
        silent: silent.map(({ signer, error: { code, message } }) => ({ signer, code, message })),
      },
    };
  } finally {
    await client.close();
  }
}
