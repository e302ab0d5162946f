// Door `upkeep/repository/publish`: for those who run a TUF repository from a program of their own.

export { Draft, emptyTargets } from "../repository/publish/draft.ts";
export {
  openPublisher,
  type Outcome,
  type Publisher,
  type PublisherLock,
  type PublisherMemory,
  type PublisherTools,
} from "../repository/publish/publisher.ts";
export {
  makeRoot,
  targetFileOf,
  type NamedKey,
  type RepositorySetup,
  type RoleSetup,
} from "../repository/publish/new-repository.ts";
export { PublisherError, type PublisherErrorCode } from "../repository/publish/publisher-errors.ts";
export type { Alarm } from "../repository/publish/publisher-policy.ts";
export { DEFAULT_PERIODS, type Period } from "../repository/periods.ts";
export {
  repositoryStatus,
  touchDue,
  verdict,
  type RepositoryStatus,
  type RoleStatus,
} from "../repository/publish/status.ts";
export { inspectRepository, type Finding, type Inspection } from "../repository/publish/inspect.ts";
export { readPublished, repositoryId, type Published } from "../repository/publish/published.ts";
export { canonicalBody, signMetadata, writeMetadata } from "../repository/publish/write-metadata.ts";
export { parseRoot, parseSnapshot, parseTargets, parseTimestamp } from "../repository/parse-metadata.ts";
export { parseRoleName, parseTargetName, type RoleName, type TargetName } from "../repository/names.ts";
export type * from "../repository/metadata.ts";
export type { KeyRing } from "../repository/publish/quorum.ts";
export { localSigner, type Signer } from "../keys/signer.ts";
// What the parts above need of a machine.
export { systemClock } from "../io/system/clock.ts";
export { systemDisk } from "../io/system/disk.ts";
export { publisherLock } from "../io/system/publisher-lock.ts";
