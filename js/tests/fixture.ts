/**
 * States for tests and for the development page: what Python sends for the embedded model's first task (states.json,
 * written by tests/states.py), the same with other tokens, and small ones made by hand under the types of the contract.
 */
import { half } from "../src/core/host/wire";
import type { ExplorerHeader, FeatureCard, Features, Kind, PatchingHeader, Row, Trace, TraceHeader, Verdicts, Views } from "../src/core/types";
import { type Given, pack } from "./pack";
import states from "./states.json";

const REAL = states.explorer.header as unknown as ExplorerHeader;
const { layers: LAYERS, heads: HEADS } = REAL.model;
/** of the embedded model's first task */
export const TOKENS = REAL.prompt.tokens;

/** A repeatable stand-in for chance. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

interface Packed {
  dtype: Given["dtype"];
  shape: number[];
  layout?: string;
  data: string;
}

/** An array of states.json, to be packed again. */
function given({ dtype, shape, layout, data }: Packed): Given {
  const { buffer } = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const values =
    dtype === "f4" ? new Float32Array(buffer) : dtype === "i4" ? new Int32Array(buffer) : dtype === "f2" ? Array.from(new Uint16Array(buffer), half) : Array.from(new Uint8Array(buffer), (b) => (b / 255) ** 2);
  return { dtype, shape, values, tril: layout === "tril" };
}

const unpacked = (arrays: object): Record<string, Given> => Object.fromEntries(Object.entries(arrays as Record<string, Packed>).map(([name, a]) => [name, given(a)]));

/** What Python sends now, by kind of view; the Explorer's as an offline page has it. */
export const SENT = Object.fromEntries(Object.entries(states).map(([kind, { header, arrays }]) => [kind, pack(header, unpacked(arrays))])) as Record<keyof typeof states, Uint8Array>;

export interface Made {
  header: ExplorerHeader;
  arrays: Record<string, Given>;
}

/** The Explorer's state without what a live view of a large model would ask for: lens, total effects. */
export function explorer(tokens = TOKENS, changes: Partial<ExplorerHeader> = {}): Made {
  const n = tokens.length;
  const rows = REAL.rows;
  const { lens: _lens, effects: _effects, ...real } = unpacked(states.explorer.arrays);
  const values = Array.from(real["values"]?.values ?? []);
  const valueOf = (id: string) => values[rows.findIndex((r) => r.id === id)] ?? 0;
  const header: ExplorerHeader = {
    ...REAL,
    ...(tokens !== TOKENS && { prompt: { ...REAL.prompt, text: tokens.slice(1).join(""), tokens, position: n - 1 }, corrupted: null }),
    features: Object.fromEntries(["L2.mlp", "L3H1"].map((id) => [id, features(id, valueOf(id))])),
    cards: { "L2.mlp/29": card(n), "L3H1/29": { ...card(n), label: "", through: "L3H1", arithmetic: { ...card(n).arithmetic!, reads: "this is what it writes through L3H1 alone" } } },
    trace: { stop: walk, frozen: { ...walk, title: "with gates held" } },
    ...changes,
  };
  return { header, arrays: tokens === TOKENS ? real : { values: given(states.explorer.arrays.values as Packed), ...drawn(rows, valueOf, n, header) } };
}

