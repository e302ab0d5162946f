// Door of the repository room: a TUF client that finds, fetches and believes targets, the metadata behind it, and the publisher who makes it.
export {
  mirrorAt,
  openRepository,
  type FetchOptions,
  type Mirror,
  type RefreshResult,
  type Repository,
  type RepositoryOptions,
  type TargetInfo,
} from "./client/client.ts";
export {
  openMap,
  parseMap,
  type MappedRepositories,
  type MappedTarget,
  type RepositoryMap,
} from "./client/map.ts";
export { diskStore, memoryStore, type Lock, type MetadataStore } from "./client/store.ts";
export { DEFAULT_LIMITS, type Limits } from "./limits.ts";
export type { MirrorReport } from "./client/latest.ts";
export type { Minimums } from "./trusted-set.ts";
export { RepositoryError, type RepositoryErrorCode } from "./errors.ts";
export { parseRoleName, parseTargetName, type RoleName, type TargetName } from "./names.ts";
export type * from "./metadata.ts";
export { parseRoot, parseSnapshot, parseTargets, parseTimestamp } from "./parse-metadata.ts";
export { canonicalBody, signMetadata, writeMetadata } from "./publish/write-metadata.ts";
export { MirrorError, type MirrorErrorCode } from "../mirror/errors.ts";
export { below, type Opened, type OpenOptions, type Source } from "../mirror/source.ts";
export { type SpeedFloor, withSpeedFloor } from "../mirror/speed.ts";
export { localSigner, type Signer } from "../keys/signer.ts";
export { Draft, emptyTargets } from "./publish/draft.ts";
export {
  openPublisher,
  type Outcome,
  type Publisher,
  type PublisherLock,
  type PublisherMemory,
  type PublisherTools,
} from "./publish/publisher.ts";
export {
  makeRoot,
  targetFileOf,
  type NamedKey,
  type RepositorySetup,
  type RoleSetup,
} from "./publish/new-repository.ts";
export { PublisherError, type PublisherErrorCode } from "./publish/publisher-errors.ts";
export type { Alarm } from "./publish/publisher-policy.ts";
export { DEFAULT_PERIODS, type Period } from "./periods.ts";
export {
  repositoryStatus,
  touchDue,
  verdict,
  type RepositoryStatus,
  type RoleStatus,
} from "./publish/status.ts";
export { inspectRepository, type Finding, type Inspection } from "./publish/inspect.ts";
export { readPublished, repositoryId, type Published } from "./publish/published.ts";
export type { KeyRing } from "./publish/quorum.ts";
