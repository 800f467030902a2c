/**
 * The state of one view: what is synced with Python, what is only on screen, where one has been, and the gestures on them.
 *
 * Every view of a model has its own store, so two views of one model keep in step through the model alone.
 */
import { batch, computed } from "@preact/signals";
import type { Model } from "../host/host";
import { Cancelled, Gone, RequestError } from "../host/protocol";
import type { ExplainArgs, Meanings, Part, PartKind, Tab } from "../types";
import { described } from "../maths/names";
import { follow, goToHash } from "./address";
import { NEEDS_KERNEL } from "./answers";
import { type Entry, History } from "./history";
import { Screen } from "./screen";
import { Synced } from "./synced";

const KEEP: ExplainArgs = { prompt: null, target: null, against: null, position: null, corrupted: null };

export class Store extends Synced {
  readonly screen = new Screen();
  readonly history = new History();
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
  /** nothing is uncovered before a guess */
  readonly locked = computed(() => !!this.options.value.locked && !Object.keys(this.guessed.value)[0]);
  #meanings: Promise<Meanings> | undefined;
  #running: { cancel(): void } | null = null;
  #restoring: number | null = null;
  #stop: () => void;

  constructor(model: Model, kind: string) {
    super(model, kind);
    this.follow();
    this.#stop = follow(this, model);
    if (this.fixed.peek()) goToHash(this, location.hash);
  }

  override close(): void {
    this.#stop();
    super.close();
  }

  /** What a part is whose name alone would mislead: a mixer in place of attention, say. */
  kindOf(id: string): PartKind | undefined {
    return this.options.value.kinds?.find(({ parts }) => parts.includes(id));
  }

  /** "L0.attn (Mamba)"; the name alone where it does not mislead. */
  called(id = ""): string {
    const kind = this.kindOf(id);
    return kind ? `${id} (${kind.short})` : id;
  }

  /** A name that explains itself. */
  described(id: string): string | undefined {
    const kind = this.kindOf(id);
    return kind ? `${id}: ${kind.words}` : described(id);
  }

  hides(part: Part): boolean {
    return this.options.value.hidden.includes(part) && !this.screen.shown.value.has(part);
  }

  /** The first of these parts that is hidden. */
  covered(...parts: Part[]): Part | undefined {
    return parts.find((part) => this.hides(part));
  }

  /** Uncover: Python learns of it, and compares what was guessed; where nobody is there, the page does it alone. */
  reveal(parts: Part[]): void {
    const show = () => (this.screen.shown.value = new Set([...this.screen.shown.peek(), ...parts]));
    if (this.fixed.peek()) show();
    else this.client.request("reveal", { parts }).result.catch(show);
  }

  // gestures ------------------------------------------------------------------------------------------------------

  /** Select a component, and a source token inside it. */
  select(selected: string, source = -1): void {
    if (selected === this.selected.peek() && source === this.source.peek()) return;
    batch(() => {
      if (selected !== this.open.peek()) this.screen.key.value = -1;
      this.selected.value = selected;
      this.source.value = source;
      this.screen.problem.value = null;
    });
    this.save();
    this.#record();
  }

  /** Whether a component can be taken out, with others, to see what the model says then. */
  leavable(id: string): boolean {
    const header = this.reading.peek()?.header;
    const kind = this.reading.peek()?.row(id)?.kind;
    return !!header?.test && !header.test.never && kind !== undefined && header.test.kinds.includes(kind);
  }

  /** Put a component into the set that is taken out, or take it from there. */
  choose(id: string): void {
    if (this.fixed.peek()) this.explain({});
    else if (!this.leavable(id)) this.say(`${id} cannot be taken out.`);
    else {
      const before = this.chosen.peek();
      this.choseAll(before.includes(id) ? before.filter((c) => c !== id) : [...before, id]);
    }
  }

  choseAll(ids: string[]): void {
    this.chosen.value = ids;
    this.lab.without.value = null;
    this.saveChosen();
  }

  /** Back to what a new question shows. */
  home(): void {
    this.screen.tab.value = "";
    this.screen.expanded.value = false;
    this.select("");
  }

  openTab(tab: Tab): void {
    if (this.feature.peek() >= 0) this.select(this.open.peek());
    this.screen.tab.value = tab;
    const entry = this.history.peek();
    if (entry) entry.tab = tab;
  }

  go(step: number): void {
    const to = this.history.at.peek() + step;
    const entry = this.history.peek(step);
    const reading = this.reading.peek();
    if (!entry || !reading) return;
    if (entry.question === reading.header.question) this.#restore(to, entry);
    else this.explain({ restore: entry.question }, to);
  }

