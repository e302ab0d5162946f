// The differences that came last, newest first: both sides keep the same list, so that a repeated one is one byte.

import { REMEMBERED } from "./hd1-format.ts";

export class RecentWords {
  readonly #words = new Int32Array(REMEMBERED);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Place of the difference, which moves to the front; -1 if it is not remembered, and it is put there. */
  use(word: number): number {
    const words = this.#words;
    const count = this.#count;
    for (let i = 0; i < count; i++) {
      if (words[i] === word) {
        this.#toFront(i, word);
        return i;
      }
    }
    this.add(word);
    return -1;
  }

  /** The difference at a place below `count`, which moves to the front. */
  at(place: number): number {
    const word = this.#words[place]!;
    this.#toFront(place, word);
    return word;
  }

  add(word: number): void {
    if (this.#count < REMEMBERED) this.#count++;
    this.#toFront(this.#count - 1, word);
  }

  #toFront(place: number, word: number): void {
    const words = this.#words;
    for (let i = place; i > 0; i--) words[i] = words[i - 1]!;
    words[0] = word;
  }
}
