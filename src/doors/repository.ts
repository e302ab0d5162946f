// Door `upkeep/repository`: a TUF client that finds, fetches and verifies targets. Most programs need `openSystemRepository` alone.

export {
  openSystemRepository,
  type SystemRepository,
  type SystemRepositoryOptions,
} from "./_system-repository.ts";
export {
  mirrorAt,
  openRepository,
  type FetchOptions,
  type Mirror,
  type RefreshResult,
  type Repository,
  type RepositoryOptions,
  type TargetInfo,
} from "../repository/client/client.ts";
export {
  openMap,
  parseMap,
  type MappedRepositories,
  type MappedTarget,
  type RepositoryMap,
} from "../repository/client/map.ts";
export { diskStore, memoryStore, type Lock, type MetadataStore } from "../repository/client/store.ts";
export { RepositoryError, type RepositoryErrorCode } from "../repository/errors.ts";
export { MirrorError, type MirrorErrorCode } from "../mirror/errors.ts";
export type { Source } from "../mirror/source.ts";
export type { Minimums } from "../repository/trusted-set.ts";
// What the parts above need of a machine.
export { diskSource } from "../io/source/disk.ts";
export { httpSource, type HttpSourceOptions, type TlsOptions } from "../io/source/http.ts";
export { systemClock } from "../io/system/clock.ts";
export { systemDisk } from "../io/system/disk.ts";
export { systemRandom } from "../io/system/random.ts";
export { storeLock } from "../io/system/store-lock.ts";
