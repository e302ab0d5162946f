// Why bytes could not be had from a place that should have them.

import { REFUSED, UNREACHABLE, UpkeepError, type Traits } from "../core/errors.ts";

export type MirrorErrorCode =
  /** The place answers and has no such file (404, 410, and 403, which object stores say instead). */
  | "mirror/not-found"
  /** The place answers and refuses (other 4xx). */
  | "mirror/refused"
  /** No connection, connection cut, or a 5xx answer. Trying again later may help. */
  | "mirror/unreachable"
  /** Who answers did not prove to be the place: certificate, name, dates or pin. Somebody may stand in between. */
  | "mirror/untrusted"
  /** Slower than the idle limit or the minimum rate allows. */
  | "mirror/slow"
  /** More bytes than allowed, announced or sent. */
  | "mirror/too-long"
  /** The stream ended before the announced or listed length. */
  | "mirror/too-short"
  /** Not what was asked for: wrong range, encoded body, a redirect elsewhere. */
  | "mirror/bad-answer"
  /** The bytes do not have the listed digests. */
  | "mirror/wrong-content"
  /** The path leaves the place or cannot be a file there. */
  | "mirror/bad-path"
  /** The caller aborted. */
  | "mirror/aborted";

export const MIRROR_ERRORS = {
  "mirror/not-found": UNREACHABLE,
  "mirror/refused": UNREACHABLE,
  "mirror/unreachable": {
    ...UNREACHABLE,
    hint: "Look at the network and the address; the same may work later.",
  },
  "mirror/untrusted": { nature: "transient", exit: "refused" },
  "mirror/slow": UNREACHABLE,
  "mirror/too-long": REFUSED,
  "mirror/too-short": UNREACHABLE,
  "mirror/bad-answer": UNREACHABLE,
  "mirror/wrong-content": REFUSED,
  "mirror/bad-path": REFUSED,
  "mirror/aborted": UNREACHABLE,
} satisfies Traits<MirrorErrorCode>;

/** `facts.source` names the place, `facts.path` the file. */
export class MirrorError extends UpkeepError<MirrorErrorCode> {
  protected override get traits(): Traits<MirrorErrorCode> {
    return MIRROR_ERRORS;
  }
}

/** True if another attempt at the same place may succeed. */
export function isTransient(error: unknown): boolean {
  return (
    error instanceof MirrorError &&
    (error.code === "mirror/unreachable" || error.code === "mirror/slow" || error.code === "mirror/too-short")
  );
}
