/**
 * What travels between Python and the browser. Written by tests/typescript.py from the typed dictionaries in
 * attrib_widgets/widgets/shapes/contract: change them, and write this again. Arrays are described in wire.ts.
 */

/** The arrays of its container; `values` is always there. */
export type ExplorerArray =
  | "values"
  | "rival"
  | "carry"
  | "dest"
  | "norms"
  | "post"
  | "value_bias"
  | "sink"
  | "tokens"
  | "head_rounding"
  | "effects"
  | "patterns"
  | "lens"
  | "why"
  | "why_bias"
  | "why_score"
  | "why_rival"
  | "why_rival_score"
  | "why_choice"
  | "why_choice_bias"
  | "through";

/** A bar. */
export interface Row {
  id: string;
  kind: string;
  layer: number | null;
  head: number | null;
  /** an MLP that splits into experts, not neurons */
  mixture?: boolean;
}

/** A token, or a set of them one by one. */
export interface Named {
  text: string;
  texts?: string[];
}

/** What the target is held against. */
export interface Against extends Named {
  id: number;
}

/** The number that is explained; one inside the model has no token id, and is called by its text alone. */
export interface Target extends Named {
  kind: string;
  id: number | null;
  against: Against | null;
  unit: string;
  phrase: string;
}

/** What the model may say next. */
export interface Candidate {
  text: string;
  id: number;
  prob: number;
  logit: number;
}

/** Words of a prompt that the model never saw in training. */
export interface Unseen {
  /** positions of their tokens */
  at: number[];
  /** a sentence */
  said: string;
  /** the line of Python that asks a model that reads any text */
  code: string;
}

/** The prompt to compare with. */
export interface Corrupted {
  text: string;
  tokens: string[];
  special: number[];
  /** as many tokens as the prompt has; only then the places where they differ are known */
  aligned: boolean;
  differs: number[];
  gap: number;
  unseen?: Unseen;
}

/** What the comparison offers to hold against a single logit. */
export interface Contrast {
  /** its likeliest token other than what is explained */
  rival: Against | null;
  /** whether it is held against it, for want of another */
  taken: boolean;
  /** a sentence: which rival was taken, why there is none, or how much of the gap is common to all tokens */
  told: string;
  /** a prompt like this one that is answered otherwise; "" where none is asked for, or known */
  matched: string;
}

/** A part that writes much for both answers alike. */
export interface Shared {
  id: string;
  told: string;
}

/** Who leads, and with how much of what. */
export interface Leading {
  names: string[];
  text: string;
}

/** How far one layer splits. */
export interface Level {
  /** heads, sublayers or layers */
  granularity: string;
  /** why it does not split as far as what its heads carried from each token; empty where it does */
  reason: string;
  /** why it is not known what its heads looked for; empty where it is */
  unscored: string;
}

/** A model that was built by hand: what it is called, and how it works. */
export interface Built {
  called: string;
  story: string;
}

/** The model under study. */
export interface About {
  name: string;
  layers: number;
  heads: number;
  /** heads, sublayers, layers, or mixed where layers differ; coarser ones with the reason */
  granularity: string;
  reason: string;
  dtype: string;
  /** where a layer is not split as far as can be: the same in words, and of every layer */
  words?: string;
  levels?: Level[];
  /** only of one that was built by hand */
  built?: Built;
}

/** The prompt, token by token, and the position that is explained. */
export interface Prompt {
  text: string;
  tokens: string[];
  special: number[];
  position: number;
  unseen?: Unseen;
}

/** A token to take in the place of the one that was given, with the remark that says why. */
export interface Better {
  field: "target" | "against";
  text: string;
  note: string;
}

/** The measured rounding, by where it arose. */
export interface Rounding {
  stream: number;
  heads: number;
  readout: number;
}

/** Lines of Python that make the same again. */
export interface Code {
  setup: string;
  lens: string;
  verify: string;
}

/** A task to try. */
export interface Example {
  label: string;
  prompt: string;
  target: string;
  corrupted: string | null;
}

/** A question through which this one was opened. */
export interface Crumb {
  question: number;
  target: Target;
}