/** Arrays for other tokens: patterns of several kinds, and sources that sum to the real bars. */
function drawn(rows: Row[], valueOf: (id: string) => number, n: number, header: ExplorerHeader): Record<string, Given> {
  const next = random(7);
  const found: Record<"patterns" | "carry" | "bias" | "norms" | "exact" | "through" | "why" | "whyBias" | "whyScore" | "rival" | "rivalScore" | "choice", number[]> = { patterns: [], carry: [], bias: [], norms: [], exact: [], through: [], why: [], whyBias: [], whyScore: [], rival: [], rivalScore: [], choice: [] };
  header.why_key = [];
  for (let layer = 0; layer < LAYERS; layer++) {
    const keys: number[] = [];
    header.why_key.push(keys);
    for (let head = 0; head < HEADS; head++) {
      const value = valueOf(`L${layer}H${head}`);
      const lines = pattern(n, layer * 8 + head, next);
      lines.forEach((line) => found.patterns.push(...line));
      const last = lines[n - 1] ?? [];
      const raw = last.map((p) => p * (next() - 0.3));
      const size = raw.reduce((a, b) => a + b, 0);
      const sources = raw.map((v) => v * (Math.abs(size) > 0.02 ? (value * 0.97) / size : 1));
      found.bias.push(value - sources.reduce((a, b) => a + b, 0));
      found.exact.push(...sources);
      sources.forEach((v, s) => {
        found.carry.push((last[s] ?? 0) > 1e-4 ? v / (last[s] ?? 1) : 0);
        found.norms.push(0.5 + 2 * next());
        const weights = rows.map((r) => ((r.layer ?? -1) < layer && r.kind !== "norm.bias" ? next() ** 6 : 0));
        const sum = weights.reduce((a, b) => a + b, 0);
        found.through.push(...weights.map((w) => (sum ? (v * w) / sum : 0)));
      });
      let key = 0;
      last.forEach((p, s) => (key = p > (last[key] ?? 0) ? s : key));
      keys.push(key);
      const score = 2 + 5 * (last[key] ?? 0);
      for (let side = 0; side < 2; side++) {
        const parts = rows.map((r) => ((r.layer ?? -1) < layer && r.kind !== "norm.bias" ? (next() - 0.3) ** 3 : 0));
        const sum = parts.reduce((a, b) => a + b, 0) || 1;
        found.why.push(...parts.map((w) => (w * (score - 0.4)) / sum));
        found.whyBias.push(layer ? 0.4 : score);
      }
      found.whyScore.push(score);
      found.rival.push(key ? 0 : 1);
      found.rivalScore.push(score - 3);
      const wrote = rows.map((r) => ((r.layer ?? -1) < layer && r.kind !== "norm.bias" ? next() : 0));
      const all = wrote.reduce((a, b) => a + b, 0) || 1;
      found.choice.push(...wrote.map((w) => (3 * w) / all));
    }
  }
  const lh = [LAYERS, HEADS];
  return {
    carry: { dtype: "f4", shape: [...lh, n], values: found.carry },
    dest: { dtype: "f4", shape: [LAYERS, n], values: Array.from({ length: LAYERS * n }, (_, i) => (i % n === n - 1 ? 1 : 0.9)) },
    norms: { dtype: "f4", shape: [...lh, n], values: found.norms },
    value_bias: { dtype: "f4", shape: lh, values: found.bias },
    tokens: { dtype: "f4", shape: [...lh, n], values: found.exact },
    patterns: { dtype: n > 100 ? "u1" : "f2", shape: [...lh, n, n], values: found.patterns, tril: true },
    through: { dtype: "f4", shape: [...lh, n, rows.length], values: found.through },
    why: { dtype: "f4", shape: [...lh, 2, rows.length], values: found.why },
    why_bias: { dtype: "f4", shape: [...lh, 2], values: found.whyBias },
    why_score: { dtype: "f4", shape: lh, values: found.whyScore },
    why_rival: { dtype: "i4", shape: lh, values: found.rival },
    why_rival_score: { dtype: "f4", shape: lh, values: found.rivalScore },
    why_choice: { dtype: "f4", shape: [...lh, rows.length], values: found.choice },
    why_choice_bias: { dtype: "f4", shape: lh, values: lh[0] ? found.rival.map(() => 0) : [] },
  };
}

/** Causal rows that sum to 1: some heads look back a step, some at the first token, some at a far match. */
function pattern(n: number, kind: number, next: () => number): number[][] {
  return Array.from({ length: n }, (_, t) => {
    const row = Array.from({ length: t + 1 }, (_, s) => {
      const base = 0.05 * next() ** 2;
      if (kind % 4 === 0) return base + (s === t - 1 ? 1 : 0);
      if (kind % 4 === 1) return base + (s === 0 ? 1 : 0) + (s % 11 === t % 11 ? 0.6 : 0);
      if (kind % 4 === 2) return base + 1 / (1 + t - s);
      return base * 8 + (s % 13 === (t + 5) % 13 ? 0.8 : 0);
    });
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((v) => v / sum);
  });
}

