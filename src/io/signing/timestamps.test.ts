// Time stamps through the signing service: which authority the signer believes, and what the client believes of the signer.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { DAY, HOUR, MINUTE } from "../../core/instant.ts";
import { editUnsigned } from "../../artifact/authenticode.ts";
import { attribute } from "../../artifact/cms-build.ts";
import { parseSignedData, unsignedValues } from "../../artifact/cms.ts";
import { requestTimestamp } from "../../artifact/timestamp-request.ts";
import { MICROSOFT_RFC3161 } from "../../artifact/timestamp.ts";
import { peIndirectData } from "../../artifact/pe/indirect.ts";
import * as oids from "../../der/oids.ts";
import { encoded } from "../../der/reader.ts";
import { octets } from "../../der/writer.ts";
import type { Certificate } from "../../der/x509.ts";
import { describeRoots } from "../../signing/wire/description.ts";
import type { Build } from "../../signing/ports.ts";
import type { StampSettings } from "../../signing/service.ts";
import { publisherPki, type Pki } from "../../testing/publisher-pki.ts";
import { newId, SigningRig, wishFor } from "../../testing/signing-rig.ts";
import { startTimestampServer, type TimestampServer } from "../../testing/timestamp-server.ts";
import { systemClock } from "../system/clock.ts";
import { systemRandom } from "../system/random.ts";
import type { SignWish, SigningClient } from "./client.ts";
import { httpTimestamps } from "./timestamp-transport.ts";
import { DIRECT } from "../connection/proxies.ts";

const CONFIG = `
[users.build]
kind = "machine"
keys = ["@ci"]
[keys.release]
custody = "file"
scheme = "ecdsa-sha2-nistp256"
[certificates.release]
key = "release"
[certificates.release.policy.default]
users = ["build"]
operations = ["cms", "authenticode"]
`;

let pki: Pki;
let rogue: Pki;
let tsa: TimestampServer;
let rig: SigningRig;
let stamps: StampSettings | undefined;
let hostile: ((honest: Build) => Build) | null = null;

before(async () => {
  const now = systemClock.now();
  pki = await publisherPki({ now });
  rogue = await publisherPki({ now });
  const expired = await publisherPki({ now, stamper: { notAfter: now - DAY } });
  const unfit = await publisherPki({ now, stamper: { ekuCritical: false } });
  const honest = { stamper: pki.stamper, chain: [pki.root] };
  tsa = await startTimestampServer({
    good: honest,
    rogue: { stamper: rogue.stamper, chain: [rogue.root] },
    expired: { stamper: expired.stamper, chain: [expired.root] },
    unfit: { stamper: unfit.stamper, chain: [unfit.root] },
    imprint: { ...honest, lies: () => ({ imprint: new Uint8Array(32) }) },
    nonce: { ...honest, lies: () => ({ nonce: Uint8Array.of(1) }) },
    old: { ...honest, lies: () => ({ time: systemClock.now() - HOUR }) },
    early: { ...honest, lies: () => ({ time: systemClock.now() + HOUR }) },
    late: { ...honest, lies: () => ({ time: systemClock.now() - 5 * MINUTE }) },
    unbound: { ...honest, lies: () => ({ unbound: true }) },
    refuses: { ...honest, lies: () => ({ status: 2 }) },
    down: { ...honest, status: 503 },
  });
  rig = await SigningRig.start({
    config: CONFIG,
    stamps: () => stamps,
    build: (honestly) => (order) => (hostile === null ? honestly : hostile(honestly))(order),
  });
});
after(async () => {
  tsa.close();
  await rig.close();
});
beforeEach(() => {
  hostile = null;
  tsa.asked.length = 0;
  use(["good"], [pki.root.certificate]);
});

function use(names: readonly string[], trusted?: readonly Certificate[], policies?: string[]): void {
  stamps = {
    urls: names.map(tsa.url),
    "timeout-seconds": 5,
    ...(trusted === undefined ? {} : { trusted }),
    ...(policies === undefined ? {} : { policies }),
  };
}

