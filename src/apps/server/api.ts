// What the server answers to each call of the route table.

import type { Clock } from "../../core/clock.ts";
import { fromBase64, fromHex, fromUtf8, toBase64, toBase64Url, toHex } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import type { DsseSigner } from "../../core/dsse.ts";
import { GrowthError, knows } from "../../core/growth.ts";
import { UpkeepError } from "../../core/errors.ts";
import { DAY, formatInstant, MINUTE, SECOND, type Instant } from "../../core/instant.ts";
import type { Random } from "../../core/random.ts";
import type { Certificate } from "../../der/x509.ts";
import type { ListedRelease } from "../../fleet/decide.ts";
import { isOurs, signHead } from "../../fleet/audit-head.ts";
import type { AuditHead } from "../../message/audit-head.ts";
import { adoptNextKey, enrol, pending, renew, revoked } from "../../fleet/enrol.ts";
import { FleetError } from "../../fleet/errors.ts";
import { releasesIn, takeReport, type Intake, type IsListed } from "../../fleet/intake.ts";
import { Quotas, type Quota } from "../../fleet/quota.ts";
import { noteAttempt } from "../../fleet/rollout/note.ts";
import { reportDetails } from "../../fleet/report-details.ts";
import type { Device } from "../../fleet/records.ts";
import type { FleetStore } from "../../fleet/store.ts";
import { issueDevice, readDeviceRequest, type Authority } from "../../identity/authority.ts";
import { HttpError } from "../../io/http/errors.ts";
import { peerKey } from "../../io/http/request.ts";
import type { Call } from "../../io/http/server.ts";
import { parseTufKey, type PublicKey } from "../../keys/public-key.ts";
import { signAssignment } from "../../message/assignment.ts";
import { enrolmentProof } from "../../message/enroll.ts";
import { messageKeyId, openMessageKey } from "../../message/message-key.ts";
import { UNDERSTANDS_HEADER, understands } from "../../message/check-in.ts";
import type { ReportResult } from "../../message/reports.ts";
import type { AnswerOf, Caller, RequestOf, RouteName } from "../../message/routes.ts";
import { openReport, resultOf, type OpenedReport } from "../../report/report.ts";
import type { Entitlements } from "./entitlements.ts";
import type { FleetView } from "./fleet-view.ts";
import type { LicenseApi } from "./license-api.ts";
import type { Metrics } from "./metrics.ts";
import { tooMany } from "./quota-errors.ts";
import type { Trust } from "./trust.ts";

/** How long an assignment may be acted on. A device asks again before every attempt, so it needs to be no longer. */
const ASSIGNMENT_LIFE = 60 * MINUTE;

/** A long weekend and the time to mend what broke over it. */
export const DEFAULT_FOLLOW = 7 * DAY;

/**
 * How long after its end a certificate may still be renewed by the holder of its key, for machines that were switched off.
 * The record decides: a revoked device or a key that was replaced gets nothing.
 */
const RECOVERY = 365 * DAY;

const HEADS = 1000;

export type ApiQuotas = {
  readonly checkIns: Quota;
  readonly reports: Quota;
  readonly renewals: Quota;
  /** Of refused enrolments, by address. */
  readonly badEnrolments: Quota;
};

/** Start values from the field; a fleet of 500 behind one address is not slowed, a loop is. */
export const API_QUOTAS: ApiQuotas = {
  checkIns: { burst: 120, refillMs: 500 },
  reports: { burst: 120, refillMs: 500 },
  renewals: { burst: 5, refillMs: 10 * MINUTE },
  badEnrolments: { burst: 50, refillMs: MINUTE / 2 },
};

export type ApiOptions = {
  /** Milliseconds that devices may follow their channels after they reached a server last; `DEFAULT_FOLLOW` when not given. */
  readonly follow?: number | undefined;
  /** Many callers are behind each of these: quotas of one address do not hold for them. */
  readonly sharedAddresses?: readonly string[];
  readonly store: FleetStore;
  readonly view: FleetView;
  /** Asked at every call: authorities change while the server runs. */
  readonly trust: Pick<Trust, "device" | "isRevoked">;
  /** The key that signs assignments; the repository names it in trust/keys.json. */
  readonly director: DsseSigner;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  readonly quotas?: Partial<ApiQuotas> | undefined;
  readonly licenses: LicenseApi;
  readonly entitlements: Pick<Entitlements, "fit">;
  /** A release by version, of any product; null when the repository does not list it, undefined when nobody can tell. */
  readonly findRelease: (product: string, version: string) => Promise<ListedRelease | null | undefined>;
};

