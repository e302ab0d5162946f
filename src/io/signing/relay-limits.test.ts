// The relay's limits from outside, each by somebody who breaks it: frames, time, sessions, bytes, memory.

import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { HEADER, MAX_PAYLOAD } from "../../signing/wire/frame.ts";
import { drain, newIdentity, RawRelay, send } from "../../testing/raw-relay.ts";
import { until } from "../../testing/signing-rig.ts";
import { systemClock } from "../system/clock.ts";
import { nextFrame, onFrames } from "./frame-stream.ts";

type Limits = NonNullable<Parameters<typeof RawRelay.start>[0]>;
async function withRelay(limits: Limits, work: (raw: RawRelay) => Promise<void>): Promise<void> {
  const raw = await RawRelay.start(limits);
  try {
    await work(raw);
  } finally {
    await raw.close();
  }
}
const KIB = 1024;

describe("the relay's limits on", { concurrency: true }, () => {
  describe("descriptors", { concurrency: true }, () => {
    const silent = (port: number, bytes?: string): Promise<Socket> =>
      new Promise((resolve) => {
        const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }, () => {
          if (bytes !== undefined) socket.write(bytes);
          resolve(socket);
        });
        socket.on("error", () => {});
        socket.resume();
      });

    it("are given back by connections that never finish a handshake, and the honest are served meanwhile", () =>
      withRelay({ "handshakes-per-address": 1000, "connects-burst": 1000 }, async (raw) => {
        const peers: Socket[] = [];
        for (const port of [raw.relay.clients, raw.relay.signers])
          for (let i = 0; i < 40; i++) {
            peers.push(await silent(port, i % 2 === 0 ? undefined : "GET / HTTP/1.1\r\n\r\n"));
            if (i % 4 === 0) peers.at(-1)!.end();
          }
        const { client } = await raw.session();
        await until("the silent are gone", () => raw.relay.counters().connections === 2, 15_000);
        assert.equal(client.destroyed, false);
        for (const peer of peers) peer.destroy();
      }));

    it("do not keep the relay from stopping", () =>
      withRelay({}, async (raw) => {
        const peers = await Promise.all([silent(raw.relay.clients), silent(raw.relay.signers)]);
        await until("they are there", () => raw.relay.counters().connections === 2);
        const begun = performance.now();
        await raw.relay.close();
        assert.ok(performance.now() - begun < 2000);
        for (const peer of peers) peer.destroy();
      }));
  });

  describe("frames", { concurrency: true }, () => {
    it("of 64 KiB pass whole, and one byte more ends the session", () =>
      withRelay({}, async (raw) => {
        const { client, signer, session } = await raw.session();
        const whole = drain(signer);
        send(client, "data", new Uint8Array(MAX_PAYLOAD), session);
        const header = new Uint8Array(HEADER);
        header[0] = 3;
        new DataView(header.buffer).setBigUint64(1, session);
        new DataView(header.buffer).setUint32(9, MAX_PAYLOAD + 1);
        client.write(header);
        assert.equal((await whole).data, MAX_PAYLOAD);
      }));

    it("that only greet are at most 1 KiB", () =>
      withRelay({}, async (raw) => {
        const pad = (length: number): Uint8Array => {
          const text = '{"role":"client","signer":"ghost"}';
          return toUtf8(text + " ".repeat(length - text.length));
        };
        const good = await raw.connect("clients");
        send(good, "hello", pad(KIB));
        assert.match((await drain(good)).reason, /^no-signer: no such signer/);
        const bad = await raw.connect("clients");
        send(bad, "hello", pad(KIB + 1));
        assert.equal((await drain(bad)).reason, "");
      }));

    it("of another session, or out of place, end the session", () =>
      withRelay({}, async (raw) => {
        for (const [type, shift] of [
          ["data", 1n],
          ["hello", 0n],
          ["open", 0n],
        ] as const) {
          const { client, signer, session } = await raw.session();
          const ended = drain(signer);
          send(client, type, new Uint8Array(1), session ^ shift);
          assert.match((await ended).reason, /out of place/);
        }
      }));

    it("that begin and do not end are given up (slow loris)", { timeout: 30_000 }, () =>
      withRelay({}, async (raw) => {
        const { client, signer, session } = await raw.session();
        const ended = drain(signer);
        const header = new Uint8Array(HEADER + 1);
        header[0] = 3;
        new DataView(header.buffer).setBigUint64(1, session);
        new DataView(header.buffer).setUint32(9, MAX_PAYLOAD);
        client.write(header);
        const drip = setInterval(() => client.write(new Uint8Array(1)), 200);
        const { data } = await ended;
        clearInterval(drip);
        assert.equal(data, 0);
      }),
    );

    it("of a greeting that drips in hold a place for five seconds at most", { timeout: 30_000 }, () =>
      withRelay({}, async (raw) => {
        const socket = await raw.connect("clients");
        const drip = setInterval(() => socket.write(Uint8Array.of(1)), 600);
        await drain(socket);
        clearInterval(drip);
      }),
    );

    it("before the pairing are out of turn", () =>
      withRelay({ "wait-seconds": 60 }, async (raw) => {
        const client = await raw.client();
        await until("it waits", () => raw.relay.counters().waiting === 1);
        send(client, "data", new Uint8Array(10), 1n);
        await until("it is out", () => raw.relay.counters().waiting === 0, 5000);
      }));
  });

  describe("time", { concurrency: true }, () => {
    it("without data ends a session, and pings do not lengthen it", () =>
      withRelay({ "idle-seconds": 1 }, async (raw) => {
        const { client, signer } = await raw.session();
        const ping = setInterval(() => send(client, "ping", new Uint8Array(0)), 100);
        assert.match((await drain(signer)).reason, /idle for too long/);
        clearInterval(ping);
      }));

    it("of a session is limited however busy it is", () =>
      withRelay({ "session-minutes": 0.04, "session-bytes": 1024 * KIB * KIB }, async (raw) => {
        const { client, signer, session } = await raw.session();
        const talk = setInterval(() => send(client, "data", new Uint8Array(10), session), 20);
        const { reason, data } = await drain(signer);
        clearInterval(talk);
        assert.match(reason, /the session is over/);
        assert.ok(data > 0);
      }));

    it("that a leg does not read ends the session too", () =>
      withRelay({ "idle-seconds": 1, "session-bytes": 1024 * KIB * KIB }, async (raw) => {
        const { client, session } = await raw.session();
        const ended = drain(client);
        const flood = setInterval(() => {
          if (client.writableLength < 1024 * KIB) send(client, "data", new Uint8Array(MAX_PAYLOAD), session);
        }, 1);
        const { reason } = await ended;
        clearInterval(flood);
        assert.match(reason, /idle for too long/);
      }));

    it("in the line for a signer is limited, and a client that leaves gives its place up", () =>
      withRelay({ waiting: 2, "wait-seconds": 15 }, async (raw) => {
        const first = await raw.client();
        await raw.client();
        await until("two wait", () => raw.relay.counters().waiting === 2);
        assert.match((await drain(await raw.client())).reason, /^too-many-wait/);
        first.destroy();
        await until("one waits", () => raw.relay.counters().waiting === 1, 10_000);
      }));
  });

  describe("budgets", { concurrency: true }, () => {
    it("of sessions hold for each key, wherever it comes from, and are given back", () =>
      withRelay({ "sessions-per-identity": 2 }, async (raw) => {
        const who = await newIdentity();
        const one = await raw.session(who);
        await raw.session(who, "127.0.0.2");
        assert.match((await drain(await raw.client(who, "127.0.0.3"))).reason, /^over-budget/);
        await raw.session();
        one.client.destroy();
        await until("one is over", () => raw.relay.counters().active === 2);
        await raw.session(who);
      }));

    it("of sessions hold for each address, whatever its keys", () =>
      withRelay({ "sessions-per-address": 2 }, async (raw) => {
        await raw.session();
        await raw.session();
        assert.match((await drain(await raw.client())).reason, /^over-budget/);
        await raw.session(undefined, "127.0.0.2");
      }));

    it("of new connections hold for each key and each address", () =>
      withRelay({ "connects-per-second": 0.001, "connects-burst": 3 }, async (raw) => {
        const who = await newIdentity();
        for (const from of ["127.0.0.2", "127.0.0.3", "127.0.0.4"]) await raw.session(who, from);
        assert.match((await drain(await raw.client(who, "127.0.0.5"))).reason, /^over-budget/);
        for (let i = 0; i < 3; i++) await raw.session(undefined, "127.0.0.6");
        assert.match((await drain(await raw.client(undefined, "127.0.0.6"))).reason, /^over-budget/);
        await raw.session(undefined, "127.0.0.7");
      }));

    const spend = async (raw: RawRelay, who?: Awaited<ReturnType<typeof newIdentity>>, from?: string) => {
      const { client, signer, session } = await raw.session(who, from);
      const ended = drain(signer);
      send(client, "data", new Uint8Array(60 * KIB), session);
      send(client, "close", new Uint8Array(0), session);
      return (await ended).reason;
    };

    it("of bytes hold for a session, to the byte", () =>
      withRelay({ "session-bytes": 64 * KIB }, async (raw) => {
        const { client, signer, session } = await raw.session();
        const ended = drain(signer);
        send(client, "data", new Uint8Array(64 * KIB), session);
        send(client, "data", new Uint8Array(1), session);
        const { data, reason } = await ended;
        assert.equal(data, 64 * KIB);
        assert.match(reason, /the session's byte budget/);
      }));

    it("of bytes hold for each key over all of its sessions", () =>
      withRelay({ "session-bytes": 64 * KIB, "bytes-per-second": 1024 }, async (raw) => {
        const who = await newIdentity();
        const reasons = [];
        for (const from of ["127.0.0.2", "127.0.0.3", "127.0.0.4"]) reasons.push(await spend(raw, who, from));
        assert.deepEqual(
          reasons.map((reason) => /identity's byte budget/.test(reason)),
          [false, false, true],
        );
        assert.doesNotMatch(await spend(raw), /budget/);
      }));

    it("of bytes hold for each address over all of its keys", () =>
      withRelay({ "session-bytes": 64 * KIB, "address-bytes-per-second": 1024 }, async (raw) => {
        const reasons = [await spend(raw), await spend(raw), await spend(raw)];
        assert.deepEqual(
          reasons.map((reason) => /address's byte budget/.test(reason)),
          [false, false, true],
        );
        assert.doesNotMatch(await spend(raw, undefined, "127.0.0.2"), /budget/);
      }));

    it("of handshakes end a flood from one address before any cryptography", () =>
      withRelay({ "connects-per-second": 0.001, "connects-burst": 3 }, async (raw) => {
        const closed: number[] = [];
        for (let i = 0; i < 10; i++) {
          const socket = connect({ port: raw.relay.clients, host: "127.0.0.1", localAddress: "127.0.0.11" });
          socket.on("error", () => {});
          socket.once("close", () => closed.push(i));
          await new Promise((resolve) => socket.once("connect", resolve));
        }
        await until("four were closed", () => closed.length === 4, 3000);
        assert.equal(raw.relay.counters().refused, 4);
        await raw.session(undefined, "127.0.0.12");
      }));

    it("of unfinished handshakes hold for each address, before any work is done", () =>
      withRelay({ "handshakes-per-address": 3 }, async (raw) => {
        const mute: Socket[] = [];
        const dial = (from: string): Promise<Socket> =>
          new Promise((resolve) => {
            const socket = connect({ port: raw.relay.clients, host: "127.0.0.1", localAddress: from });
            socket.on("error", () => {});
            socket.once("connect", () => resolve(socket));
            mute.push(socket);
          });
        for (let i = 0; i < 3; i++) await dial("127.0.0.9");
        const fourth = await dial("127.0.0.9");
        await new Promise((resolve) => fourth.once("close", resolve).resume());
        await raw.session(undefined, "127.0.0.10");
        for (const socket of mute) socket.destroy();
        await until("room again", () =>
          raw.client(undefined, "127.0.0.9").then(
            () => true,
            () => false,
          ),
        );
      }));

    it("of idle connections hold for each signer: of more, the oldest goes", () =>
      withRelay({ "idle-per-signer": 4 }, async (raw) => {
        const idle = [];
        for (let i = 0; i < 10; i++) {
          idle.push(await raw.signer());
          await until(
            "it is counted",
            () => raw.relay.counters().idle + raw.relay.counters().dropped === i + 1,
          );
        }
        assert.equal(raw.relay.counters().idle, 4);
        assert.deepEqual(raw.relay.counters().idleBySigner, { "signer-1": 4 });
        assert.match((await drain(idle[0]!)).reason, /enough idle/);
        assert.ok(!idle[9]!.destroyed);
      }));

    it("of new connections hold for signers as well", () =>
      withRelay({ "signer-connects-per-second": 0.5, "idle-per-signer": 100 }, async (raw) => {
        for (let i = 0; i < 4; i++) await raw.signer();
        await until("four", () => raw.relay.counters().idle === 4);
        assert.match((await drain(await raw.signer())).reason, /^over-budget/);
      }));
  });

  describe("a changed configuration", () => {
    it("sends away idle connections of a signer that was struck out", () =>
      withRelay({}, async (raw) => {
        const signer = await raw.signer();
        await until("idle", () => raw.relay.counters().idle === 1);
        raw.relay.reconfigure({ ...raw.config, signers: {} });
        assert.equal(raw.relay.counters().idle, 0);
        assert.match((await drain(signer)).reason, /no signer here/);
      }));
  });
});

describe("the relay's memory", () => {
  it("does not grow when one leg does not read: the other is held back, and nothing is lost", () =>
    withRelay({ "session-bytes": 1024 * KIB * KIB, "bytes-per-second": 1024 * KIB * KIB }, async (raw) => {
      const { client, signer, session } = await raw.session();
      const MUCH = 48 * KIB * KIB;
      let sent = 0;
      const flood = (): void => {
        while (sent < MUCH && client.writableLength < 1024 * KIB) {
          send(client, "data", new Uint8Array(MAX_PAYLOAD), session);
          sent += MAX_PAYLOAD;
        }
      };
      client.on("drain", flood);
      flood();
      // Until nothing moves any more: what was taken in stands in the buffers of the system and one chunk of the relay.
      let last = -1;
      await until("it stands still", async () => {
        const { bytes } = raw.relay.counters();
        const still = bytes === last && bytes > 0;
        last = bytes;
        if (!still) await systemClock.sleep(200);
        return still;
      });
      assert.ok(last < MUCH / 2, `${last} bytes were taken in`);
      let got = 0;
      onFrames(signer, ({ type, payload }) => void (got += type === "data" ? payload.length : 0));
      signer.resume();
      await until("all came", () => got === MUCH);
    }));

  it("holds no listener for each of many tiny frames", () =>
    withRelay({ "session-bytes": 1024 * KIB * KIB }, async (raw) => {
      const warnings: string[] = [];
      const warn = (warning: Error): void => void warnings.push(warning.message);
      process.on("warning", warn);
      const { client, signer, session } = await raw.session();
      const sent = 200_000;
      for (let i = 0; i < sent; i++) send(client, "data", new Uint8Array(16), session);
      await systemClock.sleep(300);
      let got = 0;
      onFrames(signer, ({ type, payload }) => void (got += type === "data" ? payload.length : 0));
      signer.resume();
      await until("all came", () => got === 16 * sent);
      process.off("warning", warn);
      assert.deepEqual(
        warnings.filter((text) => /listener/i.test(text)),
        [],
      );
    }));

  it("is not spent on answers to pings that nobody reads", () =>
    withRelay({}, async (raw) => {
      const signer = await raw.signer();
      signer.pause();
      await until("idle", () => raw.relay.counters().idle === 1);
      for (let i = 0; i < 50_000; i++) send(signer, "ping", new Uint8Array(0));
      await until("sent", () => signer.writableLength === 0);
      // It is still of use.
      const client = await raw.client();
      await nextFrame(client, "open", 5000);
    }));
});
