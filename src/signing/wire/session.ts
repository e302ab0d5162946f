// One inner session: hello, sign-in, then calls; what it may ask depends on who signed in.

import type { Random } from "../../core/random.ts";
import { fromBase64, toBase64, toHex } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import { formatInstant, MINUTE, SECOND, type Instant } from "../../core/instant.ts";
import { sha256Hex } from "../../core/digest.ts";
import { certificatePem } from "../../der/x509.ts";
import type { PublicKey } from "../../keys/public-key.ts";
import { openApproval, quorum, subjectWord } from "../policy/approval.ts";
import { mayAnswer } from "../policy/approver.ts";
import type { PendingNote } from "../audit/ledger-state.ts";
import { line } from "../audit/entry.ts";
import { formatNoteKey, type NoteKey } from "../audit/note.ts";
import { SigningError } from "../errors.ts";
import type { KeyRing, Log } from "../ports.ts";
import {
  type Answers,
  type CallBody,
  type CallMessage,
  type OfferedCertificate,
  type PendingRequest,
  type ReplyMessage,
  type SignIn,
} from "./protocol.ts";
import { openRequest, type SigningRequest } from "../request/request.ts";
import { denied } from "../policy/policy.ts";
import type { SigningService } from "../service.ts";
import type { AuditLog } from "../audit/log.ts";
import type { Ledger } from "../audit/ledger.ts";
import { identify, refused, type SignInPorts } from "../policy/sign-in.ts";
import { commonVersion, speaks, VERSIONS, type Version } from "./versions.ts";

export type SessionPorts = SignInPorts & {
  readonly random: Random;
  readonly service: SigningService;
  readonly log: AuditLog;
  readonly ledger: Ledger;
  readonly keys: KeyRing;
  readonly logKey: NoteKey;
  readonly say: Log;
};

/** What the inner TLS session says about the other side. */
export type Peer = {
  readonly key: PublicKey;
  /** Exporter value: what requests are bound to. */
  readonly binding: string;
  /** As the gateway tells it. */
  readonly address: string;
};

/**
 * new --hello--> greeted --sign-in--> open --(time, disabled user, connection)--> ended
 * Any call out of its state, and the third failed sign-in, ends the session.
 */
type State = "new" | "greeted" | "open" | "ended";
const ALLOWED: { readonly [S in State]: readonly CallBody["type"][] } = {
  new: ["hello"],
  greeted: ["sign-in"],
  open: ["certificates", "sign", "preview", "status", "table", "pending", "approve"],
  ended: [],
};

const MAX_TRIES = 3;

export class SigningSession {
  readonly id: string;
  readonly #ports: SessionPorts;
  readonly #peer: Peer;
  readonly #spki: string;
  #state: State = "new";
  #version: Version = 1;
  #user = "";
  #tries = 0;
  #until: Instant = 0;
  /** Request whose table of page hashes may come. */
  #upload = "";

  constructor(ports: SessionPorts, peer: Peer) {
    this.#ports = ports;
    this.#peer = peer;
    this.#spki = sha256Hex(peer.key.spki);
    this.id = toHex(ports.random.bytes(16));
  }

  get ended(): boolean {
    return this.#state === "ended";
  }

  get user(): string {
    return this.#user;
  }

  /** Never throws: a refusal is a reply, and one that breaks the rules ends the session. */
  async handle(call: CallMessage): Promise<ReplyMessage> {
    const { seq } = call;
    let request = "request" in call ? call.request : "";
    try {
      return { seq, ok: true, answer: await this.#answer(call, (id) => (request = id)) };
    } catch (error) {
      if (error instanceof UpkeepError) {
        this.#ports.say("info", "refused", {
          session: this.id,
          user: this.#user,
          call: call.type,
          request,
          code: error.code,
        });
        const unsigned =
          call.type === "sign" &&
          speaks(this.#version, "the word that nothing was signed") &&
          this.#ports.service.vouchesUnsigned(error);
        return {
          seq,
          ok: false,
          code: error.code,
          message: error.message,
          ...(unsigned ? { signed: false as const } : {}),
        };
      }
      return this.unforeseen(call, error, request);
    }
  }

