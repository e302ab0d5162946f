// The client of a signing service: an inner session through any gateway, requests that survive broken connections.

import type { TLSSocket } from "node:tls";
import type { Clock } from "../core/clock.ts";
import { fromUtf8, toBase64, toHex, toUtf8 } from "../core/bytes.ts";
import { formatInstant, MINUTE, SECOND } from "../core/instant.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { fraction, type Random } from "../core/random.ts";
import { signApproval, type ApprovalSubject } from "../signing/approval.ts";
import { parseNoteKey, type NoteKey } from "../signing/audit/note.ts";
import type { ServiceDescription } from "../signing/description.ts";
import { SigningError, type SigningErrorCode } from "../signing/errors.ts";
import { encodeFrame } from "../signing/frame.ts";
import {
  checkAnswer,
  encodeMessage,
  EXPORTER_LABEL,
  MessageReader,
  parseReply,
  PROTOCOL_VERSION,
  type Answers,
  type CallBody,
  type OfferedCertificate,
  type PendingRequest,
  type SignIn,
} from "../signing/protocol.ts";
import { checkReply, type CheckedReply } from "../signing/reply.ts";
import { signRequest, type Membership, type Operation, type SigningRequest } from "../signing/request.ts";
import { BatchWriter } from "./batch-writer.ts";
import { FrameDuplex, nextFrame } from "./frame-stream.ts";
import { connectPinned, handshake, splitAddress, type Identity } from "./pinned-tls.ts";

export type ClientPorts = { readonly clock: Clock; readonly random: Random };

export type ClientOptions = {
  readonly service: ServiceDescription;
  readonly identity: Identity;
  /** Asked for at each sign-in: a one-time code is good once, a token may have been renewed. */
  readonly signIn: () => Promise<SignIn>;
  /** How long to keep trying through broken connections. */
  readonly patience?: number;
  readonly signal?: AbortSignal;
};

export type SignWish = {
  readonly certificate: string;
  readonly operation: Operation;
  readonly file: { readonly name: string; readonly length: number; readonly sha256: string };
  readonly release?: Membership;
  /** For Authenticode: what the signature must contain, byte for byte. */
  readonly indirectData?: Uint8Array;
  /** Idempotency key, 32 hex digits; by default a new one. */
  readonly id?: string;
};
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

const DEFAULT_PATIENCE = 5 * MINUTE;
const REQUEST_LIFE = 10 * MINUTE;
const OPEN_TIMEOUT = 40 * SECOND;
const CALL_TIMEOUT = 2 * MINUTE;
/** A session is given up for a fresh one before the gateway's byte budget ends it. */
const USE_OF_BUDGET = 0.7;
/** Request and reply of a signature with certificates, timestamp and receipt seldom take more. */
const CALL_ROOM = 16 * 1024;

/** What is worth another try, with the same request id. */
const TRANSIENT: ReadonlySet<string> = new Set<SigningErrorCode>([
  "signing/unreachable",
  "signing/busy",
  "signing/over-budget",
  "signing/key-failed",
  "signing/key-unavailable",
  "signing/timestamp-failed",
]);

type Waiting = { readonly resolve: (answer: unknown) => void; readonly reject: (error: Error) => void };

/** One inner session. */
class Conversation {
  readonly #socket: TLSSocket;
  readonly #outer: TLSSocket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #budget: number;
  readonly #calls: BatchWriter;
  #seq = 1;
  #broken: Error | null = null;
  readonly binding: string;
  readonly signer: string;

  constructor(socket: TLSSocket, outer: TLSSocket, signer: string, budget: number) {
    this.#socket = socket;
    this.#outer = outer;
    this.#budget = budget;
    this.#calls = new BatchWriter(socket);
    this.signer = signer;
    this.binding = toHex(new Uint8Array(socket.exportKeyingMaterial(32, EXPORTER_LABEL, Buffer.alloc(0))));
    const reader = new MessageReader();
    socket.on("data", (part: Buffer) => {
      try {
        for (const bytes of reader.push(part)) this.#reply(bytes);
      } catch (error) {
        this.#fail(error as Error);
      }
    });
    const lost = (): void =>
      this.#fail(new SigningError("signing/unreachable", "The connection to the signer was lost."));
    socket.on("error", lost);
    socket.once("close", lost);
    outer.once("close", lost);
  }

  get usable(): boolean {
    // What is under way counts too: its replies will come through this session.
    return this.#broken === null && this.traffic + this.#waiting.size * CALL_ROOM < this.#budget;
  }

  get idle(): boolean {
    return this.#waiting.size === 0;
  }

  get traffic(): number {
    return this.#outer.bytesRead + this.#outer.bytesWritten;
  }

