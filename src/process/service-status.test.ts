// The states of a Windows service: every report is one that the Service Control Manager expects next.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  ENDED_UNASKED,
  FIRST_STATUS,
  GAVE_UP,
  nextStatus,
  type ServiceEvent,
  type ServiceStatus,
} from "./service-status.ts";

const READY: ServiceEvent = { kind: "ready" };
const STOP: ServiceEvent = { kind: "stop" };
const TICKED: ServiceEvent = { kind: "tick" };
const ended = (exit: number): ServiceEvent => ({ kind: "ended", exit });
const after = (...events: readonly ServiceEvent[]): ServiceStatus =>
  events.reduce((status, event) => nextStatus(status, event)[0], FIRST_STATUS);
const effects = (status: ServiceStatus, event: ServiceEvent) => nextStatus(status, event)[1];

describe("the states of a Windows service", () => {
  it("begin pending, accepting nothing, with a first check point and a time to wait", () => {
    assert.deepEqual(FIRST_STATUS, {
      state: "start-pending",
      accepts: [],
      failure: 0,
      checkPoint: 1,
      waitHint: 20_000,
    });
  });

  it("go from pending to running, stop-pending and stopped", () => {
    const running = after(READY);
    assert.deepEqual(
      [running.state, running.accepts, running.checkPoint, running.waitHint],
      ["running", ["stop", "reload"], 0, 0],
    );
    const stopping = after(READY, STOP);
    assert.deepEqual([stopping.state, stopping.accepts, stopping.checkPoint], ["stop-pending", [], 1]);
    assert.deepEqual(effects(running, STOP), ["report", "end"]);
    const stopped = after(READY, STOP, ended(0));
    assert.deepEqual(
      [stopped.state, stopped.failure, stopped.checkPoint, stopped.waitHint],
      ["stopped", 0, 0, 0],
    );
  });

  it("show progress with a check point that grows while they are pending, and only then", () => {
    assert.deepEqual(
      [after(TICKED).checkPoint, after(TICKED, TICKED).checkPoint, after(READY, STOP, TICKED).checkPoint],
      [2, 3, 2],
    );
    assert.deepEqual(effects(after(READY), TICKED), []);
  });

  it("give up a start of ten minutes and a stop of one", () => {
    const ticks = (n: number): readonly ServiceEvent[] => Array.from({ length: n }, () => TICKED);
    assert.equal(after(...ticks(119)).state, "start-pending");
    assert.deepEqual([after(...ticks(120)).state, after(...ticks(120)).failure], ["stopped", GAVE_UP]);
    assert.equal(after(READY, STOP, ...ticks(11)).state, "stop-pending");
    assert.deepEqual(effects(after(READY, STOP, ...ticks(11)), TICKED), ["report", "give-up"]);
  });

  it("report the exit code of a program that failed, so that recovery follows", () => {
    assert.equal(after(ended(3)).failure, 3);
    assert.equal(after(READY, ended(1)).failure, 1);
  });

  it("report a program that ended well without being asked as a failure too", () => {
    assert.equal(after(READY, ended(0)).failure, ENDED_UNASKED);
  });

  it("report no failure after a stop that was asked for, so that nothing starts it again", () => {
    assert.equal(after(READY, STOP, ended(1)).failure, 0);
  });

  it("take a shutdown after a stop without ending the program twice", () => {
    assert.deepEqual(effects(after(READY, STOP), STOP), []);
  });

  it("reload while running and refuse it otherwise", () => {
    const reload: ServiceEvent = { kind: "reload" };
    assert.deepEqual(effects(after(READY), reload), ["reload"]);
    for (const status of [FIRST_STATUS, after(READY, STOP), after(ended(1))])
      assert.deepEqual(effects(status, reload), ["refuse"]);
  });

  it("do not run any more when they become ready after a stop", () => {
    assert.equal(after(STOP, READY).state, "stop-pending");
  });

  it("report nothing after stopped, whatever comes", () => {
    const stopped = after(READY, ended(1));
    for (const event of [READY, STOP, TICKED, ended(0), { kind: "interrogate" } as const]) {
      const [next, does] = nextStatus(stopped, event);
      assert.equal(next, stopped);
      assert.deepEqual(does, []);
    }
  });
});
