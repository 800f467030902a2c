/** What is only on screen: it never leaves the browser, and a saved page opens without it. */
import { signal } from "@preact/signals";
import type { Progress } from "../host/protocol";
import type { Field, Mode, PanelName, Part, Tab, Under } from "../types";
import type { Show } from "./lens";

export type Weighting = "probability" | "value" | "contribution";

export interface HeadsForm {
  /** what one word reads, not the whole pattern */
  strip: boolean;
  weighting: "attention" | "contribution" | "effect";
  /** the large picture */
  drawn: "squares" | "lines";
  /** whether the first token is drawn */
  first: boolean;
  /** the word whose row is shown; -1 for the one that is explained */
  reader: number;
  /** the letters of roles in the cells */
  roles: boolean;
  /** where too many layers or heads are drawn in bins: the layer and head from which they are drawn one by one */
  from: [layer: number, head: number] | null;
}

export type TraceForm = "picture" | "table";

export interface Problem {
  message: string;
  hint: string;
  field: Field | "";
}

export class Screen {
  readonly order = signal<Mode>("size");
  /** what stands side by side with the question, "" for what is offered first; and whether the question is B */
  readonly beside = signal("");
  readonly swapped = signal(false);
  /** how all heads are shown at once */
  readonly heads = signal<HeadsForm>({ strip: false, weighting: "attention", drawn: "squares", first: true, reader: -1, roles: false, from: null });
  /** the part that is pointed at there */
  readonly peek = signal("");
  readonly traced = signal<TraceForm>("picture");
  readonly expanded = signal(false);
  /** the numbers under the words of the prompt */
  readonly under = signal<Under | "">("");
  /** rows by what they bring back, instead of by their bars */
  readonly byEffect = signal(false);
  readonly tab = signal<Tab>("");
  /** all words that follow the prompt together, not one of them */
  readonly all = signal(false);
  readonly weighting = signal<Weighting>("probability");
  readonly lens = signal<Show>("top");
  /** the other lens than the one that comes first; rows after attention where there were none, or none; all positions,
      over the whole width */
  readonly other = signal(false);
  readonly flipped = signal(false);
  readonly full = signal(false);
  /** the key that "Why there" explains; -1: the one the head reads most */
  readonly key = signal(-1);
  readonly editing = signal<Field | "">("");
  /** the field whose text was asked as it stands: its answer closes it, and no other field */
  readonly sent = signal<Field | "">("");
  readonly problem = signal<Problem | null>(null);
  readonly busy = signal<Progress | null>(null);
  /** the panel that is being explained */
  readonly help = signal<PanelName | "">("");
  /** whether the dot product under the detail is open */
  readonly worked = signal(false);
  /** how many tokens the model shall write, and from which seed where it samples */
  readonly n = signal<number | undefined>(undefined);
  /** null: the likeliest tokens; undefined: as before */
  readonly seed = signal<number | null | undefined>(undefined);
  /** a word of the text of which a page without a kernel shows the bars alone; -1 for none */
  readonly glance = signal(-1);
  /** for the polite live region */
  readonly said = signal("");
  /** hidden parts that the person has uncovered in a page without a kernel */
  readonly shown = signal(new Set<Part>());
}
