// What a device asks of a server that it does not know: signed files and nothing else, and nothing of its own is shown.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { after, before, describe, it } from "node:test";
import { fromUtf8 } from "../../core/bytes.ts";
import { certificatePem } from "../../der/x509.ts";
import { createAuthority, issueServer, spkiDigest, type Authority } from "../../identity/authority.ts";
import { localSigner } from "../../keys/signer.ts";
import { readAll } from "../../mirror/source.ts";
import { climbingSource, type ClimbingSource } from "./recovering-source.ts";

const random = { bytes: (n: number) => new Uint8Array(randomBytes(n)) };
const newAuthority = (name: string): Promise<Authority> => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return createAuthority({
    name,
    signer: localSigner(privateKey, "ecdsa-sha2-nistp256"),
    now: Date.now(),
    random,
  });
};
const identityOf = (...authorities: readonly Authority[]) => ({
  authorities: authorities.map(({ certificate }) => certificatePem(certificate)),
  pins: authorities.map(({ certificate }) => spkiDigest(certificate.spki)),
});

describe("the static plane of a server", () => {
  let known: Authority;
  let stranger: Authority;
  let server: Server;
  let address: string;
  /** What each request showed of its sender. */
  const seen: { readonly path: string; readonly certificate: boolean; readonly method: string }[] = [];
  const open: ClimbingSource[] = [];

  before(async () => {
    [known, stranger] = [await newAuthority("same name"), await newAuthority("same name")];
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const leaf = await issueServer(stranger, {
      names: ["127.0.0.1"],
      spki: new Uint8Array(publicKey.export({ type: "spki", format: "der" })),
      now: Date.now(),
      random,
    });
    server = createServer(
      {
        key: privateKey.export({ type: "pkcs8", format: "pem" }),
        cert: certificatePem(leaf) + certificatePem(stranger.certificate),
        requestCert: true,
        rejectUnauthorized: false,
      },
      (request, response) => {
        const certificate = (request.socket as TLSSocket).getPeerX509Certificate() !== undefined;
        seen.push({ path: request.url!, method: request.method!, certificate });
        response.end(`content of ${request.url!}`);
      },
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    address = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  after(async () => {
    for (const source of open) source.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  const sourceFor = (believed: () => readonly Authority[], told: boolean[] = []): ClimbingSource => {
    const source = climbingSource(
      address,
      () => identityOf(...believed()),
      (climbing) => told.push(climbing),
    );
    open.push(source);
    return source;
  };
  const digest = "0".repeat(64);

  it("gives metadata and the bundle to a device that does not know the server's authority, and says so once", async () => {
    const told: boolean[] = [];
    const source = sourceFor(() => [known], told);
    seen.length = 0;
    for (const path of [
      "repository/metadata/timestamp.json",
      "repository/metadata/2.root.json",
      "repository/metadata/1.product.shop.json",
      `repository/targets/trust/${digest}.bundle.json`,
      "repository/targets/trust/bundle.json",
    ]) {
      assert.equal(fromUtf8(await readAll(source, path, 1000)), `content of /${path}`);
    }
    assert.deepEqual(told, [true]);
    assert.deepEqual([...new Set(seen.map(({ method }) => method))], ["GET"]);
    assert.ok(
      seen.every(({ certificate }) => !certificate),
      "no client certificate was shown",
    );
  });

  it("asks a server that it does not know for nothing else (hostile server)", async () => {
    const source = sourceFor(() => [known]);
    seen.length = 0;
    for (const path of [
      "v1/check-in",
      "v1/reports",
      `repository/targets/trust/${digest}.keys.json`,
      `repository/targets/products/shop/1.0.0/${digest}.release.json`,
      `repository/targets/trust/other/${digest}.bundle.json`,
      "repository/metadata/deeper/timestamp.json",
      "metadata/timestamp.json",
    ]) {
      await assert.rejects(readAll(source, path, 1000), { code: "mirror/untrusted" }, path);
    }
    assert.deepEqual(seen, []);
  });

  it("goes by the authorities of now as soon as it is told that they changed", async () => {
    let believed: readonly Authority[] = [known];
    const told: boolean[] = [];
    const source = sourceFor(() => believed, told);
    const path = `repository/targets/trust/${digest}.keys.json`;
    await assert.rejects(readAll(source, path, 1000), { code: "mirror/untrusted" });
    believed = [known, stranger];
    source.renew();
    assert.equal(fromUtf8(await readAll(source, path, 1000)), `content of /${path}`);
    assert.deepEqual(told, [], "no signed file was asked for in between");
  });

  it("believes nobody while no authority is known, and reads signed files all the same", async () => {
    const source = sourceFor(() => []);
    const path = "repository/metadata/timestamp.json";
    assert.equal(fromUtf8(await readAll(source, path, 1000)), `content of /${path}`);
    await assert.rejects(readAll(source, "repository/targets/x", 1000), { code: "mirror/untrusted" });
  });

  it("does not climb over a wrong name or an expired certificate of an authority that it knows", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
    const key = privateKey.export({ type: "pkcs8", format: "pem" });
    const day = 24 * 3600 * 1000;
    const leaves = [
      await issueServer(known, { names: ["elsewhere.example"], spki, now: Date.now(), random }),
      await issueServer(known, { names: ["127.0.0.1"], spki, now: Date.now() - day / 2, life: 1000, random }),
    ];
    for (const leaf of leaves) {
      let requests = 0;
      const other = createServer({ key, cert: certificatePem(leaf) }, (_request, response) => {
        requests++;
        response.end();
      });
      await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
      const { port } = other.address() as AddressInfo;
      const told: boolean[] = [];
      const source = climbingSource(
        `https://127.0.0.1:${port}/`,
        () => identityOf(known),
        (climbing) => told.push(climbing),
      );
      try {
        await assert.rejects(readAll(source, "repository/metadata/timestamp.json", 1000), {
          code: "mirror/untrusted",
        });
        assert.deepEqual([requests, told], [0, []]);
      } finally {
        source.close();
        other.closeAllConnections();
        await new Promise((resolve) => other.close(resolve));
      }
    }
  });

  it("climbs over an unknown authority only: a server that is away stays away", async () => {
    const told: boolean[] = [];
    const source = climbingSource(
      "https://127.0.0.1:9/",
      () => identityOf(known),
      (climbing) => told.push(climbing),
    );
    open.push(source);
    await assert.rejects(readAll(source, "repository/metadata/timestamp.json", 1000), {
      code: "mirror/unreachable",
    });
    assert.deepEqual(told, []);
  });
});
