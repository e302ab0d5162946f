// The plan of bytes: which ways lead from what is installed to what is wanted, cheapest first.

/** A patch that signed metadata lists. */
export type PatchStep = {
  readonly target: string;
  readonly algorithm: string;
  /** SHA-256 of the artifacts that it is from and to. */
  readonly from: string;
  readonly to: string;
  /** What has to be fetched. */
  readonly length: number;
};

export type Way =
  | { readonly kind: "whole"; readonly bytes: number }
  | { readonly kind: "patch"; readonly bytes: number; readonly steps: readonly [PatchStep] }
  | { readonly kind: "chain"; readonly bytes: number; readonly steps: readonly [PatchStep, PatchStep] };

/**
 * Every way with at most two patches that fetches less than the whole, cheapest first, and the whole at the end: it always leads there. Of ways with the
 * same bytes the one with fewer steps comes first.
 */
export function planBytes(
  installed: string | null,
  wanted: { readonly sha256: string; readonly length: number },
  patches: readonly PatchStep[],
): readonly Way[] {
  const ways: Way[] = [];
  for (const last of patches.filter(({ to }) => to === wanted.sha256)) {
    if (last.from === installed) ways.push({ kind: "patch", bytes: last.length, steps: [last] });
    for (const first of patches)
      if (first.from === installed && first.to === last.from)
        ways.push({ kind: "chain", bytes: first.length + last.length, steps: [first, last] });
  }
  const cheaper = ways
    .filter(({ bytes }) => bytes < wanted.length)
    .toSorted((a, b) => a.bytes - b.bytes || stepsOf(a) - stepsOf(b));
  return [...cheaper, { kind: "whole", bytes: wanted.length }];
}

function stepsOf(way: Way): number {
  return way.kind === "whole" ? 0 : way.steps.length;
}
