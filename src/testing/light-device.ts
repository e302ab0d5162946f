// A light device: the real protocol with real keys and signatures, and nothing installed; for fleets that are larger than a machine.

import { fromBase64, fromUtf8, toBase64, toBase64Url } from "../core/bytes.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import type { Random } from "../core/random.ts";
import { toHex } from "../core/bytes.ts";
import type { Signer } from "../keys/signer.ts";
import type { CheckInAnswer, CheckInRequest } from "../message/check-in.ts";
import type { ReportsAnswer } from "../message/reports.ts";
import { signReport, type AttemptReport } from "../report/report.ts";
import type { AssignedComponent } from "../message/assignment.ts";

/** How an attempt at a version ends on this device; null: it falls silent. */
export type Trial = (
  version: string,
) => "success" | { readonly code: string; readonly reason: string } | null;

export type LightCalls = {
  checkIn(request: CheckInRequest): Promise<CheckInAnswer>;
  reports(envelopes: readonly string[]): Promise<ReportsAnswer>;
};

/** One device of one product. `calls` is its connection to the server, under its own certificate. */
export class LightDevice {
  readonly id: string;
  readonly product: string;
  running: string | null = null;
  /** What it was assigned last. */
  last: AssignedComponent | null = null;
  /** Versions that it has been offered, in order. */
  readonly offered: string[] = [];
  readonly #key: Signer;
  readonly #calls: LightCalls;
  readonly #random: Random;
  readonly #arch: "x64" | "arm64";
  readonly #trial: Trial;
  readonly #skipped = new Set<string>();
  readonly #boot: string;
  #sequence = 0;
  #previous: string | null = null;
  silent = false;

  constructor(parts: {
    readonly id: string;
    readonly product: string;
    readonly key: Signer;
    readonly calls: LightCalls;
    readonly random: Random;
    readonly arch?: "x64" | "arm64";
    readonly trial?: Trial;
  }) {
    this.id = parts.id;
    this.product = parts.product;
    this.#key = parts.key;
    this.#calls = parts.calls;
    this.#random = parts.random;
    this.#arch = parts.arch ?? "x64";
    this.#trial = parts.trial ?? (() => "success");
    this.#boot = toHex(parts.random.bytes(16));
  }

  /** Asks once and does what it is told; true when it changed what it runs. */
  async check(now: Instant): Promise<boolean> {
    if (this.silent) return false;
    const answer = await this.#calls.checkIn({
      nonce: toBase64Url(this.#random.bytes(32)),
      platform: { os: "linux", arch: this.#arch, libc: "glibc" },
      components: [{ product: this.product, version: this.running }],
    });
    this.last = assignedIn(answer).find(({ product }) => product === this.product) ?? null;
    if (this.last === null || !("release" in this.last)) return false;
    const { version } = this.last.release;
    if (this.offered.at(-1) !== version) this.offered.push(version);
    if (version === this.running || this.#skipped.has(version)) return false;
    return this.#attempt(version, now);
  }

  async #attempt(version: string, now: Instant): Promise<boolean> {
    const from = this.running;
    const outcome = this.#trial(version);
    if (outcome === null) {
      this.silent = true;
      return false;
    }
    if (outcome === "success") this.running = version;
    else this.#skipped.add(version);
    const end: Pick<AttemptReport, "outcome" | "code" | "step" | "reason"> =
      outcome === "success"
        ? { outcome: "success", step: "committed" }
        : {
            outcome: from === null ? "failure" : "rolled-back",
            code: outcome.code,
            reason: outcome.reason,
            step: "probation",
          };
    const { envelope, payloadSha256 } = await signReport(
      {
        id: toHex(this.#random.bytes(16)),
        device: this.id,
        sequence: this.#sequence + 1,
        previous: this.#previous,
        issued: formatInstant(now),
        boot: this.#boot,
        kind: "attempt",
        attempt: toHex(this.#random.bytes(16)),
        product: this.product,
        from,
        to: version,
        started: formatInstant(now),
        duration: 1000,
        bytes: 0,
        source: "none",
        running: this.running,
        ...end,
      },
      this.#key,
    );
    await this.#calls.reports([toBase64(envelope)]);
    this.#sequence++;
    this.#previous = payloadSha256;
    return outcome === "success";
  }
}

/** What the answer assigns, read without checking: light devices install nothing. */
export function assignedIn(answer: Pick<CheckInAnswer, "assignment">): readonly AssignedComponent[] {
  const { payload } = JSON.parse(fromUtf8(fromBase64(answer.assignment))) as { readonly payload: string };
  const { components } = JSON.parse(fromUtf8(fromBase64(payload))) as {
    readonly components: readonly AssignedComponent[];
  };
  return components;
}