/** An explanation; what is missing is asked for, or cannot be had. */
export interface Explained {
  model: About;
  prompt: Prompt;
  candidates: Candidate[];
  target: Target;
  corrupted: Corrupted | null;
  test: Testable;
  rows: Row[];
  finding: Leading;
  total: number;
  actual: number;
  gap: number;
  exact: boolean;
  precap: number | null;
  rounding: Rounding;
  notes: string[];
  better?: Better[];
  contrast?: Contrast;
  /** where something is held against the target, whose own part of every row is the array `rival` */
  shared?: Shared[];
  examples: Example[];
  python: Code;
  /** by row, as the others below */
  neurons: Record<string, Neurons>;
  writes: Record<string, Writes>;
  features?: Record<string, Features>;
  /** by row and number: L2.mlp/29, L3H5/29 */
  cards?: Record<string, FeatureCard>;
  /** by how MLPs are treated: stop, frozen */
  trace?: Record<string, Trace>;
  /** by layer and head: the key that `why` is about */
  why_key: number[][];
  /** what this model cannot give at all, and why, by operation; also "neurons L0.mlp" */
  absent: Record<string, string>;
}

/** An explanation on the screen. */
export interface ExplorerHeader extends Explained {
  kind: "explorer" | "attribution";
  version: number;
  /** the number of the question, by which Python goes back to it */
  question: number;
  /** the questions through which this one was opened, the first one first */
  origin?: Crumb[];
  /** the question as a line that `aw.explore(state=...)` opens */
  address?: string;
}

/** What an MLP splits into: its neurons, or the experts of a mixture with their router weights. */
export interface Neurons {
  labels: string[];
  values: number[];
  weights?: (number | null)[];
  rest: number;
  rest_count: number;
  bias: number;
  rounding: number | null;
}

/** The tokens whose logits a part raises and lowers most. */
export interface Writes {
  up: [string, number][];
  down: [string, number][];
}

/** The largest features of a row, the sum of the others, the decoder's bias and what the dictionary misses. */
export interface Features {
  /** the dictionary's place: for a head the outputs of all heads of its layer */
  site: string;
  note: string;
  numbers: number[];
  values: number[];
  activations: number[];
  /** labels computed from the strongest contexts; "" for none */
  concepts: string[];
  rest: number;
  rest_count: number;
  bias: number;
  error: number;
  gap: number;
}

/** Tokens around a strong firing. */
export interface Context {
  tokens: string[];
  values: number[];
  /** whether something was left out before and behind */
  cut: boolean[];
}

/** One feature: what it fires on, what it writes, and its activation on every token of the prompt. */
export interface FeatureCard extends Writes {
  label: string;
  /** the share of tokens that it fires on; null where nobody counted */
  density: number | null;
  contexts: Context[];
  here: number[];
  /** the head, or the heads, that what it writes is read through; "" where it writes by itself */
  through: string;
  /** where there are no contexts: why, and how to give some */
  missing?: string;
}

/** A feature standing alone. */
export interface CardHeader extends FeatureCard {
  kind: "card";
  name: string;
  tokens: string[];
}

/** Rows of a tree, parents first, each with its depth from 1. */
export interface Trace {
  title: string;
  balance: string;
  notes: string[];
  labels: string[];
  /** part, constant or pruned */
  kinds: string[];
  /** where the part wrote; -1 for none */
  at: number[];
  depth: number[];
  values: number[];
}

/** A trace standing alone. */
export interface TraceHeader extends Trace {
  kind: "trace";
  tokens: string[];
  unit: string;
  /** what is held while the answer is followed; saved by 0.1 without it */
  held?: string;
}

/** A head's pattern, in the array `pattern`. */
export interface HeadHeader {
  kind: "head";
  id: string;
}

/** The strongest other key of a head: its score, and what in the difference no row wrote. */
export interface RivalKey {
  key: number;
  score: number;
  bias: number;
}

/** What made a head look from a query to a key: arrays `values` and `bias`, the query's side first; and rather there than at its rival: the array `choice`, which with the rival's bias sums to the difference of the two scores. */
export interface WhyHeader {
  kind: "why";
  id: string;
  query: number;
  key: number;
  score: number;
  rival: RivalKey | null;
}

/** A row of bars; `concept` is the computed label of a feature, "" for none. */
export interface Bar {
  label: string;
  kind: string;
  token: boolean;
  concept: string;
}