const WORDS = " When Mary and John went to the shop , John gave a very large bag of apples to Mary , because the market in the old town had closed early that day and nobody else had remembered to buy any . Later they met \u00e9l\u00e8ve \u6771\u4eac again near the bridge , where Mary gave the bag to".split(" ").slice(1);

export function longPrompt(n: number): string[] {
  return Array.from({ length: n }, (_, i) => (i === 0 ? "<s>" : (i === 1 ? "" : " ") + (WORDS[(i - 1) % WORDS.length] ?? "")));
}

export const HOSTILE = ["<s>", "</script><img src=x onerror=alert(1)>", "\u202eabc", "\n\n", "\t", "\u200b", " a b ", "", "\u0000", "\ud800", "\ufffd", " "];

/** A state under the type of its kind, so that a header that Python no longer sends fails to compile. */
export const view = (header: Views[Kind], arrays: Record<string, Given> = {}): Uint8Array => pack({ ...header }, arrays);

export const state = (made: Made = explorer()): Uint8Array => view(made.header, made.arrays);

/** Three features, the decoder's bias and the error, which sum to the bar. */
export function features(id: string, bar: number): Features {
  const values = [0.7 * bar, 0.3 * bar, -0.2 * bar];
  const site = id.replace(/H\d+/, ".attn");
  const error = bar - values.reduce((a, b) => a + b, 0) - 0.05;
  return { site, note: "3 of 512 features fire; they explain 96.0 % of what is there.", numbers: [29, 7, 311], values, activations: [8.88, 3.5, 0.25], concepts: ["after ·capital, about France", "", HOSTILE[1] ?? ""], rest: 0, rest_count: 0, bias: 0.05, error, gap: 1e-8 };
}

const card = (n: number): FeatureCard => ({
  label: "after ·capital, about France",
  density: 0.012,
  through: "",
  contexts: [
    { tokens: ["<s>", "The", " capital", " of", " France", " is"], values: [0, 0, 0, 0, 4.5, 9], cut: [false, true] },
    { tokens: HOSTILE, values: HOSTILE.map((_, i) => (i === 1 ? 8 : 0)), cut: [true, false] },
  ],
  up: [[" Paris", 1.2], [" Lyon", 0.4]],
  down: [[" Rome", -0.9]],
  here: Array.from({ length: n }, (_, i) => (i === n - 1 ? 8.88 : 0)),
  related: [[7, "cosine 0.50"]],
  arithmetic: { fires: "8.88", unit: "0.103", before: "0.466", norm: "4.54", value: "+0.91", reads: "" },
});

/** A small walk back: two heads open down to tokens, the second inside the first. */
export const walk: Trace = {
  title: "4 leaves hold 96 % of 14.54 logits, the logit of “·Paris”: +10.00 at ·is (5)",
  balance: "kept leaves +14.00   constants +0.44   pruned +0.10   sum 14.5400   model 14.5400   gap 1e-06 ok",
  notes: [],
  labels: ["L3.mlp", "L3H1", "L1H0", "embed", "rounding", "embed", "value.bias", "3 others", "L2H2", "norm.bias"],
  kinds: ["part", "part", "part", "part", "constant", "part", "constant", "pruned", "part", "constant"],
  at: [5, 5, 4, 4, -1, 4, -1, -1, 5, -1],
  depth: [1, 1, 2, 3, 3, 2, 2, 2, 1, 1],
  values: [10, 3.5, 2.5, 2.4, 0.1, 0.8, 0.1, 0.1, 0.8, 0.24],
};

const GAP = 9.31;

