// What `service pending` and `service approve` do: at every signer of the service, for a request waits at one of them.

import { HOUR } from "../../../core/instant.ts";
import type { SigningClient } from "../../../io/signing/client.ts";
import { SigningError } from "../../../signing/errors.ts";
import type { PendingRequest } from "../../../signing/wire/protocol.ts";
import { listRoot, type ListedFile } from "../../../signing/request/request.ts";
import type { Call, Result } from "../../framework/command.ts";
import { openService } from "./client.ts";
import { columns } from "../../framework/style.ts";

type Waits = PendingRequest & { readonly signer: string };
type Silent = { readonly signer: string; readonly code: string; readonly message: string };

/** What waits at all signers, and those that could not be asked. Errors: that of the first, if none could. */
async function waiting(
  client: SigningClient,
): Promise<{ readonly requests: readonly Waits[]; readonly silent: readonly Silent[] }> {
  const { answers, silent } = await client.pendingEverywhere();
  if (answers.length === 0) throw silent[0]!.error;
  return {
    requests: answers.flatMap(({ signer, answer }) => answer.map((each) => ({ ...each, signer }))),
    silent: silent.map(({ signer, error: { code, message } }) => ({ signer, code, message })),
  };
}

export async function servicePending(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const { requests, silent } = await waiting(client);
    for (const { signer, message } of silent) call.context.note(`${signer} could not be asked: ${message}`);
    return {
      text:
        requests.length === 0
          ? "Nothing waits for approval."
          : columns(
              [
                ["REQUEST", "FROM", "CERTIFICATE", "FILE", "DIGEST", "HAVE", "SIGNER", "RELEASE"],
                ...requests.map((r) => [
                  r.request,
                  r.user,
                  r.certificate,
                  r.file,
                  r.digest,
                  `${r.have}/${r.needed}`,
                  r.signer,
                  r.release?.root ?? "-",
                ]),
              ],
              call.context.width,
            ),
      json: { requests, silent },
    };
  } finally {
    await client.close();
  }
}

export async function serviceApprove(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const wanted = call.argument(0);
    const { requests, silent } = await waiting(client);
    const found = requests.filter(
      (r) => r.request === wanted || r.requestHash === wanted || r.release?.root === wanted,
    );
    const first = found[0];
    if (first === undefined) {
      const unasked = silent.map(({ signer }) => signer);
      throw new SigningError(
        unasked.length === 0 ? "signing/not-found" : "signing/unreachable",
        unasked.length === 0
          ? `Nothing that waits is called ${wanted}.`
          : `Nothing that waits is called ${wanted} at the signers that could be asked; ${unasked.join(", ")} could not.`,
        { subject: wanted, silent: unasked },
      );
    }
    const subject =
      first.release === undefined
        ? ({ kind: "request", sha256: first.requestHash } as const)
        : ({ kind: "release", root: first.release.root, size: first.release.size } as const);
    if (subject.kind === "release") checkWholeRelease(requests, subject);
    const reject = call.flag("reject");
    const life = (call.whole("hours", 1, 24) ?? 8) * HOUR;
    // The files of a release may wait at more than one signer; each counts the approvals that it was given itself.
    const signers = [...new Set(found.map(({ signer }) => signer))];
    let have = Number.POSITIVE_INFINITY;
    for (const signer of signers) {
      const answer = await client.approve(subject, reject ? "reject" : "approve", life, signer);
      have = Math.min(have, answer.have);
    }
    return {
      text: `${reject ? "rejected" : "approved"} at ${signers.join(" and ")}: ${found.length} file(s); ${have} of ${first.needed} have answered`,
      json: {
        subject,
        decision: reject ? "reject" : "approve",
        signers,
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
  let nonce: string | undefined;
  for (const r of requests) {
    if (r.release?.root !== subject.root || r.release.size !== subject.size) continue;
    const operation = r.operation.split("/")[0] as ListedFile["operation"];
    nonce = r.release.nonce;
    places.set(r.release.index, { certificate: r.certificate, operation, name: r.file, digest: r.digest });
  }
  const listed = Array.from({ length: subject.size }, (_, i) => places.get(i));
  if (listed.some((file) => file === undefined)) {
    throw new SigningError(
      "signing/refused",
      `Only ${places.size} of the release's ${subject.size} files have arrived; approve when all are there.`,
    );
  }
  if (listRoot(listed as ListedFile[], nonce) !== subject.root) {
    throw new SigningError(
      "signing/refused",
      "The files that were shown are not those under the release's root: do not approve it.",
    );
  }
}
