/**
 * The state of one view: what is synced with Python (state, options, selected, source) and what is only on screen.
 *
 * Traits are written on gestures only, one save per gesture, and a value that comes back as an echo changes nothing.
 * Every view of a model has its own store, so two views of one model keep in step through the model alone.
 */
import { batch, computed, signal } from "@preact/signals";
import type { Heard, Model } from "../host/host";
import { renamedPart } from "../host/legacy";
import { Cancelled, Client, Gone, type Progress, RequestError } from "../host/protocol";
import { decode } from "../host/wire";
import type { ExplainArgs, Field, Options, Part, Verdicts } from "../types";
import { NEEDS_KERNEL, Source } from "./answers";
import { Lab } from "./lab";
import type { Show } from "./lens";
import { Reading } from "./reading";

export type Order = "size" | "order" | "map" | "trace";
export type Weighting = "probability" | "value" | "contribution";

export interface Entry {
  /** the header's number of the question, by which Python knows it */
  question: number;
  selected: string;
  source: number;
  tab: string;
}

export interface Problem {
  message: string;
  hint: string;
  field: Field | "";
}

const KEEP: ExplainArgs = { prompt: null, target: null, against: null, position: null, corrupted: null };

export class Store {
  // from Python
  readonly state = signal<unknown>(null);
  readonly version = signal(0);
  readonly reading = signal<Reading | null>(null);
  readonly broken = signal("");
  readonly options = signal<Options>({ hidden: [] });
  readonly selected = signal("");
  readonly source = signal(-1);
  // only on screen
  readonly order = signal<Order>("size");
  readonly expanded = signal(false);
  readonly tab = signal("");
  readonly weighting = signal<Weighting>("probability");
  readonly lens = signal<Show>("top");
  /** the key that "Why there" explains; -1: the one the head reads most */
  readonly key = signal(-1);
  readonly editing = signal<Field | "">("");
  readonly problem = signal<Problem | null>(null);
  readonly busy = signal<Progress | null>(null);
  readonly said = signal("");
  readonly past = signal<Entry[]>([]);
  readonly at = signal(-1);
  readonly shown = signal(new Set<Part>());
  readonly show: (part: Part) => void = (part) => (this.shown.value = new Set([...this.shown.value, part]));

  readonly fixed = computed(() => this.options.value.static === true);
  /** the number of the feature that is open inside the selected component; -1 for none */
  readonly feature = computed(() => Number(/\/(\d+)$/.exec(this.selected.value)?.[1] ?? -1));
  /** the component whose detail is open: the selected one, else the leading one, unless that gives away what is hidden */
  readonly open = computed(() => {
    const reading = this.reading.value;
    if (!reading) return "";
    const row = this.selected.value.replace(/\/\d+$/, "");
    if (reading.has(row)) return row;
    return this.hides("values") || this.hides("detail") ? "" : reading.lead;
  });
  readonly live = computed(() => (this.fixed.value ? "static" : this.client.live.value));

  readonly kind: string;
  readonly client: Client;
  readonly lab: Lab;
  data: Source;
  #model: Model;
  #listeners: [Heard, () => void][] = [];
  #running: { cancel(): void } | null = null;
  #restoring: number | null = null;
  #writing = false;

  constructor(model: Model, kind: string) {
    this.kind = kind;
    this.#model = model;
    this.client = new Client(model);
    this.lab = new Lab(this.client);
    this.data = new Source(null, this.client, true);
    this.#listen("change:options", () => this.#readOptions());
    this.#listen("change:state", () => this.#readState());
    this.#listen("change:tested", () => this.#readTested());
    this.#listen("change:selected", () => this.#readSelection());
    this.#listen("change:source", () => this.#readSelection());
    this.#readOptions();
    this.#readSelection();
    this.#readState();
    if (!this.fixed.value) this.client.ping();
  }

  hides(part: Part): boolean {
    return this.options.value.hidden.includes(part) && !this.shown.value.has(part);
  }

  // gestures ------------------------------------------------------------------------------------------------------

  /** Select a component, and a source token inside it. */
  select(selected: string, source = -1): void {
    if (selected === this.selected.peek() && source === this.source.peek()) return;
    batch(() => {
      if (selected !== this.open.peek()) this.key.value = -1;
      this.selected.value = selected;
      this.source.value = source;
      this.problem.value = null;
    });
    this.#save();
    this.#record();
  }

  /** Back to what a new question shows. */
  home(): void {
    this.tab.value = "";
    this.expanded.value = false;
    this.select("");
  }

  openTab(tab: string): void {
    if (this.feature.peek() >= 0) this.select(this.open.peek());
    this.tab.value = tab;
    const entry = this.past.peek()[this.at.peek()];
    if (entry) entry.tab = tab;
  }

  go(step: number): void {
    const to = this.at.peek() + step;
    const entry = this.past.peek()[to];
    const reading = this.reading.peek();
    if (!entry || !reading) return;
    if (entry.question === reading.header.question) this.#restore(to, entry);
    else this.explain({ restore: entry.question }, to);
  }

