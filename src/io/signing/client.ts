// The client of a signing service: requests that survive broken connections, dead gateways and dead signers.

import type { Clock } from "../../core/clock.ts";
import { toBase64, toHex } from "../../core/bytes.ts";
import { formatInstant, MINUTE, SECOND } from "../../core/instant.ts";
import { fraction, type Random } from "../../core/random.ts";
import { signApproval, type ApprovalSubject } from "../../signing/policy/approval.ts";
import { parseNoteKey, type NoteKey } from "../../signing/audit/note.ts";
import { timestampRootsOf, type ServiceDescription } from "../../signing/wire/description.ts";
import { SigningError } from "../../signing/errors.ts";
import { Course, homeOf, type CallKind } from "../../signing/wire/failover.ts";
import type { Answers, OfferedCertificate, PendingRequest, SignIn } from "../../signing/wire/protocol.ts";
import { checkReply, type CheckedReply } from "../../signing/request/reply.ts";
import type { Operation } from "../../signing/request/operation.ts";
import { signRequest, type Membership, type SigningRequest } from "../../signing/request/request.ts";
import { neededFor } from "../../signing/wire/versions.ts";
import { failureOf, nameIn, NotHere, refuseTooOld, unknown } from "./client-failures.ts";
import type { Conversation } from "./conversation.ts";
import { Conversations } from "./conversations.ts";
import type { Proxies } from "../connection/proxies.ts";
import type { Identity } from "./pinned-tls.ts";
import { sendTable } from "./table-upload.ts";

export type ClientPorts = { readonly clock: Clock; readonly random: Random };

export type ClientOptions = {
  readonly service: ServiceDescription;
  readonly identity: Identity;
  /** None by default. */
  readonly proxies?: Proxies;
  /** Asked for at each sign-in at a signer: a one-time code is good once, a token may have been renewed. */
  readonly signIn: (signer: string) => Promise<SignIn>;
  /** How long to keep trying through broken connections, in milliseconds. */
  readonly patience?: number;
  /** Milliseconds without a sign of life before a session counts as lost. */
  readonly silence?: number;
  /** This signer alone. */
  readonly signer?: string;
  readonly signal?: AbortSignal;
  /** Hears once of each gateway that does not serve as it should. */
  readonly trouble?: (sentence: string) => void;
};

export type SignWish = {
  readonly certificate: string;
  readonly operation: Operation;
  readonly file: { readonly name: string; readonly length: number; readonly sha256: string };
  readonly release?: Membership;
  /** For Authenticode: what the signature must contain, byte for byte. */
  readonly indirectData?: Uint8Array;
  /** The table of page hashes, if the operation only names it. */
  readonly table?: Uint8Array;
  /** Idempotency key, 32 hex digits; by default a new one. A chosen one belongs to one signer and never moves. */
  readonly id?: string;
};
/** What the reply is checked against, and a table if the signer asks for one. */
type Expectation = Pick<SignWish, "operation" | "indirectData" | "table" | "release">;
type Ask = (conversation: Conversation) => Promise<Answers["sign"]>;
export type SignedFile = CheckedReply & {
  readonly state: "signed";
  readonly request: string;
  readonly signer: string;
};
export type PendingFile = {
  readonly state: "pending";
  readonly request: string;
  readonly signer: string;
  readonly needed: number;
  readonly have: number;
  readonly expires: string;
};
/** What each signer of the service answered, or why it did not. */
export type Everywhere<T> = {
  readonly answers: readonly { readonly signer: string; readonly answer: T }[];
  readonly silent: readonly { readonly signer: string; readonly error: SigningError }[];
};

const DEFAULT_PATIENCE = 5 * MINUTE;
/** A question to all signers does not wait longer for one that is down. */
const PATIENCE_FOR_ALL = 8 * SECOND;
const REQUEST_LIFE = 10 * MINUTE;

export class SigningClient {
  readonly #ports: ClientPorts;
  readonly #options: ClientOptions;
  readonly #lines: Conversations;
  readonly #logKeys = new Map<string, NoteKey>();
  #tables: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** Who is signed in, as the signer asked last calls them. */
  user = "";

  constructor(ports: ClientPorts, options: ClientOptions) {
    this.#ports = ports;
    this.#options = options;
    const { signer, service } = options;
    if (signer !== undefined && !service.signers.some(({ name }) => name === signer)) {
      throw new SigningError("signing/not-found", `The service has no signer called ${signer}.`, { signer });
    }
    this.#lines = new Conversations({ random: ports.random, ...options });
    options.signal?.addEventListener("abort", () => void this.close(), { once: true });
  }

  /** Bytes moved through gateways so far, both ways. */
  async traffic(): Promise<number> {
    return this.#lines.traffic;
  }

  /** What one signer offers, whichever is reached first. */
  async certificates(signer?: string): Promise<readonly OfferedCertificate[]> {
    return this.#call("read", signer, (conversation) => conversation.offers(true));
  }

