// Rollouts in the store, as a port: the part of the fleet's records that is theirs.

import type { Instant } from "../core/instant.ts";
import type { Labels } from "./label-record.ts";
import type { Rollout, RolloutDevice, RosterDevice } from "./rollout-record.ts";

export type RolloutFilter = {
  readonly product?: string;
  /** Only those that are not over. */
  readonly under?: "way";
};

export interface RolloutRecords {
  rollout(id: string): Promise<Rollout | null>;
  /** Oldest first. */
  rollouts(filter: RolloutFilter): Promise<readonly Rollout[]>;
  /** Those under way, and of those that were stopped the newest `limit`: what decisions depend on. */
  rolloutsInForce(limit: number): Promise<readonly Rollout[]>;
  putRollout(rollout: Rollout): Promise<void>;

  rolloutDevice(rollout: string, device: string): Promise<RolloutDevice | null>;
  putRolloutDevice(row: RolloutDevice): Promise<void>;
  /** Adds rows where there are none yet. */
  addRolloutDevices(rows: readonly RolloutDevice[]): Promise<void>;
  /** Ordered by device. */
  rolloutDevices(rollout: string, after: string, limit: number): Promise<readonly RolloutDevice[]>;
  /** All rows of one device. */
  rolloutsOf(device: string): Promise<readonly RolloutDevice[]>;

  /** Tags and attributes of a device. */
  labels(device: string): Promise<Labels>;
  putLabels(device: string, labels: Labels): Promise<void>;

  /** Ordered by id: every device in the few columns that rules about many devices need. */
  roster(after: string, limit: number): Promise<readonly RosterDevice[]>;
  /** When each device first reported to have come to a version, in no order. */
  arrivals(product: string, version: string): Promise<readonly Instant[]>;
  /** What devices run of one product by their signed reports, ordered by device; only those that run something. */
  runningOf(
    product: string,
    after: string,
    limit: number,
  ): Promise<readonly { readonly device: string; readonly running: string }[]>;
}