/** Rows, in the array `values`, that sum to their parent. */
export interface BarsHeader {
  kind: "bars";
  title: string;
  note: string;
  unit: string;
  rows: Bar[];
  total: number;
  /** "" for an array of one's own without a total: there is then no gap */
  parent: string;
  parent_value: number;
  gap: number | null;
  /** an array of one's own: nothing was observed */
  own?: boolean;
}

/** Tokens with a number each, in the array `values`. */
export interface TokensHeader {
  kind: "tokens";
  title: string;
  unit: string;
  tokens: string[];
}

/** A map of numbers, in the array `values`, with named rows and columns. */
export interface GridHeader {
  kind: "grid";
  title: string;
  unit: string;
  rows: string[];
  columns: string[];
}

/** Any result as its table: the cells as they are printed, and a bar for each row that has one. */
export interface TableHeader {
  kind: "table";
  title: string;
  notes: string[];
  columns: string[];
  rows: string[][];
  /** [] where no row has one */
  bars: (number | null)[];
  footer: string[];
}

/** Two attributions; the array `values` has A, B and B − A for every part, NaN where one has no such part. */
export interface ComparisonHeader {
  kind: "comparison";
  title: string;
  notes: string[];
  unit: string;
  labels: string[];
  /** sum, the model's number and their difference, of each */
  checks: string[];
}

/** Heads with their `patterns`, and the weight that a `sink` takes. */
export interface AttentionHeader {
  kind: "attention";
  title: string;
  note: string;
  tokens: string[];
  special: number[];
  heads: string[];
  /** "own" of numbers that are no probabilities and came from outside */
  weighting: "probability" | "value" | "contribution" | "own";
  unit: string;
}

/** The token that a lens follows. */
export interface Followed {
  text: string;
  id: number;
}

/** What every layer would print: `ids` and `probabilities` of its predictions, and four `numbers` a cell. */
export interface LensHeader {
  kind: "lens";
  title: string;
  /** the tokens that were read, and their positions in the prompt */
  tokens: string[];
  positions: number[];
  /** "embed", then every layer */
  layers: string[];
  target: Followed;
  /** texts of the predicted ids */
  words: Record<number, string>;
  notes: string[];
}

/** A token of a phrase, with its odds. */
export interface PhraseToken {
  text: string;
  prob: number;
  entropy: number;
  likeliest: [string, number][];
  actual: number;
  gap: number;
}

/** A phrase: `values` of every token and row, and their `sums`. */
export interface PhraseHeader {
  kind: "phrase";
  title: string;
  note: string;
  unit: string;
  /** position of the first token */
  start: number;
  labels: string[];
  tokens: PhraseToken[];
  actual: number;
  gap: number;
}

/** The verdict on one component: a word, sentences as the table of verdicts has them, and shares of the gap. */
export interface Finding {
  id: string;
  /** direct damage, damage, recovery, direct recovery */
  d: number;
  damage: number;
  recovery: number;
  back: number | null;
  word: string;
  /** the word as it fits beside a bar */
  chip: string;
  /** the word and its sentence */
  told: string;
  /** what else may be said */
  remarks: string[];
  /** what the model says without it */
  then: string;
  /** the rule behind the word, with its numbers */
  decided: string;
  /** another word is within reach */
  borderline: boolean;
  /** its word says that it does something */
  named: boolean;
  lists: string[];
}

/** Parts that were out at once. */
export interface Together {
  name: string;
  told: string;
  then: string;
}

/** All verdicts on a question. */
export interface Verdicts {
  /** the number of the question that they answer */
  question?: number;
  title: string;
  /** how many pairs of prompts, in words */
  pairs: string;
  /** what the shares are of, and from where a word is used */
  rule: string;
  gap: number;
  /** how much the direct effects add up to */
  shared: string;
  cost: string;
  notes: string[];
  together: Together[];
  findings: Finding[];
}

/** What can be tested here, and at most how many plain forwards that stands for. */
export interface Testable {
  kinds: string[];
  /** why nothing can be tested, and what the comparison lacks */
  never: string;
  missing: string;
  top: number;
  one: number;
  all: number;
  /** a comparison prompt for a known task */
  suggested: string;
}

