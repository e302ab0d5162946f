// Which releases a device is entitled to: asked when it is given an assignment, and again when it fetches bytes.

import { readdir } from "node:fs/promises";
import { compareVersions, isVersion, parseVersion } from "../../core/version.ts";
import { UpkeepError } from "../../core/errors.ts";
import type { Log } from "../../io/system/log.ts";
import { licenseIn } from "../../fleet/licenses/activate.ts";
import type { Device } from "../../fleet/records.ts";
import type { FleetStore } from "../../fleet/store.ts";
import { entitlementsOf } from "../../license/entitlements.ts";
import type { Updates } from "../../license/terms.ts";
import { missingRight, notEntitled, type Gated } from "../../license/update-gate.ts";
import type { AssignedComponent } from "../../message/assignment.ts";
import type { ReleaseManifest } from "../../release/manifest.ts";
import type { Clock } from "../../core/clock.ts";

/** A release with its digest, verified; null for one that is not listed. */
export type ReadRelease = (
  product: string,
  version: string,
) => Promise<{ readonly manifest: ReleaseManifest; readonly sha256: string } | null>;

/** `targets/products/<product>/<version>/<digest>.<file>`, as consistent snapshots name it. */
const ARTIFACT = /^targets\/products\/([a-z0-9.-]{1,64})\/([^/]{1,128})\/([0-9a-f]{64,128})\.([^/]+)$/;
/** Documents about a release are for everyone: what there is and what it needs is no secret. */
const DOCUMENTS: ReadonlySet<string> = new Set(["release.json", "sbom.json", "provenance.json"]);
const REMEMBERED = 2000;

export type NotEntitled = { readonly product: string; readonly version: string; readonly message: string };

export class Entitlements {
  readonly #repository: string;
  readonly #store: FleetStore;
  readonly #clock: Clock;
  readonly #read: ReadRelease;
  readonly #log: Log;
  /** Of releases that were read: a version never changes what it says. */
  readonly #gates = new Map<string, { readonly gated: Gated; readonly sha256: string }>();

  /** `repository`: the folder with metadata and targets. */
  constructor(repository: string, store: FleetStore, clock: Clock, read: ReadRelease, log: Log) {
    this.#repository = repository;
    this.#store = store;
    this.#clock = clock;
    this.#read = read;
    this.#log = log;
  }

  /** The assignment as the device's licenses allow it: instead of a release that does not come with them, the newest that does. */
  async fit(
    device: Pick<Device, "id">,
    components: readonly AssignedComponent[],
  ): Promise<{
    readonly components: readonly AssignedComponent[];
    readonly refused: readonly NotEntitled[];
  }> {
    const refused: NotEntitled[] = [];
    const fitted: AssignedComponent[] = [];
    for (const component of components) {
      fitted.push(component);
      if (!("release" in component)) continue;
      const { product } = component;
      const { version } = component.release;
      const verdict = await this.#judge(device, product, version).catch((error: unknown) => {
        // What cannot be read now is judged by the device, and again when it fetches bytes.
        if (!(error instanceof UpkeepError)) throw error;
        this.#log("warn", "license/gate-unread", { product, version, code: error.code });
        return null;
      });
      if (verdict === null) continue;
      refused.push({ product, version, message: verdict.error.message });
      if (verdict.eligible === null) continue;
      const { followUntil: _follow, ...same } = component as typeof component & { followUntil?: string };
      fitted[fitted.length - 1] = { ...same, release: verdict.eligible };
    }
    return { components: fitted, refused };
  }

  /** Resolves for what everyone may read and for what this caller is entitled to. Errors: `license/not-entitled`, those of `identify`. */
  async admit(path: string, identify: () => Promise<Device>): Promise<void> {
    const match = ARTIFACT.exec(decoded(path));
    if (match === null) return;
    const [, product, version, , file] = match;
    if (DOCUMENTS.has(file!) || !isVersion(version!)) return;
    const gate = await this.#gateOf(product!, version!).catch((error: unknown) => {
      // No device installs what belongs to no release that can be verified, and the static plane goes on without what it would be asked by.
      // What is only in the way at the moment (a disk, a repository that is being written) is no permission.
      if (!(error instanceof UpkeepError) || error.nature !== "refused") throw error;
      this.#log("warn", "license/gate-unread", { product: product!, version: version!, code: error.code });
      return null;
    });
    if (gate === null || missingRight(gate.gated, null) === null) return;
    const verdict = await this.#judge(await identify(), product!, version!);
    if (verdict !== null) throw verdict.error;
  }

  async #judge(device: Pick<Device, "id">, product: string, version: string) {
    const gate = await this.#gateOf(product, version);
    // Most releases are free: no record is asked for them.
    if (gate === null || missingRight(gate.gated, null) === null) return null;
    const updates = await this.#updatesOf(device, product);
    const missing = missingRight(gate.gated, updates);
    if (missing === null) return null;
    const eligible = await this.#newestFor(product, updates, version);
    return { eligible, error: notEntitled({ product, version }, missing, eligible?.version ?? null) };
  }

  /** The widest right that an active seat of this device gives; null for none. */
  async #updatesOf({ id }: Pick<Device, "id">, product: string): Promise<Updates | null> {
    const now = this.#clock.now();
    return this.#store.read(async (records) => {
      for (const activation of await records.activationsOf(id)) {
        if (activation.status !== "active") continue;
        const row = await records.license(activation.license);
        if (row === null || row.product !== product || (row.revokedAt !== null && row.revokedAt <= now))
          continue;
        return entitlementsOf(licenseIn(row), row.options).updates;
      }
      return null;
    });
  }

  async #newestFor(product: string, updates: Updates | null, below: string) {
    const names = await readdir(`${this.#repository}/targets/products/${product}`).catch(() => []);
    const limit = parseVersion(below);
    const versions = names
      .filter((name) => isVersion(name) && compareVersions(parseVersion(name), limit) < 0)
      .toSorted((a, b) => compareVersions(parseVersion(b), parseVersion(a)));
    for (const version of versions) {
      const gate = await this.#gateOf(product, version);
      if (gate !== null && missingRight(gate.gated, updates) === null)
        return { version, manifestSha256: gate.sha256 };
    }
    return null;
  }

  async #gateOf(product: string, version: string) {
    const key = `${product} ${version}`;
    const known = this.#gates.get(key);
    if (known !== undefined) return known;
    const found = await this.#read(product, version);
    if (found === null) return null;
    const { published, security, license } = found.manifest;
    const gate = {
      gated: { published, security, ...(license === undefined ? {} : { license }) },
      sha256: found.sha256,
    };
    this.#gates.set(key, gate);
    if (this.#gates.size > REMEMBERED) this.#gates.delete(this.#gates.keys().next().value!);
    return gate;
  }

  /** Documents may be signed again after a key was revoked, which gives them another digest. */
  forget(): void {
    this.#gates.clear();
  }
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
