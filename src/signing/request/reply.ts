// The client's check of what came back, before anything is attached to a file.

import { attachContent } from "../../artifact/attach-content.ts";
import { indirectDataOctets, SPC_INDIRECT_DATA } from "../../artifact/authenticode.ts";
import { digest } from "../../artifact/cms-build.ts";
import { parseSignedData, signedAttribute, type SignedData } from "../../artifact/cms.ts";
import { checkSigner } from "../../artifact/cms-verify.ts";
import { MANIFEST_OID, writeManifest, type Manifest } from "../../artifact/elf/manifest.ts";
import { Findings, hasError } from "../../artifact/errors.ts";
import { equalBytes, fromBase64, fromHex, toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import * as oids from "../../der/oids.ts";
import { encoded } from "../../der/reader.ts";
import { parseCertificatesPem, type Certificate } from "../../der/x509.ts";
import { publicKeyFromSpki, type PublicKey } from "../../keys/public-key.ts";
import type { Scheme } from "../../keys/scheme.ts";
import type { NoteKey } from "../audit/note.ts";
import { receiptOfSignature, verifyReceipt } from "../audit/receipt.ts";
import { SigningError } from "../errors.ts";
import type { OfferedCertificate } from "../wire/protocol.ts";
import { stampFault, type StampExpectation } from "./reply-timestamp.ts";
import { digestWord, staysHere, type Operation } from "./operation.ts";

export type CheckedReply = {
  /** A CMS message with its content, if it has one, or the bare signature of a raw request. */
  readonly reply: Uint8Array;
  readonly receipt: string;
  readonly leaf: Certificate | null;
};

/** What the client knows by itself. */
export type Expected = StampExpectation & {
  /** For an Authenticode file: the content that the signature has to hold, or to be over, byte for byte. */
  readonly indirectData?: Uint8Array;
};

/**
 * In this order: the receipt proves that this signature over our digest is in the signer's log; the signature is by the
 * certificate that was offered; it covers our own digest and nothing else; it is stamped as was wished.
 * What the signer says about the file does not count.
 * Errors: `signing/bad-reply`, `signing/receipt-mismatch`, `signing/bad-proof`, `signing/bad-note`, `artifact/*`.
 */
export function checkReply(
  operation: Operation,
  offered: OfferedCertificate,
  logKey: NoteKey,
  answer: { readonly reply: string; readonly receipt: string },
  expected: Expected,
): CheckedReply {
  const reply = fromBase64(answer.reply);
  receiptOfSignature(verifyReceipt(toUtf8(answer.receipt), logKey), {
    digest: digestWord(operation),
    signatureSha256: sha256Hex(reply),
  });
  if (operation.kind === "raw") {
    const key = offeredKey(offered, operation.scheme);
    if (!key.verify(fromBase64(operation.message), reply))
      throw bad("the signature does not fit the offered key");
    return { reply, receipt: answer.receipt, leaf: null };
  }
  const leaf = offered.chain === undefined ? undefined : parseCertificatesPem(offered.chain)[0];
  if (leaf === undefined) throw bad("no certificate was offered for it");
  const signed = parseSignedData(reply);
  const signer = signed.signers[0];
  if (signer === undefined || signed.signers.length !== 1) throw bad("it has not exactly one signer");
  if (signer.digest !== operation.algorithm)
    throw bad(`it is over ${signer.digest}, not ${operation.algorithm}`);
  const findings = new Findings();
  const content = contentDigestOf(operation, signed, expected);
  const { certificate } = checkSigner(
    signed,
    signer,
    (hash) => (hash === operation.algorithm ? content : null),
    findings,
  );
  const worst = findings.list.find((finding) => finding.level === "error");
  if (worst !== undefined || hasError(findings.list)) throw bad(worst?.message ?? "it does not verify");
  if (certificate === null || !equalBytes(certificate.der, leaf.der))
    throw bad("it was made with another certificate than the offered one");
  const stamp = stampFault(operation, signer, expected);
  if (stamp !== null) throw bad(stamp);
  return { reply: whole(operation, reply, expected), receipt: answer.receipt, leaf };
}

/** Content of which only a digest travelled was signed as ours by what was checked above; here it comes back to its place. */
function whole(operation: Operation, reply: Uint8Array, { indirectData }: Expected): Uint8Array {
  if (!staysHere(operation)) return reply;
  if (indirectData === undefined) throw bad("its content is not at hand");
  return attachContent(reply, indirectData);
}

/**
 * Over what the signature has to be. Detached content is our own digest; attached content (SpcIndirectData) must be, byte for byte,
 * what we would have written ourselves.
 */
function contentDigestOf(
  operation: Exclude<Operation, { kind: "raw" }>,
  signed: SignedData,
  expected: Expected,
): Uint8Array | null {
  if (operation.kind === "authenticode") {
    const { content } = signed;
    const { indirectData } = expected;
    if (signed.contentType !== (operation.contentType ?? SPC_INDIRECT_DATA) || indirectData === undefined)
      return null;
    const own = digest(operation.algorithm, indirectDataOctets(indirectData));
    if (staysHere(operation)) return content === null ? own : null;
    return content !== null && equalBytes(encoded(content), indirectData) ? own : null;
  }
  if (signed.contentType !== oids.data || signed.content !== null) return null;
  if (operation.kind === "elf") {
    const said = signedAttribute(signed.signers[0]!, MANIFEST_OID);
    if (said === null || !equalBytes(encoded(said), writeManifest(operation.manifest as Manifest)))
      return null;
  }
  return fromHex(operation.digest);
}

const keys = new WeakMap<OfferedCertificate, PublicKey>();

/** Making a key object costs more than a verification with it. */
function offeredKey(offered: OfferedCertificate, scheme: Scheme): PublicKey {
  const known = keys.get(offered);
  if (known?.scheme === scheme) return known;
  const key = publicKeyFromSpki(fromBase64(offered.spki), scheme);
  keys.set(offered, key);
  return key;
}

function bad(what: string): SigningError {
  return new SigningError(
    "signing/bad-reply",
    `The signer's reply is refused: ${what}. Either the signer is misconfigured, or somebody else answered in its place.`,
  );
}
