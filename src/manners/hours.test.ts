// Hours in time zones: over midnight, and over the nights in which clocks are changed.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatInstant, MINUTE, parseInstant } from "../core/instant.ts";
import { z } from "../core/schema.ts";
import { describeHours, firstMinute, hoursSchema, parseHours, within, type Hours } from "./hours.ts";

const at = (text: string): number => parseInstant(text);
const inside = (hours: Hours, text: string): boolean => within([hours], at(text), "UTC");
const opens = (hours: Hours, text: string): string | null => {
  const found = firstMinute(at(text), (instant) => within([hours], instant, "UTC"));
  return found === null ? null : formatInstant(found);
};
const closes = (hours: Hours, text: string): string | null => {
  const found = firstMinute(at(text), (instant) => !within([hours], instant, "UTC"));
  return found === null ? null : formatInstant(found);
};

describe("hours of a week", () => {
  it("begin at their first minute and end before their last", () => {
    const day: Hours = { from: "07:00", to: "19:00" };
    assert.equal(inside(day, "2026-11-25T06:59:59Z"), false);
    assert.equal(inside(day, "2026-11-25T07:00:00Z"), true);
    assert.equal(inside(day, "2026-11-25T18:59:59Z"), true);
    assert.equal(inside(day, "2026-11-25T19:00:00Z"), false);
    assert.equal(opens(day, "2026-11-25T19:00:01Z"), "2026-11-26T07:00:00Z");
    assert.equal(closes(day, "2026-11-25T07:00:01Z"), "2026-11-25T19:00:00Z");
  });

  it("belong to the day on which they begin, also after midnight", () => {
    const night: Hours = { days: ["fri"], from: "22:00", to: "04:00" };
    assert.equal(inside(night, "2026-11-27T23:00:00Z"), true, "Friday evening");
    assert.equal(inside(night, "2026-11-28T03:59:00Z"), true, "Saturday morning");
    assert.equal(inside(night, "2026-11-27T03:00:00Z"), false, "Friday morning");
    assert.equal(inside(night, "2026-11-28T23:00:00Z"), false, "Saturday evening");
    assert.equal(opens(night, "2026-11-28T04:00:00Z"), "2026-12-04T22:00:00Z");
  });

  it("can be a whole day", () => {
    const sunday: Hours = { days: ["sun"], from: "00:00", to: "24:00" };
    assert.equal(inside(sunday, "2026-11-29T00:00:00Z"), true);
    assert.equal(inside(sunday, "2026-11-29T23:59:00Z"), true);
    assert.equal(inside(sunday, "2026-11-30T00:00:00Z"), false);
    assert.equal(inside({ from: "06:00", to: "06:00" }, "2026-11-29T05:59:00Z"), true);
  });

  it("follow the clock on the wall when it goes to summer and back", () => {
    const morning: Hours = { from: "07:00", to: "08:00", zone: "Europe/Berlin" };
    assert.equal(
      opens(morning, "2026-03-28T12:00:00Z"),
      "2026-03-29T05:00:00Z",
      "the first day of summer time",
    );
    assert.equal(
      opens(morning, "2026-10-24T12:00:00Z"),
      "2026-10-25T06:00:00Z",
      "the first day of winter time",
    );
  });

  it("that a night of spring leaves out do not open, and what spans it closes when the wall says so", () => {
    const lost: Hours = { from: "02:15", to: "02:45", zone: "Europe/Berlin" };
    assert.equal(opens(lost, "2026-03-29T00:00:00Z"), "2026-03-30T00:15:00Z");
    const long: Hours = { from: "01:00", to: "04:00", zone: "Europe/Berlin" };
    assert.equal(closes(long, "2026-03-29T00:00:00Z"), "2026-03-29T02:00:00Z", "two hours of real time");
  });

  it("that a night of autumn has twice are open both times", () => {
    const twice: Hours = { from: "02:15", to: "02:45", zone: "Europe/Berlin" };
    assert.equal(opens(twice, "2026-10-25T00:00:00Z"), "2026-10-25T00:15:00Z");
    assert.equal(opens(twice, "2026-10-25T00:45:00Z"), "2026-10-25T01:15:00Z");
  });

  it("have the device's zone when they name none", () => {
    assert.equal(within([{ from: "07:00", to: "08:00" }], at("2026-11-24T22:30:00Z"), "Asia/Tokyo"), true);
    assert.equal(within([{ from: "07:00", to: "08:00" }], at("2026-11-24T22:30:00Z"), "UTC"), false);
    const eucla: Hours = { from: "07:00", to: "07:15", zone: "Australia/Eucla" };
    assert.equal(
      opens(eucla, "2026-11-24T12:00:00Z"),
      "2026-11-24T22:15:00Z",
      "a zone of three quarters of an hour",
    );
  });

  it("are found to the minute, from any second", () => {
    assert.equal(opens({ from: "07:07", to: "07:22" }, "2026-11-25T01:02:03Z"), "2026-11-25T07:07:00Z");
    assert.equal(
      firstMinute(at("2026-11-25T01:02:03Z"), () => false),
      null,
    );
    const now = at("2026-11-25T01:02:03Z");
    assert.equal(
      firstMinute(now, () => true),
      now,
    );
    assert.equal(
      firstMinute(now, (instant) => instant > now),
      now + 57_000,
    );
    assert.equal(firstMinute(now, (instant) => instant >= now + 20 * MINUTE)! <= now + 21 * MINUTE, true);
  });

  it("are refused when they name no zone of a place, no time of day, or too little time", () => {
    const bad = [
      { from: "07:00", to: "19:00", zone: "Mars/Olympus" },
      { from: "07:00", to: "19:00", zone: "+01:00" },
      { from: "7:00", to: "19:00" },
      { from: "07:60", to: "19:00" },
      { from: "24:01", to: "24:00" },
      { from: "07:00", to: "07:14" },
      { days: [], from: "07:00", to: "19:00" },
      { days: ["Mon"], from: "07:00", to: "19:00" },
      { from: "07:00", to: "19:00", extra: 1 },
    ];
    for (const hours of bad)
      assert.equal(z.safeParse(hoursSchema, hours).success, false, JSON.stringify(hours));
    assert.equal(
      z.safeParse(hoursSchema, { from: "23:50", to: "00:05", zone: "America/Argentina/Buenos_Aires" })
        .success,
      true,
    );
  });

  it("are read from a command line as people write them, and written so", () => {
    assert.deepEqual(parseHours("mon-fri 22:00-04:00 Europe/Berlin"), {
      days: ["mon", "tue", "wed", "thu", "fri"],
      from: "22:00",
      to: "04:00",
      zone: "Europe/Berlin",
    });
    assert.deepEqual(parseHours("sat-mon 10:00-12:00")?.days, ["sat", "sun", "mon"]);
    assert.deepEqual(parseHours("07:00-19:00"), { from: "07:00", to: "19:00" });
    for (const text of [
      "",
      "always",
      "mon 07:00",
      "fry 07:00-19:00",
      "07:00-07:01",
      "07:00-19:00 Nowhere/Land",
    ])
      assert.equal(parseHours(text), null, text);
    assert.equal(
      describeHours({ days: ["sat", "sun"], from: "10:00", to: "12:00", zone: "UTC" }),
      "sat,sun 10:00-12:00 UTC",
    );
  });
});
