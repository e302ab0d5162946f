// A license as a program sees it: verified from the root that the program was shipped with, proved by the agent's key, answered from memory.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBase64, toHex } from "../core/bytes.ts";
import { UpkeepError } from "../core/errors.ts";
import { DAY, formatInstant } from "../core/instant.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, z } from "../core/schema.ts";
import { askLicenseSocket } from "../io/device/license-client.ts";
import { licenseReading } from "../io/device/license-reading.ts";
import { systemRandom } from "../io/system/random.ts";
import { publicKeyFromSpki } from "../keys/public-key.ts";
import { evaluate, type Evaluation } from "../license/evaluate.ts";
import { firstTime, knownTimeSchema, tellTime } from "../license/known-time.ts";
import { openGrant, type Granted } from "../license/lease.ts";
import { isProved } from "../license/proof.ts";
import { openRevocations, REVOCATIONS_TARGET, type Revocations } from "../license/revocations.ts";
import { standingOf, type Situation, type Standing } from "../license/state-table.ts";
import { keysFor, parseTrustedKeys } from "../release/trusted-keys.ts";
import { TRUSTED_KEYS_TARGET } from "../release/target-names.ts";
import { openHanded } from "../repository/handed-over.ts";

export type LicenseOptions = {
  /** The product whose license it is. */
  readonly product: string;
  /** The repository's `1.root.json`, shipped inside the program: whom to trust is never read from beside it. */
  readonly trustedRoot: Uint8Array;
  /** The agent's folder `licenses`; default: the variable UPKEEP_LICENSES, which the agent gives its components. */
  readonly folder?: string;
  /** Milliseconds between two looks at the files; 1000. */
  readonly lookEvery?: number;
  /** One line for what a developer should see, such as a feature that no license knows. */
  readonly log?: (line: string) => void;
};

export type LicenseStatus = {
  readonly state: Standing["state"];
  readonly reason: Standing["reason"];
  readonly conclusive: boolean;
  readonly degraded: boolean;
  readonly features: Standing["features"];
  readonly until: string | null;
  /** Whole days until then. */
  readonly daysLeft: number | null;
  readonly seat: { readonly slot: number; readonly of: number } | null;
  readonly nextRenewal: string | null;
  /** What a person should do. */
  readonly next: string;
  readonly notices: Standing["notices"];
  /** Names the license and the lease to the vendor's support, and nobody else. */
  readonly supportCode: string | null;
};

const fileSchema = z.strictObject({
  format: z.literal(1),
  license: z.string(),
  lease: z.string(),
  time: z.nullable(knownTimeSchema),
});
const proofSchema = z.strictObject({ spki: z.string(), signature: z.string() });

const LOOK_EVERY = 1000;
/** How long `open` waits for the agent at most. */
const PROOF_WAIT = 500;
/** Calls of `has` between two looks at the clock. */
const REPORT_EVERY = 2000;

/**
 * Never throws for a license that is bad, absent or cannot be read: the program then has what is left of it, and says why.
 *
 * @example
 * ```ts
 * import { readFileSync } from "node:fs";
 * import { License } from "upkeep/license";
 *
 * const trustedRoot = readFileSync("1.root.json");
 * const license = await License.open({ product: "shop", trustedRoot });
 * if (license.has("sso")) console.log("single sign-on is switched on");
 * license.on("change", ({ reason }) => console.log(`the license changed: ${reason}`));
 * ```
 */
export class License {
  readonly #options: LicenseOptions;
  readonly #folder: string | null;
  readonly #listeners = new Set<(status: LicenseStatus) => void>();
  readonly #unknown = new Set<string>();
  readonly #used = new Map<string, boolean>();
  #granted: Granted | null = null;
  #revocations: Revocations | null = null;
  #binding: Situation["binding"] = "unasked";
  /** The lease that the binding was asked for. */
  #provedFor = "";
  #seen = "";
  #standing: Standing;
  #timer: NodeJS.Timeout | null = null;
  #failed = false;

  private constructor(options: LicenseOptions) {
    this.#options = options;
    this.#folder = options.folder ?? process.env["UPKEEP_LICENSES"] ?? null;
    this.#standing = standingOf({ granted: null, revocations: null, now: Date.now(), binding: "unasked" });
  }

  static async open(options: LicenseOptions): Promise<License> {
    const license = new License(options);
    await license.refresh();
    license.#timer = setInterval(() => void license.refresh(), options.lookEvery ?? LOOK_EVERY);
    // A license keeps no program running.
    license.#timer.unref();
    return license;
  }

