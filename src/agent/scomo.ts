// What a device has and does, in the words of OMA SCOMO 1.1: its inventories of packages and components, and result codes beside ours.

import type { AttemptState } from "./attempt-table.ts";
import type { ComponentStatus } from "./status.ts";

/** SCOMO 1.1, Download/Status. */
const DOWNLOAD = { idle: 10, failed: 20, progressing: 30, complete: 40 } as const;
/** SCOMO 1.1, Inventory/Delivered/Status and State. */
const DELIVERED = { idle: 10, installing: 40, failedWithData: 50 } as const;
const DELIVERED_STATE = { delivered: 10, installed: 20 } as const;
/** SCOMO 1.1, Inventory/Deployed/Status and State. */
const DEPLOYED = { idle: 10, activateFailed: 40, activating: 50, deactivating: 70 } as const;
const DEPLOYED_STATE = { inactive: 10, active: 20 } as const;

/** SCOMO 1.1, result codes that we give. */
export const SCOMO_RESULT = {
  success: 1200,
  clientError: 1400,
  userCancelled: 1401,
  downloadFailed: 1402,
  downloadNotAuthentic: 1403,
  noRoomToDownload: 1404,
  installFailed: 1405,
  noRoomToInstall: 1406,
  packageInvalid: 1407,
  activateFailed: 1409,
  deactivateFailed: 1410,
  undefined: 1412,
  environmentNotSupported: 1413,
  serverUnavailable: 1501,
} as const;
export type ScomoResult = (typeof SCOMO_RESULT)[keyof typeof SCOMO_RESULT];

const R = SCOMO_RESULT;
/** Of a room, unless a row of `CODES` knows better. */
const ROOMS: { readonly [room: string]: ScomoResult } = {
  agent: R.clientError,
  artifact: R.packageInvalid,
  connection: R.serverUnavailable,
  disk: R.installFailed,
  dsse: R.downloadNotAuthentic,
  growth: R.environmentNotSupported,
  json: R.packageInvalid,
  message: R.downloadNotAuthentic,
  mirror: R.downloadFailed,
  process: R.activateFailed,
  publisher: R.downloadNotAuthentic,
  release: R.packageInvalid,
  repository: R.downloadNotAuthentic,
  schema: R.packageInvalid,
  server: R.serverUnavailable,
  slot: R.installFailed,
};
const CODES: { readonly [code: string]: ScomoResult } = {
  "agent/image-refused": R.packageInvalid,
  "agent/no-space": R.noRoomToDownload,
  "agent/rolled-back-by-hand": R.userCancelled,
  "agent/uninstalled": R.userCancelled,
  "agent/wrong-bytes": R.packageInvalid,
  "artifact/foreign-architecture": R.environmentNotSupported,
  "artifact/wrong-publisher": R.downloadNotAuthentic,
  "disk/full": R.noRoomToInstall,
  "mirror/untrusted": R.downloadNotAuthentic,
  "mirror/wrong-content": R.packageInvalid,
  "process/will-not-stop": R.deactivateFailed,
  "process/wrong-program": R.environmentNotSupported,
  "release/bad-platform": R.environmentNotSupported,
  "repository/content-mismatch": R.packageInvalid,
  "slot/bad-archive": R.packageInvalid,
  "slot/unsafe-entry": R.packageInvalid,
  "slot/wrong-bytes": R.packageInvalid,
};

/** The result code for one of our codes; null means success. A code of a room that is not known is `undefined` (1412). */
export function scomoResult(code: string | null): ScomoResult {
  if (code === null) return R.success;
  return CODES[code] ?? ROOMS[code.slice(0, code.indexOf("/"))] ?? R.undefined;
}

export type ScomoTree = {
  readonly mo: "urn:oma:mo:oma-scomo:1.1";
  readonly download: readonly { readonly pkgId: string; readonly status: number }[];
  readonly delivered: readonly { readonly pkgId: string; readonly status: number; readonly state: number }[];
  readonly deployed: readonly {
    readonly id: string;
    readonly pkgIdRef: string;
    readonly version: string;
    readonly status: number;
    readonly state: number;
    /** Of the last operation. */
    readonly resultCode: ScomoResult;
    /** Our code of it; null after a success. */
    readonly code: string | null;
  }[];
};

/** What each state of an attempt is called; where two objects change at once, both. */
const PHASES: {
  readonly [S in AttemptState]?: {
    readonly download?: number;
    readonly delivered?: readonly [status: number, state: number];
    readonly deployed?: number;
  };
} = {
  downloading: { download: DOWNLOAD.progressing },
  waiting: { download: DOWNLOAD.idle },
  verifying: { download: DOWNLOAD.complete },
  staging: { delivered: [DELIVERED.installing, DELIVERED_STATE.delivered] },
  activating: {
    delivered: [DELIVERED.idle, DELIVERED_STATE.installed],
    deployed: DEPLOYED.activating,
  },
  probation: { delivered: [DELIVERED.idle, DELIVERED_STATE.installed], deployed: DEPLOYED.activating },
  "rolling-back": {
    delivered: [DELIVERED.failedWithData, DELIVERED_STATE.installed],
    deployed: DEPLOYED.deactivating,
  },
  refused: { download: DOWNLOAD.failed },
};

/** Package ids are `<product>/<version>`, component ids the product's name. */
export function scomoTree(components: readonly ComponentStatus[]): ScomoTree {
  const download: ScomoTree["download"][number][] = [];
  const delivered: ScomoTree["delivered"][number][] = [];
  const deployed: ScomoTree["deployed"][number][] = [];
  for (const { product, committed, running, attempt, code } of components) {
    const phase = attempt === null ? {} : (PHASES[attempt.state] ?? {});
    const pkgId = attempt === null ? "" : `${product}/${attempt.to}`;
    if (phase.download !== undefined) download.push({ pkgId, status: phase.download });
    if (phase.delivered !== undefined)
      delivered.push({ pkgId, status: phase.delivered[0], state: phase.delivered[1] });
    const version = running ?? committed;
    if (version === null) continue;
    const failed = code === null ? false : scomoResult(code) === R.activateFailed;
    deployed.push({
      id: product,
      pkgIdRef: `${product}/${version}`,
      version,
      status: phase.deployed ?? (failed ? DEPLOYED.activateFailed : DEPLOYED.idle),
      state: running === null ? DEPLOYED_STATE.inactive : DEPLOYED_STATE.active,
      resultCode: scomoResult(code),
      code,
    });
  }
  return { mo: "urn:oma:mo:oma-scomo:1.1", download, delivered, deployed };
}