  /** Ask Python for another state. Old numbers stay until the new ones are complete; an error leaves them. */
  explain(args: Partial<ExplainArgs>, restore: number | null = null): Promise<boolean> {
    if (this.fixed.peek()) {
      this.problem.value = { message: NEEDS_KERNEL, hint: "", field: "" };
      return Promise.resolve(false);
    }
    this.#running?.cancel();
    this.problem.value = null;
    this.busy.value = { done: 0, total: 0, note: "" };
    this.#restoring = restore;
    const asked = this.client.request("explain", { ...KEEP, ...args }, (p) => {
      if (this.#running === asked) this.busy.value = p;
    });
    this.#running = asked;
    const over = (then: () => boolean) => {
      if (this.#running !== asked) return false;
      let done = false;
      this.#running = null;
      batch(() => {
        this.busy.value = null;
        done = then();
      });
      this.#restoring = null;
      return done;
    };
    return asked.result.then(
      () =>
        over(() => {
          this.editing.value = "";
          const entry = restore === null ? undefined : this.past.peek()[restore];
          if (entry && restore !== null) this.#restore(restore, entry);
          return true;
        }),
      (error: Error) =>
        over(() => {
          if (error instanceof Cancelled || error instanceof Gone) return false;
          const known = error instanceof RequestError ? error : new RequestError(error.message);
          this.problem.value = { message: known.message, hint: known.hint, field: known.field };
          return false;
        }),
    );
  }

  cancel(): void {
    this.#running?.cancel();
  }

  /** Test one component, or the leading ones; first against which prompt, where none is there yet. */
  async test(of: string, corrupted?: string): Promise<void> {
    if (this.fixed.peek()) this.explain({});
    else if (corrupted === undefined && !this.reading.peek()?.header.corrupted) this.lab.asking.value = of;
    else if (corrupted === undefined || (await this.explain({ corrupted }))) {
      this.lab.verify(of, this.reading.peek()?.header.test?.top ?? 0, (text) => this.say(text));
    }
  }

  /** Text for the polite live region. */
  say(text: string): void {
    this.said.value = text;
  }

  close(): void {
    for (const [name, handler] of this.#listeners) this.#model.off(name, handler);
    this.client.close();
  }

  // synced traits -------------------------------------------------------------------------------------------------

  #listen(name: Heard, handler: () => void): void {
    this.#model.on(name, handler);
    this.#listeners.push([name, handler]);
  }

  #save(): void {
    // Both are set before anybody looks: between the two the model holds a pair that nobody chose.
    this.#writing = true;
    this.#model.set("selected", this.selected.peek());
    this.#model.set("source", this.source.peek());
    this.#writing = false;
    this.#model.save_changes();
    // A restarted kernel takes no notice of a trait: unless it was just heard, ask whether anybody is there.
    if (!this.fixed.peek() && Date.now() - this.client.heard > 1_000) this.client.ping();
  }

  #readOptions(): void {
    const raw = (this.#model.get("options") ?? {}) as Partial<Options>;
    this.options.value = { ...raw, hidden: (raw.hidden ?? []).map(renamedPart) };
  }

  #readSelection(): void {
    if (this.#writing) return;
    const selected = String(this.#model.get("selected") ?? "");
    const source = Number(this.#model.get("source") ?? -1);
    if (selected === this.selected.peek() && source === this.source.peek()) return;
    batch(() => {
      if (selected !== this.selected.peek()) this.key.value = -1;
      this.selected.value = selected;
      this.source.value = source;
    });
    this.#record();
  }

  #readTested(): void {
    const told = this.#model.get("tested") as Verdicts | undefined;
    this.lab.told.value = told?.findings && told.question === this.reading.peek()?.header.question ? told : null;
  }

  #readState(): void {
    const bytes = this.#model.get("state");
    try {
      const explorer = this.kind === "explorer" || this.kind === "attribution";
      const reading = explorer ? new Reading(bytes) : null;
      const version = Number(reading?.header.version ?? decode<{ version?: number }>(bytes).header.version ?? 0);
      batch(() => {
        this.data = new Source(reading, this.client, this.fixed.peek());
        this.state.value = bytes;
        this.reading.value = reading;
        this.version.value = version;
        this.broken.value = "";
        this.key.value = -1;
        this.lab.reset();
        this.#readTested();
      });
      this.#record();
    } catch (error) {
      this.broken.value = (error as Error).message;
    }
  }

  // history -------------------------------------------------------------------------------------------------------

  #restore(to: number, entry: Entry): void {
    batch(() => {
      this.at.value = to;
      this.selected.value = entry.selected;
      this.source.value = entry.source;
      this.tab.value = entry.tab;
      this.key.value = -1;
    });
    this.#save();
  }

  #record(): void {
    const reading = this.reading.peek();
    if (!reading || this.#restoring !== null) return;
    const entry: Entry = {
      question: reading.header.question,
      selected: this.selected.peek(),
      source: this.source.peek(),
      tab: this.tab.peek(),
    };
    const past = this.past.peek();
    const now = past[this.at.peek()];
    if (now && now.selected === entry.selected && now.source === entry.source && now.question === entry.question) return;
    const kept = past.slice(Math.max(0, this.at.peek() - 98), this.at.peek() + 1);
    batch(() => {
      this.past.value = [...kept, entry];
      this.at.value = kept.length;
    });
  }
}