export type Api = {
  /**
   * The active device that shows this certificate.
   * Errors: `http/no-certificate`, `http/authority-revoked`, `http/certificate-expired`, `http/unknown-device`, `fleet/device-pending`, `fleet/device-revoked`.
   */
  identify(call: Call, as?: Exclude<Caller, "anyone">): Promise<Device>;
  readonly handlers: {
    readonly [N in RouteName]: (
      call: Call,
      request: RequestOf<N>,
      device: Device | null,
    ) => Promise<AnswerOf<N>>;
  };
};

export function serverApi(options: ApiOptions): Api {
  const { store, view, trust, director, clock, random, metrics } = options;
  const quotas = { ...API_QUOTAS, ...options.quotas };
  const checkIns = new Quotas(quotas.checkIns);
  const reportCalls = new Quotas(quotas.reports);
  const renewals = new Quotas(quotas.renewals);
  const badEnrolments = new Quotas(quotas.badEnrolments);
  const follow = options.follow ?? DEFAULT_FOLLOW;
  /** This running server among those of its fleet. */
  const server = toBase64Url(random.bytes(6));
  const shared = new Set((options.sharedAddresses ?? []).map(peerKey));

  /** Signed once for each row that the log ends with, and not for each device. */
  let head: { readonly hash: string; readonly signed: Promise<AuditHead> } | null = null;
  const headNow = async (): Promise<AuditHead | null> => {
    const last = view.lastAudit();
    if (last === null) return null;
    if (head?.hash !== last.hash) head = { hash: last.hash, signed: signHead(last, director) };
    return head.signed;
  };

  /** Heads of which the signature was checked: many devices bring the same few. */
  const heads = new Set<string>();
  const known = (given: AuditHead): boolean => {
    const key = `${given.sequence} ${given.hash} ${given.signature}`;
    if (heads.has(key)) return true;
    if (!isOurs(given, director.publicKey)) return false;
    if (heads.size >= HEADS) heads.clear();
    heads.add(key);
    return true;
  };

  const spend = (quotas: Quotas, key: string, what: string): void => {
    const wait = quotas.take(key, clock.monotonic());
    if (wait > 0) throw tooMany(what, wait);
  };

  const identify: Api["identify"] = async (call, as = "device") => {
    const { certificate } = call;
    if (certificate === null) {
      throw new HttpError(
        "http/no-certificate",
        "This call needs a device certificate of this server.",
        {},
        { hint: "Enroll the device with a token." },
      );
    }
    // The record below names the keys themselves: whoever stole the authority's key can name a device, and holds no device's key.
    if (trust.isRevoked(certificate.authority) && as !== "device-even-expired") {
      throw new HttpError(
        "http/authority-revoked",
        "The authority that issued the device's certificate was revoked.",
        { authority: certificate.authority },
        { hint: "The device renews its certificate at its next check, which its key alone allows." },
      );
    }
    const recoverable = as === "device-even-expired" && clock.now() - certificate.notAfter < RECOVERY;
    if (certificate.expired && !recoverable) {
      const ended = formatInstant(certificate.notAfter);
      throw new HttpError(
        "http/certificate-expired",
        `The device's certificate ended at ${ended}.`,
        { ended },
        {
          hint: "It can be renewed for a year after that; later the device has to be enrolled again.",
        },
      );
    }
    // The key is what the record names: it gets another certificate whatever the clock said when this one was issued.
    if (certificate.early && as !== "device-even-expired") {
      const begins = formatInstant(certificate.notBefore);
      throw new HttpError(
        "http/certificate-expired",
        `The device's certificate is good from ${begins} on only, and this server's clock says ${formatInstant(clock.now())}: a clock was ahead when it was issued.`,
        { begins },
        { hint: "The device renews it at its next check, which its key alone allows." },
      );
    }
    const device = await view.deviceBySpki(certificate.spki);
    if (device === null) {
      throw new HttpError(
        "http/unknown-device",
        "The certificate's key belongs to no device here: it was renewed since, or the device was removed.",
      );
    }
    call.notes["device"] = device.id;
    if (device.status === "pending") throw pending(device.id);
    if (device.status !== "active") throw revoked(device.id);
    if (device.nextSpki === certificate.spki && !certificate.expired && !certificate.early) {
      const used = { device: device.id, spki: certificate.spki, certificateEnds: certificate.notAfter };
      await store.transaction((records) => adoptNextKey(records, clock.now(), used));
      view.forget(device.spki);
      view.forget(certificate.spki);
    }
    return device;
  };

  return {
    identify,
    handlers: {
      enroll: async (call, request) => {
        const peer = peerKey(call.address);
        // Taken before it is known whether it fails, so that many at once are held back as well.
        if (!shared.has(peer)) spend(badEnrolments, peer, "failed enrollments from this address");
        try {
          const answer = await enrolDevice(options, request, call.headers.date);
          badEnrolments.give(peer);
          return answer;
        } catch (error) {
          metrics.count("upkeep_enrolments_total", { result: "refused" });
          throw error;
        }
      },

      checkIn: async (call, request, device) => {
        const { id, group } = device!;
        spend(checkIns, id, "check-ins of this device");
        const now = clock.now();
        const mark = request.mark === undefined ? null : toBase64Url(random.bytes(16));
        const { auditHead } = request;
        view.sight({
          device: id,
          at: now,
          claimed: request.components,
          timestamp: request.timestamp ?? null,
          agent: request.agent ?? null,
          // A head that no server of this fleet gave out is no witness of anything.
          ...(auditHead !== undefined && known(auditHead) ? { head: auditHead } : {}),
          standing: request.updates ?? null,
          ...(request.alarms === undefined ? {} : { lasting: request.alarms }),
          ...(mark === null
            ? {}
            : {
                links: [
                  { brought: request.mark ?? null, given: mark, at: now, address: call.address, server },
                ],
              }),
        });
        const messageKey = await takeMessageKey(options, device!, request);
        // Read before the decision and not after the signature: a wake-up that is told of as known must have its cause in this answer.
        const seq = view.newestWake(device!);
        const header = call.headers[UNDERSTANDS_HEADER];
        const head = understands(request.agent, header, "audit-head") ? await headNow() : null;
        const follows = understands(request.agent, header, "follow-until") && follow > 0;
        const followUntil = follows ? now + follow : null;
        const policy = view.policy(group);
        const desired = view.desired(group);
        const components =
          policy === "unreadable"
            ? desired.map(({ product, channel }) => ({
                product,
                channel,
                hold: { reason: "unavailable" as const },
              }))
            : view.decide(device!, now, followUntil);
        const sent = policy !== "unreadable" && understands(request.agent, header, "activation-policy");
        const fitted = await options.entitlements.fit(device!, components);
        // Nothing of the request but the nonce goes into the answer.
        const assignment = await signAssignment(
          {
            device: id,
            nonce: request.nonce,
            issued: formatInstant(now),
            expires: formatInstant(now + ASSIGNMENT_LIFE),
            components: [...fitted.components],
            ...(sent && policy !== null ? { policy } : {}),
          },
          director,
        );
        metrics.count("upkeep_check_ins_total", {});
        const licenses =
          request.licenses === undefined
            ? undefined
            : await options.licenses.section(call, request.licenses, device!);
        return {
          assignment: toBase64(assignment),
          interval: view.interval(group),
          seq,
          // Devices from before marks refuse what they do not know.
          ...(mark === null ? {} : { mark }),
          ...(head === null ? {} : { auditHead: head }),
          ...(licenses === undefined ? {} : { licenses }),
          ...(messageKey === null ? {} : { messageKey }),
          ...(fitted.refused.length === 0 || !understands(request.agent, header, "licenses")
            ? {}
            : { notEntitled: fitted.refused }),
        };
      },

      reports: async (call, request, device) => {
        spend(reportCalls, device!.id, "report deliveries of this device");
        const results = await takeReports(options, device!, request.reports);
        for (const { result } of results) metrics.count("upkeep_reports_total", { result });
        call.notes["reports"] = results.length;
        return { results };
      },

      renew: async (call, request, device) => {
        spend(renewals, device!.id, "renewals of this device");
        const { spki, digest } = readDeviceRequest(fromBase64(request.csr));
        const now = clock.now();
        const authority = trust.device;
        refuseOwnTime(authority, now);
        const certificate = await issueDevice(authority, { device: device!.id, spki, now, random });
        refuseOtherTime(certificate, now, call.headers.date);
        await store.transaction((records) =>
          renew(records, now, { device: device!.id, spki: digest, certificateEnds: certificate.notAfter }),
        );
        view.forget(device!.spki);
        view.forget(digest);
        return { certificates: [certificate, authority.certificate].map(({ der }) => toBase64(der)) };
      },

      licenseChallenge: (_call, _request, device) => options.licenses.challenge(device!),
      licenseActivate: (call, request, device) => options.licenses.activate(call, request, device!),
      licenseReports: (_call, request, device) => options.licenses.reports(request, device!),
    },
  };
}

