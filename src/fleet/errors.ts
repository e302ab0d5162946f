// Why the fleet refused something.

import {
  FAILED,
  NOT_VERIFIED,
  PENDING,
  REFUSED,
  TRANSIENT,
  UNREACHABLE,
  USAGE,
  UpkeepError,
  type Traits,
} from "../core/errors.ts";

export type FleetErrorCode =
  | "fleet/unknown-device"
  | "fleet/ambiguous-device"
  | "fleet/unknown-group"
  | "fleet/group-in-use"
  | "fleet/no-alarm"
  | "fleet/no-data"
  | "fleet/no-message-key"
  | "fleet/unknown-release"
  | "fleet/unknown-product"
  | "fleet/device-pending"
  | "fleet/device-revoked"
  | "fleet/token-unknown"
  | "fleet/token-used"
  | "fleet/token-expired"
  | "fleet/key-in-use"
  | "fleet/bad-proof"
  | "fleet/clocks-differ"
  | "fleet/no-repository"
  | "fleet/bad-interval"
  | "fleet/too-many-products"
  | "fleet/bad-filter"
  | "fleet/bad-label"
  | "fleet/too-many-labels"
  | "fleet/bad-rollout"
  | "fleet/unknown-rollout"
  | "fleet/rollout-overlaps"
  | "fleet/rollout-state"
  | "fleet/second-person"
  | "fleet/quota"
  | "fleet/store-in-use"
  | "fleet/store-corrupt"
  | "fleet/store-missing"
  | "fleet/store-newer"
  | "fleet/store-full"
  | "fleet/store-unavailable"
  | "fleet/store-denied"
  | "fleet/store-certificate"
  | "fleet/store-foreign"
  | "fleet/bad-store-address"
  | "fleet/other-authorities"
  | "fleet/bad-dump"
  | "fleet/store-not-empty"
  | "fleet/audit-broken";
export const FLEET_ERRORS = {
  "fleet/unknown-device": FAILED,
  "fleet/ambiguous-device": USAGE,
  "fleet/unknown-group": { ...FAILED, hint: "`upkeep group list` shows all groups." },
  "fleet/group-in-use": REFUSED,
  "fleet/no-alarm": FAILED,
  "fleet/no-data": FAILED,
  "fleet/no-message-key": FAILED,
  "fleet/unknown-release": FAILED,
  "fleet/unknown-product": FAILED,
  "fleet/device-pending": PENDING,
  "fleet/device-revoked": REFUSED,
  "fleet/token-unknown": REFUSED,
  "fleet/token-used": REFUSED,
  "fleet/token-expired": REFUSED,
  "fleet/key-in-use": REFUSED,
  "fleet/bad-proof": REFUSED,
  "fleet/no-repository": FAILED,
  "fleet/bad-interval": USAGE,
  "fleet/too-many-products": FAILED,
  "fleet/bad-filter": USAGE,
  "fleet/bad-label": USAGE,
  "fleet/too-many-labels": REFUSED,
  "fleet/bad-rollout": USAGE,
  "fleet/unknown-rollout": { ...FAILED, hint: "`upkeep fleet rollout list --all` shows all rollouts." },
  "fleet/rollout-overlaps": REFUSED,
  "fleet/rollout-state": REFUSED,
  "fleet/second-person": REFUSED,
  "fleet/clocks-differ": { nature: "transient", exit: "refused" },
  "fleet/quota": { nature: "transient", exit: "refused" },
  "fleet/store-in-use": PENDING,
  "fleet/store-corrupt": FAILED,
  "fleet/store-missing": FAILED,
  "fleet/store-newer": REFUSED,
  "fleet/store-full": TRANSIENT,
  "fleet/store-unavailable": UNREACHABLE,
  "fleet/store-denied": REFUSED,
  "fleet/store-certificate": REFUSED,
  "fleet/store-foreign": REFUSED,
  "fleet/bad-store-address": USAGE,
  "fleet/other-authorities": REFUSED,
  "fleet/bad-dump": REFUSED,
  "fleet/store-not-empty": FAILED,
  "fleet/audit-broken": NOT_VERIFIED,
} satisfies Traits<FleetErrorCode>;

export class FleetError extends UpkeepError<FleetErrorCode> {
  protected override get traits(): Traits<FleetErrorCode> {
    return FLEET_ERRORS;
  }
}
