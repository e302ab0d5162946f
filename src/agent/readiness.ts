// Whether a program has said by its own word that it serves; in a file of its own, so that the next agent knows it as well.

import { fromUtf8 } from "../core/bytes.ts";
import { makeDirectories, readOrNull, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import type { Supervised } from "../process/component-process.ts";
import type { ReadyPlace } from "../process/ports.ts";

const LIMIT = 64 * 1024;
/** Long enough that nobody else finds it, short enough for the path of a socket. */
const NAME_LENGTH = 16;

export class Readiness {
  readonly #disk: Disk;
  readonly #folder: string;

  constructor(disk: Disk, folder: string) {
    this.#disk = disk;
    this.#folder = folder;
  }

  /** Makes room for the word of a program that is about to start, and takes away what is of none of those who run. Errors: `disk/*`. */
  async prepare(alive: readonly Supervised[]): Promise<(token: string) => ReadyPlace> {
    await makeDirectories(this.#disk, this.#folder, 0o711);
    const kept = new Set(alive.map(({ process }) => nameOf(process.identity.token)));
    for (const name of await this.#disk.list(this.#folder))
      if (!kept.has(name.slice(0, NAME_LENGTH))) await this.#disk.removeFile(`${this.#folder}/${name}`);
    return (token) => {
      const file = `${this.#folder}/${nameOf(token)}`;
      return { file, socket: `${file}.socket` };
    };
  }

  async hasSaid(found: Supervised | null): Promise<boolean> {
    if (found === null) return false;
    try {
      const file = `${this.#folder}/${nameOf(found.process.identity.token)}`;
      const bytes = await readOrNull(this.#disk, file, LIMIT);
      return bytes !== null && fromUtf8(bytes).split("\n").includes("READY=1");
    } catch (error) {
      // Larger than a word, or no text: it has said something else.
      if (error instanceof UpkeepError) return false;
      throw error;
    }
  }
}

function nameOf(token: string): string {
  return token.slice(0, NAME_LENGTH);
}
