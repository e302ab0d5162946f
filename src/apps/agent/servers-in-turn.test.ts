// Several addresses of one server, asked in turn.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ReportedError } from "../../core/errors.ts";
import type { ServerClient } from "../../io/device/server-client.ts";
import { dialInTurn } from "./servers-in-turn.ts";

const places = [1, 2, 3].map((port) => ({ host: "h", port }));
const identity = { host: "", port: 0, authorities: [], pins: [] };

function fleet(answers: (port: number) => string): {
  client: ServerClient;
  asked: number[];
  moved: number[];
} {
  const [asked, moved]: [number[], number[]] = [[], []];
  const dial = dialInTurn(
    places,
    ({ port }) =>
      ({
        call: async () => {
          asked.push(port);
          const code = answers(port);
          if (code !== "") throw new ReportedError(undefined, code, `no of ${port}`);
          return { port };
        },
        wakes: async function* () {
          asked.push(port);
          const code = answers(port);
          if (code !== "") throw new ReportedError(undefined, code, `no of ${port}`);
          yield { type: "check", seq: port };
        },
        close: () => {},
      }) as unknown as ServerClient,
    ({ port }) => moved.push(port),
  );
  return { client: dial(identity), asked, moved };
}
const call = (client: ServerClient): Promise<unknown> => client.call("reports", { reports: [] });

describe("addresses of a server", () => {
  it("are not left while they answer", async () => {
    const { client, asked, moved } = fleet(() => "");
    await call(client);
    await call(client);
    assert.deepEqual([asked, moved], [[1, 1], []]);
  });

  for (const code of ["server/unreachable", "server/slow", "server/untrusted"]) {
    it(`are passed over for ${code}, and the one that answered is kept`, async () => {
      const { client, asked, moved } = fleet((port) => (port < 3 ? code : ""));
      assert.deepEqual(await call(client), { port: 3 });
      await call(client);
      assert.deepEqual([asked, moved], [[1, 2, 3, 3], [3]]);
    });
  }

  it("that say no are asked no further: a no is an answer", async () => {
    const { client, asked } = fleet(() => "server/refused");
    await assert.rejects(call(client), { code: "server/refused" });
    assert.deepEqual(asked, [1]);
  });

  it("that all fail are asked once each, and the first one's trouble is told", async () => {
    const { client, asked } = fleet(() => "server/unreachable");
    await assert.rejects(call(client), { message: "no of 1" });
    assert.deepEqual(asked, [1, 2, 3]);
  });

  it("hold for the wake-up stream too, which is opened at the next one after a failure", async () => {
    const { client } = fleet((port) => (port === 1 ? "server/unreachable" : ""));
    const read = async (): Promise<number[]> => {
      const seen: number[] = [];
      for await (const wake of client.wakes(null)) if (wake.type === "check") seen.push(wake.seq);
      return seen;
    };
    await assert.rejects(read(), { code: "server/unreachable" });
    assert.deepEqual(await read(), [2]);
  });
});