  /** Ask Python for another state. Old numbers stay until the new ones are complete; an error leaves them. */
  explain(args: Partial<ExplainArgs>, restore: number | null = null): Promise<boolean> {
    if (this.fixed.peek()) {
      this.screen.problem.value = { message: NEEDS_KERNEL, hint: "", field: "" };
      return Promise.resolve(false);
    }
    this.#running?.cancel();
    this.screen.problem.value = null;
    this.screen.busy.value = { done: 0, total: 0, note: "" };
    this.#restoring = restore;
    const asked = this.client.request("explain", { ...KEEP, ...args }, (p) => {
      if (this.#running === asked) this.screen.busy.value = p;
    });
    this.#running = asked;
    const over = (then: () => boolean) => {
      if (this.#running !== asked) return false;
      let done = false;
      this.#running = null;
      batch(() => {
        this.screen.busy.value = null;
        done = then();
      });
      this.#restoring = null;
      return done;
    };
    return asked.result.then(
      () =>
        over(() => {
          if (this.screen.editing.peek() === this.screen.sent.peek()) this.screen.editing.value = "";
          this.screen.sent.value = "";
          const entry = restore === null ? undefined : this.history.past.peek()[restore];
          if (entry && restore !== null) this.#restore(restore, entry);
          return true;
        }),
      (error: Error) =>
        over(() => {
          if (error instanceof Cancelled || error instanceof Gone) return false;
          const known = error instanceof RequestError ? error : new RequestError(error.message);
          this.screen.problem.value = { message: known.message, hint: known.hint, field: known.field };
          return false;
        }),
    );
  }

  /** Why this word, where it stands in the text? A page without a kernel knows its bars alone. */
  askWord(at: number): void {
    const reading = this.reading.peek();
    if (!reading) return;
    const here = at === reading.header.word?.at;
    const glance = !here && this.fixed.peek() && at >= (reading.header.passage?.start ?? Infinity);
    if (here || glance) {
      batch(() => {
        this.screen.all.value = false;
        this.screen.glance.value = glance ? at : -1;
      });
    } else if (at > 0) void this.explain({ word: at });
  }

  /** Let the model go on by n tokens; 0 takes away what it wrote. */
  async write(n: number, seed: number | null): Promise<void> {
    const done = await this.explain({ write: { n, seed } });
    if (done) this.screen.n.value = this.screen.seed.value = undefined;
  }

  cancel(): void {
    this.#running?.cancel();
  }

  /** Test one component, or the leading ones; first against which prompt, where none is there yet. */
  async test(of: string, corrupted?: string): Promise<void> {
    if (this.fixed.peek()) this.explain({});
    else if (corrupted === undefined && !this.reading.peek()?.header.corrupted) this.lab.asking.value = of;
    else {
      const before = this.version.peek();
      if (corrupted !== undefined) {
        if (!(await this.explain({ corrupted }))) return;
        await this.#later(before);
      }
      this.lab.verify(of, this.reading.peek()?.header.test?.top ?? 0, (text) => this.say(this.hides("candidates") ? "Tested." : text));
    }
  }

  /** Once a later state is there: an answer may overtake it, and another question ends what was asked before. */
  #later(version: number): Promise<void> {
    let stop = () => {};
    const come = new Promise<void>((done) => {
      stop = this.version.subscribe((now) => now !== version && done());
    });
    return come.then(() => stop());
  }

  /** The glossary, and what the panels are: in the page, or asked for once. */
  meanings(): Promise<Meanings> {
    const kept = this.options.peek().words;
    if (kept) return Promise.resolve(kept);
    const asked = (this.#meanings ??= this.client.request("words", {}).result.then(({ data }) => data));
    asked.catch(() => (this.#meanings = undefined));
    return asked;
  }

  /** Text for the polite live region. */
  say(text: string): void {
    this.screen.said.value = text;
  }

  protected renewed(): void {
    this.screen.key.value = -1;
  }

  protected settled(): void {
    this.#record();
  }

  #restore(to: number, entry: Entry): void {
    batch(() => {
      this.history.at.value = to;
      this.selected.value = entry.selected;
      this.source.value = entry.source;
      this.screen.tab.value = entry.tab;
      this.screen.key.value = -1;
    });
    this.save();
  }

  #record(): void {
    const question = this.reading.peek()?.header.question;
    if (question === undefined || this.#restoring !== null) return;
    this.history.record({ question, selected: this.selected.peek(), source: this.source.peek(), tab: this.screen.tab.peek() });
  }
}
