// The open signing request of a data folder: kept, shown, completed.

import { makeDirectories, parentOf, readOrNull, writeAtomic, type Disk } from "../../../core/disk.ts";
import {
  parseRequest,
  partsOf,
  REQUEST_LIMIT,
  requestFor,
  requestStatus,
  writeRequest,
  type SigningRequest,
} from "../../../repository/publish/signing-request.ts";
import { recoverPublished } from "../../../repository/publish/recovery.ts";
import { PublisherError } from "../../../repository/publish/publisher-errors.ts";
import type { Outcome } from "../../../repository/publish/publisher.ts";
import type { Call } from "../../framework/command.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import type { Operator } from "./operator.ts";
import { serverView } from "./server-view.ts";

export function requestPath(call: Call): string {
  return `${call.context.data}/ceremony/request.json`;
}

export async function loadRequest(disk: Disk, path: string): Promise<SigningRequest | null> {
  const bytes = await readOrNull(disk, path, REQUEST_LIMIT);
  return bytes === null ? null : parseRequest(bytes);
}

export async function saveRequest(call: Call, request: SigningRequest): Promise<void> {
  const path = requestPath(call);
  await makeDirectories(call.context.disk, parentOf(path), 0o700);
  await writeAtomic(call.context.disk, path, writeRequest(request));
}

/** A change may not start while another waits: it would make the signatures for that one worthless. */
export async function refuseWhileOpen(call: Call): Promise<void> {
  const open = await loadRequest(call.context.disk, requestPath(call));
  if (open === null) return;
  throw new PublisherError(
    "publisher/waits-for-signatures",
    `A change waits for signatures already: ${open.reason}.`,
    { request: requestPath(call), made: open.made },
    { hint: "upkeep repo collect completes it, upkeep repo cancel drops it." },
  );
}

export type Conclusion = { readonly text: string; readonly json: object; readonly exit: number };

/** What happened to a change, for the end of a command's output. A change that lacks signatures becomes the open request. */
export async function conclude(
  call: Call,
  outcome: Outcome,
  reason: string,
  recovery: ReadonlyMap<string, number> | null = null,
): Promise<Conclusion> {
  switch (outcome.kind) {
    case "published": {
      const { root, snapshot, timestamp } = outcome.publication;
      // A fresh client knows nothing of what the server has seen before.
      const server = await serverView(call.context);
      const told =
        server === null ? [] : [server.follows ? server.sentence : call.context.style.bad(server.sentence)];
      return {
        text: [
          `published: root ${root}, snapshot ${snapshot}, timestamp ${timestamp}; a fresh client follows`,
          ...told,
        ].join("\n"),
        json: { published: { root, snapshot, timestamp }, server },
        exit: server?.follows === false ? EXIT.failed : EXIT.ok,
      };
    }
    case "unchanged":
      return { text: "nothing to publish", json: { published: null }, exit: EXIT.ok };
    case "waiting": {
      await refuseWhileOpen(call);
      const now = call.context.clock.now();
      const request = await requestFor(
        outcome.published,
        outcome.parts,
        reason,
        now,
        recovery,
        outcome.traces,
      );
      await saveRequest(call, request);
      return {
        text: [
          "nothing is published yet: signatures are missing",
          ...waitingLines(request),
          `hand out ${requestPath(call)}; each signer runs: upkeep repo sign FILE`,
          "then: upkeep repo collect SIGNATURE-FILE...",
        ].join("\n"),
        json: { published: null, request: requestPath(call), waiting: requestStatus(request) },
        exit: EXIT.pending,
      };
    }
  }
}

/** One line per role that still needs somebody. */
export function waitingLines(request: SigningRequest): readonly string[] {
  // The root before and the root after often want the same: said once.
  return unique(
    requestStatus(request)
      .filter(({ missing }) => missing > 0)
      .map(
        ({ role, signed, open, missing }) =>
          `  ${role}: ${missing} more of ${open.join(", ") || "nobody"}${signed.length > 0 ? ` (signed: ${signed.join(", ")})` : ""}`,
      ),
  );
}

function unique(lines: readonly string[]): readonly string[] {
  return [...new Set(lines)];
}

/** Publishes the request if it is complete; else null. */
export async function tryComplete(
  call: Call,
  operator: Operator,
  request: SigningRequest,
): Promise<Conclusion | null> {
  if (waitingLines(request).length > 0) return null;
  const base =
    request.recovery === null
      ? undefined
      : (
          await recoverPublished(
            call.context.disk,
            operator.folder,
            request.recovery,
            (await operator.memory.load()) ?? new Map(),
          )
        ).published;
  const outcome = await operator.publisher.complete(
    (published) => partsOf(request, published),
    base,
    request.traces,
  );
  if (outcome.kind === "waiting") return null;
  const conclusion = await conclude(call, outcome, request.reason);
  await call.context.disk.removeFile(requestPath(call));
  return conclusion;
}
