// Sign-in of pipelines: the identity token of a CI system (OpenID Connect), checked, bound to one key, good once.

import { createLocalJWKSet, decodeJwt, jwtVerify, type JSONWebKeySet, type JWTPayload } from "jose";
import { sha256Hex } from "../../core/digest.ts";
import { toUtf8 } from "../../core/bytes.ts";
import { MINUTE, type Instant } from "../../core/instant.ts";
import type { OidcConfig, SignerConfig } from "./config.ts";
import { SigningError } from "../errors.ts";
import { matches } from "./policy.ts";

/** Fetches and parses a JSON document of an issuer, bounded in size and time. */
export type FetchJson = (url: string) => Promise<unknown>;

/** How long fetched keys serve; an unknown key id fetches again, but not more often than the second figure. */
const KEYS_FRESH = 60 * MINUTE;
const KEYS_AGAIN = MINUTE;
const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

export type PipelineIdentity = {
  readonly user: string;
  /** What must not be accepted from another key. */
  readonly used: string;
};

/** Checks tokens of the configured issuers. Every refusal is a `signing/refused` whose sentence is for the log only. */
export class TokenChecker {
  readonly #fetch: FetchJson;
  readonly #keys = new Map<string, { at: Instant; set: JSONWebKeySet }>();

  constructor(fetch: FetchJson) {
    this.#fetch = fetch;
  }

  async check(token: string, spki: string, config: SignerConfig, now: Instant): Promise<PipelineIdentity> {
    let unverified: JWTPayload;
    try {
      unverified = decodeJwt(token);
    } catch (cause) {
      throw refused("the token is not a JWT", cause);
    }
    const found = Object.entries(config.oidc).find(([, issuer]) => issuer.issuer === unverified.iss);
    if (found === undefined) throw refused(`no issuer ${String(unverified.iss).slice(0, 200)} is configured`);
    const [name, issuer] = found;
    const claims = await this.#verify(token, issuer, spki, now);
    const users = Object.entries(config.users).filter(
      ([, user]) => user.kind === "ci" && user.issuer === name && claimsFit(claims, user.claims),
    );
    const user = users[0];
    if (user === undefined) throw refused("the claims of the token fit no user");
    if (users.length > 1)
      throw refused(`the claims of the token fit several users: ${users.map(([n]) => n).join(", ")}`);
    const id = typeof claims.jti === "string" && claims.jti !== "" ? claims.jti : sha256Hex(toUtf8(token));
    return { user: user[0], used: `oidc:${name}:${sha256Hex(toUtf8(id))}` };
  }

  async #verify(token: string, issuer: OidcConfig, spki: string, now: Instant): Promise<JWTPayload> {
    const options = {
      issuer: issuer.issuer,
      // A stolen token is worth nothing without the key that it names.
      audience: issuer.binding === "key" ? `${issuer.audience}#${spki}` : issuer.audience,
      algorithms: ALGORITHMS,
      currentDate: new Date(now),
      maxTokenAge: issuer["max-age-minutes"] * 60,
      clockTolerance: 30,
      requiredClaims: ["exp", "iat"],
    };
    const attempt = async (fresh: boolean): Promise<JWTPayload> => {
      const set = await this.#keysOf(issuer, now, fresh);
      return (await jwtVerify(token, createLocalJWKSet(set), options)).payload;
    };
    try {
      return await attempt(false);
    } catch (first) {
      if ((first as { code?: string }).code !== "ERR_JWKS_NO_MATCHING_KEY")
        throw refused(tokenFault(first), first);
      try {
        return await attempt(true);
      } catch (cause) {
        throw refused(tokenFault(cause), cause);
      }
    }
  }

  async #keysOf(issuer: OidcConfig, now: Instant, again: boolean): Promise<JSONWebKeySet> {
    const known = this.#keys.get(issuer.issuer);
    if (known !== undefined && now - known.at < (again ? KEYS_AGAIN : KEYS_FRESH)) return known.set;
    const url = issuer.jwks ?? (await this.#discover(issuer.issuer));
    const set = (await this.#fetch(url)) as JSONWebKeySet;
    if (!Array.isArray(set.keys) || set.keys.length > 100) throw refused("the issuer's keys cannot be read");
    this.#keys.set(issuer.issuer, { at: now, set });
    return set;
  }

  /** OpenID Connect Discovery 1.0 section 4. */
  async #discover(issuer: string): Promise<string> {
    const document = (await this.#fetch(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`)) as {
      issuer?: unknown;
      jwks_uri?: unknown;
    };
    // 4.3: the issuer in the document must be the one that was asked.
    if (document.issuer !== issuer || typeof document.jwks_uri !== "string") {
      throw refused("the issuer's discovery document is for another issuer, or names no keys");
    }
    return document.jwks_uri;
  }
}

function claimsFit(claims: JWTPayload, wanted: { readonly [name: string]: string }): boolean {
  return Object.entries(wanted).every(([name, pattern]) => {
    const value = claims[name];
    return typeof value === "string" && matches(value, pattern);
  });
}

function tokenFault(error: unknown): string {
  return `the token was refused: ${error instanceof Error ? error.message : String(error)}`;
}

function refused(what: string, cause?: unknown): SigningError {
  return new SigningError("signing/refused", `Sign-in failed: ${what}.`, {}, { cause });
}
