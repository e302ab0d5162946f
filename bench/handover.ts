// Failed requests of an update: a hand-over beside a stop and a start of the same service, among the same clients, in one run.
//
//   node bench/handover.ts [SWAPS]

import { eventually, freePort, Site } from "../test/e2e/_agent.ts";
import { amongClients, publishWeb, type Seen } from "../test/e2e/_web.ts";
import { table } from "./_measure.ts";

const swaps = Number(process.argv[2] ?? 3);

const WAYS = {
  "stop and start": [],
  "stop and start, socket held": ["--socket"],
  "hand-over": ["--socket", "--hand-over", "--drain", "20", "--notify"],
} as const;

/** One site for each way: the releases inherit how they are reached from the one before. */
async function measure(way: keyof typeof WAYS): Promise<Seen> {
  const site = await Site.create();
  const port = await freePort();
  const ways = WAYS[way].flatMap((word) =>
    word === "--socket" ? [word, `http=tcp:127.0.0.1:${port}`] : [word],
  );
  const reported = (version: string): Promise<true> =>
    eventually(
      `${version} was installed`,
      () =>
        site.attempts().some((one) => one["to"] === version && one["outcome"] === "success") ? true : null,
      120_000,
    );
  try {
    publishWeb(site, port, { version: "1.0.0", ways });
    site.ok(site.upkeep(site.operator, "fleet", "assign", "default", "web", "stable"));
    await site.serve();
    site.enroll();
    site.startAgent();
    await reported("1.0.0");
    return await amongClients(port, async () => {
      for (let i = 1; i <= swaps; i++) {
        publishWeb(site, port, { version: `1.${i}.0`, ways });
        await reported(`1.${i}.0`);
      }
    });
  } finally {
    await site.remove();
  }
}

const rows: string[][] = [["way", "swaps", "answered", "failed", "downloads and talks cut off"]];
for (const way of Object.keys(WAYS) as (keyof typeof WAYS)[]) {
  const { answers, failed, cut } = await measure(way);
  const answered = Object.values(answers["short"]!).reduce((sum, count) => sum + count, 0);
  rows.push([
    way,
    String(swaps),
    answered.toLocaleString("en"),
    (failed - cut).toLocaleString("en"),
    String(cut),
  ]);
}
process.stdout.write(`${table(rows)}\n`);
