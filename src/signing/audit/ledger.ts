// What the audit log says about now: requests in flight, approvals given, counters, things that may be used once.

import { DAY, HOUR, MINUTE, parseInstant, type Instant } from "../../core/instant.ts";
import type { GivenApproval } from "../policy/approval.ts";
import type { AuditEntry } from "./entry.ts";
import { Counter } from "../policy/counter.ts";
import type { LedgerState, OpenIntent, PendingNote, UnsignedState } from "./ledger-state.ts";
import { packed, packSigned, unpacked, unpackSigned } from "./_signed-ids.ts";
import type { Usage } from "../policy/policy.ts";

/** Numbers are of entries in the log, which hold everything that is not kept here. */
export type RequestState = UnsignedState | { readonly state: "signed"; readonly n: number };

/** Signed replies can be fetched again this long after the request ended. */
const KEEP_REPLIES = 24 * HOUR;
/** Longer than any one-time code and any accepted token lives (`max-age-minutes` is 15 at most). */
const KEEP_USED = DAY;
/** How often a note is made of which entry was the newest; what is forgotten is forgotten in such portions. */
const MARK_EVERY = 10 * MINUTE;

/**
 * A fold over the log's entries: nothing here is kept anywhere else. What grows with the number of signatures is one number a request
 * for a day, and 16 bytes a second and rule for a day.
 */
export class Ledger implements Usage {
  readonly #requests = new Map<string, { state: UnsignedState; forget: Instant }>();
  /** Number of the result of each signed request, in the order of the log. */
  readonly #signed = new Map<string, number>();
  #marks: { readonly n: number; readonly time: Instant }[] = [];
  readonly #approvals = new Map<string, GivenApproval[]>();
  readonly #used = new Map<string, { readonly spki: string; readonly time: Instant }>();
  /** Taken by a sign-in that the log does not have yet. */
  readonly #claimed = new Map<string, { readonly spki: string; readonly time: Instant }>();
  readonly #counters = new Map<string, Counter>();
  readonly #reserved = new Map<string, number>();
  /** Places in release lists that were signed, and for which request: as many as people approved files. */
  readonly #places = new Map<string, string>();
  readonly #intents = new Map<number, OpenIntent>();
  #tidied: Instant = 0;

