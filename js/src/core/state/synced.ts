/**
 * What is synced with Python: container and what comes after it, options, selected, source, tested, chosen, without.
 *
 * Traits are written on gestures only, one save per gesture, and a value that comes back as an echo changes nothing.
 */
import { batch, computed, effect, signal } from "@preact/signals";
import type { Heard, Model } from "../host/host";
import { renamedPart, retold } from "../host/legacy";
import { Client, lost } from "../host/protocol";
import { decode } from "../host/wire";
import type { Guessed, Options, Pin, Verdicts, Without } from "../types";
import { Numbers } from "./answers";
import { Lab } from "./lab";
import { Reading } from "./reading";

export abstract class Synced {
  readonly state = signal<unknown>(null);
  readonly version = signal(0);
  readonly reading = signal<Reading | null>(null);
  readonly broken = signal("");
  readonly options = signal<Options>({ hidden: [] });
  readonly selected = signal("");
  readonly source = signal(-1);
  /** components that are taken out together */
  readonly chosen = signal<string[]>([]);
  /** questions to come back to */
  readonly pinned = signal<Pin[]>([]);
  /** what the person says is behind the blanks */
  readonly guessed = signal<Guessed>({});
  readonly fixed = computed(() => this.options.value.static === true);
  readonly live = computed(() => (this.fixed.value ? "static" : this.client.live.value));

  readonly kind: string;
  readonly client: Client;
  readonly lab: Lab;
  data: Numbers;
  #model: Model;
  #listeners: [Heard, () => void][] = [];
  #writing = false;
  #released: () => void;
  #asking: ReturnType<typeof setTimeout> | undefined;

  constructor(model: Model, kind: string) {
    this.kind = kind;
    this.#model = model;
    this.client = new Client(model);
    this.lab = new Lab(this.client);
    this.data = new Numbers(null, this.client, true);
    this.client.expecting = () => !!this.reading.peek()?.header.coming;
    // what was on its way comes no more: it is asked for, and the answer says what to do
    this.#released = effect(() => void (lost(this.client.live.value) && this.data.release()));
  }

  /** Called in one batch with another state or part. */
  protected abstract renewed(): void;
  /** Called once a change from Python is complete. */
  protected abstract settled(): void;

  /** Read everything, and from now on what changes. Last in a constructor: it calls what a subclass has filled in. */
  protected follow(): void {
    this.#listen("change:options", () => this.#readOptions());
    this.#listen("change:container", () => this.#readState());
    this.#listen("change:screen", () => this.#readMore());
    this.#listen("change:rest", () => this.#readMore());
    this.#listen("change:tested", () => this.#readTested());
    this.#listen("change:selected", () => this.#readSelection());
    this.#listen("change:source", () => this.#readSelection());
    this.#listen("change:chosen", () => this.#readChosen());
    this.#listen("change:pinned", () => this.#readPinned());
    this.#listen("change:guessed", () => this.#readGuessed());
    this.#listen("change:without", () => this.#readWithout());
    this.#readOptions();
    this.#readGuessed();
    this.#readSelection();
    this.#readPinned();
    this.#readState();
    if (!this.fixed.value) this.client.ping();
  }

  /** Write the selection. */
  protected save(): void {
    // Both are set before anybody looks: between the two the model holds a pair that nobody chose.
    this.#writing = true;
    this.#model.set("selected", this.selected.peek());
    this.#model.set("source", this.source.peek());
    this.#writing = false;
    this.#model.save_changes();
    // A restarted kernel takes no notice of a trait: ask whether anybody is there, where it was just heard a little later.
    const due = this.client.heard + 1_000 - Date.now();
    if (!this.fixed.peek()) this.#asking ??= setTimeout(() => this.#stillThere(), Math.max(0, due));
  }

