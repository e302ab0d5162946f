// Tags and attributes of a device, as the store keeps them.

export type Labels = {
  /** Sorted. */
  readonly tags: readonly string[];
  readonly attributes: { readonly [name: string]: string };
};

export const NO_LABELS: Labels = { tags: [], attributes: {} };