  apply(entry: AuditEntry): void {
    const time = parseInstant(entry.time);
    // By the log's own time, so that reading years of it again takes no more room than a day of it.
    if (Math.abs(time - this.#tidied) >= HOUR) this.forget(time);
    switch (entry.kind) {
      case "session":
        if (entry.used === undefined) return;
        this.#used.set(own(entry.used), { spki: own(entry.spki), time });
        this.#claimed.delete(entry.used);
        return;
      case "denied":
        return this.#set(
          entry.request,
          { state: "denied", hash: own(entry.requestHash), n: entry.n },
          time + HOUR,
        );
      case "pending": {
        const { document: _document, ...note } = entry;
        return this.#set(
          entry.request,
          { state: "pending", hash: own(entry.requestHash), entry: structuredClone(note) },
          parseInstant(entry.expires),
        );
      }
      case "approval": {
        const given = this.#approvals.get(entry.subject) ?? [];
        if (given.some((other) => other.user === entry.user && other.nonce === entry.nonce)) return;
        given.push({
          user: own(entry.user),
          nonce: own(entry.nonce),
          decision: entry.decision,
          expires: parseInstant(entry.expires),
        });
        this.#approvals.set(own(entry.subject), given);
        return;
      }
      case "intent": {
        const { n, request, requestHash, attempt, release } = entry;
        this.#intents.set(n, {
          n,
          request,
          requestHash,
          attempt,
          ...(release === undefined ? {} : { release }),
        });
        if (release !== undefined) this.#places.set(own(release), own(request));
        // A further attempt at the same request is not a further signature.
        if (attempt === 0) this.#counter(entry.certificate, entry.rule).add(time);
        return this.#set(
          request,
          { state: "intent", hash: own(requestHash), n, attempt },
          Math.max(parseInstant(entry.expires), time) + KEEP_REPLIES,
        );
      }
      case "result": {
        this.#intents.delete(entry.intent);
        const id = packed(entry.request);
        this.#requests.delete(id);
        this.#signed.delete(id);
        this.#signed.set(id, entry.n);
        if (time - (this.#marks.at(-1)?.time ?? -Infinity) >= MARK_EVERY)
          this.#marks.push({ n: entry.n, time });
        return;
      }
      case "failed":
      case "abandoned": {
        const intent = this.#intents.get(entry.intent);
        this.#intents.delete(entry.intent);
        if (intent === undefined) return;
        return this.#set(
          entry.request,
          {
            state: "failed",
            hash: own(intent.requestHash),
            code: entry.kind === "failed" ? own(entry.code) : "signing/key-failed",
            attempt: intent.attempt,
          },
          time + KEEP_REPLIES,
        );
      }
      default:
        return;
    }
  }

  request(id: string): RequestState | undefined {
    const name = packed(id);
    const n = this.#signed.get(name);
    return n === undefined ? this.#requests.get(name)?.state : { state: "signed", n };
  }

  pending(now: Instant): readonly PendingNote[] {
    return [...this.#requests.values()].flatMap(({ state }) =>
      state.state === "pending" && parseInstant(state.entry.expires) > now ? [state.entry] : [],
    );
  }

  approvals(subject: string): readonly GivenApproval[] {
    return this.#approvals.get(subject) ?? [];
  }

  /** Which request took this place of a release's list. */
  placeTaken(place: string): string | undefined {
    return this.#places.get(place);
  }

  /** The key that used this token or code first, if it was used. */
  usedBy(word: string): string | undefined {
    return this.#used.get(word)?.spki;
  }

  /**
   * Takes a token or code for a key; false when another one has it. Held from now on, so that two sessions cannot both have it while
   * neither is in the log yet; the log's entry makes it lasting.
   */
  claim(word: string, spki: string, now: Instant): boolean {
    const first = this.usedBy(word) ?? this.#claimed.get(word)?.spki;
    if (first !== undefined) return first === spki;
    this.#claimed.set(word, { spki, time: now });
    return true;
  }

  openIntents(): readonly OpenIntent[] {
    return [...this.#intents.values()];
  }

  count(certificate: string, rule: string, since: Instant): number {
    const name = `${certificate}/${rule}`;
    return (this.#counters.get(name)?.since(since) ?? 0) + (this.#reserved.get(name) ?? 0);
  }

  /** Counts a signature that was allowed but has no intent yet, so that parallel requests can't pass one limit together. */
  reserve(certificate: string, rule: string): () => void {
    const name = `${certificate}/${rule}`;
    this.#reserved.set(name, (this.#reserved.get(name) ?? 0) + 1);
    let held = true;
    return () => {
      if (held) this.#reserved.set(name, this.#reserved.get(name)! - 1);
      held = false;
    };
  }

  /** Drops what can't matter any more. */
  forget(now: Instant): void {
    this.#tidied = now;
    for (const [id, { forget }] of this.#requests) if (forget < now) this.#requests.delete(id);
    for (const [subject, given] of this.#approvals) {
      if (given.every((approval) => approval.expires + KEEP_REPLIES < now)) this.#approvals.delete(subject);
    }
    for (const words of [this.#used, this.#claimed])
      for (const [word, { time }] of words) if (time + KEEP_USED < now) words.delete(word);
    for (const counter of this.#counters.values()) counter.forget(now);
    const old = this.#marks.findLast(({ time }) => time + KEEP_REPLIES < now);
    if (old === undefined) return;
    this.#marks = this.#marks.filter(({ n }) => n >= old.n);
    for (const [id, n] of this.#signed) {
      if (n >= old.n) break;
      this.#signed.delete(id);
    }
  }

  /** Everything that it knows, as plain values. */
  state(): LedgerState {
    return {
      requests: [...this.#requests].map(([id, { state, forget }]) => ({ id: unpacked(id), state, forget })),
      marks: this.#marks,
      approvals: [...this.#approvals].map(([subject, given]) => ({ subject, given: given.slice() })),
      used: [...this.#used].map(([word, { spki, time }]) => ({ word, spki, time })),
      counters: [...this.#counters].map(([name, counter]) => ({ name, ...counter.state() })),
      places: [...this.#places].map(([place, request]) => ({ place, request })),
      intents: [...this.#intents.values()],
      tidied: this.#tidied,
      signed: packSigned(this.#signed),
    };
  }

  /** A ledger that knows what another one knew. Errors: `signing/log-damaged` for bytes that are not what `state` gave. */
  static of(state: LedgerState): Ledger {
    const ledger = new Ledger();
    for (const { id, state: at, forget } of state.requests)
      ledger.#requests.set(packed(id), { state: at, forget });
    for (const [id, n] of unpackSigned(state.signed)) ledger.#signed.set(id, n);
    ledger.#marks = state.marks.slice();
    for (const { subject, given } of state.approvals) ledger.#approvals.set(subject, given.slice());
    for (const { word, ...use } of state.used) ledger.#used.set(word, use);
    for (const { name, ...counter } of state.counters) ledger.#counters.set(name, Counter.of(counter));
    for (const { place, request } of state.places) ledger.#places.set(place, request);
    for (const intent of state.intents) ledger.#intents.set(intent.n, intent);
    ledger.#tidied = state.tidied;
    return ledger;
  }

  #counter(certificate: string, rule: string): Counter {
    const name = `${certificate}/${rule}`;
    const known = this.#counters.get(name);
    if (known !== undefined) return known;
    const made = new Counter();
    this.#counters.set(own(name), made);
    return made;
  }

  #set(id: string, state: UnsignedState, forget: Instant): void {
    const name = packed(id);
    this.#signed.delete(name);
    this.#requests.delete(name);
    this.#requests.set(name, { state, forget });
  }
}

/** A copy: a part of a parsed text would keep the whole text in memory. */
function own(text: string): string {
  return Buffer.from(text).toString();
}
