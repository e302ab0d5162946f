// One inner session of a client with a signer: calls and answers over one connection through a gateway.

import type { TLSSocket } from "node:tls";
import { toHex } from "../../core/bytes.ts";
import { SECOND } from "../../core/instant.ts";
import type { ServiceDescription } from "../../signing/wire/description.ts";
import { SigningError, type SigningErrorCode } from "../../signing/errors.ts";
import { encodeFrame } from "../../signing/wire/frame.ts";
import { encodeGreeting, readOpenForClient } from "../../signing/wire/greeting.ts";
import {
  checkAnswer,
  encodeMessage,
  EXPORTER_LABEL,
  MessageReader,
  parseReply,
  type Answers,
  type CallBody,
  type OfferedCertificate,
  type SignIn,
} from "../../signing/wire/protocol.ts";
import { commonVersion, VERSIONS, type Version } from "../../signing/wire/versions.ts";
import { BatchWriter } from "../system/batch-writer.ts";
import type { Proxies } from "../connection/proxies.ts";
import { FrameDuplex, nextFrame } from "./frame-stream.ts";
import { connectPinned, handshake, splitAddress, type Identity } from "./pinned-tls.ts";

/** The slowest answers wait for a key and for a timestamp. */
const CALL_TIMEOUT = 120 * SECOND;
const HELLO_TIMEOUT = 5 * SECOND;
const SIGN_IN_TIMEOUT = 20 * SECOND;
/** So much longer than a place in the gateway's line is a gateway waited for. */
const OPEN_GRACE = 2 * SECOND;
/** With calls open and nothing heard for so long, the signer is asked whether it is there; then it has as long again. */
export const SILENCE = 15 * SECOND;
/** A session is given up for a fresh one before the gateway's byte budget ends it. */
const USE_OF_BUDGET = 0.7;
/** Request and reply of a signature with certificates, timestamp and receipt seldom take more. */
const CALL_ROOM = 16 * 1024;
/** Fewer than a signer works on at a time in one session, so that a question gets through. */
const MOST_CALLS = 128;

/** What a signer itself answered, over its own inner session. */
export class SignerAnswer extends SigningError {
  readonly signer: string;
  /** The signer vouches that no signature came of the call and none will. */
  readonly unsigned: boolean;

  constructor(signer: string, code: string, message: string, unsigned: boolean) {
    super(code as SigningErrorCode, message, { from: signer });
    this.signer = signer;
    this.unsigned = unsigned;
  }
}

/** The signer does not let this user in; another signer of the service may. */
export class SignInRefused extends SignerAnswer {}

/** The connection was lost, before or after a call was sent. */
export class Lost extends SigningError {
  readonly sent: boolean;

  constructor(message: string, sent: boolean) {
    super("signing/unreachable", message);
    this.sent = sent;
  }
}

type Waiting = { readonly resolve: (answer: unknown) => void; readonly reject: (error: Error) => void };
type Gateway = ServiceDescription["gateways"][number];
type KnownSigner = ServiceDescription["signers"][number];

export class Conversation {
  readonly #socket: TLSSocket;
  readonly #outer: TLSSocket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #budget: number;
  readonly #calls: BatchWriter;
  readonly #look: NodeJS.Timeout;
  readonly #ended: (traffic: number) => void;
  #heard = performance.now();
  #asked = false;
  #seq = 1;
  #leases = 0;
  #retired = false;
  #broken: string | null = null;
  #offers: Promise<readonly OfferedCertificate[]> | null = null;
  readonly binding: string;
  readonly signer: KnownSigner;
  readonly gateway: string;
  user = "";
  /** What the signer answered to what is spoken here. */
  version: Version = 1;

  constructor(given: {
    readonly socket: TLSSocket;
    readonly outer: TLSSocket;
    readonly signer: KnownSigner;
    readonly gateway: string;
    readonly budget: number;
    readonly silence: number;
    readonly ended: (traffic: number) => void;
  }) {
    const { socket, outer } = given;
    this.#socket = socket;
    this.#outer = outer;
    this.#budget = given.budget;
    this.#calls = new BatchWriter(socket);
    this.#ended = given.ended;
    this.signer = given.signer;
    this.gateway = given.gateway;
    this.binding = toHex(new Uint8Array(socket.exportKeyingMaterial(32, EXPORTER_LABEL, Buffer.alloc(0))));
    const reader = new MessageReader();
    socket.on("data", (part: Buffer) => {
      this.#heard = performance.now();
      this.#asked = false;
      try {
        for (const bytes of reader.push(part)) this.#reply(bytes);
      } catch (error) {
        this.#fail(`The signer's answer cannot be read: ${(error as Error).message}`);
      }
    });
    const lost = (): void => this.#fail("The connection to the signer was lost.");
    socket.on("error", lost);
    socket.once("close", lost);
    outer.once("close", lost);
    this.#look = setInterval(() => this.#listen(given.silence), Math.max(50, given.silence / 4));
    this.#look.unref();
  }

