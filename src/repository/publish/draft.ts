// A change to a repository in the making: edits of roles on top of what is published, not yet signed, versions not yet chosen.

import {
  binDelegations,
  binFor,
  binNames,
  bitsFor,
  dealOut,
  isOverfull,
  UNBINNED_LIMIT,
} from "./hash-bins.ts";
import type { Facts } from "../../core/errors.ts";
import type { DelegatedRole, Delegations, Root, TargetFile, Targets } from "../metadata.ts";
import { NO_EXTRA, SPEC_VERSION } from "../metadata.ts";
import { findDelegator, findTarget, type FoundTarget, type Published, type RoleView } from "./published.ts";
import { PublisherError } from "./publisher-errors.ts";
import type { Delegator } from "../trusted-set.ts";
import type { TufKey } from "../../keys/public-key.ts";

/** What a change does in the words of the people who make it, with before and after: for the operator's audit log. */
export type Trace = { readonly action: string; readonly subject: string; readonly facts: Facts };

/** Versions and expiry of drafted bodies are placeholders until signing. */
export class Draft implements RoleView {
  readonly published: Published | null;
  #root: Root;
  #rootChanged = false;
  readonly #changed = new Map<string, Targets>();
  readonly #traces: Trace[] = [];

  constructor(published: Published | null, root: Root) {
    this.published = published;
    this.#root = root;
  }

  /** Says what an edit does; it is written down before the edit takes effect. */
  trace(action: string, subject: string, facts: Facts): void {
    this.#traces.push({ action, subject, facts });
  }

  get traces(): readonly Trace[] {
    return this.#traces;
  }

  get root(): Root {
    return this.#root;
  }

  get rootChanged(): boolean {
    return this.#rootChanged;
  }

  get changed(): ReadonlyMap<string, Targets> {
    return this.#changed;
  }

  setRoot(edit: (root: Root) => Root): void {
    this.#root = edit(this.#root);
    this.#rootChanged = true;
  }

  async targets(name: string): Promise<Targets | null> {
    const drafted = this.#changed.get(name);
    if (drafted !== undefined) return drafted;
    // What is published was signed under the delegation that is published; the draft may have changed the keys.
    const delegator = await this.publishedDelegator(name);
    return delegator === null ? null : ((await this.published?.role(name, delegator))?.signed ?? null);
  }

  /** Who vouches for a role in what is published, or null. */
  async publishedDelegator(name: string): Promise<Delegator | null> {
    const { published } = this;
    if (published === null) return null;
    const view: RoleView = {
      root: published.root.signed,
      targets: async (role, delegator) => (await published.role(role, delegator))?.signed ?? null,
    };
    return findDelegator(view, name);
  }

  /** A role found by its name alone, walking down from the root. Throws `publisher/bad-input` when nobody delegates to it. */
  async role(name: string): Promise<{ readonly body: Targets; readonly delegator: Delegator }> {
    const delegator = await this.delegatorOf(name);
    const body = delegator === null ? null : await this.targets(name);
    if (delegator === null || body === null) {
      throw new PublisherError("publisher/bad-input", `The repository has no role ${name}.`, { role: name });
    }
    return { body, delegator };
  }

  /** Null when nobody delegates to the role. */
  delegatorOf(name: string): Promise<Delegator | null> {
    return findDelegator(this, name);
  }

  async edit(name: string, edit: (body: Targets) => Targets): Promise<void> {
    const { body } = await this.role(name);
    this.#changed.set(name, edit(body));
  }

  /** Marks a role as to be signed again as it is. */
  async touch(name: string): Promise<void> {
    await this.edit(name, (body) => body);
  }

  /** Puts a role in place that was not there before, or replaces it. */
  put(name: string, body: Targets): void {
    this.#changed.set(name, body);
  }

  async delegate(parent: string, child: DelegatedRole, keys: ReadonlyMap<string, TufKey>): Promise<void> {
    await this.edit(parent, (body) => {
      const before: Delegations = body.delegations ?? {
        keys: new Map(),
        roles: [],
        succinct: null,
        extra: NO_EXTRA,
      };
      const roles = before.roles.some((role) => role.name === child.name)
        ? before.roles.map((role) => (role.name === child.name ? child : role))
        : [...before.roles, child];
      return { ...body, delegations: { ...before, ...pruned(roles, new Map([...before.keys, ...keys])) } };
    });
    if ((await this.targets(child.name)) === null) this.put(child.name, emptyTargets());
  }

