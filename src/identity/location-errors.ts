// Why a document that says where updates come from was not followed.

import { FAILED, PENDING, REFUSED, UNREACHABLE, UpkeepError, type Traits } from "../core/errors.ts";

export type LocationErrorCode =
  | "location/bad-place"
  | "location/not-next"
  | "location/expired"
  | "location/other-fleet"
  | "location/no-key"
  | "location/tampered"
  | "location/behind"
  | "location/unreachable"
  | "location/rolled-back"
  | "location/waits-for-signatures";
export const LOCATION_ERRORS = {
  "location/bad-place": REFUSED,
  "location/not-next": REFUSED,
  "location/expired": REFUSED,
  "location/other-fleet": REFUSED,
  "location/no-key": REFUSED,
  "location/tampered": REFUSED,
  "location/behind": REFUSED,
  "location/unreachable": UNREACHABLE,
  "location/rolled-back": FAILED,
  "location/waits-for-signatures": PENDING,
} satisfies Traits<LocationErrorCode>;

export class LocationError extends UpkeepError<LocationErrorCode> {
  protected override get traits(): Traits<LocationErrorCode> {
    return LOCATION_ERRORS;
  }
}
