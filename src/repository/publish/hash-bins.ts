// Hash bins (TAP 15) that grow by themselves: when a role has too many targets for one file, and how they are dealt out.

import {
  NO_EXTRA,
  type Delegations,
  type SuccinctRoles,
  type TargetFile,
  binName,
  binOf,
} from "../metadata.ts";
import { targetNameHash } from "../names.ts";

/** Up to this many targets stay in one file. */
export const UNBINNED_LIMIT = 512;

/**
 * Bits that make snapshot and bin together cheapest for a client: a bin costs about 45 bytes in the snapshot and a target
 * about 330 in its bin, so bins = sqrt(7 n). In steps of 4 bits: a step re-publishes every bin, and names have whole digits.
 */
export function bitsFor(targets: number): number {
  if (targets <= UNBINNED_LIMIT) return 0;
  const ideal = Math.log2(Math.sqrt(7 * targets));
  return Math.min(16, Math.max(4, Math.round(ideal / 4) * 4));
}

/** True when a bin holds so many targets that the next step pays. Looks at one bin: the others are as full, on average. */
export function isOverfull(targetsInBin: number, bits: number): boolean {
  return bitsFor((targetsInBin * 2 ** bits) / 2) > bits;
}

/** The delegation to the bins of a role. They are signed by the keys of the role itself. */
export function binDelegations(
  role: string,
  bits: number,
  keys: Delegations["keys"],
  signedBy: { readonly keyids: readonly string[]; readonly threshold: number },
): Delegations & { readonly succinct: SuccinctRoles } {
  return {
    keys,
    roles: [],
    succinct: {
      keyids: signedBy.keyids,
      threshold: signedBy.threshold,
      bitLength: bits,
      namePrefix: `${role}.bin`,
      extra: NO_EXTRA,
    },
    extra: NO_EXTRA,
  };
}

export function binFor(succinct: SuccinctRoles, target: string): string {
  return binName(succinct, binOf(succinct, targetNameHash(target)));
}

export function isBinOf(succinct: SuccinctRoles, name: string): boolean {
  if (!name.startsWith(`${succinct.namePrefix}-`)) return false;
  const digits = name.slice(succinct.namePrefix.length + 1);
  const bin = /^[0-9a-f]{1,8}$/.test(digits) ? Number.parseInt(digits, 16) : Number.NaN;
  return bin < 2 ** succinct.bitLength && binName(succinct, bin) === name;
}

export function binNames(succinct: SuccinctRoles): readonly string[] {
  return Array.from({ length: 2 ** succinct.bitLength }, (_, bin) => binName(succinct, bin));
}

/** Every bin with its targets, empty ones included. */
export function dealOut(
  succinct: SuccinctRoles,
  targets: Iterable<readonly [string, TargetFile]>,
): ReadonlyMap<string, ReadonlyMap<string, TargetFile>> {
  const bins = new Map<string, Map<string, TargetFile>>(binNames(succinct).map((name) => [name, new Map()]));
  for (const [name, file] of targets) bins.get(binFor(succinct, name))!.set(name, file);
  return bins;
}