/** An experiment is over; the verdicts themselves come with the trait `tested`. */
export interface Tested {
  title: string;
}

/** The answer without one part, which needs no second prompt, and what that is worth. */
export interface Ablated {
  told: string;
  note: string;
}

/** What the model says without all of some components, and of which question. */
export interface Without {
  question: number;
  components: string[];
  told: string;
  /** at most so many forwards test them as a circuit; 0 where they cannot be */
  whole?: number;
}

/** Estimated total effect of every row, in the array `values`. */
export interface EstimatesHeader {
  kind: "estimates";
}

/** A border between two verdicts. */
export interface Line {
  name: string;
  at: [[number, number], [number, number]];
}

/** Where the name of a verdict has room, across or upwards. */
export interface Region {
  word: string;
  d: number;
  n: number;
  up: boolean;
}

/** Verdicts standing alone, as a scatter. */
export interface VerdictsHeader extends Verdicts {
  kind: "verdicts";
  /** low and high of both axes */
  window: [number, number];
  lines: Line[];
  regions: Region[];
}

/** The cells of one site. */
export interface PatchGrid {
  site: string;
  rows: string[];
  layers: number[];
  columns: string[];
  /** of the columns, where they are positions */
  positions: number[] | null;
  cells: string[];
}

/** Grids, one after the other in the arrays `values` and `known`. */
export interface PatchingHeader {
  kind: "patching";
  title: string;
  /** recovery or damage */
  share: string;
  words: string;
  /** by gradients, not by experiment */
  estimated: boolean;
  notes: string[];
  cost: string;
  gap: number;
  unit: string;
  position: number;
  /** attention and MLP of a layer read the same stream */
  parallel: boolean;
  grids: PatchGrid[];
}

/** The tokens of a prompt, each with what replacing it does; null at those that stay. */
export interface EffectsHeader {
  kind: "effects";
  title: string;
  tokens: string[];
  special: number[];
  metric: string;
  unit: string;
  base: number;
  draws: number;
  cost: string;
  values: (number | null)[];
  spread: (number | null)[];
}

/** Names the root component of a view. */
export type Kind =
  | "explorer"
  | "attribution"
  | "attention"
  | "bars"
  | "card"
  | "comparison"
  | "effects"
  | "grid"
  | "lens"
  | "patching"
  | "phrase"
  | "table"
  | "tokens"
  | "trace"
  | "verdicts";

/** What each kind of view draws: the header of its state. */
export interface Views {
  explorer: ExplorerHeader;
  attribution: ExplorerHeader;
  attention: AttentionHeader;
  bars: BarsHeader;
  card: CardHeader;
  comparison: ComparisonHeader;
  effects: EffectsHeader;
  grid: GridHeader;
  lens: LensHeader;
  patching: PatchingHeader;
  phrase: PhraseHeader;
  table: TableHeader;
  tokens: TokensHeader;
  trace: TraceHeader;
  verdicts: VerdictsHeader;
}

/** What can be covered until it is revealed. */
export type Part = "candidates" | "values" | "detail" | "map" | "corrupted" | "sum";

/** How a view is shown. */
export interface Options {
  hidden: Part[];
  /** pixels that the bars may take before they scroll */
  height?: number;
  /** what marks the static picture that the view stands for, and hides while it lives */
  still?: string;
  /** no kernel: an offline page */
  static?: boolean;
  /** of an offline page: what can be saved without Python, by form */
  saved?: Record<string, Saved>;
  /** of an offline page: the glossary */
  words?: Meanings;
}

/** An empty object. */
export type Nothing = Record<string, never>;

/** How contributions are shown. */
export type Mode = "size" | "order" | "map" | "trace";

/** Where one looks beside the selection: the open tab, "" for the first, and the mode. */
export interface Showing {
  tab: string;
  mode: Mode;
}

/** What is synced. `selected`, `source` and `chosen` are written from both sides, the others by Python. */
export interface Traits {
  kind: Kind;
  /** all numbers in one, see wire.ts */
  container: unknown;
  /** a component's label; "" for none */
  selected: string;
  /** a token inside the selected part; -1 for none */
  source: number;
  options: Options;
  /** the Explorer's tab and mode, written from both sides */
  showing?: Showing;
  /** the Explorer's verdicts */
  tested?: Verdicts | Nothing;
  /** components that are taken out together, and what the model says then */
  chosen?: string[];
  without?: Without | Nothing;
}

