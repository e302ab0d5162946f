// What the codes mean that a running agent reports to a command: those of all the rooms that an agent is made of.

import { AGENT_ERRORS } from "../../agent/errors.ts";
import { ARTIFACT_ERRORS } from "../../artifact/errors.ts";
import { BYTES_ERRORS } from "../../core/bytes.ts";
import { CANONICAL_JSON_ERRORS } from "../../core/canonical-json.ts";
import { DISK_ERRORS } from "../../core/disk.ts";
import { DSSE_ERRORS } from "../../core/dsse.ts";
import { FAILED, type Trait } from "../../core/errors.ts";
import { GROWTH_ERRORS } from "../../core/growth.ts";
import { INSTANT_ERRORS } from "../../core/instant.ts";
import { JSON_ERRORS } from "../../core/json.ts";
import { SCHEMA_ERRORS } from "../../core/schema.ts";
import { VERSION_ERRORS } from "../../core/version.ts";
import { DER_ERRORS } from "../../der/errors.ts";
import { HISTORY_ERRORS } from "../../history/errors.ts";
import { IDENTITY_ERRORS } from "../../identity/errors.ts";
import { SERVER_CLIENT_ERRORS } from "../../io/device/server-failure.ts";
import { CONTROL_ERRORS } from "../../io/system/control-socket.ts";
import { KEY_ERRORS } from "../../keys/errors.ts";
import { MANNERS_ERRORS } from "../../manners/errors.ts";
import { LICENSE_ERRORS } from "../../license/errors.ts";
import { MESSAGE_ERRORS } from "../../message/errors.ts";
import { MIRROR_ERRORS } from "../../mirror/errors.ts";
import { PROCESS_ERRORS } from "../../process/errors.ts";
import { RELEASE_ERRORS } from "../../release/errors.ts";
import { REPORT_ERRORS } from "../../report/errors.ts";
import { REPOSITORY_ERRORS } from "../../repository/errors.ts";
import { SLOT_ERRORS } from "../../slot/errors.ts";

const KNOWN: { readonly [code: string]: Trait } = {
  ...AGENT_ERRORS,
  ...ARTIFACT_ERRORS,
  ...BYTES_ERRORS,
  ...CANONICAL_JSON_ERRORS,
  ...CONTROL_ERRORS,
  ...DER_ERRORS,
  ...DISK_ERRORS,
  ...DSSE_ERRORS,
  ...GROWTH_ERRORS,
  ...HISTORY_ERRORS,
  ...IDENTITY_ERRORS,
  ...INSTANT_ERRORS,
  ...JSON_ERRORS,
  ...KEY_ERRORS,
  ...MANNERS_ERRORS,
  ...LICENSE_ERRORS,
  ...MESSAGE_ERRORS,
  ...MIRROR_ERRORS,
  ...PROCESS_ERRORS,
  ...RELEASE_ERRORS,
  ...REPORT_ERRORS,
  ...REPOSITORY_ERRORS,
  ...SCHEMA_ERRORS,
  ...SERVER_CLIENT_ERRORS,
  ...SLOT_ERRORS,
  ...VERSION_ERRORS,
};

/** `failed` for a code that only another version of the agent knows. */
export function traitOf(code: string): Trait {
  return Object.hasOwn(KNOWN, code) ? KNOWN[code]! : FAILED;
}