async function enrolDevice(
  { store, view, trust, clock, random, metrics }: ApiOptions,
  request: RequestOf<"enroll">,
  date: string | undefined,
): Promise<AnswerOf<"enroll">> {
  const csr = fromBase64(request.csr);
  const { spki, digest } = readDeviceRequest(csr);
  if (!reportKeyOf(request.reportKey).verify(enrolmentProof(csr), fromBase64(request.reportKeyProof))) {
    throw new FleetError(
      "fleet/bad-proof",
      "The report key did not sign this certificate request: either the request was changed on its way, or the key is somebody else's.",
    );
  }
  const now = clock.now();
  const { token, name, platform, reportKey, agent = null } = request;
  const applicant = { spki: digest, reportKey, name, platform, agent };
  const authority = trust.device;
  refuseOwnTime(authority, now);
  const issueFor = (device: string) => issueDevice(authority, { device, spki, now, random });
  const id = newDeviceId(random);
  const fresh = await issueFor(id);
  refuseOtherTime(fresh, now, date);
  const done = await store.transaction((records) =>
    enrol(records, now, { token, applicant, id, certificateEnds: fresh.notAfter }),
  );
  if (!done.ok) throw done.error;
  const certificate = done.again ? await issueFor(done.device.id) : fresh;
  view.forget(digest);
  metrics.count("upkeep_enrolments_total", { result: done.again ? "repeated" : "new" });
  return {
    device: done.device.id,
    certificates: [certificate, authority.certificate].map(({ der }) => toBase64(der)),
  };
}