  async call<T extends CallBody["type"]>(body: CallBody & { readonly type: T }): Promise<Answers[T]> {
    if (this.#broken !== null) throw this.#broken;
    const seq = this.#seq++;
    const answer = await new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(
        () => this.#fail(new SigningError("signing/unreachable", "The signer did not answer in time.")),
        CALL_TIMEOUT,
      );
      const settle =
        <A>(action: (value: A) => void) =>
        (value: A): void => {
          clearTimeout(timer);
          action(value);
        };
      this.#waiting.set(seq, { resolve: settle(resolve), reject: settle(reject) });
      this.#calls.write(encodeMessage({ seq, ...body }));
    });
    return checkAnswer(body.type, answer);
  }

  close(): void {
    this.#fail(new SigningError("signing/unreachable", "The session was closed."));
  }

  #reply(bytes: Uint8Array): void {
    const reply = parseReply(bytes);
    const waiting = this.#waiting.get(reply.seq);
    this.#waiting.delete(reply.seq);
    if (reply.ok) waiting?.resolve(reply.answer);
    else
      waiting?.reject(new SigningError(reply.code as SigningErrorCode, reply.message, { from: this.signer }));
  }

  #fail(error: Error): void {
    if (this.#broken !== null) return;
    this.#broken = error;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
    this.#socket.end();
    setTimeout(() => this.#outer.destroy(), 500).unref();
  }
}

export class SigningClient {
  readonly #ports: ClientPorts;
  readonly #options: ClientOptions;
  #current: Promise<Conversation> | null = null;
  #spent = 0;
  readonly #old = new Set<Conversation>();
  readonly #logKeys = new Map<string, NoteKey>();
  user = "";

  constructor(ports: ClientPorts, options: ClientOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  /** Bytes moved through gateways so far, both ways. */
  async traffic(): Promise<number> {
    return this.#spent + ((await this.#current?.catch(() => null))?.traffic ?? 0);
  }

  async certificates(): Promise<readonly OfferedCertificate[]> {
    return (await this.#retrying("*", (c) => c.call({ type: "certificates" }))).certificates;
  }

  /** Errors: `signing/not-found` when this user may not use such a certificate. */
  async certificate(name: string): Promise<OfferedCertificate> {
    const offered = await this.certificates();
    const found = offered.find((each) => each.name === name);
    if (found !== undefined) return found;
    throw new SigningError("signing/denied", `The certificate "${name}" is not one that you may use.`, {
      offered: offered.map((each) => each.name),
    });
  }

  /**
   * Asks for one signature and checks it. Sent again with the same id after a broken connection: signed once.
   * Errors: `signing/denied`, `signing/bad-reply`, `signing/unreachable` once patience ran out, …
   */
  async sign(wish: SignWish, offered: OfferedCertificate): Promise<SignedFile | PendingFile> {
    const { clock, random } = this.#ports;
    const id = wish.id ?? toHex(random.bytes(16));
    const created = clock.now();
    let signer = "*";
    return this.#retrying(
      () => signer,
      async (conversation) => {
        // A request belongs to one signer: another one could not know that it was signed already.
        if (signer === "*") signer = conversation.signer;
        const request: SigningRequest = {
          version: 1,
          id,
          requester: this.user,
          certificate: wish.certificate,
          operation: wish.operation,
          file: wish.file,
          ...(wish.release === undefined ? {} : { release: wish.release }),
          created: formatInstant(created),
          expires: formatInstant(created + REQUEST_LIFE),
          session: conversation.binding,
          signer,
        };
        const envelope = await signRequest(request, this.#options.identity.signer);
        return this.#outcome(
          await conversation.call({ type: "sign", envelope: toBase64(envelope) }),
          wish,
          offered,
          conversation.signer,
        );
      },
    );
  }

  /** The state of a request that waits for approvals; signs it once they are there. */
  async status(
    request: string,
    signer: string,
    wish: Pick<SignWish, "operation" | "indirectData">,
    offered: OfferedCertificate,
  ): Promise<SignedFile | PendingFile> {
    return this.#retrying(signer, async (conversation) =>
      this.#outcome(await conversation.call({ type: "status", request }), wish, offered, conversation.signer),
    );
  }

