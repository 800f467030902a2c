/** What is only on screen: it never leaves the browser, and a saved page opens without it. */
import { signal } from "@preact/signals";
import type { Progress } from "../host/protocol";
import type { Field, Part } from "../types";
import type { Show } from "./lens";

export type Order = "size" | "order" | "map" | "trace";
export type Weighting = "probability" | "value" | "contribution";

export interface Problem {
  message: string;
  hint: string;
  field: Field | "";
}

export class Screen {
  readonly order = signal<Order>("size");
  readonly expanded = signal(false);
  /** rows by what they bring back, instead of by their bars */
  readonly byEffect = signal(false);
  readonly tab = signal("");
  readonly weighting = signal<Weighting>("probability");
  readonly lens = signal<Show>("top");
  /** the key that "Why there" explains; -1: the one the head reads most */
  readonly key = signal(-1);
  readonly editing = signal<Field | "">("");
  /** the field whose text was asked as it stands: its answer closes it, and no other field */
  readonly sent = signal<Field | "">("");
  readonly problem = signal<Problem | null>(null);
  readonly busy = signal<Progress | null>(null);
  /** for the polite live region */
  readonly said = signal("");
  /** hidden parts that the person has uncovered in a page without a kernel */
  readonly shown = signal(new Set<Part>());
}