/**
 * Takes the key for messages that a device brings, and says which one is held of it; null to devices that open none. A key that the
 * device's report key did not sign is passed over: it keeps nobody from an update.
 */
async function takeMessageKey(
  { view, clock, metrics }: ApiOptions,
  device: Device,
  request: RequestOf<"checkIn">,
): Promise<string | null> {
  if (!knows(request.agent, "sealed-messages")) return null;
  const { messageKey } = request;
  if (messageKey !== undefined) {
    const key = openMessageKey(messageKey, device.id, reportKeyOf(device.reportKey));
    if (key === null) metrics.count("upkeep_message_keys_refused_total", {});
    else await view.takeMessageKey(device.id, toHex(key), clock.now());
  }
  const held = await view.messageKeyOf(device.id);
  return held === null ? null : messageKeyId(fromHex(held));
}

/** A clock that says a time before the authority came to be is wrong, whatever others say. Error: `fleet/clocks-differ`. */
function refuseOwnTime({ certificate }: Authority, now: Instant): void {
  if (now >= certificate.notBefore) return;
  const since = formatInstant(certificate.notBefore);
  throw new FleetError(
    "fleet/clocks-differ",
    `This server's clock says ${formatInstant(now)}, which is before its own authority came to be (${since}). Nothing was issued.`,
    { server: formatInstant(now), since },
    { hint: "Set the server's clock; what the device has stays good." },
  );
}

/**
 * Nothing is issued that the asker, by the clock it tells of, could not use: one of the two clocks is wrong, and whoever holds such a
 * certificate is locked out as soon as it is set right. An older agent tells of none. Error: `fleet/clocks-differ`.
 */
