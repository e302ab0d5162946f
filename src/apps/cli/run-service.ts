// What the verbs of `service` do beside signing: what waits, approvals, certificates.

import { HOUR } from "../../core/instant.ts";
import { SigningError } from "../../signing/errors.ts";
import type { PendingRequest } from "../../signing/protocol.ts";
import { listRoot, type ListedFile } from "../../signing/request.ts";
import type { Call, Result } from "./command.ts";
import { openService } from "./service-client.ts";
import { columns } from "./style.ts";

export async function servicePending(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const requests = await client.pending();
    return {
      text:
        requests.length === 0
          ? "Nothing waits for approval."
          : columns([
              ["REQUEST", "FROM", "CERTIFICATE", "FILE", "DIGEST", "HAVE", "RELEASE"],
              ...requests.map((r) => [
                r.request,
                r.user,
                r.certificate,
                r.file,
                r.digest,
                `${r.have}/${r.needed}`,
                r.release?.root ?? "-",
              ]),
            ]),
      json: { requests },
    };
  } finally {
    await client.close();
  }
}

export async function serviceApprove(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const wanted = call.argument(0);
    const requests = await client.pending();
    const found = requests.filter(
      (r) => r.request === wanted || r.requestHash === wanted || r.release?.root === wanted,
    );
    const first = found[0];
    if (first === undefined)
      throw new SigningError("signing/not-found", `Nothing that waits is called ${wanted}.`, {
        subject: wanted,
      });
    const subject =
      first.release === undefined
        ? ({ kind: "request", sha256: first.requestHash } as const)
        : ({ kind: "release", root: first.release.root, size: first.release.size } as const);
    if (subject.kind === "release") checkWholeRelease(requests, subject);
    const reject = call.flag("reject");
    const { have } = await client.approve(
      subject,
      reject ? "reject" : "approve",
      (call.whole("hours", 1, 24) ?? 8) * HOUR,
    );
    return {
      text: `${reject ? "rejected" : "approved"}: ${found.length} file(s); ${have} of ${first.needed} have answered`,
      json: {
        subject,
        decision: reject ? "reject" : "approve",
        files: found.length,
        have,
        needed: first.needed,
      },
    };
  } finally {
    await client.close();
  }
}

/** An approver signs a root only if every file under it was shown: the list is rebuilt from what was shown. */
function checkWholeRelease(
  requests: readonly PendingRequest[],
  subject: { readonly root: string; readonly size: number },
): void {
  const places = new Map<number, ListedFile>();
  for (const r of requests) {
    if (r.release?.root !== subject.root || r.release.size !== subject.size) continue;
    const operation = r.operation.split("/")[0] as ListedFile["operation"];
    places.set(r.release.index, { certificate: r.certificate, operation, name: r.file, digest: r.digest });
  }
  const listed = Array.from({ length: subject.size }, (_, i) => places.get(i));
  if (listed.some((file) => file === undefined)) {
    throw new SigningError(
      "signing/refused",
      `Only ${places.size} of the release's ${subject.size} files have arrived; approve when all are there.`,
    );
  }
  if (listRoot(listed as ListedFile[]) !== subject.root) {
    throw new SigningError(
      "signing/refused",
      "The files that were shown are not those under the release's root: do not approve it.",
    );
  }
}

export async function serviceCertificates(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const certificates = await client.certificates();
    return {
      text:
        certificates.length === 0
          ? "There is no certificate that you may use."
          : columns([
              ["NAME", "SCHEME", "OPERATIONS", "EXPIRES"],
              ...certificates.map((c) => [c.name, c.scheme, c.operations.join(","), c.expires ?? "-"]),
            ]),
      json: { user: client.user, certificates },
    };
  } finally {
    await client.close();
  }
}