  /**
   * The answer where something went wrong that nobody foresaw: given at once, final, and silent about whether something was signed,
   * because nobody knows how far it came. The line in the log names the request.
   */
  unforeseen({ seq, type }: CallMessage, error: unknown, request = ""): ReplyMessage {
    this.#ports.say("error", "failed", {
      session: this.id,
      user: this.#user,
      call: type,
      request,
      what: line(String(error)),
    });
    const about = request === "" ? "" : ` with the request ${request}`;
    return {
      seq,
      ok: false,
      code: "signing/internal",
      message: `The signer failed in a way that nobody foresaw. Its log says how${about}; its audit log says what was signed.`,
    };
  }

  /** Ends the session if its user was disabled or removed, or its time is up; says whether it did. */
  async review(): Promise<boolean> {
    if (this.#state !== "open") return false;
    const why = !this.#userStillIn()
      ? "the user was disabled or removed"
      : this.#ports.clock.now() >= this.#until
        ? "its time was up"
        : null;
    if (why === null) return false;
    await this.end(why);
    return true;
  }

  async end(reason: string): Promise<void> {
    const was = this.#state;
    this.#state = "ended";
    if (was === "open")
      await this.#ports.service.record({ kind: "session-end", session: this.id, reason: line(reason) });
  }

  async #answer(call: CallMessage, named: (request: string) => void): Promise<Answers[CallBody["type"]]> {
    if (this.#state === "open" && (await this.review())) throw ended();
    if (!ALLOWED[this.#state].includes(call.type)) {
      await this.end(`a ${call.type} out of turn`);
      throw ended();
    }
    switch (call.type) {
      case "hello":
        return this.#hello(call.versions);
      case "sign-in":
        return this.#signIn(call);
      case "certificates":
        return { certificates: this.#certificates() };
      case "sign":
        return this.#sign(call.envelope, named);
      case "preview":
        return this.#ports.service.preview(this.#opened(call.envelope, named).request, this.#asker());
      case "status":
        return this.#granting(await this.#ports.service.status(call.request, this.#asker()));
      case "table":
        return this.#table(call.request, call.offset, call.part);
      case "pending":
        return { requests: this.#pending() };
      case "approve":
        return this.#approve(call.envelope);
    }
  }

  #hello(versions: readonly number[]): Answers["hello"] {
    const version = commonVersion(versions);
    if (version === null) {
      throw new SigningError(
        "signing/bad-request",
        `This signer speaks versions ${VERSIONS.join(" and ")} of the protocol, not ${versions.join(", ")}.`,
      );
    }
    this.#version = version;
    this.#state = "greeted";
    const { service, logKey, clock } = this.#ports;
    return {
      version,
      signer: service.config.service.name,
      log: formatNoteKey(logKey),
      time: formatInstant(clock.now()),
    };
  }

  async #signIn(given: SignIn): Promise<Answers["sign-in"]> {
    const { service, clock, failures } = this.#ports;
    const claimed = given.method === "password" ? line(given.user) : "";
    const session = {
      kind: "session",
      session: this.id,
      address: line(this.#peer.address),
      spki: this.#spki,
      key: toBase64(this.#peer.key.spki),
      method: given.method,
    } as const;
    try {
      const { user, used } = await identify(given, this.#spki, this.#peer.address, this.#ports);
      const config = service.config.users[user];
      if (config === undefined || config.disabled) throw refused(`the user ${user} is disabled`);
      await service.record({
        ...session,
        user,
        outcome: "accepted",
        reason: "",
        ...(used === undefined ? {} : { used }),
      });
      this.#user = user;
      this.#state = "open";
      this.#until = clock.now() + service.config.service["session-minutes"] * MINUTE;
      return { user, roles: config.roles, until: formatInstant(this.#until) };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      failures.take(`address ${this.#peer.address}`, clock.monotonic());
      if (claimed !== "") failures.take(`user ${claimed}`, clock.monotonic());
      await service.record({ ...session, user: claimed, outcome: "refused", reason: line(reason) });
      if (++this.#tries >= MAX_TRIES) this.#state = "ended";
      // Which of user, password, code, key or token was wrong, or whether the user exists, is said in the log only.
      throw new SigningError("signing/refused", "Sign-in was refused.");
    }
  }

  #certificates(): OfferedCertificate[] {
    const { config, certificates } = this.#ports.service.settings;
    const offered: OfferedCertificate[] = [];
    for (const [name, certificate] of Object.entries(config.certificates)) {
      const rules = Object.values(certificate.policy).filter((rule) => rule.users.includes(this.#user));
      const key = this.#ports.keys.lastPublicKey(certificate.key);
      if (rules.length === 0 || certificate.disabled || key === null) continue;
      const chain = certificates.get(name)?.chain;
      const keyConfig = config.keys[certificate.key]!;
      offered.push({
        name,
        scheme: keyConfig.scheme,
        schemes: [keyConfig.scheme, ...keyConfig["also-schemes"]],
        operations: [...new Set(rules.flatMap((rule) => rule.operations))],
        spki: toBase64(key.spki),
        ...(chain === undefined
          ? {}
          : { chain: chain.map(certificatePem).join(""), expires: formatInstant(chain[0]!.notAfter) }),
      });
    }
    return offered;
  }

  async #sign(text: string, named: (request: string) => void): Promise<Answers["sign"]> {
    const { request, envelope } = this.#opened(text, named);
    return this.#granting(await this.#ports.service.submit(request, envelope, this.#asker()));
  }

  #opened(
    text: string,
    named: (request: string) => void,
  ): { readonly request: SigningRequest; readonly envelope: Uint8Array } {
    const { service, clock } = this.#ports;
    const envelope = fromBase64(text);
    const request = openRequest(envelope, {
      key: this.#peer.key,
      user: this.#user,
      session: this.#peer.binding,
      signer: service.config.service.name,
      now: clock.now(),
    });
    named(request.id);
    return { request, envelope };
  }

  /** One table at a time: the one that was asked for last. */
  #granting(outcome: Answers["sign"]): Answers["sign"] {
    if (outcome.state === "table") this.#upload = outcome.request;
    return outcome;
  }

  #table(request: string, offset: number, part: string): Answers["table"] {
    if (request !== this.#upload)
      throw new SigningError("signing/bad-request", "No table was asked for in this session.", { request });
    return { received: this.#ports.service.table(request, offset, fromBase64(part), this.#asker()) };
  }

  #pending(): PendingRequest[] {
    const { ledger, clock } = this.#ports;
    const shown: PendingRequest[] = [];
    const named = speaks(this.#version, "lists of one call");
    for (const entry of ledger.pending(clock.now())) {
      const approvers = this.#approversOf(entry);
      if (entry.user !== this.#user && approvers?.includes(this.#user) !== true) continue;
      const [root, size, index, nonce] = entry.release?.split(":") ?? [];
      shown.push({
        request: entry.request,
        requestHash: entry.requestHash,
        user: entry.user,
        certificate: entry.certificate,
        operation: entry.operation,
        file: entry.file,
        digest: entry.digest,
        address: entry.address,
        since: entry.time,
        expires: entry.expires,
        needed: entry.needed,
        have: this.#have(entry),
        ...(root === undefined
          ? {}
          : {
              release: {
                root,
                size: Number(size),
                index: Number(index),
                ...(nonce === undefined || !named ? {} : { nonce }),
              },
            }),
      });
    }
    return shown;
  }

  async #approve(text: string): Promise<Answers["approve"]> {
    const { service, log, ledger, clock } = this.#ports;
    const user = { name: this.#user, config: service.config.users[this.#user]! };
    const envelope = fromBase64(text);
    if (mayAnswer(user, this.#spki, []) !== "may") throw denied();
    const approval = openApproval(envelope, {
      keys: [this.#peer.key],
      user: this.#user,
      signer: service.config.service.name,
      now: clock.now(),
    });
    const subject = subjectWord(approval.subject);
    const asked = ledger.pending(clock.now()).filter((entry) => subjectsOf(entry).includes(subject));
    const answering = mayAnswer(
      user,
      this.#spki,
      asked.map((entry) => ({ requester: entry.user, approvers: this.#approversOf(entry) })),
    );
    if (answering === "own") {
      throw new SigningError(
        "signing/refused",
        "This is your own request: nobody approves or rejects what he asked for himself; somebody else has to.",
      );
    }
    if (answering !== "may") throw denied();
    await service.record({
      kind: "approval",
      ...this.#asker(),
      subject,
      decision: approval.decision,
      nonce: approval.nonce,
      expires: approval.expires,
      document: await log.keep(envelope),
    });
    const have =
      asked.length === 0
        ? new Set(ledger.approvals(subject).map((given) => given.user)).size
        : Math.min(...asked.map((entry) => this.#have(entry)));
    return { subject, have };
  }

  /** Who may approve a request that waits; null if its rule is gone. */
  #approversOf(entry: PendingNote): readonly string[] | null {
    const { certificates } = this.#ports.service.config;
    return certificates[entry.certificate]?.policy[entry.rule]?.approvers ?? null;
  }

  /** How many approvals of a request that waits count. */
  #have(entry: PendingNote): number {
    const { ledger, clock } = this.#ports;
    const vote = quorum(
      subjectsOf(entry).flatMap((subject) => ledger.approvals(subject)),
      {
        needed: Number.POSITIVE_INFINITY,
        approvers: this.#approversOf(entry) ?? [],
        requester: entry.user,
        now: clock.now(),
      },
    );
    return vote.state === "waiting" ? vote.have : 0;
  }

  #asker() {
    return { user: this.#user, session: this.id, address: line(this.#peer.address) };
  }

  #userStillIn(): boolean {
    const user = this.#ports.service.config.users[this.#user];
    if (user === undefined || user.disabled) return false;
    return user.kind !== "machine" || user.keys.includes(this.#spki);
  }
}

/** What an approval may be given for so that it counts for a request that waits: the request, or the release that it is a file of. */
function subjectsOf({ requestHash, release }: PendingNote): readonly string[] {
  const [root, size] = release?.split(":") ?? [];
  return [`request:${requestHash}`, ...(root === undefined ? [] : [`release:${root}:${size ?? ""}`])];
}

function ended(): SigningError {
  // Not a refusal: a client may come again and sign in anew.
  return new SigningError("signing/unreachable", "The session ended.");
}

/** Sessions are reviewed this often; a disabled user is out within it. */
export const REVIEW_EVERY = SECOND;
