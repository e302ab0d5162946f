// Door `upkeep/agent`: the agent inside a program of one's own. Most programs need `openSystemAgent` alone.

export {
  enrollDevice,
  openSystemAgent,
  type EnrollOptions,
  type SystemAgent,
  type SystemAgentOptions,
} from "../apps/agent/embed.ts";
export { drain, listener, ready, whenDraining } from "../apps/agent/hosted.ts";
export type { CheckResult } from "../agent/check-result.ts";
export type { ComponentResult } from "../agent/update-component.ts";
export { AgentError, type AgentErrorCode } from "../agent/errors.ts";
export type { CheckStatus, ComponentStatus, Status } from "../agent/status.ts";
export { whenSafe, type Safety, type WhenSafeOptions } from "../apps/agent/when-safe.ts";
