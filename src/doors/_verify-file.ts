// One file on disk, read and judged by its format.

import { basename } from "node:path";
import { formatOf } from "../artifact/formats.ts";
import type { FileReport, VerifyPolicy } from "../artifact/report.ts";
import { systemClock } from "../io/system/clock.ts";
import { withFileSource } from "../io/source/file.ts";

/**
 * The signatures of a file (PE, ELF, MSI, CAB, catalog, PowerShell), each with its findings; `valid` is the verdict over all of them.
 * Errors: `artifact/unsupported` for a file of no such format, `artifact/malformed`, `disk/*`.
 *
 * @example
 * ```ts
 * import { readFileSync } from "node:fs";
 * import { parseCertificatesPem, verifyFile } from "upkeep/artifact";
 *
 * const report = await verifyFile("setup.exe", { roots: parseCertificatesPem(readFileSync("publisher-root.pem", "utf8")) });
 * if (!report.valid) for (const { code, message } of report.findings) console.error(code, message);
 * ```
 */
export function verifyFile(
  path: string,
  policy: Omit<VerifyPolicy, "now"> & Partial<Pick<VerifyPolicy, "now">>,
): Promise<FileReport> {
  return withFileSource(path, async (source) => {
    const format = await formatOf(source, basename(path));
    return format.verify(source, { now: systemClock.now(), ...policy });
  });
}
