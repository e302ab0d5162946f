// The door of the agent room: an embeddable agent over ports; `upkeep/io` has them for this machine.
export { Agent, openAgent, type AgentParts, type Trigger } from "./agent.ts";
export type { CheckResult } from "./check-result.ts";
export { runAgent } from "./loop.ts";
export { AgentError, type AgentErrorCode } from "./errors.ts";
export { parseSettings, type Settings } from "./settings.ts";
export type { CheckStatus, ComponentStatus, Status } from "./status.ts";
export type { ComponentResult } from "./update-component.ts";
export type {
  DeviceIdentity,
  Downloaded,
  DownloadOptions,
  LogLine,
  Logs,
  Releases,
  Repository,
  ServerTrust,
  UpdateServer,
  PublishedFile,
  VerifyPublisher,
  World,
} from "./ports.ts";
