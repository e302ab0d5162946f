// The signing service: one request from its envelope to its receipt, every step of it in the audit log.

import type { Clock } from "../core/clock.ts";
import { fromBase64, toBase64 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { UpkeepError } from "../core/errors.ts";
import { formatInstant, HOUR } from "../core/instant.ts";
import { fingerprint, type Certificate } from "../der/x509.ts";
import type { Scheme } from "../keys/scheme.ts";
import { quorum, subjectWord, type GivenApproval } from "./policy/approval.ts";
import type { AuditLog } from "./audit/log.ts";
import { line, type Blob, type EntryBody } from "./audit/entry.ts";
import type { CertificateConfig, LoadedConfig, SignerConfig } from "./policy/config.ts";
import { SigningError } from "./errors.ts";
import type { Ledger } from "./audit/ledger.ts";
import { decide, denied, type Check, type Decision } from "./policy/policy.ts";
import { previewOf, type Preview } from "./request/preview.ts";
import type { Build, KeyRing, Log } from "./ports.ts";
import type { SignOutcome } from "./wire/protocol.ts";
import { KeptAnswers } from "./request/kept-answers.ts";
import { KeyQueues } from "./custody/key-queues.ts";
import { TableUploads } from "./request/tables.ts";
import { requestHash, type SigningRequest } from "./request/request.ts";
import { schemeOf } from "./request/key-fit.ts";
import { describe, placeWord, resultOf, subjectOf } from "./request/wording.ts";

export type LoadedCertificate = { readonly pem: string; readonly chain: readonly Certificate[] };
/** Configuration and certificates as one value, so that a reload changes both at once. */
export type Settings = LoadedConfig & {
  readonly certificates: ReadonlyMap<string, LoadedCertificate>;
  /** What `[timestamp] roots` names; undefined if it names nothing. */
  readonly timestampRoots?: readonly Certificate[];
};
/** Where time stamps come from, and the roots that their authorities have to chain to. */
export type StampSettings = NonNullable<SignerConfig["timestamp"]> & {
  readonly trusted?: readonly Certificate[];
};

export function stampSettings({ config, timestampRoots }: Settings): StampSettings | undefined {
  const { timestamp } = config;
  if (timestamp === undefined || timestampRoots === undefined) return timestamp;
  return { ...timestamp, trusted: timestampRoots };
}

export type ServicePorts = {
  readonly clock: Clock;
  readonly log: AuditLog;
  readonly ledger: Ledger;
  readonly keys: KeyRing;
  readonly build: Build;
  readonly readBlob: (blob: Blob) => Promise<Uint8Array>;
  readonly say: Log;
};

/** Who asks, from where. */
export type Asker = { readonly user: string; readonly session: string; readonly address: string };

export class SigningService {
  readonly #ports: ServicePorts;
  #settings: Settings;
  readonly #queues: KeyQueues;
  readonly #kept: KeptAnswers;
  readonly #running = new Map<string, { readonly who: string; readonly outcome: Promise<SignOutcome> }>();
  readonly #tables: TableUploads;
  /** Places of approved lists for which a request is under way: two must not have one place while the log knows of neither. */
  readonly #placing = new Map<string, string>();
  /** Failures after which a signature may have left its process: nobody vouches that there is none. */
  readonly #doubtful = new WeakSet<Error>();

  constructor(ports: ServicePorts, settings: Settings) {
    this.#ports = ports;
    this.#settings = settings;
    this.#tables = new TableUploads(ports.clock);
    this.#queues = new KeyQueues(ports, () => this.#settings.config);
    this.#kept = new KeptAnswers(ports);
    ports.log.follow((entry) => ports.ledger.apply(entry));
  }

  get config(): SignerConfig {
    return this.#settings.config;
  }

  /** Requests that are worked on now. */
  get running(): number {
    return this.#running.size;
  }

  /** Whether every key for which there is work has at least so many messages at hand. */
  keysFed(least: number): boolean {
    return this.#queues.fed(least);
  }

  get settings(): Settings {
    return this.#settings;
  }

  /** Another configuration, from the next request on. */
  async reconfigure(settings: Settings, note: string): Promise<void> {
    this.#settings = settings;
    this.#queues.clear();
    await this.record({ kind: "config", config: settings.sha256, note: line(note) });
  }

  /** Appends to the audit log; the ledger follows it. */
  async record(body: EntryBody): Promise<number> {
    return (await this.#ports.log.append(body)).index;
  }

  /** Closes what a crash left open: the signature may exist, but it was never released. */
  async recover(): Promise<number> {
    const open = this.#ports.ledger.openIntents();
    for (const intent of open)
      await this.record({ kind: "abandoned", intent: intent.n, request: intent.request });
    return open.length;
  }

  /**
   * A request whose envelope was checked. The same request again, after a broken connection or a restart, gets the same
   * answer; it is never signed twice. Errors: `signing/denied`, `signing/bad-request`, `signing/busy`, `signing/key-failed`, …
   */
  submit(request: SigningRequest, envelope: Uint8Array, asker: Asker): Promise<SignOutcome> {
    const hash = requestHash(request);
    return this.#once(request.id, `${asker.user} ${hash}`, async () => {
      let released = false;
      const sealing = (): void => void (released = true);
      try {
        const known = this.#ports.ledger.request(request.id);
        // What cannot be read back may have been signed.
        if (known?.state === "signed") sealing();
        const signed = known?.state === "signed" ? await this.#kept.result(known.n, request.id) : undefined;
        const other = signed?.entry.requestHash ?? (known?.state === "signed" ? undefined : known?.hash);
        if (other !== undefined && other !== hash) {
          throw new SigningError("signing/bad-request", "The request's id was used for another request.", {
            request: request.id,
          });
        }
        if (signed !== undefined) return await this.#kept.answer(signed);
        return await this.#judge(request, hash, asker, () => this.#ports.log.keep(envelope), sealing);
      } catch (error) {
        if (released && error instanceof Error) this.#doubtful.add(error);
        throw error;
      }
    });
  }

  /**
   * Whether a request that failed with this error was certainly not signed: no result was begun to be written, so no signature was
   * released and none will be. Its client may then ask another signer.
   */
  vouchesUnsigned(error: Error): boolean {
    return !this.#doubtful.has(error);
  }

  /** The state of an earlier request of this user; signs it if its approvals have arrived. */
  status(id: string, asker: Asker): Promise<SignOutcome> {
    return this.#once(id, asker.user, async () => {
      const known = this.#ports.ledger.request(id);
      if (known?.state === "signed") {
        const signed = await this.#kept.result(known.n, id);
        if (signed.entry.user === asker.user) return this.#kept.answer(signed);
      }
      if (known?.state === "pending" && known.entry.user === asker.user) {
        const { n, address } = known.entry;
        const { entry } = await this.#ports.log.entry(n);
        if (entry.kind !== "pending" || entry.request !== id) throw new Error(`entry ${n} is another one`);
        const request = await this.#kept.request(entry.document);
        return this.#judge(request, known.hash, { ...asker, address }, async () => entry.document);
      }
      if (known?.state === "failed") {
        // Not the code of the failure: this answer does not pass with time, so nobody asks for it again and again.
        throw new SigningError("signing/not-found", `The request failed (${known.code}); send it again.`, {
          request: id,
        });
      }
      // Unknown, another's and denied look the same.
      throw denied();
    });
  }

  /** What would become of a request whose envelope was checked. Errors: `signing/denied` for who may not use the certificate. */
  preview(request: SigningRequest, asker: Asker): Preview {
    const decision = this.#decide(request, asker);
    const { outcome } = decision;
    if (outcome !== "deny") this.#scheme(request);
    const { user, session } = asker;
    this.#ports.say("info", "preview", { session, user, certificate: request.certificate, outcome });
    return previewOf(decision, this.#settings.config.certificates[request.certificate], user);
  }

  /** The next part of a table that an answer of `submit` or `status` asked for; how much of it is there. Errors: `signing/bad-request`. */
  table(id: string, offset: number, part: Uint8Array, { user }: Asker): number {
    return this.#tables.push(user, id, offset, part);
  }

  /** Equal calls of one user share one run; others with the same id come after it and are judged by what it left behind. */
  #once(id: string, who: string, work: () => Promise<SignOutcome>): Promise<SignOutcome> {
    const running = this.#running.get(id);
    if (running?.who === who) return running.outcome;
    const outcome = (running === undefined ? work() : running.outcome.then(work, work)).finally(() => {
      if (this.#running.get(id)?.outcome === outcome) this.#running.delete(id);
    });
    this.#running.set(id, { who, outcome });
    return outcome;
  }

  async #judge(
    request: SigningRequest,
    hash: string,
    asker: Asker,
    document: () => Promise<Blob>,
    sealing: () => void = () => {},
  ): Promise<SignOutcome> {
    const { ledger, clock } = this.#ports;
    const decision = this.#decide(request, asker);
    const what = { ...asker, ...describe(request, hash) };
    const deny = async (reasons: readonly string[]): Promise<never> => {
      await this.record({ kind: "denied", ...what, reasons: reasons.map(line), document: await document() });
      throw denied();
    };
    if (decision.outcome === "deny") {
      return deny(
        decision.checks.filter((check) => !check.ok).map(({ name, reason }) => `${name}: ${reason}`),
      );
    }
    // Before anybody is asked to approve what no key could sign.
    const scheme = this.#scheme(request);
    let approvals: readonly GivenApproval[] = [];
    const subject = subjectOf(request, hash);
    const place =
      request.release === undefined ? undefined : `${request.release.root}:${request.release.index}`;
    if (decision.outcome === "ask") {
      const taken = place === undefined ? undefined : ledger.placeTaken(place);
      if (taken !== undefined && taken !== request.id && ledger.request(taken)?.state !== "failed") {
        return deny([
          `approval: the place ${place ?? ""} of the release was signed already by the request ${taken}`,
        ]);
      }
      const given = [...ledger.approvals(subjectWord(subject)), ...ledger.approvals(`request:${hash}`)];
      const vote = quorum(given, { ...decision, requester: asker.user, now: clock.now() });
      if (vote.state === "rejected") return deny([`approval: ${vote.by} rejected it`]);
      if (vote.state === "waiting") return this.#wait(request, hash, asker, decision, vote.have, document);
      if (place !== undefined && (this.#placing.get(place) ?? request.id) !== request.id)
        throw new SigningError(
          "signing/busy",
          "Another request for this place of the release is under way; try again later.",
          { place },
        );
      approvals = vote.by;
    }
    // Only now: nobody sends a table for a request that would be refused.
    const received = this.#tables.missing(asker.user, request, hash);
    if (received !== null) return { state: "table", request: request.id, received };
    // From here on the signature counts, though its intent is not written yet.
    const release = ledger.reserve(request.certificate, decision.rule);
    const placed = decision.outcome === "ask" ? place : undefined;
    if (placed !== undefined) this.#placing.set(placed, request.id);
    try {
      return await this.#sign(request, hash, asker, {
        rule: decision.rule,
        checks: decision.checks,
        scheme,
        approvals,
        document: await document(),
        counted: release,
        sealing,
        // An approval covers its place once; where none is needed there is nothing to use up.
        ...(placed === undefined ? {} : { place: placed }),
      });
    } finally {
      release();
      if (placed !== undefined) this.#placing.delete(placed);
    }
  }

  /** Errors: `signing/bad-request`. */
  #scheme(request: SigningRequest): Scheme {
    const { certificates, keys } = this.#settings.config;
    const { scheme, "also-schemes": also } = keys[certificates[request.certificate]!.key]!;
    return schemeOf(request.operation, [scheme, ...also]);
  }

  #decide(request: SigningRequest, asker: Asker): Decision {
    const config = this.#settings.config.certificates[request.certificate];
    const loaded = this.#settings.certificates.get(request.certificate);
    const certificate: { name: string; config: CertificateConfig; validTo: number | null } | null =
      config === undefined
        ? null
        : { name: request.certificate, config, validTo: loaded?.chain[0]?.notAfter ?? null };
    return decide({
      request,
      user: { name: asker.user, config: this.#settings.config.users[asker.user]! },
      certificate,
      address: asker.address,
      now: this.#ports.clock.now(),
      usage: this.#ports.ledger,
    });
  }

  async #wait(
    request: SigningRequest,
    hash: string,
    asker: Asker,
    decision: Extract<Decision, { outcome: "ask" }>,
    have: number,
    document: () => Promise<Blob>,
  ): Promise<SignOutcome> {
    const { ledger, clock } = this.#ports;
    const known = ledger.request(request.id);
    let expires: string;
    if (known?.state === "pending") {
      expires = known.entry.expires;
    } else {
      expires = formatInstant(clock.now() + decision.pendingHours * HOUR);
      await this.record({
        kind: "pending",
        ...asker,
        ...describe(request, hash),
        rule: line(decision.rule),
        needed: decision.needed,
        expires,
        document: await document(),
        ...(request.release === undefined ? {} : { release: placeWord(request.release) }),
      });
    }
    return { state: "pending", request: request.id, needed: decision.needed, have, expires };
  }

  async #sign(
    request: SigningRequest,
    hash: string,
    asker: Asker,
    granted: {
      readonly rule: string;
      readonly checks: readonly Check[];
      readonly scheme: Scheme;
      readonly approvals: readonly GivenApproval[];
      readonly document: Blob;
      readonly place?: string;
      readonly counted: () => void;
      /** Called before the first write after which the signature may be believed. */
      readonly sealing: () => void;
    },
  ): Promise<SignOutcome> {
    const { keys, log, ledger, build } = this.#ports;
    const config = this.#settings.config.certificates[request.certificate]!;
    const { scheme } = granted;
    const publicKey = keys.publicKey(config.key);
    if (publicKey === null) {
      throw new SigningError("signing/key-unavailable", "The key is not available now; try again later.", {
        key: config.key,
      });
    }
    const certificate = this.#settings.certificates.get(request.certificate);
    const earlier = ledger.request(request.id);
    const attempt = earlier?.state === "failed" ? earlier.attempt + 1 : 0;
    let intent = -1;
    let over = false;
    // The one way to the key: the intent is durable, the ticket names exactly these bytes.
    const useKey = (message: Uint8Array): Promise<Uint8Array> => {
      const queue = this.#queues.of(config.key);
      return queue.run(asker.user, async () => {
        if (intent >= 0) throw new Error("one intent allows one signature");
        intent = await this.record({
          kind: "intent",
          ...asker,
          ...describe(request, hash),
          attempt,
          rule: line(granted.rule),
          checks: granted.checks.map(({ name }) => line(name)),
          approvals: granted.approvals.map(({ user, nonce }) => line(`${user}:${nonce}`)),
          expires: request.expires,
          document: granted.document,
          ...(granted.place === undefined ? {} : { release: granted.place }),
        });
        granted.counted();
        if (over) {
          await this.record({
            kind: "failed",
            intent,
            request: request.id,
            code: "signing/key-failed",
            reason: "too late",
          });
          throw new SigningError("signing/key-failed", "The request was given up before its turn came.");
        }
        return queue.use(() => keys.sign(keys.issue(config.key, scheme, message, intent), message));
      });
    };
    try {
      const { operation } = request;
      let reply: Uint8Array;
      let timestamp: string | undefined;
      if (operation.kind === "raw") {
        reply = await useKey(fromBase64(operation.message));
      } else {
        if (certificate === undefined) {
          throw new SigningError("signing/key-unavailable", "The certificate was not imported yet.", {
            certificate: request.certificate,
          });
        }
        const contentDigest = this.#tables.contentDigest(asker.user, request, hash);
        const built = await build({
          ...(contentDigest === null ? {} : { contentDigest }),
          operation,
          chain: certificate.chain,
          key: publicKey,
          scheme,
          sign: useKey,
        });
        reply = built.cms;
        timestamp = built.timestamp;
      }
      const leaf = certificate?.chain[0];
      granted.sealing();
      const sealed = await log.seal({
        kind: "result",
        intent,
        ...resultOf(request, hash, asker.user),
        ...(leaf === undefined ? {} : { certificateSha256: fingerprint(leaf) }),
        ...(timestamp === undefined ? {} : { timestamp: line(timestamp) }),
        signatureSha256: sha256Hex(reply),
        reply: await log.keep(reply),
      });
      this.#tables.forget(asker.user, request.id);
      return {
        state: "signed",
        request: request.id,
        reply: toBase64(reply),
        receipt: await log.receipt(sealed),
      };
    } catch (error) {
      over = true;
      if (intent >= 0) {
        const { code, message } =
          error instanceof UpkeepError ? error : { code: "signing/internal", message: String(error) };
        await this.record({
          kind: "failed",
          intent,
          request: request.id,
          code: line(code),
          reason: line(message),
        });
      }
      throw error;
    }
  }
}
