// Finds where the new file continues the old one: hash-anchored matching with bsdiff's rules of extension.

/** One step: `add` bytes of the new file that mostly equal the old one at `from`, then `extra` bytes that are new. */
export type Step = {
  /** Position in the new file. */
  readonly at: number;
  readonly from: number;
  readonly add: number;
  readonly extra: number;
};

/** Bytes of a block whose hash is an anchor. */
const BLOCK = 16;
/** Places with one hash that are looked at. */
const MAX_CHAIN = 16;
/** bsdiff: another alignment has to explain this many bytes more than the current one. */
const BETTER_BY = 8;
/** Bytes in a row that the current alignment explains before nothing else is looked for. */
const SETTLED = 16;
/** As far as candidates are compared. */
const LOOK_AHEAD = 4096;
const FACTOR = 0x2c1b3c6d;
const MIX = 0x9e3779b1 | 0;

/** FACTOR^(BLOCK-1): what the byte that leaves a block was multiplied with. */
const LEAVING = (() => {
  let power = 1;
  for (let i = 1; i < BLOCK; i++) power = Math.imul(power, FACTOR);
  return power;
})();

/** Where blocks of the old file are, by hash. Every fourth position of a small file, every eighth of a large one. */
class Anchors {
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #stride: number;
  readonly #shift: number;

  constructor(old: Uint8Array) {
    this.#stride = old.length > 1 << 25 ? 8 : 4;
    const blocks = Math.max(Math.floor((old.length - BLOCK) / this.#stride) + 1, 0);
    const bits = Math.min(Math.max(Math.ceil(Math.log2(blocks + 1)), 8), 24);
    this.#shift = 32 - bits;
    this.#heads = new Int32Array(2 ** bits).fill(-1);
    this.#next = new Int32Array(blocks);
    // From the end, so that the first place of a block is looked at first.
    for (let block = blocks - 1; block >= 0; block--) {
      const at = block * this.#stride;
      if (isMonotonous(old, at)) continue;
      const slot = this.slotOf(hashAt(old, at));
      this.#next[block] = this.#heads[slot]!;
      this.#heads[slot] = block;
    }
  }

  slotOf(hash: number): number {
    return Math.imul(hash ^ (hash >>> 15), MIX) >>> this.#shift;
  }

  /** First block in a chain, or -1. */
  first(hash: number): number {
    return this.#heads[this.slotOf(hash)]!;
  }

  next(block: number): number {
    return this.#next[block]!;
  }

  position(block: number): number {
    return block * this.#stride;
  }
}

function hashAt(bytes: Uint8Array, at: number): number {
  let hash = 0;
  for (let i = 0; i < BLOCK; i++) hash = (Math.imul(hash, FACTOR) + bytes[at + i]!) | 0;
  return hash;
}

/** One byte over and over, as between functions and at the end of sections: an anchor that says nothing. */
function isMonotonous(bytes: Uint8Array, at: number): boolean {
  const first = bytes[at]!;
  for (let i = 1; i < BLOCK; i++) if (bytes[at + i] !== first) return false;
  return true;
}

/**
 * Steps that together make the new file, in order and without gaps. The same two files give the same steps on every machine.
 * `onProgress` hears how far the scan of the new file is.
 */
export function matchSteps(
  old: Uint8Array,
  target: Uint8Array,
  emit: (step: Step) => void,
  onProgress: (bytes: number) => void = () => {},
): void {
  const anchors = new Anchors(old);
  const [oldEnd, end] = [old.length, target.length];
  /** What was emitted ends here; the old file goes on at `from`. */
  let at = 0;
  let from = 0;
  /** Old position minus new position of the current alignment. */
  let offset = 0;
  let scan = 0;
  let hash = 0;
  /** The position that `hash` is of, -1 if of none. */
  let hashed = -1;
  let run = 0;
  let reported = 0;

  const close = (next: number, match: number): void => {
    // bsdiff: forward from the last step, as long as more than half of the bytes are equal.
    const room = Math.min(next - at, oldEnd - from);
    let [equal, best, forward] = [0, 0, 0];
    for (let i = 0; i < room; i++) {
      if (old[from + i] === target[at + i]) equal++;
      const score = 2 * equal - (i + 1);
      if (score > best) [best, forward] = [score, i + 1];
    }
    // Backward from the new anchor, by the same rule.
    let backward = 0;
    if (next < end) {
      const back = Math.min(next - at, match);
      [equal, best] = [0, 0];
      for (let i = 1; i <= back; i++) {
        if (old[match - i] === target[next - i]) equal++;
        const score = 2 * equal - i;
        if (score > best) [best, backward] = [score, i];
      }
    }
    const overlap = at + forward - (next - backward);
    if (overlap > 0) {
      // Both explain the middle: cut where together they explain most.
      let [sum, most, cut] = [0, 0, 0];
      for (let i = 0; i < overlap; i++) {
        const place = at + forward - overlap + i;
        if (target[place] === old[from + forward - overlap + i]) sum++;
        if (target[place] === old[match - backward + i]) sum--;
        if (sum > most) [most, cut] = [sum, i + 1];
      }
      forward += cut - overlap;
      backward -= cut;
    }
    const extra = next - backward - (at + forward);
    if (forward + extra > 0) emit({ at, from, add: forward, extra });
    at = next - backward;
    from = match - backward;
  };

  while (scan + BLOCK <= end) {
    if (scan - reported >= 1 << 20) {
      onProgress(scan);
      reported = scan;
    }
    const here = scan + offset;
    if (here >= 0 && here < oldEnd && old[here] === target[scan]) {
      run++;
      if (run >= SETTLED) {
        // The current alignment holds: on to where it fails.
        const limit = Math.min(end, oldEnd - offset);
        do scan++;
        while (scan < limit && old[scan + offset] === target[scan]);
        hashed = -1;
        run = 0;
        continue;
      }
    } else run = 0;
    if (hashed === scan - 1 && hashed >= 0) {
      hash =
        (Math.imul((hash - Math.imul(target[scan - 1]!, LEAVING)) | 0, FACTOR) + target[scan + BLOCK - 1]!) |
        0;
    } else hash = hashAt(target, scan);
    hashed = scan;
    let bestLength = 0;
    let bestPlace = -1;
    let block = anchors.first(hash);
    for (let looked = 0; block >= 0 && looked < MAX_CHAIN; looked++, block = anchors.next(block)) {
      const place = anchors.position(block);
      if (place === here) continue;
      // A longer match than the best one differs from it at its end.
      if (bestLength > 0 && old[place + bestLength] !== target[scan + bestLength]) continue;
      const most = Math.min(end - scan, oldEnd - place, LOOK_AHEAD);
      let length = 0;
      while (length < most && old[place + length] === target[scan + length]) length++;
      if (length >= BLOCK && length > bestLength) {
        bestLength = length;
        bestPlace = place;
      }
    }
    if (bestPlace >= 0) {
      let current = 0;
      for (let i = 0; i < bestLength; i++) {
        const place = here + i;
        if (place >= 0 && place < oldEnd && old[place] === target[scan + i]) current++;
      }
      if (bestLength > current + BETTER_BY) {
        close(scan, bestPlace);
        offset = bestPlace - scan;
        scan += bestLength;
        hashed = -1;
        run = 0;
        continue;
      }
    }
    scan++;
  }
  close(end, Math.min(end + offset, oldEnd));
  onProgress(end);
}
