/** Experiments from the page: what runs, what was found, and for which question. */
import { signal } from "@preact/signals";
import { type Answer, Cancelled, type Client, Gone, inWords, type Progress } from "../host/protocol";
import type { Ablated, Arguments, Finding, Replaced, TableHeader, Verdicts, Without } from "../types";

export interface Running extends Progress {
  /** the component that is tested, TOP, WORDS, or a set as `setOf` names it */
  of: string;
}

export const TOP = "top";
export const WORDS = "words";
const SET = "set ";
export const setOf = (components: string[]) => SET + components;

export class Lab {
  /** the trait: verdicts, and the number of the question that they answer */
  readonly told = signal<Verdicts | null>(null);
  readonly running = signal<Running | null>(null);
  readonly failed = signal<{ of: string; text: string } | null>(null);
  readonly ablated = signal<Record<string, Ablated>>({});
  /** for which test a second prompt is being asked */
  readonly asking = signal("");
  /** whether total effects were asked for where they are not embedded */
  readonly wanted = signal(false);
  /** the trait: what the model says without the components that were chosen */
  readonly without = signal<Without | null>(null);
  /** whether that is being measured, and what went wrong */
  readonly measuring = signal(false);
  readonly unmeasured = signal("");
  /** what a set of components does as a circuit, once that was asked, and which set */
  readonly circuit = signal<{ of: string; table: TableHeader } | null>(null);
  /** what replacing each word does */
  readonly replaced = signal<Replaced | null>(null);
  #client: Client;
  #asked: { cancel(): void } | null = null;
  #set: { cancel(): void } | null = null;
  #of = "";

  constructor(client: Client) {
    this.#client = client;
  }

  of(id: string): Finding | undefined {
    return this.told.value?.findings?.find((f) => f.id === id);
  }

  /** Another state. Another question has no verdicts yet, and what was asked about the one before is not its answer. */
  reset(another: boolean): void {
    this.ablated.value = {};
    this.failed.value = null;
    this.asking.value = "";
    if (!another) return;
    this.cancel();
    this.#asked = null;
    this.running.value = null;
    this.wanted.value = false;
    this.circuit.value = this.replaced.value = null;
  }

  verify(of: string, top: number, say: (text: string) => void): void {
    this.#run(of, "verify", of === TOP ? { top } : { components: [of] }, (data) => say(`Tested: ${data.title}`));
  }

  /** Take it out, or let it write so many times as strongly. */
  ablate(of: string, strength?: number): void {
    this.#run(of, "ablate", { id: of, ...(strength !== undefined && { strength }) }, (data) => (this.ablated.value = { ...this.ablated.value, [of]: data }));
  }

  replace(): void {
    this.#run(WORDS, "replaced", {}, (data) => (this.replaced.value = data));
  }

  /** Measure what the model says without all of these; what was asked of another set is no longer wanted. */
  leaveOut(components: string[], question?: number): void {
    const of = `${question} ${components}`;
    if (this.#set && of === this.#of) return;
    this.#of = of;
    const testing = this.running.peek()?.of ?? "";
    if (testing.startsWith(SET) && testing !== setOf(components)) this.cancel();
    this.#set?.cancel();
    this.#set = null;
    this.unmeasured.value = "";
    this.measuring.value = components.length > 0;
    if (!components.length) return;
    const asked = this.#client.request("without", { components });
    this.#set = asked;
    const over = (said: string) => {
      if (this.#set !== asked) return;
      this.#set = null;
      this.measuring.value = false;
      this.unmeasured.value = said;
    };
    asked.result.then(
      () => over(""),
      (error: Error) => over(error instanceof Cancelled ? "" : inWords(error)),
    );
  }

  /** Test all of these as a circuit: more forwards than one click should cost unasked. */
  wholeSet(components: string[]): void {
    const of = setOf(components);
    this.#run(of, "circuit", { components }, (table) => (this.circuit.value = { of, table }));
  }

  cancel(): void {
    this.#asked?.cancel();
  }

  #run<O extends "verify" | "ablate" | "circuit" | "replaced">(of: string, op: O, args: Arguments[O], then: (data: Answer<O>["data"]) => void): void {
    this.cancel();
    this.failed.value = null;
    this.asking.value = "";
    this.running.value = { of, done: 0, total: 0, note: "" };
    const asked = this.#client.request(op, args, (p) => {
      if (this.#asked === asked) this.running.value = { of, ...p };
    });
    this.#asked = asked;
    const over = () => {
      const mine = this.#asked === asked;
      if (mine) {
        this.#asked = null;
        this.running.value = null;
      }
      return mine;
    };
    asked.result.then(
      ({ data }) => over() && then(data),
      (error: Error) => {
        if (!over() || error instanceof Cancelled || error instanceof Gone) return;
        this.failed.value = { of, text: inWords(error) };
      },
    );
  }
}