  #stillThere(): void {
    this.#asking = undefined;
    this.client.ping();
  }

  /** Write the set that is taken out, and ask what the model says then. */
  protected saveChosen(): void {
    this.#writing = true;
    this.#model.set("chosen", this.chosen.peek());
    this.#writing = false;
    this.#model.save_changes();
    this.#leaveOut();
  }

  /** Pin the question on the screen, or let go of one. */
  pin(one: Pin): void {
    const before = this.pinned.peek();
    const left = before.filter(({ line }) => line !== one.line);
    this.pinned.value = left.length < before.length ? left : [...before, one];
    this.#model.set("pinned", this.pinned.peek());
    this.#model.save_changes();
  }

  #readPinned(): void {
    this.pinned.value = (this.#model.get("pinned") as Pin[] | undefined) ?? [];
  }

  /** Mark what is behind a blank. */
  guess(said: Guessed): void {
    this.#model.set("guessed", { ...this.guessed.peek(), ...said });
    this.#model.save_changes();
    this.#readGuessed();
  }

  #readGuessed(): void {
    this.guessed.value = (this.#model.get("guessed") as Guessed | undefined) ?? {};
  }

  #leaveOut(): void {
    this.lab.leaveOut(this.chosen.peek(), this.reading.peek()?.header.question);
  }

  close(): void {
    for (const [name, handler] of this.#listeners) this.#model.off(name, handler);
    this.#released();
    clearTimeout(this.#asking);
    this.client.close();
  }

  #listen(name: Heard, handler: () => void): void {
    this.#model.on(name, handler);
    this.#listeners.push([name, handler]);
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
      if (selected !== this.selected.peek()) this.renewed();
      this.selected.value = selected;
      this.source.value = source;
    });
    this.settled();
  }

  #readChosen(): void {
    if (this.#writing) return;
    this.chosen.value = (this.#model.get("chosen") as string[] | undefined) ?? [];
    this.#readWithout();
    if (!this.fixed.peek() && !this.lab.without.peek()) this.#leaveOut();
  }

  /** What was measured, if it is of this question and this set. */
  #readWithout(): void {
    const told = this.#model.get("without") as Without | undefined;
    const mine = told?.told && told.question === this.reading.peek()?.header.question && String(told.components) === String(this.chosen.peek());
    this.lab.without.value = mine ? told : null;
  }

  #readTested(): void {
    const told = this.#model.get("tested") as Verdicts | undefined;
    this.lab.told.value = told?.findings && told.question === this.reading.peek()?.header.question ? retold(told) : null;
  }

  #read(): Reading {
    return new Reading(this.#model.get("container"), this.#model.get("screen"), this.#model.get("rest"));
  }

  /** More numbers of the question on the screen: nothing that was clicked or asked for changes. */
  #readMore(): void {
    const before = this.reading.peek();
    if (!before) return;
    try {
      const reading = this.#read();
      // one message may bring another question, whose container is read for itself
      if (reading.header.version !== before.header.version) return;
      batch(() => {
        this.data.adopt(reading);
        this.reading.value = reading;
      });
    } catch (error) {
      this.broken.value = (error as Error).message;
    }
  }

  #readState(): void {
    const bytes = this.#model.get("container");
    try {
      const explorer = this.kind === "explorer" || this.kind === "attribution";
      const reading = explorer ? this.#read() : null;
      if (!reading) decode(bytes); // what cannot be read is said here, and nothing draws it
      const another = reading?.header.question !== this.reading.peek()?.header.question;
      batch(() => {
        this.data = new Numbers(reading, this.client, this.fixed.peek());
        this.state.value = bytes;
        this.reading.value = reading;
        this.version.value = reading?.header.version ?? 0;
        this.broken.value = "";
        this.renewed();
        this.lab.reset(another);
        this.#readTested();
      });
      // a cell may have asked: no request of this page is open then
      if (reading?.header.coming && !this.fixed.peek()) this.client.poll();
      this.#readChosen();
      this.settled();
    } catch (error) {
      this.broken.value = (error as Error).message;
    }
  }
}