/** What a view may be asked, beside `cancel` and `poll`. */
export type Op =
  | "hello"
  | "explain"
  | "head"
  | "through"
  | "why"
  | "neurons"
  | "features"
  | "feature"
  | "writes"
  | "trace"
  | "lens"
  | "verify"
  | "ablate"
  | "effects"
  | "without"
  | "circuit"
  | "save"
  | "words";

/** What a view is saved as: picture, table, a paragraph, offline page. */
export type Form = "svg" | "csv" | "txt" | "html";

/** The part of a question that an error is about. */
export type Field = "prompt" | "target" | "against" | "corrupted";

/** The next question. null keeps what is there; "" means none. */
export interface ExplainArgs {
  prompt: string | null;
  /** exact text, or an id */
  target: string | number | null;
  against: string | number | null;
  position: number | null;
  corrupted: string | null;
  /** a neuron to explain at this place */
  neuron?: string;
  /** the number of an earlier question, instead of all these */
  restore?: number;
}

/** A row, or a feature of one: L2.mlp/29. */
export interface RowArgs {
  id: string;
}

/** A head, and the token that it read. */
export interface ThroughArgs extends RowArgs {
  source: number;
}

/** A head, and from where to where it looked. */
export interface WhyArgs extends RowArgs {
  query: number;
  key: number;
}

/** How MLPs are treated. */
export interface TraceArgs {
  mlps: "stop" | "frozen";
}

/** Components by name, or how many of the largest. */
export interface VerifyArgs {
  components?: string[];
  top?: number;
}

/** How a view is saved. */
export interface SaveArgs {
  form: Form;
}

/** A file to keep. */
export interface Saved {
  name: string;
  text: string;
}

/** A word of the glossary, other words that are printed for it, what it means, and how to read a number of it. */
export interface Meaning {
  name: string;
  also: string[];
  means: string;
  read: string;
}

/** The glossary. */
export interface Meanings {
  terms: Meaning[];
}

/** Components by name, which are taken out together. */
export interface WithoutArgs {
  components: string[];
}

/** What each operation takes. */
export interface Arguments {
  hello: Nothing;
  explain: ExplainArgs;
  head: RowArgs;
  through: ThroughArgs;
  why: WhyArgs;
  neurons: RowArgs;
  features: RowArgs;
  feature: RowArgs;
  writes: RowArgs;
  trace: TraceArgs;
  lens: Nothing;
  verify: VerifyArgs;
  ablate: RowArgs;
  effects: Nothing;
  without: WithoutArgs;
  circuit: WithoutArgs;
  save: SaveArgs;
  words: Nothing;
}

/** The data that each operation answers. `explain` has set the state before, `without` the trait of that name. */
export interface Answers {
  hello: Nothing;
  explain: Nothing;
  head: Nothing;
  through: Nothing;
  why: Nothing;
  neurons: Neurons;
  features: Features;
  feature: FeatureCard;
  writes: Writes;
  trace: Trace;
  lens: Nothing;
  verify: Tested;
  ablate: Ablated;
  effects: Nothing;
  without: Nothing;
  circuit: TableHeader;
  save: Saved;
  words: Meanings;
}

/** The header of the container that comes with the answer to these. */
export interface Containers {
  head: HeadHeader;
  through: BarsHeader;
  why: WhyHeader;
  lens: LensHeader;
  effects: EstimatesHeader;
}

/** The answers to a request, in this order: one ack, any progress, one of the others; of no request: traits changed. */
export type Said = "ack" | "progress" | "result" | "error" | "cancelled" | "traits";

/** One answer. */
export interface Message {
  v: number;
  id: string | number | null;
  kind: Said;
  /** of what came from a worker thread, and may have to be sent again */
  n?: number;
  /** of a result */
  data?: Record<string, unknown>;
  /** of an error */
  message?: string;
  hint?: string;
  field?: Field;
  /** of progress */
  done?: number;
  total?: number;
  note?: string;
}
