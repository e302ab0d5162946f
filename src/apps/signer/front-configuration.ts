// The configuration that the deciding process has in force: read again when its files change, taken only when administrators allow it.

import type { Clock } from "../../core/clock.ts";
import type { Disk } from "../../core/disk.ts";
import { DAY, formatInstant } from "../../core/instant.ts";
import { wholeHash } from "../../signing/policy/admins.ts";
import type { Log } from "../../signing/ports.ts";
import type { Settings } from "../../signing/service.ts";
import { loadSettings, timestampRootsPath, type SignerFolder } from "./settings.ts";

/** Whom a changed configuration meets. */
export type Listener = {
  /** True if administrators have accepted this hash, or there are none. */
  readonly allows: (hash: string) => boolean;
  /** Puts it into force everywhere. `settings` already gives it. */
  readonly use: (next: Settings, before: Settings) => Promise<void>;
  /** Records that it lies there and nobody accepted it. */
  readonly unasked: (hash: string) => Promise<void>;
};

export class Configuration {
  /** As it was when this process began. */
  readonly started: Settings;
  readonly #disk: Disk;
  readonly #folder: SignerFolder;
  #settings: Settings;
  /** Times and sizes of the files at the last look. */
  #seen = "";
  #unaccepted = { config: "", said: false };

  private constructor(disk: Disk, folder: SignerFolder, started: Settings) {
    this.#disk = disk;
    this.#folder = folder;
    this.started = started;
    this.#settings = started;
  }

  /** Errors: `signing/bad-config`, `disk/*`. */
  static async read(disk: Disk, folder: SignerFolder): Promise<Configuration> {
    return new Configuration(disk, folder, await loadSettings(disk, folder));
  }

  get settings(): Settings {
    return this.#settings;
  }

  /** Before anybody was served by it. Errors: `signing/bad-config`, `disk/*`. */
  async readAgain(): Promise<void> {
    this.#settings = await loadSettings(this.#disk, this.#folder);
  }

  /** What lies there now is what `look` compares with. */
  async noteFiles(): Promise<void> {
    this.#seen = await this.#fingerprint();
  }

  /** Reloads if a file changed since the last look. Returns true if it did. */
  async look(listener: Listener, say: Log): Promise<boolean> {
    const now = await this.#fingerprint();
    if (now === this.#seen) return false;
    this.#seen = now;
    await this.reload(listener, say);
    return true;
  }

  /** A bad file changes nothing, and neither does one that wants to be accepted first: what was in force stays, and the log line says why. */
  async reload(listener: Listener, say: Log): Promise<void> {
    try {
      const next = await loadSettings(this.#disk, this.#folder);
      const hash = wholeHash(next);
      if (!listener.allows(hash)) return await this.#leave(hash, listener, say);
      this.#unaccepted = { config: "", said: false };
      const before = this.#settings;
      this.#settings = next;
      await listener.use(next, before);
      say("info", "reloaded", { config: next.sha256 });
      if (JSON.stringify(next.config.store) !== JSON.stringify(this.started.config.store))
        say("warn", "store-unchanged", { what: "a changed [store] takes effect at the next start" });
    } catch (error) {
      say("error", "reload-refused", { what: String((error as Error).message).slice(0, 2000) });
    }
  }

  /** One line for each certificate that ends soon. */
  warnOfCertificates(clock: Clock, say: Log): void {
    for (const [name, { chain }] of this.#settings.certificates) {
      const left = (chain[0]!.notAfter - clock.now()) / DAY;
      const config = this.#settings.config.certificates[name];
      if (config?.disabled === false && config["alarm-days"].some((days) => left <= days))
        say("warn", "certificate-expires", {
          certificate: name,
          expires: formatInstant(chain[0]!.notAfter),
          days: Math.floor(left),
        });
    }
  }

  /** Said at the second look: a command writes the files and then has them accepted, and we may come in between. */
  async #leave(config: string, listener: Listener, say: Log): Promise<void> {
    if (this.#unaccepted.config !== config) {
      this.#unaccepted = { config, said: false };
      this.#seen = "";
      return;
    }
    if (this.#unaccepted.said) return;
    this.#unaccepted = { config, said: true };
    say("error", "config-not-accepted", { config, what: "the configuration before it stays in force" });
    await listener.unasked(config);
  }

  async #fingerprint(): Promise<string> {
    const { config } = this.#settings;
    const roots = timestampRootsPath(this.#folder, config);
    const certificates = Object.keys(config.certificates).map(this.#folder.certificate);
    const parts: string[] = [];
    for (const path of [this.#folder.config, ...certificates, ...(roots === null ? [] : [roots])]) {
      try {
        const { mtimeMs, size } = await this.#disk.stat(path);
        parts.push(`${mtimeMs}:${size}`);
      } catch {
        parts.push("-");
      }
    }
    return parts.join(" ");
  }
}