  /** The certificate as the first signer that has it offers it. Errors: `signing/denied` when no signer lets this user have it. */
  async certificate(name: string, signer?: string): Promise<OfferedCertificate> {
    return this.#call("read", signer, async (conversation) => {
      const offered = await conversation.offers(true);
      const found = offered.find((each) => each.name === name);
      if (found !== undefined) return found;
      throw new NotHere("signing/denied", `The certificate "${name}" is not one that you may use.`, {
        offered: offered.map((each) => each.name),
      });
    });
  }

  /**
   * Asks for one signature with the offered certificate's key and checks it. Sent again with the same id after a broken connection;
   * moves to another signer with the same certificate and key only while it is certain that no other one signed (`signing/failover.ts`).
   * Errors: `signing/denied`, `signing/old-signer` when no signer can what is wanted, `signing/bad-reply`, `signing/outcome-unknown` and `signing/unreachable` once patience ran out, …
   */
  async sign(wish: SignWish, offered: OfferedCertificate): Promise<SignedFile | PendingFile> {
    const { random } = this.#ports;
    const id = wish.id ?? toHex(random.bytes(16));
    const home = wish.id === undefined ? undefined : homeOf(wish.id, this.#names());
    const ask: Ask = async (conversation) =>
      conversation.call({ type: "sign", envelope: await this.#envelope(wish, id, conversation) });
    return this.#call("sign", home, (conversation) => this.#asking(conversation, wish, offered, ask), id);
  }

  /**
   * What would become of this wish at the first signer that has the certificate with this key; nothing is signed or counted.
   * Errors: `signing/denied`, `signing/old-signer`, `signing/bad-request`, …
   */
  async preview(
    wish: SignWish,
    offered: OfferedCertificate,
  ): Promise<Answers["preview"] & { readonly signer: string }> {
    const id = wish.id ?? toHex(this.#ports.random.bytes(16));
    return this.#call("read", undefined, async (conversation) => {
      await this.#ownOffer(conversation, offered);
      refuseTooOld(conversation, ["dry runs", ...neededFor(wish.operation, wish.release)]);
      const envelope = await this.#envelope(wish, id, conversation);
      return {
        ...(await conversation.call({ type: "preview", envelope })),
        signer: conversation.signer.name,
      };
    });
  }

  async #envelope(wish: SignWish, id: string, conversation: Conversation): Promise<string> {
    const created = this.#ports.clock.now();
    const request: SigningRequest = {
      version: 1,
      id,
      requester: conversation.user,
      certificate: wish.certificate,
      operation: wish.operation,
      file: wish.file,
      ...(wish.release === undefined ? {} : { release: wish.release }),
      created: formatInstant(created),
      expires: formatInstant(created + REQUEST_LIFE),
      session: conversation.binding,
      signer: conversation.signer.name,
    };
    return toBase64(await signRequest(request, this.#options.identity.signer));
  }

  /** The state of a request that waits for approvals at its signer; signs it once they are there. */
  async status(
    request: string,
    signer: string,
    wish: Expectation,
    offered: OfferedCertificate,
  ): Promise<SignedFile | PendingFile> {
    const ask: Ask = (conversation) => conversation.call({ type: "status", request });
    return this.#call(
      "sign",
      signer,
      (conversation) => this.#asking(conversation, wish, offered, ask),
      request,
    );
  }

  async pending(signer?: string): Promise<readonly PendingRequest[]> {
    return (await this.#call("read", signer, (c) => c.call({ type: "pending" }))).requests;
  }

  /** What waits for approval at every signer of the service: a request waits at one of them only. Errors: none; a silent signer is a value. */
  pendingEverywhere(): Promise<Everywhere<readonly PendingRequest[]>> {
    return this.#everywhere(async (c) => (await c.call({ type: "pending" })).requests);
  }

  /** What every signer of the service offers. Errors: none; a silent signer is a value. */
  certificatesEverywhere(): Promise<Everywhere<readonly OfferedCertificate[]>> {
    return this.#everywhere((c) => c.offers(true));
  }

  async #everywhere<T>(ask: (conversation: Conversation) => Promise<T>): Promise<Everywhere<T>> {
    type One = { readonly signer: string } & ({ readonly answer: T } | { readonly error: SigningError });
    const asked = await Promise.all(
      this.#names().map(async (signer): Promise<One> => {
        try {
          return { signer, answer: await this.#call("read", signer, ask, undefined, PATIENCE_FOR_ALL) };
        } catch (error) {
          if (error instanceof SigningError) return { signer, error };
          throw error;
        }
      }),
    );
    return {
      answers: asked.flatMap((one) => ("answer" in one ? [one] : [])),
      silent: asked.flatMap((one) => ("error" in one ? [one] : [])),
    };
  }

  /** Says yes or no at one signer; the same word said twice counts once. */
  async approve(
    subject: ApprovalSubject,
    decision: "approve" | "reject",
    life: number,
    signer?: string,
  ): Promise<Answers["approve"]> {
    const { clock, random } = this.#ports;
    const nonce = toHex(random.bytes(16));
    const created = clock.now();
    return this.#call("read", signer, async (conversation) => {
      const envelope = await signApproval(
        {
          version: 1,
          nonce,
          approver: conversation.user,
          decision,
          subject,
          created: formatInstant(created),
          expires: formatInstant(created + life),
          signer: conversation.signer.name,
        },
        this.#options.identity.signer,
      );
      return conversation.call({ type: "approve", envelope: toBase64(envelope) });
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#lines.close();
  }

  /** Those that this client may ask. */
  #names(): readonly string[] {
    const { signer, service } = this.#options;
    return signer === undefined ? service.signers.map(({ name }) => name) : [signer];
  }

  /**
   * The same certificate as this signer offers it: name and key are the same, the chain may differ.
   * A build that began with one key does not go on with another.
   */
  async #ownOffer(
    conversation: Conversation,
    { name, spki }: OfferedCertificate,
  ): Promise<OfferedCertificate> {
    const own = (await conversation.offers()).find((each) => each.name === name && each.spki === spki);
    if (own !== undefined) return own;
    throw new NotHere(
      "signing/denied",
      `The signer ${conversation.signer.name} does not offer the certificate "${name}" with the same key.`,
      { signer: conversation.signer.name, certificate: name },
    );
  }

  /** Asks; brings the table that the signer may want before it answers; checks what comes. */
  async #asking(
    conversation: Conversation,
    wish: Expectation,
    offered: OfferedCertificate,
    ask: Ask,
  ): Promise<SignedFile | PendingFile> {
    const own = await this.#ownOffer(conversation, offered);
    refuseTooOld(conversation, neededFor(wish.operation, wish.release));
    const answer = await ask(conversation);
    return answer.state === "table"
      ? this.#alone(() => this.#withTable(conversation.signer.name, wish, offered, ask))
      : this.#outcome(answer, wish, own, conversation);
  }

  /** The signer takes one table at a time from a session; a session that is used up is followed by a fresh one with the same signer. */
  async #withTable(
    signer: string,
    wish: Expectation,
    offered: OfferedCertificate,
    ask: Ask,
  ): Promise<SignedFile | PendingFile> {
    for (;;) {
      const done = await this.#lines.with({ only: signer, avoid: new Set() }, async (conversation) => {
        const own = await this.#ownOffer(conversation, offered);
        const answer = await ask(conversation);
        if (answer.state !== "table") return this.#outcome(answer, wish, own, conversation);
        if (wish.table === undefined || answer.received >= wish.table.length)
          throw new SigningError("signing/bad-reply", "The signer asks for a table that there is not.");
        if (!(await sendTable(conversation, answer.request, wish.table, answer.received)))
          conversation.retire();
        return null;
      });
      if (done !== null) return done;
    }
  }

  /** One after the other. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#tables.then(work);
    this.#tables = run.catch(() => {});
    return run;
  }

  #outcome(
    answer: Exclude<Answers["sign"], { readonly state: "table" }>,
    wish: Expectation,
    offered: OfferedCertificate,
    { signer }: Conversation,
  ): SignedFile | PendingFile {
    if (answer.state === "pending") return { ...answer, signer: signer.name };
    const checked = checkReply(wish.operation, offered, this.#logKey(signer.log), answer, {
      now: this.#ports.clock.now(),
      timestampRoots: timestampRootsOf(signer),
      ...(wish.indirectData === undefined ? {} : { indirectData: wish.indirectData }),
    });
    return { state: "signed", request: answer.request, signer: signer.name, ...checked };
  }

  #logKey(text: string): NoteKey {
    const known = this.#logKeys.get(text) ?? parseNoteKey(text);
    this.#logKeys.set(text, known);
    return known;
  }

  /** One call through whatever breaks, until it has an answer, must not be tried again, or patience ends. */
  async #call<T>(
    kind: CallKind,
    pinned: string | undefined,
    work: (conversation: Conversation) => Promise<T>,
    request?: string,
    most = Number.POSITIVE_INFINITY,
  ): Promise<T> {
    const { clock, random } = this.#ports;
    const end = clock.monotonic() + Math.min(most, this.#options.patience ?? DEFAULT_PATIENCE);
    const course = new Course(kind, this.#names(), pinned ?? this.#options.signer);
    let pauses = 0;
    for (;;) {
      let signer: string | undefined;
      try {
        return await this.#lines.with(course.want, async (conversation) => {
          signer = conversation.signer.name;
          this.user = conversation.user;
          return work(conversation);
        });
      } catch (error) {
        const failure = failureOf(error);
        const then = failure === null ? "stop" : course.next(failure, signer ?? nameIn(error));
        if (then === "at once" && !this.#closed) continue;
        const wait = Math.min(3000, 50 * 2 ** Math.min(pauses++, 6)) * (0.5 + fraction(random));
        if (then === "stop" || this.#closed || clock.monotonic() + wait > end) {
          // Only an answer of the signer itself settles what was sent to it before.
          const answered = failure === null ? signer !== undefined : failure.stage === "answered";
          const settled = then === "stop" && answered && failure?.notHere !== true;
          throw course.held === undefined || settled ? error : unknown(course.held, request, error);
        }
        await clock.sleep(wait, this.#options.signal);
      }
    }
  }
}
