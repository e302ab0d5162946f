// Why a change to a repository was not made; kept apart from the client's errors, which agents carry.

import {
  FAILED,
  NOT_VERIFIED,
  PENDING,
  REFUSED,
  USAGE,
  UpkeepError,
  type Traits,
} from "../../core/errors.ts";

export type PublisherErrorCode =
  /** There is a repository already where a new one was to be made. */
  | "publisher/exists"
  /** There is no repository yet. */
  | "publisher/missing"
  /** Another publisher is at work on the same folder. */
  | "publisher/busy"
  /** Too few keys are here to sign what must be signed. Facts: `role`, `have`, `need`. */
  | "publisher/no-quorum"
  /** A change waits for signatures of others. */
  | "publisher/waits-for-signatures"
  /** What is on disk is not what its own signatures say. */
  | "publisher/inconsistent"
  /** A signing request or signature file does not fit to the repository as it is now. */
  | "publisher/stale-request"
  /** The call makes no sense: an unknown product, a version that exists, a name that is taken. */
  | "publisher/bad-input"
  /** The product demands of a release what this one lacks. Facts: `missing`. */
  | "publisher/gate"
  /** A fresh client could not follow what was just published. */
  | "publisher/not-verified";
export const PUBLISHER_ERRORS = {
  "publisher/exists": FAILED,
  "publisher/missing": FAILED,
  "publisher/busy": PENDING,
  "publisher/no-quorum": FAILED,
  "publisher/waits-for-signatures": PENDING,
  "publisher/inconsistent": REFUSED,
  "publisher/stale-request": REFUSED,
  "publisher/bad-input": USAGE,
  "publisher/gate": REFUSED,
  "publisher/not-verified": NOT_VERIFIED,
} satisfies Traits<PublisherErrorCode>;

export class PublisherError extends UpkeepError<PublisherErrorCode> {
  protected override get traits(): Traits<PublisherErrorCode> {
    return PUBLISHER_ERRORS;
  }
}
