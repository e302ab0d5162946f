// How a device's calls to its server fail, with the place and what to look at.

import { UNREACHABLE, UpkeepError, type Traits } from "../../core/errors.ts";
import { connectionError, placeName, type Place } from "../connection/failure.ts";

/** `refused`: the server answered and said no; `facts.status`, `facts.code`, and `facts.retryAfter` (seconds) when it gave one. */
export type ServerClientErrorCode =
  | "server/unreachable"
  | "server/slow"
  | "server/untrusted"
  | "server/refused"
  | "server/bad-answer"
  | "server/stopped";
export const SERVER_CLIENT_ERRORS = {
  "server/unreachable": {
    ...UNREACHABLE,
    hint: "Look at the network, the address, and whether the server runs; an agent retries by itself.",
  },
  "server/slow": UNREACHABLE,
  "server/untrusted": { nature: "transient", exit: "refused" },
  "server/refused": { nature: "transient", exit: "refused" },
  "server/bad-answer": { nature: "transient", exit: "refused" },
  "server/stopped": UNREACHABLE,
} satisfies Traits<ServerClientErrorCode>;

export class ServerClientError extends UpkeepError<ServerClientErrorCode> {
  protected override get traits(): Traits<ServerClientErrorCode> {
    return SERVER_CLIENT_ERRORS;
  }
}

/** An error of ours stays what it is; one of the connection gets the words of the one translation. */
export function serverFailure(cause: unknown, server: Place, signal?: AbortSignal): Error {
  const place = placeName(server);
  if (signal?.aborted === true) {
    const reason: unknown = signal.reason;
    if (reason instanceof UpkeepError) return reason;
    const sentence = `The call to the server at ${place} was stopped.`;
    return new ServerClientError("server/stopped", sentence, { place }, { cause });
  }
  if (cause instanceof UpkeepError && !cause.code.startsWith("network/")) return cause;
  const { kind, what, facts, hint } = connectionError(cause, server);
  const verdict = {
    unreachable: "cannot be reached",
    slow: "did not answer in time",
    untrusted: "could not be trusted",
  }[kind];
  return new ServerClientError(
    `server/${kind}`,
    `The server at ${place} ${verdict}: ${what}.`,
    { place, ...facts },
    { cause, ...(hint === undefined ? {} : { hint }) },
  );
}
