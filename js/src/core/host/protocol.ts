/**
 * Requests to Python, matched to answers by id.
 *
 * A request is acknowledged at once, whatever the model is doing. No acknowledgement within three seconds of an idle
 * kernel means that nobody listens there; while the kernel is busy, or its state cannot be known, it means waiting.
 *
 * Some hosts lose what a worker thread sends (Colab). While a request is open the page therefore says `poll` now and
 * then, one at a time; with whatever it sends goes which numbered messages it got, and Python sends the others again.
 */
import { signal, type Signal } from "@preact/signals";
import type { Answers, Arguments, Field, Message, Op } from "../types";
import type { Model } from "./host";

export const VERSION = 1;
export const ACK_SECONDS = 3;

/** milliseconds to the first poll, and the longest time between two */
export const POLL = [500, 2000] as const;

export const GONE = "The kernel is gone: run the cell again.";
export const UNHEARD = "Python does not answer this view: run the cell again.";
export const RUNNING = "Waiting for the cell that is running: Python answers clicks after it.";
export const WAITING = "Waiting for the kernel.";

/** `unheard`: the kernel is there and idle, and nothing comes back; `busy`: a cell is running */
export type Live = "live" | "waiting" | "busy" | "unheard" | "gone" | "static";

/** what to say of it; "" while all is well */
export const LIVE: Record<Live, string> = { live: "", static: "", waiting: WAITING, busy: RUNNING, unheard: UNHEARD, gone: GONE };

export class RequestError extends Error {
  readonly hint: string;
  readonly field: Field | "";
  constructor(message: string, hint = "", field: Field | "" = "") {
    super(message);
    this.hint = hint;
    this.field = field;
  }
}

/** An error as it is told: what is wrong, and what can be done. */
export const inWords = (error: Error) => (error instanceof RequestError ? `${error.message} ${error.hint}` : error.message);

export class Cancelled extends Error {}
export class Gone extends Error {}

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

/** Whether nobody is there to ask. */
export const lost = (live: Live) => live === "gone" || live === "unheard";

function uuid(): string {
  // randomUUID exists only in secure contexts; a notebook may be served over plain http
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

export class Client {
  readonly live: Signal<Live> = signal<Live>("live");
  /** whether something comes unasked: a handler has to run for it where a thread's own words are dropped */
  expecting = () => false;
  /** when Python was last heard, in ms */
  heard = -Infinity;
  #model: Model;
  #pending = new Map<string, Pending>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #poll: ReturnType<typeof setTimeout> | undefined;
  /** the poll that was not acknowledged yet */
  #polling = "";
  /** numbers of what came from a worker thread, to be confirmed */
  #got: number[] = [];
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
      this.#send({ id, op, args });
      this.#timer ??= setInterval(() => this.#tick(), 1000);
      this.poll();
    } catch {
      this.#lost(id, "gone");
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
    clearTimeout(this.#poll);
    this.#pending.clear();
  }

  #send(message: { id: string; op: string; args?: unknown }): void {
    this.#model.send({ v: VERSION, ...message, got: this.#got });
    this.#got = [];
  }

  /** From now on, while something is open or comes unasked. */
  poll(after: number = POLL[0]): void {
    clearTimeout(this.#poll);
    const next = () => {
      this.#poll = undefined;
      if (!this.#pending.size && (lost(this.live.peek()) || !this.expecting())) return;
      if (!this.#polling) {
        this.#polling = uuid();
        try {
          this.#send({ id: this.#polling, op: "poll" });
        } catch {
          this.#polling = "";
        }
      }
      this.poll(Math.min(1.5 * after, POLL[1]));
    };
    this.#poll = setTimeout(next, after);
  }

  #cancel(id: string): void {
    if (!this.#pending.has(id)) return;
    try {
      this.#send({ id, op: "cancel" });
    } catch {
      this.#lost(id, "gone");
    }
  }

  #lost(id: string, live: "gone" | "unheard"): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    this.#polling = "";
    this.live.value = live;
    pending?.reject(new Gone(LIVE[live]));
  }

  #tick(): void {
    let open = false;
    for (const [id, p] of this.#pending) {
      if (p.acknowledged) continue;
      p.waited += 1;
      const status = kernelStatus(this.#model);
      p.idle = status === "idle" ? p.idle + 1 : 0;
      if (p.idle >= ACK_SECONDS || (status === "dead" && p.waited >= ACK_SECONDS)) {
        this.#lost(id, status === "dead" ? "gone" : "unheard");
        continue;
      }
      open = true;
      if (p.waited >= ACK_SECONDS && !lost(this.live.value)) this.live.value = status === "busy" ? "busy" : "waiting";
    }
    if (!open && this.#timer !== undefined) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  #receive(message: Message | null, buffers: unknown[]): void {
    if (!message || message.v !== VERSION) return;
    if (message.n !== undefined) this.#got.push(message.n);
    if (message.id === this.#polling) this.#polling = "";
    if (typeof message.id !== "string") return;
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