  /** From memory. A feature that no license knows is not granted, and is said once. */
  has(feature: string): boolean {
    const value = this.#standing.features[feature];
    if (value !== undefined && Object.hasOwn(this.#standing.features, feature)) return value !== 0;
    this.#missed(feature);
    return false;
  }

  /** How much is granted; `otherwise` for what is not. */
  limit(feature: string, otherwise: number): number {
    const value = Object.hasOwn(this.#standing.features, feature)
      ? this.#standing.features[feature]
      : undefined;
    return typeof value === "number" ? value : otherwise;
  }

  evaluate(feature: string): Evaluation {
    return evaluate(this.#standing, feature);
  }

  status(): LicenseStatus {
    const { state, reason, conclusive, degraded, features, until, next, notices } = this.#standing;
    const lease = this.#granted?.lease ?? null;
    return {
      state,
      reason,
      conclusive,
      degraded,
      features,
      until: until === null ? null : formatInstant(until),
      daysLeft: until === null ? null : Math.max(0, Math.floor((until - Date.now()) / DAY)),
      seat: lease?.seat ?? null,
      nextRenewal: lease?.renewAfter ?? null,
      next,
      notices,
      supportCode: lease === null ? null : `${lease.license.slice(4, 12)}-${lease.activation.slice(4, 12)}`,
    };
  }

  /** Returns what takes the listener away again. */
  on(_event: "change", listener: (status: LicenseStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Counts a use on this device; the count leaves it with the agent's next report, without any content. */
  reportUse(feature: string): void {
    this.#used.set(feature, this.has(feature));
    this.#sendUse();
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#listeners.clear();
  }

  /** Looks at the files and the agent now; called by itself every second. Never throws. */
  async refresh(): Promise<void> {
    let standing: Standing;
    try {
      await this.#read();
      await this.#prove();
      this.#failed = false;
      standing = standingOf(await this.#situation());
    } catch (error) {
      // Something here is wrong, or the files are being exchanged: nothing is granted by it, and nothing is proved by it.
      const code = error instanceof UpkeepError ? error.code : String(error);
      if (!this.#failed) this.#options.log?.(`upkeep/license: ${code}`);
      this.#failed = true;
      standing = {
        ...standingOf({ ...(await this.#situation()), binding: "unasked" }),
        state: "failed",
        reason: "INTERNAL",
        conclusive: false,
      };
    }
    const changed = shown(standing) !== shown(this.#standing);
    this.#standing = standing;
    if (!changed) return;
    const status = this.status();
    for (const listener of this.#listeners) listener(status);
  }

  async #read(): Promise<void> {
    const { product, trustedRoot } = this.#options;
    if (this.#folder === null) return;
    const [file, trust] = await Promise.all([
      readOrNull(join(this.#folder, `${product}.license.json`)),
      readOrNull(join(this.#folder, "trust.json")),
    ]);
    if (file === null || trust === null) {
      this.#granted = null;
      return;
    }
    const seen = `${file.toString("latin1")}${trust.toString("latin1")}`;
    if (seen === this.#seen) return;
    const { license, lease, time } = checkSchema(fileSchema, parseJson(file), "license of this device");
    const files = openHanded(trust, trustedRoot);
    const trusted = parseTrustedKeys(files.get(TRUSTED_KEYS_TARGET) ?? new Uint8Array());
    const keys = {
      issuers: keysFor(trusted, "license", product),
      leases: keysFor(trusted, "lease", product),
    };
    const documents = { license: fromBase64(license), lease: fromBase64(lease) };
    // What is on disk is the agent's to keep in order; here it only has to be genuine, and this device's.
    const granted = openGrant(documents, keys, { product, key: null, clientNonce: null, before: null });
    const revoked = files.get(REVOCATIONS_TARGET);
    this.#revocations = revoked === undefined ? null : openRevocations(revoked, keys.issuers);
    this.#granted = granted;
    this.#time = time;
    this.#seen = seen;
  }

  #time: z.infer<typeof knownTimeSchema> | null = null;

  async #situation(): Promise<Situation> {
    const reading = await licenseReading();
    const { now } = tellTime(this.#time ?? firstTime(reading), reading);
    return { granted: this.#granted, revocations: this.#revocations, now, binding: this.#binding };
  }

  /** The agent signs a number that was drawn here, with the key that the lease names. */
  async #prove(): Promise<void> {
    const { product } = this.#options;
    if (this.#granted === null || this.#folder === null) return;
    const { spkiSha256 } = this.#granted.lease.cnf;
    if (this.#binding === "proved" && this.#provedFor === spkiSha256) return;
    const nonce = systemRandom.bytes(32);
    let answer;
    try {
      const path = `/v1/license/${product}/prove`;
      answer = checkSchema(
        proofSchema,
        await askLicenseSocket(this.#folder, path, { nonce: toHex(nonce) }, PROOF_WAIT),
        "proof of the agent",
      );
    } catch {
      this.#binding = "unasked";
      return;
    }
    const key = publicKeyFromSpki(fromBase64(answer.spki), "ed25519");
    const good = isProved({ product, nonce, spkiSha256 }, key, fromBase64(answer.signature));
    this.#binding = good ? "proved" : "foreign";
    this.#provedFor = spkiSha256;
  }

  #missed(feature: string): void {
    if (this.#unknown.has(feature) || this.#unknown.size > 1000) return;
    this.#unknown.add(feature);
    this.#options.log?.(`upkeep/license: ${feature} is not granted (${this.evaluate(feature).reason})`);
    this.#used.set(feature, false);
    this.#sendUse();
  }

  #sending: NodeJS.Timeout | null = null;

  #sendUse(): void {
    if (this.#sending !== null || this.#folder === null) return;
    this.#sending = setTimeout(() => {
      this.#sending = null;
      const { product } = this.#options;
      for (const [feature, granted] of this.#used)
        askLicenseSocket(this.#folder!, `/v1/license/${product}/use`, { feature, granted }, PROOF_WAIT).catch(
          () => undefined,
        );
      this.#used.clear();
    }, REPORT_EVERY);
    this.#sending.unref();
  }
}

function shown({ until, ...rest }: Standing): string {
  return JSON.stringify([until === null, { ...rest, features: Object.entries(rest.features).toSorted() }]);
}

async function readOrNull(path: string): Promise<Buffer | null> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}
