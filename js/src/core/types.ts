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
  | "through"
  | "sides"
  | "phrase"
  | "carried"
  | "totals";

/** What the first screen adds to the first draw: the arrays of all heads, their patterns, estimated effects. */
export type Coming = "heads" | "patterns" | "effects";

/** Parts of a header that may come after the first screen. */
export type FurtherText = "neurons" | "writes" | "features" | "worked" | "concepts" | "cards" | "trace";

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
  /** of one token: its probability where it is read, and its place among all tokens */
  prob?: number;
  rank?: number;
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
  /** of one whose layers differ in kind: how far it splits, and which layer has which mixer */
  mixers?: string;
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

/** A word of the text that is explained where it stands. */
export interface Word {
  /** its position */
  at: number;
  /** a sentence: how likely the model found it, and what it found likelier */
  told: string;
}

/** What follows the prompt, and is explained word by word: the array `phrase` is the state of a phrase's view. */
export interface Passage {
  /** the prompt that was given, as it is edited */
  prompt: string;
  /** the same of the prompt compared with; "" without one */
  compared: string;
  /** position of the first word that follows */
  start: number;
  /** how many tokens the model was asked to write; null where the words were given */
  n: number | null;
  /** of what was sampled; null for the likeliest tokens */
  seed: number | null;
  /** lines of Python that make the attribution of all words, `p` */
  code: string;
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

/** What opens a row, by row; what is missing is asked for, or cannot be had. */
export interface Opened {
  neurons?: Record<string, Neurons>;
  writes?: Record<string, Writes>;
  features?: Record<string, Features>;
  /** of an offline page, as what follows */
  concepts?: Concepts;
  /** the dot product */
  worked?: Record<string, TableHeader>;
  /** by row and number: L2.mlp/29, L3H5/29 */
  cards?: Record<string, FeatureCard>;
  /** by how MLPs are treated: stop, frozen */
  trace?: Record<string, Trace>;
  /** by layer and head: the key that `why` is about */
  why_key?: number[][];
  /** what this model cannot give at all, and why, by operation; also "neurons L0.mlp" */
  absent: Record<string, string>;
}

/** What comes after the first draw, for the state with the same version. */
export interface FurtherHeader extends Opened {
  kind: "further";
  version: number;
}

/** An explanation. */
export interface Explained extends Opened {
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
  /** where a word of the text itself is explained */
  word?: Word;
  /** what follows the prompt, if anything does */
  passage?: Passage;
  /** what replacing its words does, once that was tested */
  replaced?: Replaced;
  /** what is on its way, where it is not here yet */
  coming?: Coming[];
}

/** A question: as a line, which may leave out what is as on the screen, and in words. */
export interface Pin {
  line: string;
  name: string;
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
  /** the same as it is pinned */
  pin?: Pin;
  /** what may be set beside it: the comparison, other answers */
  besides?: Pin[];
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
  /** what else it returns without a feature, by name: a mean that a norm puts back, a skip connection */
  more?: [string, number][];
  error: number;
  gap: number;
}

/** A feature of one dictionary, all that it wrote; or a part that has none. */
export interface Concept {
  /** the feature, or the part */
  id: string;
  /** computed from its strongest contexts; "" for none */
  label: string;
  value: number;
  /** of a feature the parts that wrote most of it, the largest first */
  parts?: [string, number][];
  /** what other parts wrote of it, together, and how many there are */
  rest?: [number, number];
}

/** Every part that has a dictionary split into features, the largest first; all rows sum to the number. */
export interface Concepts {
  title: string;
  note: string;
  rows: Concept[];
  rest: number;
  rest_count: number;
  /** what no feature says, by part */
  unsaid: [string, number][];
}

/** A feature that a word was found for. */
export interface FoundFeature {
  id: string;
  /** computed; "" for none */
  label: string;
  value: number;
  /** whether and how strongly it fires on the prompt */
  said: string;
  /** the row that it is opened through; "" for none */
  row: string;
}

/** Features by a word, those that fire here first. */
export interface FoundFeatures {
  title: string;
  note: string;
  rows: FoundFeature[];
}

/** Tokens around a strong firing. */
export interface Context {
  tokens: string[];
  values: number[];
  /** whether something was left out before and behind */
  cut: boolean[];
  /** of one that was drawn at random: from firings of what strength */
  drawn?: string;
}

/** What a feature adds here, as printed numbers whose product is the bar's. */
export interface Arithmetic {
  fires: string;
  /** what one unit adds */
  unit: string;
  /** the same before the norms divide it, and by how much they do; "" where none does */
  before: string;
  norm: string;
  value: string;
  /** what it is read through */
  reads: string;
  /** what it adds to, of a card standing alone */
  target?: string;
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
  /** where something is explained to which it adds */
  arithmetic?: Arithmetic;
  /** where there are no contexts: why, and how to give some */
  missing?: string;
  /** what else is known, by name: how strong firings are, what others say, units */
  more?: [string, string][];
  /** other features of the dictionary, and how they are related */
  related?: [number, string][];
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
  /** what is explained, where space is short; saved before 0.3 without it and what follows */
  target?: string;
  /** of the model */
  layers?: number;
  /** by how much the magnitudes of all that was pruned exceed those of the rows that sum it */
  cancelled?: number;
}

/** A trace standing alone. */
export interface TraceHeader extends Trace {
  kind: "trace";
  tokens: string[];
  unit: string;
  /** what is held while the answer is followed; saved by 0.1 without it */
  held?: string;
}

/** Small pictures of the patterns of all heads, in the array `patterns`: the strongest weight of every block. */
export interface PatternsHeader {
  kind: "patterns";
}

/** A head's pattern, in the array `pattern`. */
export interface HeadHeader {
  kind: "head";
  id: string;
}

/** What came from every position, in the array `values`: carried by all heads, or by all paths. */
export interface TotalsHeader {
  kind: "totals";
  /** what it is, and what it sums to */
  told: string;
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
  /** so many rows at the end are others in one, or a sum: they stay there however one sorts */
  last?: number;
}

/** What a column sums to, the model's own number, and their difference. */
export interface Ends {
  total: number;
  actual: number;
  gap: number;
  exact: boolean;
}

/** Two prompts word under word, null for a gap. Where `rest` is there (of A, B and B − A), the array `carried` has what all heads together carried from each word, and both sum to what all heads contributed. */
export interface AlignedWords {
  a: (string | null)[];
  b: (string | null)[];
  same: boolean[];
  rest?: number[];
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
  /** the same of A and B as numbers */
  ends?: Ends[];
  /** what tells the two apart */
  names?: string[];
  words?: AlignedWords;
  /** beside an explanation: the two questions as lines */
  lines?: string[];
  beside?: string;
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

/** What every layer would print: `ids` and `probabilities` of its predictions, and two or four `numbers` a cell; the same of another lens in arrays that begin with `other_`. */
export interface LensHeader {
  kind: "lens";
  title: string;
  /** the tokens that were read, and their positions in the prompt */
  tokens: string[];
  positions: number[];
  /** "embed", then every layer, after its attention too ("L0.mid") or only behind it */
  layers: string[];
  target: Followed;
  /** texts of the predicted ids */
  words: Record<number, string>;
  notes: string[];
  /** whether it was read through a tuned lens */
  tuned?: boolean;
  /** the title of the other lens */
  other?: string;
  /** mean KL to the output in nats of every row, by the logit lens and by the tuned one, on texts held out */
  held_out?: ([number, number] | null)[];
}

/** A token of the prompt before a phrase, with its odds where they are known: nothing predicts the first one. */
export interface GivenToken {
  text: string;
  special: boolean;
  prob: number | null;
  entropy: number | null;
  rank: number | null;
}

/** A token of a phrase, with its odds. */
export interface PhraseToken {
  text: string;
  prob: number;
  entropy: number;
  /** its place among all tokens; 1 is the likeliest */
  rank?: number;
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
  /** in an Explorer, the prompt */
  given?: GivenToken[];
  tokens: PhraseToken[];
  actual: number;
  gap: number;
}

/** What the heads are called for: of each that is called something, the letters of its roles; and the table of all roles, a row each, its letter and its name before the rest. */
export interface Roles {
  heads: Record<string, string>;
  table: TableHeader;
}

/** How parts are replaced in a group, in how many of its prompts that can be done, and why not in the others. */
export interface Replaceable {
  how: string;
  able: number;
  unable: string;
}

/** A group of prompts, by their numbers; which parts are specific, by their places in `parts`. */
export interface SurveyedGroup extends Replaceable {
  name: string;
  prompts: number[];
  specific: number[];
  /** why specific is not asked, "" where it is */
  why: string;
}

/** A part and where a map has it: its layer, and its column by number. */
export interface Place {
  id: string;
  layer: number;
  column: number;
}

/** What was measured of every part in every group, and in few words. */
export interface Measure {
  name: string;
  words: string;
}

/** Parts over many prompts: the array `measures` has [group, measure, part], NaN where one was not asked; `values` has [part, prompt], left out where that is large, and then each part is asked for. */
export interface SurveyHeader {
  kind: "survey";
  title: string;
  /** what was asked, and how */
  notes: string[];
  checks: string[];
  unit: string;
  /** p at which a part is called specific */
  level: number;
  columns: string[];
  parts: Place[];
  groups: SurveyedGroup[];
  measures: Measure[];
  prompts: string[];
  answers: string[];
  /** why no prompt can be opened, "" where the model is there */
  closed: string;
}

/** A part that was replaced in a group (by its number): by what, what was shown, and in how many prompts. */
export interface PartTested {
  part: string;
  group: number;
  how: string;
  said: string;
  n: number;
}

/** Experiments on the prompts: the array `effects` has [test, prompt], NaN where it was not tested. */
export interface SurveyTestsHeader {
  kind: "survey_tests";
  tests: PartTested[];
}

/** One part on every prompt, in the array `values`. */
export interface SurveyedHeader {
  kind: "surveyed";
}

/** A prompt in three: the word that a head reads most, with its share of the attention, and what is around it. */
export interface MostRead {
  prompt: number;
  before: string;
  word: string;
  after: string;
  share: number;
}

/** What a head reads most, in each prompt that was asked about. */
export interface Reads {
  reads: MostRead[];
}

/** The Explorer on a prompt: the id of its widget. */
export interface OpenedPrompt {
  model: string;
}

/** A node: what it is called, where it stands (tokens: layer -1), and what fires (the target: its own number). */
export interface GraphNode {
  kind: "target" | "feature" | "error" | "token" | "part";
  name: string;
  /** computed label, "" for none */
  label: string;
  /** which place of its layer, as L3.mlp; "" of the target */
  place: string;
  layer: number;
  position: number;
  value: number | null;
  /** share of the target's influence that goes through it */
  influence: number;
}

/** A node that is opened, by its number: what all sums to, what pruning left out, and its constants. */
export interface GraphTarget {
  node: number;
  total: number;
  left: number;
  constants: number[];
}

/** Nodes that are taken as one, by their names. */
export interface NodeGroup {
  name: string;
  members: string[];
}

/** Which heads carried an edge, and what its source did to where heads look. */
export interface OpenedEdge {
  table: TableHeader;
  /** those that carried it, the strongest first */
  heads: string[];
  /** of an offline page: why one of them looked there */
  looked?: Record<string, TableHeader>;
}

/** What is kept of a graph. The array `ends` has [edge, (source, target)] by number; `edges` has [edge, (value, share of influence, live)], live NaN where an edge was not tested. */
export interface GraphHeader {
  kind: "graph";
  title: string;
  /** what is not in here */
  held: string;
  /** what the experiment was, "" where there was none */
  tested: string;
  notes: string[];
  checks: string[];
  unit: string;
  tokens: string[];
  layers: number;
  constants: string[];
  /** the target first */
  nodes: GraphNode[];
  targets: GraphTarget[];
  /** of an offline page: cards, by feature without its position, and edges, by "source target" (the number is "") */
  cards?: Record<string, FeatureCard>;
  between?: Record<string, OpenedEdge>;
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
  /** of replacing every word */
  words?: number;
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

/** Estimated total effect of every row, between the two runs, in the array `values`, and last the completeness error of the estimate, as a share of the gap. */
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

/** What replacing each token of a prompt does to a number; null at those that stay. */
export interface Replaced {
  /** how it was tested, and how it is read; not in states of 0.1 */
  told?: string;
  unit: string;
  cost: string;
  values: (number | null)[];
  spread: (number | null)[];
}

/** The same standing alone. */
export interface EffectsHeader extends Replaced {
  kind: "effects";
  title: string;
  tokens: string[];
  special: number[];
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
  | "graph"
  | "grid"
  | "lens"
  | "patching"
  | "phrase"
  | "survey"
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
  graph: GraphHeader;
  grid: GridHeader;
  lens: LensHeader;
  patching: PatchingHeader;
  phrase: PhraseHeader;
  survey: SurveyHeader;
  table: TableHeader;
  tokens: TokensHeader;
  trace: TraceHeader;
  verdicts: VerdictsHeader;
}

/** What can be covered until it is revealed. */
export type Part = "candidates" | "values" | "detail" | "heads" | "corrupted" | "sum";

/** What parts are whose names alone would mislead. */
export interface PartKind {
  /** beside the name */
  short: string;
  /** as an explanation */
  words: string;
  /** their labels */
  parts: string[];
}

/** How a view is shown. */
export interface Options {
  hidden: Part[];
  /** nothing is uncovered before a guess is marked */
  locked?: boolean;
  /** pixels that the bars may take before they scroll */
  height?: number;
  /** what marks the static picture that the view stands for, and hides while it lives */
  still?: string;
  /** no kernel: an offline page */
  static?: boolean;
  /** of an offline page: what can be saved without Python, by form */
  saved?: Record<string, Saved>;
  /** of a model that mixes layers: its mixers, and what is split less than elsewhere */
  kinds?: PartKind[];
  /** of an offline page: the glossary */
  words?: Meanings;
}

/** An empty object. */
export type Nothing = Record<string, never>;

/** How contributions are shown. */
export type Mode = "size" | "order" | "heads" | "concepts" | "trace" | "sides";

/** The numbers under the words of the prompt: what all heads carried from there, what came by all paths (both observed), and what another word does (tested). */
export type Under = "carried" | "totals" | "replaced";

/** What the detail of a part shows; "" is the first that it has. */
export type Tab = "" | "tokens" | "pattern" | "why" | "neurons" | "features" | "writes" | "lens";

/** Where one looks beside the selection: the open tab and the mode. */
export interface Showing {
  tab: Tab;
  mode: Mode;
  /** what stands side by side with the question: "compared", or the line of another */
  beside?: string;
  /** the question itself is B */
  swapped?: boolean;
  /** all words of what follows the prompt together, not one of them */
  all?: boolean;
  /** the numbers under the words */
  under?: Under;
}

/** The word, by its position, that a head is said to read. */
export interface ReadBy {
  of: string;
  at: number;
}

/** What a person says is behind the blanks: the part that leads, the next token, the word that a head reads. */
export interface Guessed {
  part?: string;
  token?: string;
  word?: ReadBy;
}

/** What is synced. `selected`, `source` and `chosen` are written from both sides, the others by Python. */
export interface Traits {
  kind: Kind;
  /** all numbers in one, see wire.ts */
  container: unknown;
  /** what came after it, in the order of a person's looks; "" until then */
  screen?: unknown;
  rest?: unknown;
  /** a component's label; "" for none */
  selected: string;
  /** a token inside the selected part; -1 for none */
  source: number;
  options: Options;
  /** the Explorer's tab and mode, written from both sides */
  showing?: Showing;
  /** the Explorer's guesses, written from both sides */
  guessed?: Guessed;
  /** the Explorer's verdicts */
  tested?: Verdicts | Nothing;
  /** components that are taken out together, and what the model says then */
  chosen?: string[];
  without?: Without | Nothing;
  /** experiments of a survey, a container: SurveyTestsHeader; empty where there were none */
  tests?: unknown;
  /** questions that were pinned */
  pinned?: Pin[];
  /** of a graph, written from both sides: nodes that are taken as one */
  groups?: NodeGroup[];
}

/** A word of the glossary, other words that are printed for it, what it means, and how to read a number of it. */
export interface Meaning {
  name: string;
  also: string[];
  means: string;
  read: string;
}

/** What a person can ask about: parts of the Explorer, tabs of its detail, results standing alone. */
export type PanelName =
  | "contributions"
  | "heads"
  | "concepts"
  | "trace"
  | "detail"
  | "tokens"
  | "pattern"
  | "why"
  | "neurons"
  | "experts"
  | "features"
  | "feature"
  | "writes"
  | "lens"
  | "attention"
  | "bars"
  | "comparison"
  | "effects"
  | "graph"
  | "grid"
  | "patching"
  | "phrase"
  | "survey"
  | "table"
  | "values"
  | "verdicts"
  | "words";

/** A panel: what it shows, how to read it, what it cannot show, what to look at next. */
export interface PanelHelp {
  shows: string;
  /** {part}, {value}, {total} stand for what is on the screen */
  read: string;
  cannot: string;
  next: string;
}

/** The glossary, and what every panel is. */
export interface Meanings {
  terms: Meaning[];
  /** of pages saved by 0.1 without it */
  panels?: Record<PanelName, PanelHelp>;
}

/** What a view may be asked, beside `cancel` and `poll`. */
export type Op =
  | "hello"
  | "explain"
  | "head"
  | "patterns"
  | "through"
  | "why"
  | "neurons"
  | "features"
  | "feature"
  | "concepts"
  | "search"
  | "writes"
  | "worked"
  | "trace"
  | "carried"
  | "totals"
  | "lens"
  | "streams"
  | "roles"
  | "beyond"
  | "verify"
  | "ablate"
  | "replaced"
  | "effects"
  | "without"
  | "circuit"
  | "beside"
  | "between"
  | "looked"
  | "surveyed"
  | "reads"
  | "test"
  | "open"
  | "opened"
  | "save"
  | "words"
  | "reveal";

/** What a view is saved as: picture, table, a paragraph, offline page. */
export type Form = "svg" | "csv" | "txt" | "html";

/** The part of a question that an error is about. */
export type Field = "prompt" | "target" | "against" | "corrupted";

/** What the model shall write behind the prompt. */
export interface WritingArgs {
  /** tokens; 0 takes away what it wrote */
  n: number;
  /** to sample; null takes the likeliest */
  seed: number | null;
}

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
  /** a question as a line, instead of all these */
  line?: string;
  /** the position of a word of the text: why this one? */
  word?: number;
  /** to let the model go on first */
  write?: WritingArgs;
}

/** A row, or a feature of one: L2.mlp/29. */
export interface RowArgs {
  id: string;
}

/** A word, or several. */
export interface SearchArgs {
  query: string;
}

/** A row that is taken out, or a feature; with ``strength`` it writes so many times as strongly. */
export interface AblateArgs extends RowArgs {
  strength?: number;
}

/** What can be said of a head beyond this prompt: what it reads over a corpus, what it would write if it read a token, which tokens it would look for, and which earlier heads it could read. */
export type Beyond = "contexts" | "ov" | "qk" | "composition";

/** A head, and what is asked about it. */
export interface BeyondArgs extends RowArgs {
  what: Beyond;
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

/** What is set beside the question, and whether the question is then B. */
export interface BesideArgs {
  beside: string;
  swapped: boolean;
}

/** A node of a graph, and the one that it puts something into; "" is the explained number. */
export interface EdgeArgs extends RowArgs {
  into: string;
}

/** An edge, and a head that carried it. */
export interface LookedArgs extends EdgeArgs {
  head: string;
}

/** A head, and numbers of prompts. */
export interface ReadsArgs extends RowArgs {
  prompts: number[];
}

/** Parts by name, each replaced by itself (null is all of them), and groups by name. */
export interface TestArgs {
  ids: string[] | null;
  groups: string[];
}

/** A prompt by its number. */
export interface OpenArgs {
  prompt: number;
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

/** Components by name, which are taken out together. */
export interface WithoutArgs {
  components: string[];
}

/** What is uncovered. */
export interface RevealArgs {
  parts: Part[];
}

/** What each operation takes. */
export interface Arguments {
  hello: Nothing;
  explain: ExplainArgs;
  head: RowArgs;
  patterns: Nothing;
  through: ThroughArgs;
  why: WhyArgs;
  neurons: RowArgs;
  features: RowArgs;
  feature: RowArgs;
  concepts: Nothing;
  search: SearchArgs;
  writes: RowArgs;
  worked: RowArgs;
  trace: TraceArgs;
  carried: Nothing;
  totals: Nothing;
  lens: Nothing;
  streams: Nothing;
  roles: Nothing;
  beyond: BeyondArgs;
  verify: VerifyArgs;
  ablate: AblateArgs;
  replaced: Nothing;
  effects: Nothing;
  without: WithoutArgs;
  circuit: WithoutArgs;
  beside: BesideArgs;
  between: EdgeArgs;
  looked: LookedArgs;
  surveyed: RowArgs;
  reads: ReadsArgs;
  test: TestArgs;
  open: OpenArgs;
  opened: OpenArgs;
  save: SaveArgs;
  words: Nothing;
  reveal: RevealArgs;
}

/** The data that each operation answers. `explain` has set the state before, `without` and `test` a trait; `opened` opens what `open` has computed. */
export interface Answers {
  hello: Nothing;
  explain: Nothing;
  head: Nothing;
  patterns: Nothing;
  through: Nothing;
  why: Nothing;
  neurons: Neurons;
  features: Features;
  feature: FeatureCard;
  concepts: Concepts;
  search: FoundFeatures;
  writes: Writes;
  worked: TableHeader;
  trace: Trace;
  carried: Nothing;
  totals: Nothing;
  lens: Nothing;
  streams: Nothing;
  roles: Roles;
  beyond: TableHeader;
  verify: Tested;
  ablate: Ablated;
  replaced: Replaced;
  effects: Nothing;
  without: Nothing;
  circuit: TableHeader;
  beside: Nothing;
  between: OpenedEdge;
  looked: TableHeader;
  surveyed: Nothing;
  reads: Reads;
  test: Nothing;
  open: Nothing;
  opened: OpenedPrompt;
  save: Saved;
  words: Meanings;
  reveal: Nothing;
}

/** The header of the container that comes with the answer to these. */
export interface Containers {
  head: HeadHeader;
  patterns: PatternsHeader;
  through: BarsHeader;
  why: WhyHeader;
  carried: TotalsHeader;
  totals: TotalsHeader;
  lens: LensHeader;
  streams: PatchingHeader;
  effects: EstimatesHeader;
  beside: ComparisonHeader;
  surveyed: SurveyedHeader;
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