function refuseOtherTime(
  certificate: Pick<Certificate, "notBefore" | "notAfter">,
  now: Instant,
  date: string | undefined,
): void {
  const asker = date === undefined ? Number.NaN : Date.parse(date);
  // To the second, which is as exact as the header is.
  if (Number.isNaN(asker) || (asker + SECOND >= certificate.notBefore && asker < certificate.notAfter))
    return;
  const clocks = { server: formatInstant(now), device: formatInstant(asker) };
  throw new FleetError(
    "fleet/clocks-differ",
    `This server's clock says ${clocks.server} and the device's ${clocks.device}: a certificate that is issued now would not be good there. Nothing was issued.`,
    clocks,
    { hint: "Set the clock that is wrong; what the device has stays good." },
  );
}

/** Each report is judged alone; those that are good are kept together in one transaction. */
async function takeReports(
  { store, clock, view, metrics, findRelease }: ApiOptions,
  device: Device,
  envelopes: readonly string[],
): Promise<ReportResult[]> {
  const now = clock.now();
  const key = reportKeyOf(device.reportKey);
  const results: ReportResult[] = [];
  const good: { readonly at: number; readonly opened: OpenedReport; readonly envelope: string }[] = [];
  for (const [at, base64] of envelopes.entries()) {
    const bytes = fromBase64(base64);
    const sha256 = sha256Hex(bytes);
    try {
      good.push({ at, opened: openReport(bytes, { key, device: device.id }), envelope: fromUtf8(bytes) });
      results.push({ sha256, result: "accepted" });
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      // What does not verify now never will; what needs a newer server is kept for it.
      results.push({
        sha256,
        result: "refused",
        final: !(error instanceof GrowthError),
        code: error.code,
        message: error.message.slice(0, 500),
      });
    }
  }
  if (good.length === 0) return results;
  const isListed = await listedAmong(
    good.map(({ opened }) => opened),
    findRelease,
  );
  const intakes = await store.transaction(async (records) => {
    const intakes: Intake[] = [];
    for (const { opened, envelope } of good) {
      // Read again each time: the report before moved the end of the chain.
      const current = await records.device(device.id);
      if (current === null || current.status !== "active") throw revoked(device.id);
      const intake = await takeReport(records, isListed, now, current, opened, envelope);
      const { report } = opened;
      if (intake === "accepted" && report.kind === "attempt")
        await noteAttempt(records, now, current, report, reportDetails({ envelope }).firstError);
      intakes.push(intake);
    }
    return intakes;
  });
  // What it runs may be another by now.
  view.forget(device.spki);
  view.resultsCame();
  const assigned = new Set(view.allDesired().map(({ product }) => product));
  for (const [place, { at, opened }] of good.entries()) {
    const intake = intakes[place];
    const { report } = opened;
    // Devices name products; only those that somebody assigned become labels.
    if (intake === "accepted" && report.kind === "attempt") {
      const product = assigned.has(report.product) ? report.product : "other";
      metrics.count("upkeep_attempts_total", { outcome: resultOf(report), product });
    }
    const { sha256 } = results[at]!;
    if (intake === "duplicate") results[at] = { sha256, result: "duplicate" };
    if (intake === "conflict") {
      const message = "A report with this id and other content is here already.";
      results[at] = { sha256, result: "refused", final: true, code: "report/id-reused", message };
    }
  }
  return results;
}

/** Asked before the transaction, because it may have to read and verify metadata. */
async function listedAmong(
  reports: readonly OpenedReport[],
  findRelease: ApiOptions["findRelease"],
): Promise<IsListed> {
  const missing = new Set<string>();
  for (const { product, version } of reports.flatMap(({ report }) => releasesIn(report))) {
    if ((await findRelease(product, version)) === null) missing.add(`${product} ${version}`);
  }
  return (product, version) => !missing.has(`${product} ${version}`);
}

function reportKeyOf(hex: string): PublicKey {
  return parseTufKey({ keytype: "ed25519", scheme: "ed25519", keyval: { public: toHex(fromHex(hex)) } });
}

/** A random UUID (RFC 9562 section 5.4). */
function newDeviceId(random: Random): string {
  const bytes = random.bytes(16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
