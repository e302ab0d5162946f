// A TUF client on this machine's disk, clock and network, ready to be used.

import type { Progress } from "../mirror/download.ts";
import { RepositoryError } from "../repository/errors.ts";
import { mirrorAt, openRepository, type Repository, type TargetInfo } from "../repository/client/client.ts";
import { diskStore } from "../repository/client/store.ts";
import type { Minimums } from "../repository/trusted-set.ts";
import { diskSource } from "../io/source/disk.ts";
import { httpSource } from "../io/source/http.ts";
import { systemClock } from "../io/system/clock.ts";
import { systemDisk } from "../io/system/disk.ts";
import { systemRandom } from "../io/system/random.ts";
import { storeLock } from "../io/system/store-lock.ts";

export type SystemRepositoryOptions = {
  /** Where trusted metadata is kept between runs; made when it is not there. */
  readonly folder: string;
  /** Copies of the repository in order of preference: addresses of web servers, or absolute paths of folders. */
  readonly mirrors: readonly string[];
  /** The first root (`1.root.json`) that the program was shipped with. */
  readonly trustedRoot: Uint8Array;
  /** Versions that were out when the program was built. */
  readonly minimums?: Minimums;
};

export interface SystemRepository extends Repository {
  /**
   * Puts the target `name` at `path` once its length and digests are the signed ones; an interrupted download is resumed.
   * Errors: `repository/role-missing` when no metadata lists it, and those of `refresh` and `fetchTarget`.
   */
  download(
    name: string,
    path: string,
    options?: { readonly signal?: AbortSignal; readonly onProgress?: (progress: Progress) => void },
  ): Promise<TargetInfo>;
  /** Ends idle connections. */
  close(): void;
}

/**
 * A TUF client for a program that wants files it can trust. The freshest mirror wins, whatever the order; none of them is trusted.
 *
 * @example
 * ```ts
 * import { readFileSync } from "node:fs";
 * import { openSystemRepository } from "upkeep/repository";
 *
 * const repository = openSystemRepository({
 *   folder: "/var/lib/thing/tuf",
 *   mirrors: ["https://updates.example.com/repository"],
 *   trustedRoot: readFileSync("1.root.json"),
 * });
 * await repository.refresh();
 * await repository.download("products/thing/1.4.0/thing-linux-x64", "/var/lib/thing/thing-1.4.0");
 * repository.close();
 * ```
 */
export function openSystemRepository(options: SystemRepositoryOptions): SystemRepository {
  const { folder, trustedRoot, minimums } = options;
  const sources = options.mirrors.map((place) =>
    place.startsWith("/")
      ? { source: diskSource(systemDisk, place), close: () => {} }
      : closable(httpSource(place)),
  );
  const repository = openRepository({
    mirrors: sources.map(({ source }) => mirrorAt(source)),
    store: diskStore(systemDisk, folder, storeLock(`${folder}/lock`, systemClock)),
    clock: systemClock,
    random: systemRandom,
    trustedRoot,
    ...(minimums === undefined ? {} : { minimums }),
  });
  return {
    ...repository,
    download: async (name, path, more = {}) => {
      const info = await repository.target(name, more.signal);
      if (info === null)
        throw new RepositoryError("repository/role-missing", `No role of the repository lists ${name}.`, {
          target: name,
        });
      await repository.fetchTarget(info, path, { disk: systemDisk, ...more });
      return info;
    },
    close: () => {
      for (const source of sources) source.close();
    },
  };
}

function closable(source: ReturnType<typeof httpSource>): {
  readonly source: ReturnType<typeof httpSource>;
  readonly close: () => void;
} {
  return { source, close: () => source.close() };
}
