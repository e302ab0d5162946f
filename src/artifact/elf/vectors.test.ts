// The published vectors of the ELF signature: other implementations can run them as well.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { parseInstant } from "../../core/instant.ts";
import { parseCertificatesPem, type Certificate } from "../../der/x509.ts";
import { ArtifactError } from "../errors.ts";
import { bytesSource } from "../source.ts";
import { requireElf, type ElfPolicy } from "./verify.ts";

type Case = {
  readonly file: string;
  readonly policy: Omit<Partial<ElfPolicy>, "plainCertificates"> & {
    readonly plainCertificates?: readonly string[];
  };
  readonly expect: string;
};

const folder = new URL("../../../test/vectors/elf-signature/", import.meta.url);
const read = (name: string): Buffer => readFileSync(new URL(name, folder));
const certificates = (name: string): readonly Certificate[] => parseCertificatesPem(read(name).toString());
const { now, cases } = JSON.parse(read("cases.json").toString()) as { now: string; cases: readonly Case[] };

describe("the vectors of the ELF signature", () => {
  for (const { file, policy, expect } of cases) {
    const wish = Object.keys(policy).length === 0 ? "" : ` for ${JSON.stringify(policy)}`;
    it(`${file}${wish}: ${expect}`, async () => {
      const { plainCertificates, ...rest } = policy;
      const answer = requireElf(bytesSource(new Uint8Array(read(file))), {
        roots: certificates("root.pem"),
        now: parseInstant(now),
        ...rest,
        ...(plainCertificates === undefined
          ? {}
          : { plainCertificates: plainCertificates.flatMap(certificates) }),
      });
      const verdict = await answer.then(
        () => "believed",
        (error: unknown) => (error instanceof ArtifactError ? error.code : String(error)),
      );
      assert.equal(verdict, expect);
    });
  }

  it("have no file that no case is about", () => {
    const files = readdirSync(folder).filter((name) => name.endsWith(".elf"));
    assert.deepEqual(
      files.filter((name) => !cases.some((one) => one.file === name)),
      [],
    );
  });
});
