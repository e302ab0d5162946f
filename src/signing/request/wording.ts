// What a request asks for, as the audit log and its approvals word it.

import type { ApprovalSubject } from "../policy/approval.ts";
import { digestWord } from "./operation.ts";
import type { Membership, SigningRequest } from "./request.ts";

/** What approvals of this request are given for. */
export function subjectOf(request: SigningRequest, hash: string): ApprovalSubject {
  return request.release === undefined
    ? { kind: "request", sha256: hash }
    : { kind: "release", root: request.release.root, size: request.release.size };
}

/** Of a result entry. */
export function resultOf(request: SigningRequest, hash: string, user: string) {
  const { certificate, operation, file, digest, fileSha256 } = describe(request, hash);
  return { request: request.id, requestHash: hash, user, certificate, operation, file, digest, fileSha256 };
}

type Described = ReturnType<typeof description>;
const described = new WeakMap<SigningRequest, Described>();

/** Of every entry about a request. Once a request: the digest of a raw message is made from the message. */
export function describe(request: SigningRequest, hash: string): Described {
  const known = described.get(request) ?? description(request, hash);
  described.set(request, known);
  return known;
}

function description(request: SigningRequest, hash: string) {
  return {
    request: request.id,
    requestHash: hash,
    certificate: request.certificate,
    operation:
      request.operation.kind === "authenticode"
        ? `authenticode/${request.operation.format}`
        : request.operation.kind,
    file: request.file.name,
    digest: digestWord(request.operation),
    fileSha256: request.file.sha256,
  };
}

/** A place in a release's file list as the audit log keeps it: `root:size:index`, with the list's nonce if it has one. */
export function placeWord({ root, size, index, nonce }: Membership): string {
  return [root, size, index, ...(nonce === undefined ? [] : [nonce])].join(":");
}
