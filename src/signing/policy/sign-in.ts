// Who signs in: by a key, by a pipeline's token, or by password and one-time code. One place decides it.

import { parseInstant } from "../../core/instant.ts";
import type { Clock } from "../../core/clock.ts";
import { line } from "../audit/entry.ts";
import type { Budgets } from "./budget.ts";
import type { SignerConfig, UserConfig } from "./config.ts";
import { openWith } from "../custody/custody.ts";
import { SigningError } from "../errors.ts";
import type { Ledger } from "../audit/ledger.ts";
import type { TokenChecker } from "./oidc.ts";
import { NOBODY, passwordFits } from "./password.ts";
import type { SignIn } from "../wire/protocol.ts";
import { totpStep } from "./totp.ts";

/** Failed sign-ins: a handful at once, then one every 30 seconds, per user and per address. */
export const FAILURE_BUDGET = { rate: 1 / 30, burst: 5 } as const;

export type SignInPorts = {
  readonly service: { readonly config: SignerConfig };
  readonly clock: Clock;
  readonly ledger: Pick<Ledger, "claim">;
  readonly tokens: Pick<TokenChecker, "check">;
  /** Opens what config seals, such as one-time code secrets. */
  readonly sealKey: Uint8Array;
  /** Shared by all sessions: failed sign-ins per user and per address. */
  readonly failures: Budgets;
};

/** `used`: what is good once and now taken, a token or a code; it belongs into the log with the sign-in. */
export type Identified = { readonly user: string; readonly used?: string };

/**
 * Who this is, by what was shown; `spki` is the SHA-256 of the key that the session was made with. Whether the user may come in now is not asked here.
 * Error: `signing/refused` with a reason for the log, not for the other side.
 */
export async function identify(
  given: SignIn,
  spki: string,
  address: string,
  ports: SignInPorts,
): Promise<Identified> {
  const { clock, ledger, tokens } = ports;
  const { config } = ports.service;
  const now = clock.now();
  if (given.method === "key") {
    const found = Object.entries(config.users).find(
      ([, user]) => user.kind === "machine" && user.keys.includes(spki),
    );
    if (found === undefined) throw refused("no user has this key");
    const [name, user] = found;
    if (user.kind === "machine" && user.expires !== undefined && parseInstant(user.expires) <= now) {
      throw refused(`the user ${name} expired at ${user.expires}`);
    }
    return { user: name };
  }
  if (given.method === "oidc") {
    const { user, used } = await tokens.check(given.token, spki, config, now);
    if (!ledger.claim(used, spki, now)) {
      throw refused(
        "the token was used before with another key: either it was stolen, or a job was run twice",
      );
    }
    return { user, used };
  }
  return byPassword(given, config.users[given.user], spki, address, ports);
}

async function byPassword(
  { user: name, password, code }: Extract<SignIn, { method: "password" }>,
  user: UserConfig | undefined,
  spki: string,
  address: string,
  { clock, failures, ledger, sealKey }: SignInPorts,
): Promise<Identified> {
  const monotonic = clock.monotonic();
  const throttled =
    !failures.take(`user ${line(name)}`, monotonic, 0.001) ||
    !failures.take(`address ${address}`, monotonic, 0.001);
  const person = user?.kind === "person" ? user : undefined;
  // An unknown user costs the same work as a known one.
  const fits = throttled ? false : await passwordFits(password, person?.password ?? NOBODY);
  if (throttled) throw refused("too many failed sign-ins of this user or from this address");
  if (person === undefined) throw refused("there is no such person");
  if (!fits) throw refused("the password is wrong");
  const secret = openWith(sealKey, parseSealedWord(person.totp), `totp ${name}`);
  if (secret === null)
    throw refused("the one-time code secret cannot be opened with this signer's unlock secret");
  const step = totpStep(secret, code, clock.now());
  if (step === null) throw refused("the one-time code is wrong");
  // RFC 6238 5.2: a code is good once. The key that used it may come again within its time, after a broken connection.
  const used = `totp:${name}:${step}`;
  if (!ledger.claim(used, spki, clock.now()))
    throw refused("the one-time code was used before, with another key");
  return { user: name, used };
}

/** `nonce.ciphertext`: the form in which configuration carries a sealed secret. */
function parseSealedWord(word: string): { readonly nonce: string; readonly ciphertext: string } {
  const [nonce = "", ciphertext = ""] = word.split(".");
  return { nonce, ciphertext };
}

export function refused(what: string): SigningError {
  return new SigningError("signing/refused", `Sign-in failed: ${what}.`);
}
