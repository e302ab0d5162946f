// Clones seen from check-ins alone: two copies that live are noticed, and nothing else is.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { follow, type CheckInLink, type CloneSuspicion, type Lines } from "./clone.ts";

/** A server, or several on one database: what they gave is written in the order of `write`. */
class Server {
  lines: Lines = [];
  readonly suspicions: CloneSuspicion[] = [];
  #count = 0;
  #at = 0;

  /** Answers now, and writes later. */
  ask(brought: string | null, address: string, server = 0, skew = 0): CheckInLink {
    const at = (this.#at += 1000) + skew;
    return { brought, given: `mark ${++this.#count}`, at, address, server: String(server) };
  }

  write(...links: readonly CheckInLink[]): void {
    for (const link of links) {
      const { lines, suspicion } = follow(this.lines, link);
      this.lines = lines;
      if (suspicion !== null) this.suspicions.push(suspicion);
    }
  }
}

/** One copy of a device's disk. */
class Disk {
  mark: string | null;
  readonly address: string;
  readonly #server: Server;

  constructor(server: Server, address: string, mark: string | null = null) {
    this.#server = server;
    this.address = address;
    this.mark = mark;
  }

  checkIn(times = 1): void {
    for (let i = 0; i < times; i++) {
      const link = this.#server.ask(this.mark, this.address);
      this.#server.write(link);
      this.mark = link.given;
    }
  }

  /** The server answers, and the answer does not arrive. */
  loseAnswer(): void {
    this.#server.write(this.#server.ask(this.mark, this.address));
  }

  copy(address = this.address): Disk {
    return new Disk(this.#server, address, this.mark);
  }
}

function deviceAfter(checkIns: number): { readonly server: Server; readonly disk: Disk } {
  const server = new Server();
  const disk = new Disk(server, "192.0.2.1");
  disk.checkIn(checkIns);
  return { server, disk };
}

describe("a clone", () => {
  it("is suspected when both copies check in by turns (A, B, A), with both addresses", () => {
    const { server, disk } = deviceAfter(5);
    const clone = disk.copy("198.51.100.7");
    for (let i = 0; i < 3; i++) {
      disk.checkIn();
      clone.checkIn();
    }
    assert.ok(server.suspicions.length > 0);
    assert.deepEqual([...server.suspicions[0]!.addresses].toSorted(), ["192.0.2.1", "198.51.100.7"]);
  });

  it("is suspected when it was made before the first check-in", () => {
    const server = new Server();
    const [one, two] = [new Disk(server, "a"), new Disk(server, "b")];
    for (let i = 0; i < 3; i++) {
      one.checkIn();
      two.checkIn();
    }
    assert.ok(server.suspicions.length > 0);
  });

  it("is suspected when it starts long after it was made", () => {
    const { server, disk } = deviceAfter(5);
    const clone = disk.copy("b");
    disk.checkIn(500);
    clone.checkIn(2);
    assert.deepEqual(server.suspicions, []);
    disk.checkIn();
    assert.equal(server.suspicions.length, 1);
  });

  it("is suspected although answers get lost on both sides", () => {
    const { server, disk } = deviceAfter(5);
    const clone = disk.copy("b");
    for (let i = 0; i < 4; i++) {
      disk.loseAnswer();
      clone.loseAnswer();
      disk.checkIn();
      clone.checkIn();
    }
    assert.ok(server.suspicions.length > 0);
  });

  it("is suspected also of three copies", () => {
    const { server, disk } = deviceAfter(5);
    const copies = [disk, disk.copy("b"), disk.copy("c")];
    for (let i = 0; i < 4; i++) for (const copy of copies) copy.checkIn();
    const places = new Set(server.suspicions.flatMap(({ addresses }) => addresses));
    assert.deepEqual([...places].toSorted(), ["192.0.2.1", "b", "c"]);
  });
});

describe("no clone is suspected", () => {
  it("after lost answers and retries, however many", () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 60 }), (arrives) => {
        const { server, disk } = deviceAfter(1);
        for (const arrived of arrives) {
          if (arrived) disk.checkIn();
          else disk.loseAnswer();
        }
        assert.deepEqual(server.suspicions, []);
      }),
    );
  });

  it("after a snapshot was restored once, and after the same one was restored again", () => {
    const { server, disk } = deviceAfter(5);
    const snapshot = disk.copy();
    disk.checkIn(10);
    for (let i = 0; i < 3; i++) snapshot.copy().checkIn(7);
    assert.deepEqual(server.suspicions, []);
  });

  it("after snapshots of two moments were restored one after the other", () => {
    const { server, disk } = deviceAfter(5);
    const early = disk.copy();
    disk.checkIn(5);
    const late = disk.copy();
    disk.checkIn(5);
    early.checkIn(5);
    late.checkIn(5);
    assert.deepEqual(server.suspicions, []);
  });

  it("after power was lost before the new mark was on the disk", () => {
    const { server, disk } = deviceAfter(3);
    for (let i = 0; i < 10; i++) {
      const before = disk.mark;
      disk.checkIn();
      disk.mark = before;
      disk.checkIn();
    }
    assert.deepEqual(server.suspicions, []);
  });

  it("of a device whose disk never takes a mark", () => {
    const server = new Server();
    for (let i = 0; i < 100; i++) new Disk(server, "a").checkIn();
    assert.deepEqual(server.suspicions, []);
    assert.ok(JSON.stringify(server.lines).length < 4000);
  });

  it("of a device that moves from one address to another and back", () => {
    const { server, disk } = deviceAfter(3);
    for (const address of ["a", "b", "a", "c", "a"]) {
      const moved = disk.copy(address);
      moved.checkIn();
      disk.mark = moved.mark;
    }
    assert.deepEqual(server.suspicions, []);
  });

  it("when the server was restored from a backup", () => {
    const { server, disk } = deviceAfter(3);
    const backup = server.lines;
    disk.checkIn(20);
    server.lines = backup;
    disk.checkIn(20);
    assert.deepEqual(server.suspicions, []);
  });

  it("when two servers on one database, whose clocks differ, write what they answered in any order of theirs, with lost answers", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -5000, max: 5000 }),
        fc.array(fc.record({ server: fc.nat(1), arrives: fc.boolean(), writes: fc.nat(1) }), {
          maxLength: 40,
        }),
        (skew, steps) => {
          const { server, disk } = deviceAfter(3);
          const waiting: [CheckInLink[], CheckInLink[]] = [[], []];
          for (const step of steps) {
            const link = server.ask(disk.mark, disk.address, step.server, step.server * skew);
            waiting[step.server]!.push(link);
            if (step.arrives) disk.mark = link.given;
            // Each writes all of its own at once, every now and then.
            server.write(...waiting[step.writes]!.splice(0));
          }
          server.write(...waiting[0].splice(0), ...waiting[1].splice(0));
          disk.checkIn(5);
          assert.deepEqual(server.suspicions, []);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("what is kept of one device", () => {
  it("is bounded, whatever marks it brings", () => {
    const server = new Server();
    for (let i = 0; i < 300; i++) server.write(server.ask(`invented ${i}`, "a"));
    assert.ok(server.lines.length <= 4);
    for (let i = 0; i < 300; i++) server.write(server.ask("the same", "a"));
    assert.ok(JSON.stringify(server.lines).length < 4000);
  });
});
