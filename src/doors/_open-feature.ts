// The license as a provider of OpenFeature: the reasons and the shape of its server-side interface, without a dependency on it.

import type { License } from "./_license-reader.ts";

/** ResolutionDetails of OpenFeature (specification 1.4 and 2.2): the value, and why. */
export type FlagResolution<T> = {
  readonly value: T;
  readonly reason: "CACHED" | "STALE" | "DISABLED" | "DEFAULT" | "ERROR";
  readonly variant?: string;
  readonly errorCode?: "FLAG_NOT_FOUND" | "TYPE_MISMATCH" | "PROVIDER_NOT_READY";
  readonly flagMetadata: Readonly<Record<string, string | boolean>>;
};

/** Structurally an OpenFeature `Provider` for servers. */
export type LicenseProvider = {
  readonly metadata: { readonly name: "upkeep-license" };
  readonly runsOn: "server";
  resolveBooleanEvaluation(flag: string, otherwise: boolean): Promise<FlagResolution<boolean>>;
  resolveNumberEvaluation(flag: string, otherwise: number): Promise<FlagResolution<number>>;
  resolveStringEvaluation(flag: string, otherwise: string): Promise<FlagResolution<string>>;
  resolveObjectEvaluation<T>(flag: string, otherwise: T): Promise<FlagResolution<T>>;
};

/** Flags are features. The default of a call never grants what the license does not: it is used for amounts that are not granted. */
export function openFeatureProvider(license: License): LicenseProvider {
  const details = (flag: string) => {
    const found = license.evaluate(flag);
    const flagMetadata = {
      license: found.reason,
      conclusive: found.conclusive,
      ...(found.until === null ? {} : { until: found.until }),
    };
    return { found, flagMetadata };
  };
  const other = <T>(flag: string, otherwise: T): Promise<FlagResolution<T>> =>
    Promise.resolve({
      value: otherwise,
      reason: "ERROR",
      errorCode: "TYPE_MISMATCH",
      flagMetadata: details(flag).flagMetadata,
    });
  return {
    metadata: { name: "upkeep-license" },
    runsOn: "server",
    resolveBooleanEvaluation: async (flag) => {
      const { found, flagMetadata } = details(flag);
      const fresh = found.reason === "LEASE" ? "CACHED" : "STALE";
      return {
        value: found.value,
        reason: found.value ? fresh : "DISABLED",
        variant: found.reason,
        flagMetadata,
      };
    },
    resolveNumberEvaluation: async (flag, otherwise) => {
      const { found, flagMetadata } = details(flag);
      if (found.amount === null)
        return { value: otherwise, reason: "DEFAULT", errorCode: "FLAG_NOT_FOUND", flagMetadata };
      return {
        value: found.amount,
        reason: found.reason === "LEASE" ? "CACHED" : "STALE",
        variant: found.reason,
        flagMetadata,
      };
    },
    resolveStringEvaluation: other,
    resolveObjectEvaluation: other,
  };
}