/** The first task with something to test: L3H1 was found redundant, L0H6 a mediator that writes next to nothing. */
export function tested(question = 0) {
  const made = explorer(undefined, { test: { kinds: ["head", "mlp"], never: "", missing: "", top: 10, one: 2, all: 72, suggested: "" } });
  const ids = REAL.rows.map((r) => r.id);
  made.arrays["effects"] = { dtype: "f4", shape: [ids.length], values: ids.map((id) => (id === "L0H6" ? 4 : id === "L3H1" ? 0.4 : 0)) };
  const finding = (id: string, d: number, damage: number, recovery: number, word: string, said: string, remarks: string[] = []) => ({
    id,
    d,
    damage,
    recovery,
    back: d,
    word,
    chip: word.replace("works ", ""),
    told: `${word}: ${said}`,
    remarks,
    then: "Without it, as in the other prompt, the model says ·Berlin 71 %, ·Paris 13 %",
    decided: `“${word}”: damage (${damage}) is below 0.80`,
    borderline: false,
    named: word !== "little alone",
    lists: ["direct"],
  });
  const verdicts: Verdicts = {
    question,
    title: "L3H1 is redundant; L0H6 works through later parts",
    pairs: "n = 1 pair of prompts",
    rule: "shares of a gap of 9.31 logits; nothing is read below 5 % of the gap (tau)",
    gap: GAP,
    shared: "the direct effects of all parts add up to 43 % of the gap",
    cost: "72 forwards in 2 passes",
    notes: [],
    together: [{ name: "all others together (35)", told: "without these 35 parts 4 % of the gap goes; put into the other prompt 30 % comes back", then: "Then the model says ·Paris 100 %" }],
    findings: [
      finding("L0H6", 0.01, 0.5, 0.4, "works through later parts", "without it 50 % of the gap goes"),
      finding("L3H1", 0.09, 0.01, 0.2, "redundant", "confirmed with L2H6: without it 1 % goes", ["without it more comes from L2H6 (by 9 %)"]),
      finding("L2H5", 0.01, 0, 0, "little alone", "in none of the four experiments it moves more than 1 % of the gap"),
    ],
  };
  return { made, verdicts };
}

export const verdicts = (): Uint8Array =>
  view({ kind: "verdicts", ...tested().verdicts, window: [-0.1, 0.6], lines: [{ name: "tau", at: [[0.05, -10], [0.05, 10]] }], regions: [{ word: "needed", d: 0.2, n: 0.5, up: false }] }, {});

/** Layers by positions: cell (layer, position) is worth 0.1 layer + 0.01 position; the last one was not computed. */
export function patching(n = 6, layers = 4, changes: Partial<PatchingHeader> = {}): Uint8Array {
  const cells = Array.from({ length: layers * n }, (_, i) => [Math.floor(i / n), i % n] as const);
  const tokens = n === 6 ? TOKENS : longPrompt(n);
  const grid = {
    site: "mlp",
    rows: Array.from({ length: layers }, (_, l) => `L${l}`),
    layers: Array.from({ length: layers }, (_, l) => l),
    columns: tokens,
    positions: tokens.map((_, p) => p),
    cells: cells.map(([l, p]) => `L${l}.mlp @${p}`),
  };
  return view(
    { kind: "patching", title: "L2.mlp @4 recovers most", share: "recovery", words: "clean parts put into the corrupted run", estimated: false, notes: ["n = 1: one pair of prompts"], cost: "24 forwards in 1 pass", gap: GAP, unit: "logits", position: n - 1, parallel: false, grids: [grid], ...changes },
    {
      values: { dtype: "f4", shape: [cells.length], values: cells.map(([l, p]) => 0.1 * l + 0.01 * p) },
      known: { dtype: "i4", shape: [cells.length], values: cells.map((_, i) => Number(i < cells.length - 1)) },
    },
  );
}

export const effects = (): Uint8Array =>
  view({ kind: "effects", title: "Without ·France", tokens: TOKENS, special: [0], told: "each replaced by 8 others", unit: "logits", cost: "8 passes", values: [null, -1, -2, 0.5, -8, -3], spread: [null, 0.1, 0.2, 0.3, 0.4, 0.5] }, {});

export const trace = (changes: Partial<TraceHeader> = {}): Uint8Array => view({ kind: "trace", tokens: TOKENS, unit: "logits", ...walk, ...changes }, {});

/** With `ahead`, every token reads every other alike: squares. */
export function attention(n = 12, heads = 8, ahead = false): Uint8Array {
  const next = random(3);
  return view(
    {
      kind: "attention",
      title: "Attention of layer 3",
      note: "Probability: every row sums to 1.",
      tokens: longPrompt(n),
      special: [0],
      heads: Array.from({ length: heads }, (_, h) => `L3H${h}`),
      weighting: "probability",
      unit: "",
    },
    {
      patterns: ahead
        ? { dtype: "f2", shape: [heads, n, n], values: Array.from({ length: heads * n * n }, () => 1 / n) }
        : { dtype: "f2", shape: [heads, n, n], tril: true, values: Array.from({ length: heads }, (_, h) => pattern(n, h, next).flat()).flat() },
      sink: { dtype: "f4", shape: [heads, n], values: Array.from({ length: heads * n }, () => 0.12) },
    },
  );
}