  /** Adds and removes targets of a role, in its bins if it has them; splits when it has grown too large. */
  async changeTargets(
    name: string,
    change: { readonly put?: ReadonlyMap<string, TargetFile>; readonly remove?: readonly string[] },
  ): Promise<void> {
    const { body } = await this.role(name);
    const succinct = body.delegations?.succinct ?? null;
    if (succinct === null) {
      const targets = changedMap(body.targets, change);
      const next = { ...body, targets };
      this.put(name, next);
      if (targets.size > UNBINNED_LIMIT && name !== "targets")
        await this.#split(name, next, bitsFor(targets.size));
      return;
    }
    const touched = new Map<string, { put: Map<string, TargetFile>; remove: string[] }>();
    const bin = (target: string) => {
      const at = binFor(succinct, target);
      let entry = touched.get(at);
      if (entry === undefined) touched.set(at, (entry = { put: new Map(), remove: [] }));
      return entry;
    };
    for (const [target, file] of change.put ?? []) bin(target).put.set(target, file);
    for (const target of change.remove ?? []) bin(target).remove.push(target);
    let fullest = 0;
    for (const [at, part] of touched) {
      await this.edit(at, (before) => {
        const targets = changedMap(before.targets, part);
        fullest = Math.max(fullest, targets.size);
        return { ...before, targets };
      });
    }
    if (isOverfull(fullest, succinct.bitLength)) {
      const all = await this.allTargets(name);
      const bits = bitsFor(all.size);
      if (bits > succinct.bitLength) await this.#split(name, { ...body, targets: all }, bits);
    }
  }

  /** Every target of a role, gathered from its bins if it has them. */
  async allTargets(name: string): Promise<ReadonlyMap<string, TargetFile>> {
    const { body } = await this.role(name);
    const succinct = body.delegations?.succinct ?? null;
    if (succinct === null) return body.targets;
    const all = new Map<string, TargetFile>();
    for (const bin of binNames(succinct)) {
      for (const [target, file] of (await this.targets(bin))?.targets ?? []) all.set(target, file);
    }
    return all;
  }

  find(target: string): Promise<FoundTarget | null> {
    return findTarget(this, target);
  }

  /** The delegated roles of `targets`, in order. */
  async delegatedRoles(): Promise<readonly DelegatedRole[]> {
    return (await this.role("targets")).body.delegations?.roles ?? [];
  }

  async #split(name: string, body: Targets, bits: number): Promise<void> {
    const { delegator } = await this.role(name);
    const { keyids, threshold } = delegator.role;
    const keys = new Map([...delegator.keys].filter(([keyid]) => keyids.includes(keyid)));
    const delegations = binDelegations(name, bits, keys, { keyids, threshold });
    // Edits of bins of the split before are part of `body.targets` by now.
    for (const changed of this.#changed.keys())
      if (changed.startsWith(`${delegations.succinct.namePrefix}-`)) this.#changed.delete(changed);
    this.put(name, { ...body, targets: new Map(), delegations });
    for (const [bin, targets] of dealOut(delegations.succinct, body.targets))
      this.put(bin, { ...emptyTargets(), targets });
  }
}

export function emptyTargets(): Targets {
  return {
    type: "targets",
    specVersion: SPEC_VERSION,
    version: 1,
    expires: 0,
    targets: new Map(),
    delegations: null,
    extra: NO_EXTRA,
  };
}

function changedMap(
  before: ReadonlyMap<string, TargetFile>,
  change: { readonly put?: ReadonlyMap<string, TargetFile>; readonly remove?: readonly string[] },
): ReadonlyMap<string, TargetFile> {
  const after = new Map(before);
  for (const name of change.remove ?? []) after.delete(name);
  for (const [name, file] of change.put ?? []) after.set(name, file);
  return after;
}

/** Keys that no role uses any more are dropped. */
function pruned(
  roles: readonly DelegatedRole[],
  keys: ReadonlyMap<string, TufKey>,
): { readonly roles: readonly DelegatedRole[]; readonly keys: ReadonlyMap<string, TufKey> } {
  const used = new Set(roles.flatMap((role) => role.keyids));
  return { roles, keys: new Map([...keys].filter(([keyid]) => used.has(keyid))) };
}
