/** Where the person has been: questions and selections, to go back and forward through. */
import { batch, signal } from "@preact/signals";
import type { Tab } from "../types";

export interface Entry {
  /** the header's number of the question, by which Python knows it */
  question: number;
  selected: string;
  source: number;
  tab: Tab;
}

const KEPT = 100;

export class History {
  readonly past = signal<Entry[]>([]);
  readonly at = signal(-1);

  /** The entry some steps from here. */
  peek(step = 0): Entry | undefined {
    return this.past.peek()[this.at.peek() + step];
  }

  /** Goes on from here; what was ahead is dropped. Staying where one is adds nothing. */
  record(entry: Entry): void {
    const now = this.peek();
    if (now && now.selected === entry.selected && now.source === entry.source && now.question === entry.question) return;
    const at = this.at.peek();
    const kept = this.past.peek().slice(Math.max(0, at + 2 - KEPT), at + 1);
    batch(() => {
      this.past.value = [...kept, entry];
      this.at.value = kept.length;
    });
  }
}
