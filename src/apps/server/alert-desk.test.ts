// Alerts as people get them: a webhook, a mail, a feed; at least once, and never where somebody else points.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer as createHttp } from "node:http";
import { createServer as createTcp, type AddressInfo, type Server } from "node:net";
import { afterEach, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { makeDirectories, writeAtomic } from "../../core/disk.ts";
import { raiseAlarm } from "../../fleet/alarms.ts";
import type { FleetStore } from "../../fleet/store.ts";
import { EagerClock } from "../../testing/agent-world.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { MemoryFleet } from "../../testing/memory-fleet.ts";
import { csvOf } from "../cli/fleet/export-devices.ts";
import { AlertDesk, readAlertSettings } from "./alert-desk.ts";
import { feedOf } from "./alarm-feed.ts";
import { Metrics } from "./metrics.ts";

const open: Server[] = [];
afterEach(() => void open.splice(0).forEach((server) => server.close()));
const listen = async (server: Server): Promise<number> => {
  open.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
};

async function deskWith(settings: string) {
  const [disk, clock, records] = [new MemoryDisk(), new EagerClock(), new MemoryFleet()];
  await makeDirectories(disk, "/data/server", 0o700);
  await writeAtomic(disk, "/data/server/alerts.toml", toUtf8(settings), 0o600);
  const lines: string[] = [];
  const store = {
    read: (work: (r: MemoryFleet) => Promise<unknown>) => work(records),
    transaction: (work: (r: MemoryFleet) => Promise<unknown>) => work(records),
  } as unknown as FleetStore;
  const log = (_level: string, event: string): void => void lines.push(event);
  const desk = new AlertDesk({ store, data: "/data", clock, disk, log, metrics: new Metrics() });
  const look = async (): Promise<void> => {
    await clock.sleep(5000);
    await desk.look(new AbortController().signal);
  };
  const raise = async (code: string): Promise<void> => {
    await clock.sleep(5000);
    await raiseAlarm(records, clock.now(), { device: "d", code, detail: "it is\nsilent" });
  };
  return { look, raise, lines };
}

describe("alerts", () => {
  it("go to a webhook once, signed, and again after it failed", async () => {
    const bodies: { readonly body: string; readonly signature: string }[] = [];
    let status = 200;
    const server = createHttp((request, answer) => {
      let body = "";
      request.on("data", (part: Buffer) => (body += part.toString()));
      request.on("end", () => {
        bodies.push({ body, signature: String(request.headers["upkeep-signature"]) });
        answer.writeHead(status).end();
      });
    });
    const port = await listen(server);
    const secret = "0123456789abcdef";
    const { look, raise, lines } = await deskWith(
      `[[webhook]]\nname = "ops"\nurl = "http://127.0.0.1:${port}/x"\nsecret = "${secret}"\n`,
    );
    await raise("device/frozen");
    await look();
    assert.equal(bodies.length, 0, "what was there before the first look is known");
    status = 500;
    await raise("device/dead");
    await look();
    assert.ok(lines.includes("alerts/not-told"));
    status = 200;
    await look();
    await look();
    assert.equal(bodies.length, 2);
    const [, { body, signature }] = bodies as [unknown, (typeof bodies)[0]];
    assert.equal(signature, `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`);
    const { alerts } = JSON.parse(body) as { alerts: { code: string; event: string }[] };
    assert.deepEqual(
      alerts.map(({ code, event }) => [code, event]),
      [["device/dead", "alarm-began"]],
    );
  });

  it("follow no redirect", async () => {
    let elsewhere = 0;
    const other = await listen(createHttp((_, answer) => (elsewhere++, answer.end())));
    const port = await listen(
      createHttp((_, answer) => answer.writeHead(307, { location: `http://127.0.0.1:${other}/` }).end()),
    );
    const { look, raise } = await deskWith(`[[webhook]]\nname = "ops"\nurl = "http://127.0.0.1:${port}/"\n`);
    await look();
    await raise("device/dead");
    await look();
    assert.equal(elsewhere, 0);
  });

  it("go out by mail, with a subject of one line", async () => {
    let mail = "";
    const smtp = createTcp((socket) => {
      let data = false;
      socket.write("220 test\r\n");
      socket.on("data", (part: Buffer) => {
        for (const line of part.toString().split("\r\n").slice(0, -1)) {
          if (data) {
            mail += `${line}\n`;
            if (line !== ".") continue;
            data = false;
            socket.write("250 taken\r\n");
          } else if (line === "DATA") {
            data = true;
            socket.write("354 go on\r\n");
          } else if (line === "QUIT") socket.end("221 bye\r\n");
          else socket.write("250 ok\r\n");
        }
      });
      socket.on("error", () => undefined);
    });
    const port = await listen(smtp);
    const { look, raise } = await deskWith(
      `[[mail]]\nname = "ops"\nfrom = "upkeep@example.org"\nto = ["ops@example.org"]\nhost = "127.0.0.1"\nport = ${port}\nsecurity = "none"\n`,
    );
    await look();
    await raise("device/dead");
    await look();
    assert.match(mail, /^Subject: \[upkeep\] device\/dead on /m);
    assert.match(mail, /device\/dead began on .*it is silent/);
  });

  it("refuse settings that would tell the fleet's alarms to a network in the clear", () => {
    const mail = 'from = "a@b"\nto = ["c@d"]\nport = 25\nname = "x"\n';
    for (const text of [
      '[[webhook]]\nname = "x"\nurl = "http://hooks.example.org/"\n',
      `[[mail]]\n${mail}host = "mail.example.org"\nsecurity = "none"\n`,
      '[[webhook]]\nname = "x"\nurl = "https://hooks.example.org/"\nredirect = true\n',
    ])
      assert.throws(() => readAlertSettings(toUtf8(text)), text);
    readAlertSettings(toUtf8(`[[mail]]\n${mail}host = "mail.example.org"\nsecurity = "starttls"\n`));
  });
});

describe("a device's own words", () => {
  it("are text in the feed, and no formula in a table", () => {
    const alarm = {
      device: "d",
      code: "x/y",
      about: "",
      first: 0,
      last: 0,
      count: 1,
      acknowledgedBy: null,
      acknowledgedAt: null,
      ended: null,
    };
    const feed = feedOf([{ ...alarm, detail: "<script>&\u0000" }]);
    assert.match(feed, /&lt;script&gt;&amp; Times: 1\./);
    const row = {
      id: "d",
      group: "g",
      state: "online",
      lastSeen: null,
      lastSeenAhead: false,
      intervalSeconds: 300,
      platform: "linux-x64",
      agent: null,
      running: {},
    } as const;
    const csv = csvOf([{ ...row, name: '=HYPERLINK("x")' }]);
    assert.match(csv, /^d,"'=HYPERLINK\(""x""\)",g,online,,false,300,linux-x64,,\r$/m);
  });
});
