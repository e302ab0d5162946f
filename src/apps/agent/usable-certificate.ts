// Whether a certificate that the server issued is good by this device's clock.

import { AgentError } from "../../agent/errors.ts";
import { formatInstant, type Instant } from "../../core/instant.ts";
import { datesOf } from "../../io/device/device-identity.ts";

/**
 * One that this device's clock calls over, or not good yet, would be refused by the server as soon as its clock is right.
 * Error: `agent/unusable-certificate`.
 */
export function refuseUnusable(certificates: string, now: Instant, kept: string): void {
  const { notBefore, notAfter } = datesOf(certificates);
  if (notBefore <= now && now < notAfter) return;
  throw new AgentError(
    "agent/unusable-certificate",
    `The server issued a certificate that is good from ${formatInstant(notBefore)} to ${formatInstant(notAfter)}, and this device's clock says ${formatInstant(now)}: one of the two clocks is wrong. ${kept}`,
    { notBefore: formatInstant(notBefore), notAfter: formatInstant(notAfter), clock: formatInstant(now) },
    { hint: "Compare the clocks of this device and of the server, set the wrong one, and try again." },
  );
}
