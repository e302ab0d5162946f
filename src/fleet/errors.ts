// Why the fleet refused something.

import { UpkeepError } from "../core/errors.ts";

export type FleetErrorCode =
  | "fleet/unknown-device"
  | "fleet/unknown-group"
  | "fleet/unknown-release"
  | "fleet/device-revoked"
  | "fleet/token-unknown"
  | "fleet/token-used"
  | "fleet/token-expired"
  | "fleet/key-in-use"
  | "fleet/bad-proof"
  | "fleet/clocks-differ"
  | "fleet/store-missing"
  | "fleet/no-repository"
  | "fleet/bad-interval"
  | "fleet/too-many-products"
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
export class FleetError extends UpkeepError<FleetErrorCode> {}
