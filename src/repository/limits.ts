// How much a client takes from strangers in one refresh; each bound ends an endless-data attack.

export type Limits = {
  /** TUF 5.3.3, W: bytes of one root. */
  readonly rootBytes: number;
  /** TUF 5.3.3, Y: root versions followed in one refresh; the next refresh goes on from there. */
  readonly roots: number;
  /** TUF 5.4.1, X: bytes of the timestamp. */
  readonly timestampBytes: number;
  /** TUF 5.5.1, Y: bytes of the snapshot; 45 to 60 bytes a role. */
  readonly snapshotBytes: number;
  /** TUF 5.6.1, Z: bytes of one targets role; about 200 bytes a target. */
  readonly targetsBytes: number;
  /** TUF 5.6.7.1: roles visited in one search for a target. */
  readonly roles: number;
};

export const DEFAULT_LIMITS: Limits = {
  rootBytes: 512 * 1024,
  roots: 1024,
  timestampBytes: 16 * 1024,
  snapshotBytes: 16 * 1024 * 1024,
  targetsBytes: 64 * 1024 * 1024,
  roles: 32,
};
