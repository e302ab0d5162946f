// Programs as Windows services, before a manager that accepts no word out of the documented order.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ScriptedClock } from "../testing/scripted-clock.ts";
import { ProcessError } from "./errors.ts";
import { hostService, type ControlAnswer, type HostedProgram, type ServiceManager } from "./service-host.ts";
import type { ServiceControl, ServiceStatus } from "./service-status.ts";

/** Holds a service to "Service State Transitions", and to the rules of SetServiceStatus. */
class ScriptedManager implements ServiceManager {
  readonly reports: ServiceStatus[] = [];
  #service: { started: () => void; asked: (control: ServiceControl) => ControlAnswer } | null = null;
  #letGo: () => void = () => {};
  #fail: (error: Error) => void = () => {};
  /** Refuses reports from now on. */
  broken = false;
  connects = true;

  connect(service: {
    readonly name: string;
    readonly started: () => void;
    readonly asked: (control: ServiceControl) => ControlAnswer;
  }): Promise<void> {
    assert.equal(this.#service, null, "one service a process");
    if (!this.connects)
      return Promise.reject(new ProcessError("process/service-refused", "It was started by hand.", {}));
    this.#service = service;
    return new Promise((resolve, reject) => {
      this.#letGo = resolve;
      this.#fail = reject;
      setImmediate(() => {
        service.started();
        assert.equal(this.reports[0]?.state, "start-pending", "the first report comes within ServiceMain");
      });
    });
  }

  report(status: ServiceStatus): void {
    if (this.broken) throw new ProcessError("process/service-refused", "The handle is bad.", {});
    const before = this.reports.at(-1);
    const pending = status.state.endsWith("-pending");
    assert.notEqual(before?.state, "stopped", "no report after stopped");
    assert.equal(status.checkPoint > 0, pending);
    assert.equal(status.waitHint > 0, pending);
    if (pending && before?.state === status.state)
      assert.ok(status.checkPoint > before.checkPoint, "a check point grows");
    if (status.state === "start-pending") assert.ok(before === undefined || before.state === "start-pending");
    this.reports.push(status);
    if (status.state === "stopped") setImmediate(this.#letGo);
  }

  /** As the manager does: what is not accepted is not sent. */
  ask(control: ServiceControl): ControlAnswer | "not sent" {
    if (control !== "interrogate" && !this.reports.at(-1)!.accepts.includes(control)) return "not sent";
    return this.#service!.asked(control);
  }

  fail(): void {
    this.#fail(new ProcessError("process/service-refused", "The manager is gone.", {}));
  }

  states(): readonly string[] {
    return this.reports.map(({ state }) => state);
  }
}

class Program implements HostedProgram {
  readonly heard: string[] = [];
  ready: () => void = () => {};
  end: (exit: number) => void = () => {};
  run(ready: () => void): Promise<number> {
    this.heard.push("run");
    this.ready = ready;
    return new Promise((resolve) => (this.end = resolve));
  }
  stop(): void {
    this.heard.push("stop");
  }
  reload(): void {
    this.heard.push("reload");
  }
}

function begin(change: (manager: ScriptedManager) => void = () => {}) {
  const [manager, program, clock] = [new ScriptedManager(), new Program(), new ScriptedClock()];
  change(manager);
  const troubles: string[] = [];
  const over = hostService({
    name: "upkeep-test",
    manager,
    clock,
    program,
    trouble: (error) => troubles.push(error.message),
  });
  over.catch(() => {});
  return { manager, program, clock, over, troubles };
}

describe("a program as a Windows service", () => {
  it("starts, serves, reloads and stops in order", async () => {
    const { manager, program, clock, over } = begin();
    await clock.advance(0);
    program.ready();
    assert.equal(manager.ask("reload"), "taken");
    assert.equal(manager.ask("interrogate"), "taken");
    assert.equal(manager.ask("stop"), "taken");
    program.end(0);
    assert.equal(await over, 0);
    assert.deepEqual(program.heard, ["run", "reload", "stop"]);
    assert.deepEqual(manager.states(), ["start-pending", "running", "stop-pending", "stopped"]);
  });

  it("is sent no control before it is ready", async () => {
    const { manager, program, clock, over } = begin();
    await clock.advance(0);
    assert.equal(manager.ask("stop"), "not sent");
    program.end(2);
    assert.equal(await over, 2);
    assert.equal(manager.reports.at(-1)!.failure, 2);
  });

  it("shows progress every five seconds while it starts slowly", async () => {
    const { manager, program, clock, over } = begin();
    await clock.advance(16_000);
    assert.deepEqual(
      manager.reports.map(({ checkPoint }) => checkPoint),
      [1, 2, 3, 4],
    );
    program.ready();
    await clock.advance(60_000);
    assert.equal(manager.reports.length, 5);
    manager.ask("stop");
    program.end(0);
    await over;
  });

  it("is over when its stop hangs for a minute", async () => {
    const { manager, program, clock, over } = begin();
    await clock.advance(0);
    program.ready();
    manager.ask("stop");
    await clock.advance(61_000);
    assert.equal(await over, 101);
    assert.equal(manager.reports.at(-1)!.state, "stopped");
  });

  it("is over five seconds after stopped if the manager does not let go", async () => {
    const { manager, program, clock, over } = begin((made) => {
      const report = made.report.bind(made);
      made.report = (status) => {
        if (status.state !== "stopped") report(status);
      };
    });
    await clock.advance(0);
    program.end(1);
    await clock.advance(5000);
    assert.equal(await over, 1);
    assert.deepEqual(manager.states(), ["start-pending"]);
  });

  it("goes on with its work when a report fails, and says so", async () => {
    const { manager, program, clock, troubles } = begin();
    await clock.advance(0);
    manager.broken = true;
    program.ready();
    assert.deepEqual(troubles, ["The handle is bad."]);
    assert.deepEqual(program.heard, ["run"]);
  });

  it("runs nothing when it was not started by the manager", async () => {
    const { program, over } = begin((made) => (made.connects = false));
    await assert.rejects(over, { code: "process/service-refused" });
    assert.ok(!program.heard.includes("run"));
  });

  it("ends the program when the manager is lost", async () => {
    const { manager, program, clock, over } = begin();
    await clock.advance(0);
    program.ready();
    manager.fail();
    await assert.rejects(over, { code: "process/service-refused" });
    assert.deepEqual(program.heard, ["run", "stop"]);
  });
});
