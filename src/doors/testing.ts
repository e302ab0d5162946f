// Door `upkeep/testing`: a repository edited like a document, a clock moved by hand, disks and servers that fail on request.

export {
  RepositorySimulator,
  newSigner,
  type Draft,
  type SimulatorOptions,
} from "../testing/repository-simulator.ts";
export { memorySource, type MemorySource, type MemorySourceOptions } from "../testing/memory-source.ts";
export { startFaultServer, type Fault, type FaultServer } from "../testing/fault-server.ts";
export { testSource, type SourceUnderTest } from "../testing/source-suite.ts";
export { ScriptedClock } from "../testing/scripted-clock.ts";
export { MemoryDisk, PowerCut, type MemoryDiskOptions } from "../testing/memory-disk.ts";
export { crashMatrix, type CrashCase, type CrashMatrixOptions } from "../testing/crash-matrix.ts";
export { testDisk } from "../testing/disk-suite.ts";
export { MemoryProcesses } from "../testing/memory-processes.ts";
export { FleetOfOne } from "../testing/fleet-of-one.ts";
export { AgentWorld, EagerClock, scriptedRandom } from "../testing/agent-world.ts";
