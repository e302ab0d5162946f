// The outbox: signed reports that survive everything until the server has them, each counted once, in an unbroken chain.

import { toHex, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { DiskError, makeDirectories, readOrNull, writeAtomic } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { formatInstant } from "../core/instant.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, instantSchema, sha256Schema, z } from "../core/schema.ts";
import { MAX_REPORTS, REPORT_LIMIT, type ReportResult } from "../message/reports.ts";
import { openReport, signReport, type Report } from "../report/report.ts";
import { AgentError, sentenceOf } from "./errors.ts";
import type { DeviceIdentity, World } from "./ports.ts";

const chainSchema = z.strictObject({
  format: z.literal(1),
  /** The last report made. */
  sequence: z.number().check(z.int(), z.minimum(0)),
  payloadSha256: z.nullable(sha256Schema),
  /** Ids of reports already made, so that none is made twice. */
  recent: z.array(z.string()).check(z.maxLength(1000)),
  /** Alarms that were raised and have not ended: key → since. */
  alarms: z.record(z.string(), instantSchema),
  /** What each of them is about: key → code and product. Absent for those that an older agent raised. */
  lasting: z.exactOptional(z.record(z.string(), z.strictObject({ code: z.string(), about: z.string() }))),
  /** Reports that had to be dropped because the outbox was full. */
  dropped: z.number().check(z.int(), z.minimum(0)),
});
type Chain = z.infer<typeof chainSchema>;
const EMPTY: Chain = { format: 1, sequence: 0, payloadSha256: null, recent: [], alarms: {}, dropped: 0 };

/** Reports waiting at most; beyond that the oldest that is no end of an attempt makes room. */
const MAX_WAITING = 500;
const RECENT = 256;
const CHAIN_LIMIT = 256 * 1024;

/** What the report's maker is given: the fields that only the chain knows. */
export type ChainFields = Pick<
  Report,
  "id" | "device" | "sequence" | "previous" | "issued" | "boot" | "agent"
>;

export class Outbox {
  readonly #world: World;
  readonly #identity: DeviceIdentity;
  readonly #folder: string;
  #chain: Chain;
  #waiting: string[];
  /** One change at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(world: World, identity: DeviceIdentity, folder: string, chain: Chain, waiting: string[]) {
    this.#world = world;
    this.#identity = identity;
    this.#folder = folder;
    this.#chain = chain;
    this.#waiting = waiting;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Signs and keeps a report. `key` makes it unique: the same key again does nothing, before and after a crash.
   * Durable when it returns. Errors: `report/*`, `disk/*`, `agent/outbox-full`.
   */
  add(key: string, make: (fields: ChainFields) => Report): Promise<void> {
    return this.#inTurn(() => this.#add(key, make));
  }

  async #add(key: string, make: (fields: ChainFields) => Report): Promise<void> {
    const id = reportId(key);
    if (this.#chain.recent.includes(id)) return;
    const sequence = this.#chain.sequence + 1;
    const report = make({
      id,
      device: this.#identity.device,
      sequence,
      previous: this.#chain.payloadSha256,
      issued: formatInstant(this.#world.clock.now()),
      boot: await this.#world.processes.boot(),
      agent: { ...this.#world.program },
    });
    const { envelope, payloadSha256 } = await signReport(report, this.#identity.key);
    await this.#makeRoom();
    const name = nameOf(sequence, id);
    await writeAtomic(this.#world.disk, `${this.#folder}/${name}`, envelope, 0o600);
    this.#waiting.push(name);
    const recent = [...this.#chain.recent, id].slice(-RECENT);
    await this.#save({ ...this.#chain, sequence, payloadSha256, recent });
  }

  /** Raises an alarm once until it is cleared. `key` names the condition. */
  alarm(key: string, make: (fields: ChainFields, since: string) => Report): Promise<void> {
    return this.#inTurn(async () => {
      if (Object.hasOwn(this.#chain.alarms, key)) return;
      const since = formatInstant(this.#world.clock.now());
      let what = { code: "", about: "" };
      await this.#add(`alarm ${key} ${since}`, (fields) => {
        const report = make(fields, since);
        if (report.kind === "alarm") what = { code: report.code, about: report.product ?? "" };
        return report;
      });
      const known = Object.entries(this.#chain.alarms).slice(-99);
      const alarms = Object.fromEntries([...known, [key, since]]);
      const lasting = what.code === "" ? this.#chain.lasting : { ...this.#chain.lasting, [key]: what };
      await this.#save({ ...this.#chain, ...lastingOf(alarms, lasting), alarms });
    });
  }

  /** The conditions whose key starts with `prefix` are over, but for those in `keep`. */
  clear(prefix: string, keep: readonly string[] = []): Promise<void> {
    return this.#inTurn(async () => {
      const alarms = Object.entries(this.#chain.alarms).filter(
        ([key]) => !key.startsWith(prefix) || keep.includes(key),
      );
      if (alarms.length === Object.keys(this.#chain.alarms).length) return;
      const left = Object.fromEntries(alarms);
      await this.#save({ ...this.#chain, ...lastingOf(left, this.#chain.lasting), alarms: left });
    });
  }

  /** The alarms that last, by code and product; null while one of an older agent is among them, of which that is not known. */
  get lasting(): readonly { readonly code: string; readonly about: string }[] | null {
    const known = Object.keys(this.#chain.alarms).map((key) => this.#chain.lasting?.[key]);
    return known.every((one) => one !== undefined) ? known : null;
  }

  /**
   * Sends what waits, oldest first, in batches; what the server has, or will never take, is removed. Returns how many were taken.
   * Errors: those of `send`, `disk/*`; nothing is lost by them.
   */
  async send(
    deliver: (envelopes: readonly Uint8Array[]) => Promise<readonly ReportResult[]>,
  ): Promise<number> {
    let taken = 0;
    for (;;) {
      const names = this.#waiting.slice(0, MAX_REPORTS);
      if (names.length === 0) return taken;
      const envelopes: Uint8Array[] = [];
      for (const name of names)
        envelopes.push(await this.#world.disk.read(`${this.#folder}/${name}`, REPORT_LIMIT));
      const results = await deliver(envelopes);
      const verdicts = new Map(results.map((result) => [result.sha256, result]));
      let settled = 0;
      for (const [i, envelope] of envelopes.entries()) {
        const verdict = verdicts.get(sha256Hex(envelope));
        if (verdict === undefined || (verdict.result === "refused" && !verdict.final)) continue;
        if (verdict.result === "refused") {
          this.#world.log({
            level: "error",
            event: "report-refused",
            report: names[i],
            code: verdict.code,
            message: sentenceOf(verdict.message),
          });
        } else taken++;
        await this.#inTurn(() => this.#forget(names[i]!));
        settled++;
      }
      // A server that settles nothing is asked again later, not at once.
      if (settled === 0) return taken;
    }
  }

  async #forget(name: string): Promise<void> {
    await this.#world.disk.removeFile(`${this.#folder}/${name}`);
    await this.#world.disk.syncDirectory(this.#folder);
    this.#waiting = this.#waiting.filter((other) => other !== name);
  }

  async #makeRoom(): Promise<void> {
    if (this.#waiting.length < MAX_WAITING) return;
    for (const name of this.#waiting) {
      if (await this.#isTerminal(name)) continue;
      await this.#forget(name);
      await this.#save({ ...this.#chain, dropped: this.#chain.dropped + 1 });
      return;
    }
    throw new AgentError(
      "agent/outbox-full",
      `${MAX_WAITING} reports on ended attempts wait for the server; no further update is begun until it has them.`,
      { waiting: this.#waiting.length },
    );
  }

  async #isTerminal(name: string): Promise<boolean> {
    const envelope = await this.#world.disk.read(`${this.#folder}/${name}`, REPORT_LIMIT);
    return this.#open(envelope)?.kind === "attempt";
  }

  #open(envelope: Uint8Array): Report | null {
    try {
      const expected = { key: this.#identity.key.publicKey, device: this.#identity.device };
      return openReport(envelope, expected).report;
    } catch (error) {
      if (error instanceof UpkeepError) return null;
      throw error;
    }
  }

  async #save(chain: Chain): Promise<void> {
    await writeAtomic(
      this.#world.disk,
      `${this.#folder}/${CHAIN}`,
      toUtf8(`${JSON.stringify(chain)}\n`),
      0o600,
    );
    this.#chain = chain;
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(action, action);
    this.#turn = run.catch(() => undefined);
    return run;
  }
}

/** What is known of the alarms that last, and of no other. */
function lastingOf(alarms: Chain["alarms"], lasting: Chain["lasting"]): Pick<Chain, "lasting"> {
  const left = Object.entries(lasting ?? {}).filter(([key]) => Object.hasOwn(alarms, key));
  return { lasting: Object.fromEntries(left) };
}

const CHAIN = "chain.json";

/** The idempotency key as the wire carries it. */
export function reportId(key: string): string {
  return toHex(Uint8Array.from(Buffer.from(sha256Hex(toUtf8(key)), "hex").subarray(0, 16)));
}

function nameOf(sequence: number, id: string): string {
  return `${String(sequence).padStart(15, "0")}-${id}.json`;
}

/**
 * Opens or creates. A report that was written just before a crash, but is not in the chain yet, is taken into it;
 * files that are no report of this device are put aside. Errors: `disk/*`.
 */
export async function openOutbox(world: World, identity: DeviceIdentity, folder: string): Promise<Outbox> {
  const { disk } = world;
  await makeDirectories(disk, folder, 0o700);
  let chain = (await readChain(world, folder)) ?? EMPTY;
  const waiting: string[] = [];
  for (const name of await disk.list(folder)) {
    if (!/^\d{15}-[0-9a-f]{32}\.json$/.test(name)) continue;
    const path = `${folder}/${name}`;
    try {
      const expected = { key: identity.key.publicKey, device: identity.device };
      const { report, payloadSha256 } = openReport(await disk.read(path, REPORT_LIMIT), expected);
      waiting.push(name);
      if (report.sequence <= chain.sequence) continue;
      const recent = [...chain.recent, report.id].slice(-RECENT);
      chain = { ...chain, sequence: report.sequence, payloadSha256, recent };
      await writeAtomic(disk, `${folder}/${CHAIN}`, toUtf8(`${JSON.stringify(chain)}\n`), 0o600);
    } catch (error) {
      if (!(error instanceof UpkeepError) || error instanceof DiskError) throw error;
      world.log({ level: "error", event: "report-damaged", name, message: sentenceOf(error) });
      await disk.rename(path, `${path}.damaged`);
    }
  }
  return new Outbox(world, identity, folder, chain, waiting);
}

/** An outbox of a device that cannot sign: what lies in it is not touched, and everything that would be put into it fails with the signer's error. */
export async function closedOutbox(world: World, identity: DeviceIdentity, folder: string): Promise<Outbox> {
  return new Outbox(world, identity, folder, EMPTY, []);
}

async function readChain(world: World, folder: string): Promise<Chain | null> {
  const bytes = await readOrNull(world.disk, `${folder}/${CHAIN}`, CHAIN_LIMIT);
  if (bytes === null) return null;
  try {
    return checkSchema(chainSchema, parseJson(bytes), "state of the outbox");
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    // The chain starts anew and the server sees a fork, which is true: this device lost its memory.
    world.log({ level: "error", event: "outbox-damaged", message: sentenceOf(error) });
    return null;
  }
}
