// The process of one key: opens it, signs what a ticket names, parses nothing of anybody else.

import { fromBase64, fromUtf8 } from "../../core/bytes.ts";
import type { Instant } from "../../core/instant.ts";
import { systemClock } from "../../io/system/clock.ts";
import { reportCrashes } from "../../io/system/crash.ts";
import { openCustody } from "../../io/keys/custody.ts";
import { leaveNothingInCoreFiles } from "../../io/system/hardening.ts";
import { jsonLog } from "../../io/system/log.ts";
import { serveKey } from "../../io/keys/key-process.ts";
import { parseCheckpointText } from "../../signing/audit/checkpoint.ts";
import type { KeyConfig } from "../../signing/policy/config.ts";
import { openKey, parseSealedKey } from "../../signing/custody/custody.ts";
import { SigningError } from "../../signing/errors.ts";
import { checkTicket } from "../../signing/custody/ticket.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { readOrder } from "./order.ts";

async function main(): Promise<void> {
  leaveNothingInCoreFiles();
  const order = await readOrder("key", () => process.exit(0));
  reportCrashes({ program: `signer key ${order.name}`, clock: systemClock, say: jsonLog(systemClock) });
  const config = order.config as unknown as KeyConfig;
  const sealed = parseSealedKey(await systemDisk.read(order.sealed, 64 * 1024));
  const wrapping = fromBase64(order.wrapping);
  const secret = openKey(wrapping, sealed);
  wrapping.fill(0);
  const { signer } = await openCustody(order.name, config, sealed, secret);
  secret.fill(0);

  const ticketKey = fromBase64(order.ticketKey);
  const schemes = [config.scheme, ...config["also-schemes"]];
  const used = new Map<number, Instant>();
  let logSize = -1;

  await serveKey(order.socket, signer.publicKey, async (offered, message) => {
    const ticket = checkTicket(ticketKey, offered, {
      key: order.name,
      schemes,
      message,
      now: systemClock.now(),
      used,
    });
    if (order.origin !== undefined) {
      // tlog-checkpoint "Signatures": a log never signs a checkpoint that is inconsistent with one it signed before.
      const { origin, size } = parseCheckpointText(fromUtf8(message));
      if (origin !== order.origin || size <= logSize) {
        throw new SigningError(
          "signing/bad-ticket",
          "The log's key signs checkpoints of this signer's growing log only.",
        );
      }
      logSize = size;
    }
    return signer.sign(message, ticket.scheme);
  });
  process.stdout.write("ready\n");
}

void main();
