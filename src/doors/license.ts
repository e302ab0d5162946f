// upkeep/license: what a program of Node asks about its license; from files and a local socket, never over a network.

export { License, type LicenseOptions, type LicenseStatus } from "./_license-reader.ts";
export { openFeatureProvider, type FlagResolution, type LicenseProvider } from "./_open-feature.ts";
export type { Evaluation } from "../license/evaluate.ts";
export type { Features } from "../license/terms.ts";
