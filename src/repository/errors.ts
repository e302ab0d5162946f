// Why a repository, or something that claims to come from it, was refused.

import { PENDING, REFUSED, UpkeepError, type Traits } from "../core/errors.ts";

export type RepositoryErrorCode =
  /** The bytes are not metadata of the expected kind. */
  | "repository/malformed"
  /** Fewer valid signatures of different keys than the role's threshold. */
  | "repository/unsigned"
  /** Metadata is past its expiry. Blocks updates, and nothing else. Facts: `role`, `since`. */
  | "repository/expired"
  /** Older than what was trusted before. Facts: `role`, `trusted`, `offered`. */
  | "repository/rollback"
  /** Below the minimum version compiled into the caller. */
  | "repository/below-minimum"
  /** The version inside is not the version that was asked for or listed. */
  | "repository/version-mismatch"
  /** Length or digest differ from what signed metadata lists. */
  | "repository/content-mismatch"
  /** Signed metadata lists no digest that is strong enough to rely on. */
  | "repository/weak-hashes"
  /** A role that signed metadata needs is not listed or not there. */
  | "repository/role-missing"
  /** More root versions, delegated roles or bytes than a client follows in one go. */
  | "repository/limit"
  /** A name that cannot be used as a target or role name. */
  | "repository/bad-name"
  /** No root to start from. */
  | "repository/no-root"
  /** A target was asked for before anything was trusted. */
  | "repository/not-refreshed"
  /** Another process holds the store. */
  | "repository/locked"
  /** Repositories of a map file do not agree, or too few of them answer. */
  | "repository/no-quorum"
  /** The map file is not valid. */
  | "repository/bad-map";

export const REPOSITORY_ERRORS = {
  "repository/malformed": REFUSED,
  "repository/unsigned": REFUSED,
  "repository/expired": { nature: "transient", exit: "refused" },
  "repository/rollback": REFUSED,
  "repository/below-minimum": REFUSED,
  "repository/version-mismatch": REFUSED,
  "repository/content-mismatch": REFUSED,
  "repository/weak-hashes": REFUSED,
  "repository/role-missing": REFUSED,
  "repository/limit": REFUSED,
  "repository/bad-name": REFUSED,
  "repository/no-root": REFUSED,
  "repository/not-refreshed": REFUSED,
  "repository/locked": PENDING,
  "repository/no-quorum": REFUSED,
  "repository/bad-map": REFUSED,
} satisfies Traits<RepositoryErrorCode>;

export class RepositoryError extends UpkeepError<RepositoryErrorCode> {
  protected override get traits(): Traits<RepositoryErrorCode> {
    return REPOSITORY_ERRORS;
  }
}