export function bars(count = 9): Uint8Array {
  const next = random(5);
  const values = Array.from({ length: count }, () => next() * 2 - 0.8);
  const total = values.reduce((a, b) => a + b, 0);
  return view(
    {
      kind: "bars",
      title: "L3H5: what each token carried",
      note: "Direct contributions through one head, in logits.",
      unit: "logits",
      rows: values.map((_, i) => (i < count - 1 ? { label: longPrompt(count)[i] ?? "", kind: "token", token: true, concept: "" } : { label: "value bias", kind: "bias", token: false, concept: "" })),
      total,
      parent: "L3H5",
      parent_value: total,
      gap: 1e-7,
    },
    { values: { dtype: "f4", shape: [count], values } },
  );
}

/** A lens of 5 layers: every column predicts its own token first, and " Paris" takes over in the last one. */
export function lens(n = 6, layers = ["embed", "L0", "L1", "L2", "L3"], stored = 4): Uint8Array {
  const next = random(11);
  const tokens = n === 6 ? TOKENS : longPrompt(n);
  const ids: number[] = [];
  const probabilities: number[] = [];
  const numbers: number[][] = [[], [], [], []];
  layers.forEach((_, row) => {
    tokens.forEach((_, column) => {
      const won = column === n - 1 && row >= 2;
      const p = won ? row / layers.length : 0.01 * next();
      ids.push(won ? 100 : 200 + column, 300 + row);
      probabilities.push(won ? p : 0.9, 0.05);
      [p, won ? 1 : 20 + column, 2 - row / 4, layers.length - 1 - row].forEach((v, i) => numbers[i]?.push(v));
    });
  });
  const words: Record<number, string> = { 100: " Paris" };
  tokens.forEach((text, column) => (words[200 + column] = text));
  layers.forEach((name, row) => (words[300 + row] = ` second ${name}`));
  const shape = [layers.length, n];
  return view(
    { kind: "lens", title: "\u00b7Paris can be read as the top prediction from L1 on", tokens, positions: tokens.map((_, i) => i), layers, target: { text: " Paris", id: 100 }, words, notes: [] },
    {
      ids: { dtype: "i4", shape: [...shape, 2], values: ids },
      probabilities: { dtype: "f4", shape: [...shape, 2], values: probabilities },
      numbers: { dtype: "f4", shape: [stored, ...shape], values: numbers.slice(0, stored).flat() },
    },
  );
}

/** A phrase whose second token surprised the model. Row `odd` is worth 1 for the first token, −2 for the second. */
export function phrase(words = [" Paris", " or", "\n", HOSTILE[1] ?? ""], start = 5): Uint8Array {
  const labels = ["embed", "L0H1", "odd", "rounding"];
  const odds = words.map((_, i) => (i === 1 ? 0.04 : 1 - 0.2 / (i + 1)));
  const values = words.flatMap((_, i) => [0.25, 0, i === 1 ? -2 : 1 / (i + 1), 0]);
  const sums = labels.map((_, c) => words.reduce((sum, _word, i) => sum + (values[4 * i + c] ?? 0), 0));
  const actual = (i: number) => values.slice(4 * i, 4 * i + 4).reduce((a, b) => a + b, 0);
  return view(
    {
      kind: "phrase",
      title: "A phrase has log-probability",
      note: "after The capital of France is",
      unit: "nats",
      start,
      labels,
      tokens: words.map((text, i) => ({ text, prob: odds[i] ?? 0, entropy: i === 1 ? 3.9 : 0.4, likeliest: [[" Rome", 0.5], [text, odds[i] ?? 0]], actual: actual(i), gap: 1e-7 })),
      actual: sums.reduce((a, b) => a + b, 0),
      gap: 2e-7,
    },
    { values: { dtype: "f4", shape: [words.length, 4], values }, sums: { dtype: "f4", shape: [4], values: sums } },
  );
}