const INDIRECT = peIndirectData("sha256", new Uint8Array(32).fill(4), null);
const wishes: { readonly [kind: string]: (timestamp: boolean) => SignWish } = {
  cms: (timestamp) => {
    const wish = wishFor(toUtf8("stamp me"), "a.bin", newId());
    return { ...wish, operation: { ...wish.operation, timestamp } };
  },
  authenticode: (timestamp) => ({
    ...wishFor(toUtf8("stamp me"), "a.exe", newId()),
    operation: {
      kind: "authenticode",
      format: "pe",
      algorithm: "sha256",
      digest: Buffer.alloc(32, 4).toString("hex"),
      timestamp,
    },
    indirectData: INDIRECT,
  }),
};

/** A client without patience, with or without roots of its own. */
function client(roots?: readonly Certificate[]): SigningClient {
  const description = rig.description();
  const [signer] = description.signers;
  return rig.client({
    patience: 0,
    service: {
      ...description,
      signers: [
        { ...signer!, ...(roots === undefined ? {} : { timestampRoots: [...describeRoots(roots)] }) },
      ],
    },
  });
}

async function obtain(by: SigningClient, wish: SignWish): Promise<Uint8Array> {
  const signed = await by.sign(wish, await by.certificate("release"));
  assert.ok(signed.state === "signed");
  return signed.reply;
}

const placeOf = (kind: string): string => (kind === "cms" ? oids.timeStampToken : MICROSOFT_RFC3161);
const tokenOf = (cms: Uint8Array, kind: string): Uint8Array =>
  encoded(unsignedValues(parseSignedData(cms).signers[0]!, placeOf(kind))[0]!);

describe("the signer", () => {
  for (const name of [
    "rogue",
    "expired",
    "unfit",
    "imprint",
    "nonce",
    "old",
    "early",
    "unbound",
    "refuses",
    "down",
  ]) {
    it(`passes over an authority that is ${name}, and takes the stamp of the next one`, async () => {
      use([name, "good"], [pki.root.certificate]);
      const reply = await obtain(client([pki.root.certificate]), wishes["cms"]!(true));
      assert.equal(unsignedValues(parseSignedData(reply).signers[0]!, oids.timeStampToken).length, 1);
      assert.deepEqual(tsa.asked, [name, "good"]);
    });

    it(`makes no signature rather than one with the stamp of an authority that is ${name}`, async () => {
      use([name], [pki.root.certificate]);
      await assert.rejects(obtain(client(), wishes["cms"]!(true)), { code: "signing/timestamp-failed" });
    });
  }

  it("believes an authority whose clock is a few minutes off, and no other", async () => {
    use(["late"], [pki.root.certificate]);
    await obtain(client(), wishes["cms"]!(true));
  });

  it("takes any authority that is in order as long as no roots are configured, and none of a broken one", async () => {
    use(["rogue"]);
    await obtain(client(), wishes["cms"]!(true));
    for (const name of ["expired", "unfit", "imprint"]) {
      use([name]);
      await assert.rejects(obtain(client(), wishes["cms"]!(true)), { code: "signing/timestamp-failed" });
    }
  });

  it("takes stamps under the configured policies only", async () => {
    use(["good"], [pki.root.certificate], ["1.2.3.4.1"]);
    await obtain(client(), wishes["cms"]!(true));
    use(["good"], [pki.root.certificate], ["1.2.3.4.2"]);
    await assert.rejects(obtain(client(), wishes["cms"]!(true)), { code: "signing/timestamp-failed" });
  });
});

const stamp = (name: string, value: Uint8Array): Promise<Uint8Array> =>
  requestTimestamp(value, {
    urls: [tsa.url(name)],
    hash: "sha256",
    transport: httpTimestamps(DIRECT),
    clock: systemClock,
    random: systemRandom,
  });

