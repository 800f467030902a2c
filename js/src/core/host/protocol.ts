/**
 * Requests to Python, matched to answers by id.
 *
 * A request is acknowledged at once, whatever the model is doing. No acknowledgement within three seconds of an idle
 * kernel means that nobody is there; while the kernel is busy, or its state cannot be known, it means waiting.
 */
import { signal, type Signal } from "@preact/signals";
import type { Answers, Arguments, Field, Message, Op } from "../types";
import type { Model } from "./host";

export const VERSION = 1;
export const ACK_SECONDS = 3;

export const GONE = "The kernel is gone: run the cell again.";

export type Live = "live" | "waiting" | "gone" | "static";

export class RequestError extends Error {
  readonly hint: string;
  readonly field: Field | "";
  constructor(message: string, hint = "", field: Field | "" = "") {
    super(message);
    this.hint = hint;
    this.field = field;
  }
}
export class Cancelled extends Error {}
export class Gone extends Error {
  constructor() {
    super(GONE);
  }
}

export interface Answer<O extends Op = Op> {
  data: Answers[O];
  buffers: unknown[];
}

export interface Progress {
  done: number;
  total: number;
  note: string;
}

interface Pending {
  resolve(answer: { data: unknown; buffers: unknown[] }): void;
  reject(error: Error): void;
  progress?: ((p: Progress) => void) | undefined;
  acknowledged: boolean;
  waited: number;
  idle: number;
}

/** "idle", "busy", "dead" where the host tells (JupyterLab, Notebook 7); "" elsewhere. */
export function kernelStatus(model: Model): string {
  const manager = model.widget_manager as { kernel?: { status?: string; isDisposed?: boolean } | null } | undefined;
  const kernel = manager?.kernel;
  if (!kernel) return "";
  return kernel.isDisposed ? "dead" : (kernel.status ?? "");
}

function uuid(): string {
  // randomUUID exists only in secure contexts; a notebook may be served over plain http
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

export class Client {
  readonly live: Signal<Live> = signal<Live>("live");
  /** when Python was last heard, in ms */
  heard = -Infinity;
  #model: Model;
  #pending = new Map<string, Pending>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #listen = (message: Message, buffers?: unknown[]) => this.#receive(message, buffers ?? []);

  constructor(model: Model) {
    this.#model = model;
    model.on("msg:custom", this.#listen);
  }

  request<O extends Op>(op: O, args: Arguments[O], progress?: (p: Progress) => void) {
    const id = uuid();
    const result = new Promise<Answer<O>>((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as Pending["resolve"], reject, progress, acknowledged: false, waited: 0, idle: 0 });
    });
    // A rejection that nobody awaits (the view moved on) is no error of the page.
    result.catch(() => undefined);
    try {
      this.#model.send({ v: VERSION, id, op, args });
      this.#timer ??= setInterval(() => this.#tick(), 1000);
    } catch {
      this.#lost(id);
    }
    return { id, result, cancel: () => this.#cancel(id) };
  }

  /** A question without consequence, to learn whether Python is there. */
  ping(): void {
    if ([...this.#pending.values()].every((p) => p.acknowledged)) this.request("hello", {});
  }

  close(): void {
    this.#model.off("msg:custom", this.#listen);
    if (this.#timer !== undefined) clearInterval(this.#timer);
    this.#pending.clear();
  }

  #cancel(id: string): void {
    if (!this.#pending.has(id)) return;
    try {
      this.#model.send({ v: VERSION, id, op: "cancel" });
    } catch {
      this.#lost(id);
    }
  }

  #lost(id: string): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    this.live.value = "gone";
    pending?.reject(new Gone());
  }

  #tick(): void {
    let open = false;
    for (const [id, p] of this.#pending) {
      if (p.acknowledged) continue;
      p.waited += 1;
      const status = kernelStatus(this.#model);
      p.idle = status === "idle" ? p.idle + 1 : 0;
      if (p.idle >= ACK_SECONDS || (status === "dead" && p.waited >= ACK_SECONDS)) {
        this.#lost(id);
        continue;
      }
      open = true;
      if (p.waited >= ACK_SECONDS && this.live.value !== "gone") this.live.value = "waiting";
    }
    if (!open && this.#timer !== undefined) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  #receive(message: Message | null, buffers: unknown[]): void {
    if (!message || message.v !== VERSION || typeof message.id !== "string") return;
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    // Any word from Python about our request says that it is there, also when the acknowledgement comes last.
    pending.acknowledged = true;
    this.heard = Date.now();
    this.live.value = "live";
    const end = () => this.#pending.delete(message.id as string);
    if (message.kind === "progress") {
      pending.progress?.({ done: message.done ?? 0, total: message.total ?? 0, note: message.note ?? "" });
    } else if (message.kind === "result") {
      end();
      pending.resolve({ data: message.data ?? {}, buffers });
    } else if (message.kind === "error") {
      end();
      pending.reject(new RequestError(message.message ?? "Something went wrong.", message.hint, message.field));
    } else if (message.kind === "cancelled") {
      end();
      pending.reject(new Cancelled("Cancelled."));
    }
  }
}