  async pending(signer = "*"): Promise<readonly PendingRequest[]> {
    return (await this.#retrying(signer, (c) => c.call({ type: "pending" }))).requests;
  }

  async approve(
    subject: ApprovalSubject,
    decision: "approve" | "reject",
    life: number,
    wanted = "*",
  ): Promise<Answers["approve"]> {
    const { clock, random } = this.#ports;
    const nonce = toHex(random.bytes(16));
    const created = clock.now();
    return this.#retrying(wanted, async (conversation) => {
      const envelope = await signApproval(
        {
          version: 1,
          nonce,
          approver: this.user,
          decision,
          subject,
          created: formatInstant(created),
          expires: formatInstant(created + life),
          signer: conversation.signer,
        },
        this.#options.identity.signer,
      );
      return conversation.call({ type: "approve", envelope: toBase64(envelope) });
    });
  }

  async close(): Promise<void> {
    const conversation = await this.#current?.catch(() => null);
    conversation?.close();
    for (const old of this.#old) old.close();
  }

  #outcome(
    answer: Answers["sign"],
    wish: Pick<SignWish, "operation" | "indirectData">,
    offered: OfferedCertificate,
    signer: string,
  ): SignedFile | PendingFile {
    if (answer.state === "pending") return { ...answer, signer };
    const known = this.#options.service.signers.find((each) => each.name === signer)!;
    const checked = checkReply(
      wish.operation,
      offered,
      this.#logKey(known.log),
      answer,
      wish.indirectData === undefined ? {} : { indirectData: wish.indirectData },
    );
    return { state: "signed", request: answer.request, signer, ...checked };
  }

  #logKey(text: string): NoteKey {
    const known = this.#logKeys.get(text) ?? parseNoteKey(text);
    this.#logKeys.set(text, known);
    return known;
  }

  async #retrying<T>(
    signer: string | (() => string),
    action: (conversation: Conversation) => Promise<T>,
  ): Promise<T> {
    const { clock, random } = this.#ports;
    const end = clock.monotonic() + (this.#options.patience ?? DEFAULT_PATIENCE);
    for (let attempt = 0; ; attempt++) {
      try {
        return await action(await this.#conversation(typeof signer === "string" ? signer : signer()));
      } catch (error) {
        const transient = error instanceof SigningError && TRANSIENT.has(error.code);
        const wait = Math.min(3000, 50 * 2 ** Math.min(attempt, 6)) * (0.5 + fraction(random));
        if (!transient || clock.monotonic() + wait > end) throw error;
        await clock.sleep(wait, this.#options.signal);
      }
    }
  }

  /** The current session if it fits, else a new one. */
  async #conversation(signer: string): Promise<Conversation> {
    const current = await this.#current?.catch(() => null);
    if (current?.usable === true && (signer === "*" || current.signer === signer)) return current;
    // Another caller may have begun a new one while this one waited.
    const latest = this.#current;
    if (latest !== null) {
      const other = await latest.catch(() => null);
      if (latest !== this.#current) return this.#conversation(signer);
      if (other?.usable === true && (signer === "*" || other.signer === signer)) return other;
      if (other !== null) this.#retire(other);
    }
    const fresh = this.#connect(signer);
    this.#current = fresh;
    fresh.catch(() => {
      if (this.#current === fresh) this.#current = null;
    });
    return fresh;
  }

  /** Lets calls that run come to their end, then closes. */
  #retire(conversation: Conversation): void {
    this.#old.add(conversation);
    const look = setInterval(() => {
      if (!conversation.idle) return;
      clearInterval(look);
      this.#spent += conversation.traffic;
      this.#old.delete(conversation);
      conversation.close();
    }, 50);
    look.unref();
  }

  async #connect(signer: string): Promise<Conversation> {
    const { service } = this.#options;
    let last: unknown;
    // Any gateway will do; starting at a random one spreads the load.
    const start = Math.floor(fraction(this.#ports.random) * service.gateways.length);
    for (let i = 0; i < service.gateways.length; i++) {
      const gateway = service.gateways[(start + i) % service.gateways.length]!;
      try {
        return await this.#through(gateway, signer);
      } catch (error) {
        last = error;
        // A wrong key or a refused sign-in is final: no gateway makes it better.
        if (error instanceof SigningError && !TRANSIENT.has(error.code)) throw error;
      }
    }
    throw last;
  }

  async #through(gateway: ServiceDescription["gateways"][number], wanted: string): Promise<Conversation> {
    const { service, identity, signIn } = this.#options;
    const outer = await connectPinned({ ...splitAddress(gateway.address), pin: gateway.spki }, identity);
    outer.on("error", () => {});
    try {
      const hello = toUtf8(JSON.stringify({ role: "client", signer: wanted }));
      outer.write(encodeFrame({ type: "hello", session: 0n, payload: hello }));
      const open = await nextFrame(outer, "open", OPEN_TIMEOUT);
      const facts = parseJson(open.payload);
      if (!isJsonObject(facts) || typeof facts["signer"] !== "string" || typeof facts["bytes"] !== "number") {
        throw new SigningError(
          "signing/bad-frame",
          `The gateway's greeting cannot be read: ${fromUtf8(open.payload).slice(0, 100)}`,
        );
      }
      const signer = service.signers.find((each) => each.name === facts["signer"]);
      if (signer === undefined || (wanted !== "*" && signer.name !== wanted)) {
        throw new SigningError("signing/wrong-peer", "The gateway offered a signer that was not asked for.");
      }
      // The pin decides who it is, whatever the gateway says.
      const inner = await handshake(
        new FrameDuplex(outer, open.session),
        signer.spki,
        identity,
        `the signer ${signer.name}`,
      );
      const conversation = new Conversation(inner, outer, signer.name, facts["bytes"] * USE_OF_BUDGET);
      const greeting = await conversation.call({
        type: "hello",
        versions: [PROTOCOL_VERSION],
        client: "upkeep",
      });
      if (greeting.signer !== signer.name || greeting.log !== signer.log) {
        conversation.close();
        throw new SigningError(
          "signing/wrong-peer",
          "The signer names another log than the description of the service: either it was made anew, or its log was replaced.",
        );
      }
      const { user } = await conversation.call({ type: "sign-in", ...(await signIn()) });
      this.user = user;
      return conversation;
    } catch (error) {
      outer.destroy();
      throw error;
    }
  }
}
