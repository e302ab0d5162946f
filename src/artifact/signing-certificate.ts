// May this certificate sign at all? Asked before a signature is made, so that nothing is signed that our own verifier then refuses.

import { formatName } from "../der/names.ts";
import type { Certificate } from "../der/x509.ts";
import { faultsOfLeaf } from "./chain.ts";
import { ArtifactError } from "./errors.ts";

/** Why everything that the certificate signs would be refused, one sentence each; empty if nothing speaks against it. */
export function whyUnfit(certificate: Certificate): readonly string[] {
  return faultsOfLeaf(certificate, "codeSigning").map((finding) => finding.message);
}

/** Errors: `artifact/bad-certificate`. */
export function refuseUnfit(certificate: Certificate): void {
  const faults = whyUnfit(certificate);
  if (faults.length === 0) return;
  throw new ArtifactError(
    "artifact/bad-certificate",
    `Every verification would refuse what this certificate signs: ${faults.join(" ")}`,
    { subject: formatName(certificate.subject) },
    {
      hint: "Ask the authority for a code signing certificate, or name the right one with --subject or --sha1.",
    },
  );
}
