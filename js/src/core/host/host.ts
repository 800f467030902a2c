/** A host without a kernel: gives a view the model that anywidget would give it. Also the double in tests. */
import type { Traits } from "../types";

export type Trait = keyof Traits;
export type Heard = `change:${Trait}` | "msg:custom";

/** The part of anywidget's model that the views use; anywidget 0.9 to 0.11 and the offline host give it. */
export interface Model {
  /** what is there is checked where it is read */
  get(name: Trait): unknown;
  set<T extends Trait>(name: T, value: Traits[T]): void;
  save_changes(): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  on(name: Heard, handler: (...args: never[]) => void): void;
  off(name: Heard, handler: (...args: never[]) => void): void;
  widget_manager?: unknown;
}

type Handler = (...args: never[]) => void;
type Send = (content: unknown, answer: (message: unknown, buffers?: unknown[]) => void) => void;

export class HostModel implements Model {
  saves = 0;
  #values: Record<string, unknown>;
  #handlers = new Map<Heard, Set<Handler>>();
  #send: Send;

  constructor(values: Record<string, unknown>, send: Send = () => undefined) {
    this.#values = { ...values };
    this.#send = send;
  }

  get(name: Trait): unknown {
    return this.#values[name];
  }

  set<T extends Trait>(name: T, value: Traits[T]): void {
    if (Object.is(this.#values[name], value)) return;
    this.#values[name] = value;
    this.emit(`change:${name}`, this, value);
  }

  save_changes(): void {
    this.saves += 1;
  }

  send(content: unknown): void {
    this.#send(content, (message, buffers = []) => this.emit("msg:custom", message, buffers));
  }

  on(name: Heard, handler: Handler): void {
    const set = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, set.add(handler));
  }

  off(name: Heard, handler: Handler): void {
    this.#handlers.get(name)?.delete(handler);
  }

  emit(name: Heard, ...args: unknown[]): void {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) (handler as (...a: unknown[]) => void)(...args);
  }

  /** how many listeners are attached, so that a test can see that a view cleaned up */
  get listeners(): number {
    return [...this.#handlers.values()].reduce((sum, set) => sum + set.size, 0);
  }
}

/** The traits of an offline page: JSON, and what of it is bytes beside it, or (states that were saved) as base64 text. */
export function readEmbedded(text: string, bytes?: Record<string, DataView>): Record<string, unknown> {
  const traits: Record<string, unknown> = { ...(JSON.parse(text) as Record<string, unknown>), ...bytes };
  traits["container"] ??= traits["state"]; // as version 0.1 called it
  for (const name of ["container", "tests"]) {
    const text = traits[name];
    if (typeof text === "string") traits[name] = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  }
  return traits;
}
