// Door of the testing room: a repository edited like a document, a clock moved by hand, disks and servers that fail as told.
export { RepositorySimulator, newSigner, type Draft, type SimulatorOptions } from "./repository-simulator.ts";
export { memorySource, type MemorySource, type MemorySourceOptions } from "./memory-source.ts";
export { startFaultServer, type Fault, type FaultServer } from "./fault-server.ts";
export { testSource, type SourceUnderTest } from "./source-suite.ts";
export { ScriptedClock } from "./scripted-clock.ts";
export { MemoryDisk, PowerCut, type MemoryDiskOptions } from "./memory-disk.ts";
export { crashMatrix, type CrashCase, type CrashMatrixOptions } from "./crash-matrix.ts";
export { testDisk } from "./disk-suite.ts";
export { MemoryProcesses } from "./memory-processes.ts";
export { FleetOfOne } from "./fleet-of-one.ts";
export { AgentWorld, EagerClock, scriptedRandom } from "./agent-world.ts";
