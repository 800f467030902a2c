/** Numbers from wherever they are: embedded in the state first, then the kernel, else an honest word. */
import { signal, type Signal } from "@preact/signals";
import { type Answer, type Client, Gone, lost, RequestError } from "../host/protocol";
import { type Container, decode, type Stored, Triangle, WireError } from "../host/wire";
import type { Arguments, Beyond, ComparisonHeader, Concepts, Containers, FeatureCard, Features, LensHeader, Neurons, Op, PatchingHeader, Roles, TableHeader, TotalsHeader, Trace, TraceArgs, Writes } from "../types";
import { Lens } from "./lens";
import type { Reading } from "./reading";

export const NEEDS_KERNEL = "Needs a running kernel: open the notebook and run the cell.";

export type Loaded<T> =
  | { state: "ready"; value: T }
  | { state: "loading" }
  | { state: "absent"; text: string; retry: (() => void) | null }
  | { state: "error"; text: string; hint: string; retry: () => void };

export interface Through {
  labels: string[];
  values: Float32Array;
}

/** What made a head prefer a key to its strongest rival; with the bias the values sum to the difference of the scores. */
export interface Choice {
  rival: number;
  score: number;
  values: Float32Array;
  bias: number;
}

export interface Why {
  query: number;
  key: number;
  score: number;
  values: [Float32Array, Float32Array];
  bias: Float32Array;
  /** undefined where the head sees no other key, and in states of 0.1 */
  choice: Choice | undefined;
}

export class Numbers {
  #reading: Reading | null;
  #client: Client;
  #fixed: boolean;
  #cache = new Map<string, Signal<Loaded<unknown>>>();
  /** what waits for the first screen: looks again, and asks where that did not bring it */
  #waiting: (() => void)[] = [];

  constructor(reading: Reading | null, client: Client, fixed: boolean) {
    this.#reading = reading;
    this.#client = client;
    this.#fixed = fixed;
  }

  /** The same question with more of its numbers. */
  adopt(reading: Reading): void {
    this.#reading = reading;
    if (!reading.header.coming) this.release();
  }

