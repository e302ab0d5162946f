// Through which proxies a device connects: as agent.toml says, else as its environment does.

import type { Settings } from "../../agent/settings.ts";
import {
  DIRECT,
  proxiesAt,
  proxiesFrom,
  type Environment,
  type Proxies,
} from "../../io/connection/proxies.ts";

export function proxiesOf({ proxy, noProxy = [] }: Settings, environment: Environment): Proxies {
  if (proxy === undefined) return proxiesFrom(environment);
  return proxy === "none" ? DIRECT : proxiesAt(proxy, noProxy);
}
