// What a gate can demand; apart from the schema, so that a command table needs no schema library.

/** `sbom`, `provenance`: the document is published beside the release. `publisher`: the release pins whose signature its artifacts carry. */
export const DEMANDS = ["sbom", "provenance", "publisher"] as const;
export type Demand = (typeof DEMANDS)[number];