  /** Nothing more comes by itself. */
  release(): void {
    for (const look of this.#waiting.splice(0)) look();
  }

  pattern(id: string): Signal<Loaded<Triangle>> {
    return this.load("head", { id }, () => this.#reading?.pattern(id), (answer) => {
      const { arrays } = container(answer);
      return new Triangle(this.#reading?.tokens.length ?? 0, need(arrays["pattern"]).at());
    });
  }

  /** Small pictures of all patterns, where the patterns themselves did not travel. */
  patterns(): Signal<Loaded<Stored>> {
    return this.load("patterns", {}, () => undefined, (answer) => need(container(answer).arrays["patterns"]));
  }

  through(id: string, source: number): Signal<Loaded<Through>> {
    const embedded = () => {
      const values = this.#reading?.through(id, source);
      return values && { labels: this.#reading?.header.rows.map((r) => r.id) ?? [], values };
    };
    return this.load("through", { id, source }, embedded, (answer) => {
      const { header, arrays } = container(answer);
      return { labels: header.rows.map((r) => r.label), values: need(arrays["values"]).at() };
    });
  }

  why(id: string, key: number): Signal<Loaded<Why>> {
    const query = this.#reading?.position ?? -1;
    const embedded = () => {
      const why = this.#reading?.whyKey(id) === key ? this.#reading.why(id) : undefined;
      return why && { ...why, query, key };
    };
    return this.load("why", { id, query, key }, embedded, (answer) => {
      const { header, arrays } = container(answer);
      const values = need(arrays["values"]);
      const { query, key, score, rival } = header;
      const preferred = arrays["choice"]?.at();
      const choice = rival && preferred && { rival: rival.key, score: rival.score, values: preferred, bias: rival.bias };
      return { query, key, score, values: [values.at(0), values.at(1)], bias: arrays["bias"]?.at() ?? new Float32Array(2), choice: choice ?? undefined };
    });
  }

  neurons(id: string): Signal<Loaded<Neurons>> {
    return this.load("neurons", { id }, () => this.#reading?.header.neurons?.[id], (answer) => answer.data);
  }

  writes(id: string): Signal<Loaded<Writes>> {
    return this.load("writes", { id }, () => this.#reading?.header.writes?.[id], (answer) => answer.data);
  }

  /** What heads are called for. */
  roles(): Signal<Loaded<Roles>> {
    return this.load("roles", {}, () => undefined, (answer) => answer.data);
  }

  /** What is to be said of a head beyond this prompt. */
  beyond(id: string, what: Beyond): Signal<Loaded<TableHeader>> {
    return this.load("beyond", { id, what }, () => undefined, (answer) => answer.data);
  }

  /** Its bar as a dot product. */
  worked(id: string): Signal<Loaded<TableHeader>> {
    return this.load("worked", { id }, () => this.#reading?.header.worked?.[id], (answer) => answer.data);
  }

  features(id: string): Signal<Loaded<Features>> {
    return this.load("features", { id }, () => this.#reading?.header.features?.[id], (answer) => answer.data);
  }

  /** The card of feature `number`, read through a row. */
  feature(id: string, number: number): Signal<Loaded<FeatureCard>> {
    const name = `${id}/${number}`;
    return this.load("feature", { id: name }, () => this.#reading?.header.cards?.[name], (answer) => answer.data);
  }

  /** Every part that has a dictionary, by its features. */
  concepts(): Signal<Loaded<Concepts>> {
    return this.load("concepts", {}, () => this.#reading?.header.concepts, (answer) => answer.data);
  }

  trace(mlps: TraceArgs["mlps"]): Signal<Loaded<Trace>> {
    return this.load("trace", { mlps }, () => this.#reading?.header.trace?.[mlps], (answer) => answer.data);
  }

  /** What came from every position: carried by all heads, or by all paths. */
  from(op: "carried" | "totals"): Signal<Loaded<Container<TotalsHeader>>> {
    const embedded = () => {
      const stored = this.#reading?.arrays[op];
      return stored && decode<TotalsHeader>(stored.bytes);
    };
    return this.load<typeof op, Container<TotalsHeader>>(op, {}, embedded, container);
  }

  /** Estimated total effect of every row, and last the completeness error, a share of the gap. */
  effects(): Signal<Loaded<Float32Array>> {
    return this.load("effects", {}, () => this.#reading?.arrays["effects"]?.at(), (answer) => need(container(answer).arrays["values"]).at());
  }

  /** The explanation and what stands beside it. */
  sides(beside: string, swapped: boolean): Signal<Loaded<Container<ComparisonHeader>>> {
    const embedded = () => {
      const stored = this.#reading?.arrays["sides"];
      const found = stored && decode<ComparisonHeader>(stored.bytes);
      return found?.header.beside === beside ? found : undefined;
    };
    return this.load("beside", { beside, swapped }, embedded, container);
  }

  lens(): Signal<Loaded<Lens>> {
    const embedded = () => {
      const stored = this.#reading?.arrays["lens"];
      return stored && new Lens(decode<LensHeader>(stored.bytes));
    };
    return this.load("lens", {}, embedded, (answer) => new Lens(container(answer)));
  }

  /** The experiment beside the lens: the stream, patched at every place. */
  streams(): Signal<Loaded<Container<PatchingHeader>>> {
    return this.load<"streams", Container<PatchingHeader>>("streams", {}, () => undefined, container);
  }

  /** What is embedded, else what the kernel answers; asked once. */
  load<O extends Op, T>(op: O, args: Arguments[O], embedded: () => T | undefined, parse: (a: Answer<O>) => T) {
    const key = op + JSON.stringify(args);
    let slot = this.#cache.get(key) as Signal<Loaded<T>> | undefined;
    if (slot) return slot;
    const value = embedded();
    slot = signal<Loaded<T>>(value === undefined ? { state: "loading" } : { state: "ready", value });
    this.#cache.set(key, slot as Signal<Loaded<unknown>>);
    if (value !== undefined) return slot;
    const part = op === "head" ? "patterns" : op;
    const found = slot;
    const look = () => {
      const now = embedded();
      const why = this.#reading?.header.absent;
      const never = why?.[part] ?? why?.[`${op} ${"id" in args ? args.id : ""}`];
      if (now !== undefined) found.value = { state: "ready", value: now };
      else if (never || this.#fixed) found.value = { state: "absent", text: never || NEEDS_KERNEL, retry: null };
      // asked outside the drawing that found it missing
      else queueMicrotask(() => this.#ask(found, op, args, parse));
    };
    if ((part === "patterns" || part === "effects") && this.#reading?.awaits(part) && !lost(this.#client.live.peek())) this.#waiting.push(look);
    else look();
    return slot;
  }

  #ask<O extends Op, T>(slot: Signal<Loaded<T>>, op: O, args: Arguments[O], parse: (a: Answer<O>) => T): void {
    slot.value = { state: "loading" };
    const retry = () => this.#ask(slot, op, args, parse);
    this.#client.request(op, args).result.then(
      (answer) => {
        try {
          slot.value = { state: "ready", value: parse(answer) };
        } catch (error) {
          slot.value = { state: "error", text: (error as Error).message, hint: "", retry };
        }
      },
      (error: Error) => {
        if (error instanceof RequestError) slot.value = { state: "error", text: error.message, hint: error.hint, retry };
        else slot.value = { state: "absent", text: error instanceof Gone ? error.message : "Cancelled.", retry };
      },
    );
  }
}

function container<O extends keyof Containers>(answer: Answer<O>): Container<Containers[O]> {
  return decode<Containers[O]>(answer.buffers[0]);
}

function need(stored: Stored | undefined): Stored {
  if (!stored) throw new WireError("The answer lacks its numbers.");
  return stored;
}