  /** Whether another call may be begun here. What is under way counts: its replies will come through this session. */
  get usable(): boolean {
    if (this.#broken !== null || this.#retired || this.#leases >= MOST_CALLS) return false;
    return this.room > CALL_ROOM;
  }

  /** Bytes that may go through it, both ways. */
  get budget(): number {
    return this.#budget;
  }

  /** How many of them are left when everything that is under way has its answer. */
  get room(): number {
    return this.#budget - this.traffic - this.#leases * CALL_ROOM;
  }

  get broken(): boolean {
    return this.#broken !== null;
  }

  /** Bytes moved so far, both ways. */
  get traffic(): number {
    return this.#outer.bytesRead + this.#outer.bytesWritten;
  }

  /** Whoever takes a conversation gives it back with `done`. */
  take(): void {
    this.#leases++;
  }

  done(): void {
    this.#leases--;
    if (this.#retired && this.#leases === 0) this.close();
  }

  /** Lets what is under way come to its end, then closes. */
  retire(): void {
    this.#retired = true;
    if (this.#leases === 0) this.close();
  }

  /** What this signer offers to the signed-in user, asked for once a session unless it must be `fresh`. */
  offers(fresh = false): Promise<readonly OfferedCertificate[]> {
    if (this.#offers !== null && !fresh) return this.#offers;
    const asked = this.call({ type: "certificates" }).then(({ certificates }) => certificates);
    this.#offers = asked;
    asked.catch(() => {
      if (this.#offers === asked) this.#offers = null;
    });
    return asked;
  }

  /** Errors: `Lost`, `SignerAnswer`, `schema/invalid`. */
  async call<T extends CallBody["type"]>(
    body: CallBody & { readonly type: T },
    timeout = CALL_TIMEOUT,
  ): Promise<Answers[T]> {
    if (this.#broken !== null) throw new Lost(this.#broken, false);
    const seq = this.#seq++;
    if (this.#waiting.size === 0) this.#heard = performance.now();
    const answer = await new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(() => this.#fail("The signer did not answer in time."), timeout);
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
    this.#fail("The session was closed.");
  }

  #reply(bytes: Uint8Array): void {
    const reply = parseReply(bytes);
    const waiting = this.#waiting.get(reply.seq);
    this.#waiting.delete(reply.seq);
    if (reply.ok) waiting?.resolve(reply.answer);
    else
      waiting?.reject(new SignerAnswer(this.signer.name, reply.code, reply.message, reply.signed === false));
  }

  /** A gateway that holds bytes back, or a signer's host that vanished, says nothing at all: find out. */
  #listen(silence: number): void {
    if (this.#waiting.size === 0 || performance.now() - this.#heard < silence) return;
    this.#heard = performance.now();
    if (this.#asked) return this.#fail("The signer fell silent.");
    this.#asked = true;
    this.call({ type: "certificates" }).catch(() => {});
  }

  #fail(why: string): void {
    if (this.#broken !== null) return;
    this.#broken = why;
    clearInterval(this.#look);
    for (const waiting of this.#waiting.values()) waiting.reject(new Lost(why, true));
    this.#waiting.clear();
    this.#ended(this.traffic);
    this.#socket.end();
    setTimeout(() => this.#outer.destroy(), 500).unref();
  }
}

/**
 * Opens a session through one gateway and signs in. `wait`: seconds in the gateway's line; a gateway that says nothing costs little more.
 * Errors: `signing/unreachable`, `signing/wrong-peer`, `signing/over-budget`, `signing/refused`, `signing/bad-frame`, `SignerAnswer`.
 */
export async function openConversation(given: {
  readonly service: ServiceDescription;
  readonly gateway: Gateway;
  /** A signer's name, or `*`. */
  readonly want: string;
  readonly wait: number;
  readonly identity: Identity;
  readonly silence: number;
  readonly proxies?: Proxies | undefined;
  readonly signIn: (signer: string) => Promise<SignIn>;
  readonly ended: (traffic: number) => void;
}): Promise<Conversation> {
  const { service, gateway, want, wait, identity } = given;
  const target = { ...splitAddress(gateway.address), pin: gateway.spki };
  const outer = await connectPinned(target, identity, given.proxies);
  outer.on("error", () => {});
  try {
    const payload = encodeGreeting({ role: "client", signer: want, wait });
    outer.write(encodeFrame({ type: "hello", session: 0n, payload }));
    const open = await nextFrame(outer, "open", wait * SECOND + OPEN_GRACE);
    const facts = readOpenForClient(open.payload);
    const signer = service.signers.find((each) => each.name === facts.signer);
    if (signer === undefined || (want !== "*" && signer.name !== want)) {
      throw new SigningError("signing/wrong-peer", "The gateway offered a signer that was not asked for.");
    }
    // The pin decides who it is, whatever the gateway says.
    const duplex = new FrameDuplex(outer, open.session);
    const socket = await handshake(duplex, signer.spki, identity, `the signer ${signer.name}`);
    const conversation = new Conversation({
      socket,
      outer,
      signer,
      gateway: gateway.address,
      budget: facts.bytes * USE_OF_BUDGET,
      silence: given.silence,
      ended: given.ended,
    });
    const greeting = await conversation.call(
      { type: "hello", versions: [...VERSIONS], client: "upkeep" },
      HELLO_TIMEOUT,
    );
    if (greeting.signer !== signer.name || greeting.log !== signer.log) {
      conversation.close();
      throw new SigningError(
        "signing/wrong-peer",
        "The signer names another log than the description of the service: either the signer was set up again, or its log was replaced.",
      );
    }
    const version = commonVersion([greeting.version]);
    if (version === null)
      throw new SigningError("signing/bad-reply", "The signer answers in a version that was not offered.", {
        version: greeting.version,
      });
    conversation.version = version;
    const who = await given.signIn(signer.name);
    const { user } = await conversation.call({ type: "sign-in", ...who }, SIGN_IN_TIMEOUT);
    conversation.user = user;
    return conversation;
  } catch (error) {
    outer.destroy();
    if (error instanceof SignerAnswer && error.code === "signing/refused")
      throw new SignInRefused(error.signer, error.code, error.message, true);
    throw error;
  }
}