/** Another unsigned part; `editUnsigned` knows CMS with one signer, whatever it is about. */
const edited =
  (edit: Parameters<typeof editUnsigned>[1]) =>
  (honest: Build): Build => {
    return async (order) => {
      const built = await honest(order);
      return { ...built, cms: editUnsigned(built.cms, edit) };
    };
  };

for (const kind of ["cms", "authenticode"] as const) {
  describe(`the client of a ${kind} signature refuses a hostile signer`, () => {
    const refused = async (
      wish: SignWish,
      why: RegExp,
      by: SigningClient = client([pki.root.certificate]),
    ): Promise<void> => {
      await assert.rejects(obtain(by, wish), (error: { code: string; message: string }) => {
        assert.equal(error.code, "signing/bad-reply");
        assert.match(error.message, why);
        return true;
      });
    };

    it("that leaves the stamp out", async () => {
      hostile = edited(() => []);
      await refused(wishes[kind]!(true), /no timestamp/);
    });

    it("that adds a stamp nobody asked for", async () => {
      hostile = (honest) => (order) =>
        honest({ ...order, operation: { ...order.operation, timestamp: true } });
      await refused(wishes[kind]!(false), /no timestamp was asked for/);
    });

    it("that replays the stamp of another signature", async () => {
      const other = tokenOf(await obtain(client(), wishes[kind]!(true)), kind);
      hostile = edited(() => [attribute(placeOf(kind), other)]);
      await refused(wishes[kind]!(true), /made for another signature/);
    });

    it("that forges the stamp: with an authority of its own, or by changing one", async () => {
      hostile = (honest) => async (order) => {
        const plain = await honest({ ...order, operation: { ...order.operation, timestamp: false } });
        const token = await stamp("rogue", parseSignedData(plain.cms).signers[0]!.signature);
        return { cms: editUnsigned(plain.cms, () => [attribute(placeOf(kind), token)]) };
      };
      await refused(wishes[kind]!(true), /not among the trusted roots/);
      hostile = (honest) => async (order) => {
        const built = await honest(order);
        const token = tokenOf(built.cms, kind).slice();
        token[token.length - 1]! ^= 1;
        return { cms: editUnsigned(built.cms, () => [attribute(placeOf(kind), token)]) };
      };
      await refused(wishes[kind]!(true), /not trusted/);
    });

    it("that puts two stamps in, puts it in another place, or hides bytes beside it", async () => {
      const twice = (der: Uint8Array, cms: Uint8Array): Uint8Array =>
        editUnsigned(cms, () => [der, attribute("1.2.840.113549.1.9.16.2.14.1", tokenOf(cms, kind))]);
      hostile = (honest) => async (order) => {
        const { cms } = await honest(order);
        return { cms: twice(attribute(placeOf(kind), tokenOf(cms, kind)), cms) };
      };
      await refused(wishes[kind]!(true), /more beside its signature/);
      const elsewhere = kind === "cms" ? MICROSOFT_RFC3161 : oids.timeStampToken;
      hostile = (honest) => async (order) => {
        const { cms } = await honest(order);
        return { cms: editUnsigned(cms, () => [attribute(elsewhere, tokenOf(cms, kind))]) };
      };
      await refused(wishes[kind]!(true), /no timestamp/);
      hostile = edited(() => [attribute("1.2.3.4", octets(toUtf8("payload")))]);
      await refused(wishes[kind]!(false), /unsigned attributes/);
    });

    it("but takes its stamp, with roots and, as older descriptions say nothing of them, without", async () => {
      for (const by of [
        client(),
        client([pki.root.certificate]),
        client([rogue.root.certificate, pki.root.certificate]),
      ]) {
        await obtain(by, wishes[kind]!(true));
        await obtain(by, wishes[kind]!(false));
      }
    });
  });
}
