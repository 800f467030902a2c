/** Every head at once: the rules as pure functions, then what a person sees, points at, locks and collects. */
import { afterEach, describe, expect, it } from "vitest";
import type { Palette } from "../src/core/maths/colour";
import { barScale, binned, fitting, having, layout, OUTLINED, outline } from "../src/core/maths/heads";
import { colourOf, meanOf, pooled, pooledRow, ramp, type Weights } from "../src/core/maths/thumbs";
import { Triangle } from "../src/core/host/wire";
import { gridOf, headsWith, pictured } from "../src/core/state/heads";
import { Reading } from "../src/core/state/reading";
import { Screen } from "../src/core/state/screen";
import type { ExplorerHeader, Row } from "../src/core/types";
import { paint } from "../src/views/heads/paint";
import { explorer, longPrompt, type Made, random, state, tested } from "./fixture";
import { close, FIXED, press, show as showKind, tick } from "./show";

afterEach(close);

const made = explorer();
const { header } = made;
const HEADS = { showing: { tab: "", mode: "heads" } };
const show = (bytes: Uint8Array, traits: Record<string, unknown> = {}) => showKind(bytes, "explorer", { ...HEADS, chosen: [], without: {}, ...traits });
const valueOf = (of: Made, id: string) => (of.arrays["values"]?.values ?? [])[of.header.rows.findIndex((r) => r.id === id)] ?? 0;
const heads = header.rows.filter((r) => r.kind === "head").map((r) => r.id);
const form = new Screen().heads.value;
const unknown = () => undefined;

/** The first task with estimated effects: shares of the gap by row. */
function estimated(shares: Record<string, number>, changes: Partial<ExplorerHeader> = {}): Made {
  const of = explorer(undefined, changes);
  const gap = of.header.corrupted?.gap ?? 0;
  of.arrays["effects"] = { dtype: "f4", shape: [of.header.rows.length], values: of.header.rows.map((r) => (shares[r.id] ?? 0) * gap) };
  return of;
}

/** A model of so many layers and heads, without patterns. */
function large(layers: number, count: number): Made {
  const rows: Row[] = Array.from({ length: layers }, (_, layer) => [...Array.from({ length: count }, (_, head) => ({ id: `L${layer}H${head}`, kind: "head", layer, head })), { id: `L${layer}.mlp`, kind: "mlp", layer, head: null }]).flat();
  const next = random(3);
  return { header: { ...header, rows, model: { ...header.model, layers, heads: count } }, arrays: { values: { dtype: "f4", shape: [rows.length], values: rows.map(() => next() - 0.5) } } };
}

describe("the layout", () => {
  it("fits 8, 12 and 32 heads into every width, legibly from 700 pixels on", () => {
    for (const width of [320, 470, 558, 664, 800]) {
      for (const count of [1, 8, 12, 32]) {
        const columns = Math.min(count, fitting(width, 1));
        const at = layout(width, columns, 1, false);
        expect(at.side + columns * (at.cell + at.gap) + at.wide, `${count} heads in ${width}`).toBeLessThanOrEqual(width);
        expect(at.picture).toBeGreaterThan(0);
        expect(at.under + at.bar).toBeLessThanOrEqual(at.row);
        if (width >= 664) expect([columns, at.cell >= 15]).toEqual([count, true]);
      }
    }
  });

  it("fits columns of whole sublayers", () => {
    const at = layout(320, 0, 2, false);
    expect(at.side + 2 * (at.wide + at.gap)).toBeLessThanOrEqual(320);
    expect(at.under + at.bar).toBeLessThanOrEqual(at.row);
  });

  it("is lower where only one row of a pattern is shown", () => expect(layout(664, 12, 1, true).row).toBeLessThan(layout(664, 12, 1, false).row));

  it("bins what has no room evenly, and loses nothing", () => {
    for (const [n, most] of [[8, 32], [32, 32], [33, 32], [80, 32], [5, 1]] as const) {
      const runs = binned(n, most);
      expect(runs.length).toBeLessThanOrEqual(most);
      expect(runs.flat()).toEqual(Array.from({ length: n }, (_, i) => i));
    }
    expect(binned(32, 32).every((run) => run.length === 1)).toBe(true);
  });

  it("has one scale for heads and MLPs, on which the longest bars have room", () => {
    const at = layout(664, 8, 1, false);
    for (const [some, others] of [[[0.5, -1.5], [6]], [[0.5, -4], [0.1]], [[], [2]]] as const) {
      const scale = barScale(at, some, others);
      for (const v of some) expect(Math.abs(v) * scale).toBeLessThanOrEqual(at.cell / 2);
      for (const v of others) expect(Math.abs(v) * scale).toBeLessThanOrEqual(at.wide / 2);
      expect(scale).toBeGreaterThan(0);
    }
    expect(barScale(at, [0], [0])).toBeGreaterThanOrEqual(0);
  });
});

describe("bars and effects", () => {
  it("are told apart by both, and an unknown effect says nothing", () => {
    expect(having(1, 1, undefined)).toBe("");
    expect(having(0, 1, undefined)).toBe("");
    expect(having(0.01, 1, 0.01)).toBe("neither");
    expect(having(0.01, 1, -0.2)).toBe("effect");
    expect(having(0.01, 1, 0.03), "outlined, not named").toBe("");
    expect(having(-0.9, 1, 0.001)).toBe("bar");
    expect(having(-0.9, 1, 0.01), "some effect").toBe("");
    expect(having(0.9, 1, 0.2)).toBe("");
    expect(having(0.1, 1, 0.01), "neither a clear bar nor none").toBe("");
  });

  it("draw an outline as wide as the effect is large", () => {
    const at = layout(664, 8, 1, false);
    const widths = [0, 0.9 * OUTLINED, OUTLINED, 0.3, -0.6].map((e) => outline(e, 0.6, at));
    expect(widths.slice(0, 2)).toEqual([0, 0]);
    expect(widths[2]).toBeGreaterThan(0);
    expect(widths[3]).toBeGreaterThan(widths[2] ?? 0);
    expect(widths[4]).toBe(at.pad);
  });

  it("name and fade by the numbers of a state", () => {
    const values = heads.map((id) => Math.abs(valueOf(made, id)));
    const most = Math.max(...values);
    const faint = heads.filter((_, i) => (values[i] ?? 0) < 0.05 * most);
    const of = new Reading(state(estimated({ [faint[0] ?? ""]: 0.5 })));
    const effects = (i: number): [number, boolean] => [(of.arrays["effects"]?.at()[i] ?? 0) / (header.corrupted?.gap ?? 1), false];
    expect(headsWith("effect", of, effects)).toEqual([faint[0]]);
    expect(headsWith("bar", of, effects)[0]).toBe(of.lead);
    const pale = gridOf(of, effects, null, 664).layers.flatMap(({ spots }) => spots).filter((s) => s?.pale).map((s) => s?.name);
    expect(pale).toContain(faint[1]);
    expect(pale).not.toContain(faint[0]);
    expect(gridOf(of, unknown, null, 664).layers.flatMap(({ spots }) => spots).some((s) => s?.pale), "unknown effects fade nothing").toBe(false);
  });
});

describe("small pictures", () => {
  const n = 23;
  const next = random(5);
  const triangle = new Triangle(n, Float32Array.from({ length: (n * (n + 1)) / 2 }, () => next() ** 3));
  const bytes: Weights = { n, ahead: false, data: Uint8Array.from(triangle.data, (p) => Math.round(255 * Math.sqrt(p))) };
  const worth = { carry: Array.from({ length: n }, () => next() - 0.5), dest: Array.from({ length: n }, () => 1 + next()) };
  /** slow and obvious */
  const twin = (m: number, value: (t: number, s: number) => number, from: number) => {
    const out = new Float32Array(m * m);
    for (let t = 0; t < n; t++) {
      for (let s = from; s <= t; s++) {
        const i = Math.floor((t * m) / n) * m + Math.floor((s * m) / n);
        if (Math.abs(value(t, s)) > Math.abs(out[i] ?? 0)) out[i] = value(t, s);
      }
    }
    return out;
  };

  it("keep the strongest pair of every block, of weights and of what they carry", () => {
    for (const size of [1, 7, 23, 64]) {
      for (const from of [0, 1]) {
        const m = Math.min(n, size);
        expect(pooled(triangle, size, undefined, from)).toEqual(twin(m, (t, s) => triangle.get(t, s), from));
        const carried = twin(m, (t, s) => triangle.get(t, s) * (worth.carry[s] ?? 0) * (worth.dest[t] ?? 0), from);
        pooled(triangle, size, worth, from).forEach((v, i) => expect(v).toBeCloseTo(carried[i] ?? NaN, 6));
        pooled(bytes, size, undefined, from).forEach((v, i) => expect(v).toBeCloseTo(twin(m, (t, s) => triangle.get(t, s), from)[i] ?? NaN, 2));
      }
    }
    const row = triangle.row(n - 1);
    expect(pooledRow(row, n, 1, 1)).toEqual(Float32Array.of(Math.max(...row.slice(1))));
    expect(pooledRow(triangle.row(3), n, n).slice(4).every((v) => v === 0), "a word stands where it stands in every row").toBe(true);
  });

  it("are averaged pair by pair", () => {
    const other = new Triangle(n, triangle.data.map((p) => 1 - p));
    meanOf([triangle, other], [undefined, undefined]).data.forEach((v) => expect(v).toBeCloseTo(0.5, 6));
    expect(meanOf([triangle], [worth]).get(9, 4)).toBeCloseTo(triangle.get(9, 4) * (worth.carry[4] ?? 0) * (worth.dest[9] ?? 0), 6);
    expect(meanOf([triangle], [undefined], 1).get(9, 0)).toBe(0);
  });

  it("are painted in the colours of the large ones", () => {
    const palette: Palette = { dark: false, ground: [255, 255, 255], ink: [0, 0, 0], plus: [0, 103, 165], minus: [184, 78, 0], sequence: [[157, 196, 226], [55, 135, 191], [8, 48, 107]] };
    for (const scale of ["probability", "magnitude", "signed"] as const) {
      const paint = ramp(palette, scale, 0.5);
      for (const value of [0, 0.003, 0.1, 0.5, ...(scale === "signed" ? [-0.2, -0.5] : [])]) {
        const pixel = paint(value) >>> 0;
        const got = [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255, pixel >>> 24];
        colourOf(palette, scale, value, 0.5).forEach((c, i) => expect(Math.abs((got[i] ?? 0) - c), `${scale} ${value}`).toBeLessThan(4));
        expect(got[3]).toBe(255);
      }
    }
  });
});

describe("what is drawn", () => {
  const palette: Palette = { dark: false, ground: [255, 255, 255], ink: [0, 0, 0], plus: [0, 0, 255], minus: [255, 128, 0], sequence: [[9, 9, 9]] };
  /** What is drawn on a canvas that only takes notes. */
  function notes(of: Made, told: Record<string, boolean>) {
    const reading = new Reading(state(of));
    const gap = of.header.corrupted?.gap ?? 1;
    const effects = (i: number): [number, boolean] => [(reading.arrays["effects"]?.at()[i] ?? 0) / gap, told[reading.header.rows[i]?.id ?? ""] ?? false];
    const grid = gridOf(reading, effects, null, 664);
    const at = layout(664, grid.heads.length, grid.others.length, false);
    const rects: { x: number; y: number; w: number; h: number; style: string }[] = [];
    const strokes: { x: number; y: number; dash: number[]; width: number; style: string }[] = [];
    let dash: number[] = [];
    const context = { fillStyle: "", strokeStyle: "", lineWidth: 1, globalAlpha: 1, scale() {}, fillText() {}, setLineDash: (d: number[]) => (dash = d), fillRect: (x: number, y: number, w: number, h: number) => rects.push({ x, y, w, h, style: context.fillStyle }), strokeRect: (x: number, y: number) => strokes.push({ x, y, dash, width: context.lineWidth, style: context.strokeStyle }) };
    const canvas = { style: {}, getContext: () => context } as unknown as HTMLCanvasElement;
    paint(canvas, grid, at, 10, reading, { ...form, weighting: "effect" }, palette);
    return { rects, strokes, at, grid, reading };
  }

  it("dashes what is estimated, draws solid what was tested, and no effect in a colour of sign", () => {
    const { strokes } = notes(estimated({ L3H1: 0.4, L3H4: -0.2 }), { L3H4: true });
    const [plus, minus] = ["rgb(0 0 255)", "rgb(255 128 0)"].map((style) => strokes.filter((s) => s.style === style));
    expect([plus?.length, minus?.length]).toEqual([1, 1]);
    expect(plus?.[0]?.dash.length).toBeGreaterThan(0);
    expect(minus?.[0]?.dash).toEqual([]);
    expect(plus?.[0]?.width).toBeGreaterThan(minus?.[0]?.width ?? 9);
  });

  it("has bars of one scale, each from the middle of its cell", () => {
    const { rects, at, grid, reading } = notes(estimated({}), {});
    for (const id of ["L3H4", "L4.mlp", "L2H0"]) {
      const row = grid.layers.findIndex(({ spots }) => spots.some((s) => s?.name === id));
      const column = grid.layers[row]?.spots.findIndex((s) => s?.name === id) ?? -1;
      const value = reading.value(id);
      const bar = rects.filter((r) => r.h === at.bar - 2 && Math.floor(r.y / (at.row + at.gap)) === row)[column];
      expect(bar?.w).toBeCloseTo(Math.max(1, 10 * Math.abs(value)), 4);
      const left = Math.min(column, grid.heads.length) * (at.cell + at.gap);
      const middle = left + (column < grid.heads.length ? at.cell : at.wide) / 2;
      expect(value < 0 ? (bar?.x ?? 0) + (bar?.w ?? 0) : bar?.x).toBeCloseTo(middle, 4);
    }
  });

  it("shows the row of the last word also where no patterns travel", () => {
    const full = new Reading(state(made));
    const { patterns: _gone, ...arrays } = made.arrays;
    const bare = new Reading(state({ header, arrays }));
    const spot = (of: Reading) => gridOf(of, unknown, null, 664).layers.flatMap(({ spots }) => spots).find((s) => s?.name === "L3H4")!;
    const n = header.prompt.tokens.length;
    const strip = { ...form, strip: true };
    const [want, got] = [full, bare].map((of) => pictured(of, spot(of), strip, n));
    got?.forEach((v, i) => expect(v).toBeCloseTo(want?.[i] ?? NaN, 3));
    expect(got).toHaveLength(n);
    const carried = pictured(bare, spot(bare), { ...strip, weighting: "contribution" }, n);
    expect([...(carried ?? [])].reduce((a, b) => a + b, 0)).toBeCloseTo(bare.sources("L3H4", undefined)!.tokens.reduce((a, b) => a + b, 0), 5);
    expect(pictured(bare, spot(bare), form, n)).toBeUndefined();
    expect(pictured(full, spot(full), { ...strip, reader: 2 }, n)?.slice(3).every((v) => v === 0), "nothing is read ahead").toBe(true);
  });
});

describe("on the page", () => {
  const picture = (page: ReturnType<typeof show>) => page.one('[data-part="head-picture"]')?.dataset["of"];
  const cell = (page: ReturnType<typeof show>, id: string) => page.one(`[data-part="heads"] [data-id="${id}"]`);
  const point = async (page: ReturnType<typeof show>, id: string) => {
    cell(page, id)?.dispatchEvent(new Event("pointerover", { bubbles: true }));
    await tick();
  };

  it("asks for nothing before it is opened, and for nothing that has travelled", async () => {
    const page = showKind(state(made));
    const before = page.sent.map((m) => m.op);
    expect(before).not.toContain("patterns");
    await page.click('[data-order="heads"]');
    // (A slow machine polls meanwhile for the answer to the greeting.)
    expect(page.sent.map((m) => m.op).filter((op) => op !== "poll")).toEqual(before.filter((op) => op !== "poll"));
    expect(page.one('[data-part="sums"]')?.textContent).toMatch(/^MLPs .* heads .* others /);
  });

  it("opens where an earlier version called it the map", () => {
    expect(show(state(made), { showing: { tab: "", mode: "map" } }).one('[data-order="heads"]')?.getAttribute("aria-pressed")).toBe("true");
  });

  it("previews what is pointed at, locks on a click, and unlocks on Escape", async () => {
    const page = show(state(made));
    const lead = new Reading(state(made)).lead;
    expect(picture(page)).toBe(lead);
    await point(page, "L2H3");
    expect([picture(page), page.model.get("selected")]).toEqual(["L2H3", ""]);
    expect(page.one('[data-part="heads"] .aw-readout')?.textContent).toContain("L2H3");
    await page.click('[data-part="heads"] [data-id="L1H0"]');
    expect([picture(page), page.model.get("selected")]).toEqual(["L1H0", "L1H0"]);
    await point(page, "L2H3");
    expect(picture(page), "it is locked").toBe("L1H0");
    await press(cell(page, "L1H0"), "Escape");
    expect(page.model.get("selected")).toBe("");
    expect(picture(page)).toBe("L2H3");
    expect(page.sent.map((m) => m.op).filter((op) => op === "head")).toEqual([]);
  });

  it("collects a set with Shift: its mean pattern, and what the model says without it", async () => {
    const page = show(state(estimated({}, { test: { kinds: ["head", "mlp"], never: "", missing: "", top: 10, one: 2, all: 72, suggested: "" } })));
    for (const id of ["L3H1", "L3H4"]) {
      cell(page, id)?.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));
      await tick();
    }
    expect(page.model.get("chosen")).toEqual(["L3H1", "L3H4"]);
    expect(picture(page)).toBe("L3H1 L3H4");
    expect(page.one('[data-part="head-picture"]')?.textContent).toContain("Mean of 2 heads");
    expect(page.sent.filter((m) => m.op === "without").at(-1)?.args).toEqual({ components: ["L3H1", "L3H4"] });
    await page.click('[data-part="head-picture"] [data-form="lines"]');
    expect(page.one('[data-part="lines"] [role="img"]')?.getAttribute("aria-label")).toContain("reads");
  });

  it("follows the row of a word in every head", async () => {
    const page = show(state(made), FIXED);
    await page.click('[data-form="row"]');
    await page.click('[data-part="reader"] [data-i="2"]');
    expect(page.one('[data-form="row"]')?.textContent).toBe("what ·capital reads");
    await page.click('[data-form="lines"]');
    expect(page.one('[data-part="lines"]')?.textContent).toContain("solid from ·capital");
  });

  it("follows to the end of a long list too", async () => {
    const page = show(state(explorer(longPrompt(300), { corrupted: null })), FIXED);
    await page.click('[data-form="row"]');
    const reader = () => page.one('[data-part="reader"] [aria-selected="true"]');
    await press(reader(), "End");
    expect(reader()?.dataset["i"]).toBe("299");
    await press(reader(), "Home");
    expect(reader()?.dataset["i"]).toBe("0");
  });

  it("names heads whose bar and effect disagree, and takes them out together", async () => {
    const test = { kinds: ["head", "mlp"], never: "", missing: "", top: 10, one: 2, all: 72, suggested: "" };
    const faint = heads.reduce((a, b) => (Math.abs(valueOf(made, a)) < Math.abs(valueOf(made, b)) ? a : b));
    const of = estimated({ [faint]: -0.3, L3H1: 0.4 }, { test });
    const page = show(state(of));
    expect(page.one('[data-part="effect-only"]')?.textContent).toBe(`An effect and no bar (estimated): ${faint}. `);
    const reading = new Reading(state(of));
    const expected = headsWith("bar", reading, (i) => [(reading.arrays["effects"]?.at()[i] ?? 0) / (header.corrupted?.gap ?? 1), false]);
    expect(expected).not.toContain("L3H1");
    await page.click('[data-part="bar-out"]');
    expect(page.model.get("chosen")).toEqual(expected);
    expect(show(state(made)).one('[data-part="bar-only"]'), "no effects, no word").toBeNull();
  });

  it("says of a tested head that it was", () => {
    const { made: of, verdicts } = tested();
    const page = show(state(of), { tested: verdicts });
    expect(cell(page, "L3H1")?.textContent).toMatch(/effect -?\d+\u00a0%$/);
    expect(cell(page, "L2H2")?.textContent).toContain("(estimated)");
  });

  it("asks for small pictures where the patterns are too many, and shows rows without a kernel", async () => {
    const of = explorer(longPrompt(40), { corrupted: null });
    const { patterns: _gone, ...arrays } = of.arrays;
    const bytes = state({ header: of.header, arrays });
    const live = show(bytes);
    await tick();
    expect(live.sent.filter((m) => m.op === "patterns")).toHaveLength(1);
    const still = show(bytes, FIXED);
    expect(still.one('[data-form="row"]')?.getAttribute("aria-pressed")).toBe("true");
    expect(still.one('[data-form="whole"]')?.getAttribute("aria-disabled")).toBe("true");
    expect(still.one('[data-part="reader"]'), "only the row that is explained is known").toBeNull();
  });

  it("draws too many layers and heads in bins, which open on a click", async () => {
    const page = show(state(large(40, 64)), FIXED);
    const rows = () => page.all('[data-part="heads"] [role="rowheader"]').map((e) => e.getAttribute("aria-label"));
    const bins = page.all('[data-part="heads"] [role="gridcell"]').map((e) => e.dataset["id"] ?? "");
    expect(rows()).toHaveLength(20);
    expect(bins[0]).toMatch(/^L38–39 H0–\d+$/);
    await page.click(`[data-part="heads"] [data-id="${bins[0]}"]`);
    expect(cell(page, "L38H0")).not.toBeNull();
    expect(rows()).toHaveLength(32);
    await page.click('[data-part="all-heads"]');
    expect(rows()).toHaveLength(20);
  });

  it("has a place for every part where layers have no heads", () => {
    const rows: Row[] = ["attn", "mlp"].map((kind) => ({ id: `L0.${kind}`, kind, layer: 0, head: null }));
    const page = show(state({ header: { ...header, rows }, arrays: { values: { dtype: "f4", shape: [2], values: [1, -2] } } }), FIXED);
    expect(page.all('[data-part="heads"] [data-id]').map((e) => e.dataset["id"])).toEqual(["L0.attn", "L0.mlp"]);
    expect(page.one(".aw-heads")?.style.gridTemplateColumns.split(" ")).toHaveLength(3);
    expect(page.one('[data-form="whole"]')).toBeNull();
  });

  it("draws no pattern while what a head reads is asked", () => {
    const page = show(state(made), { ...FIXED, options: { hidden: ["detail"], static: true } });
    expect(page.one('[data-form="whole"]')).toBeNull();
    expect(picture(page)).toBeUndefined();
    expect(page.one('[data-part="heads"] .aw-readout')?.textContent).not.toContain("·");
  });
});

describe("letters of roles", () => {
  const table = { kind: "table", title: "2 heads have a role", notes: [], columns: ["letter", "role", "heads", "above"], rows: [["I", "induction", "L2H4 0.73", "0.40"], ["K", "copying", "L2H4 1.00", "0.50"]], bars: [], footer: [] };
  const contexts = { ...table, title: "What it reads", rows: [["10", "a [b] c", "99 %", "4"]] };

  it("are asked for with a click, drawn in every head's cell, spoken, and lead to contexts", async () => {
    const { one, all, click, sent, answer } = show(state(explorer()));
    await tick();
    expect(sent.map(({ op }) => op)).not.toContain("roles");
    await click('[data-form="roles"]');
    await tick();
    expect(sent.at(-1)?.op).toBe("roles");
    await answer("ack");
    await answer("result", { data: { heads: { L2H4: "IK" }, table } });
    expect(all(".aw-letters").length).toBe(heads.length);
    expect(one('[data-id="L2H4"] .aw-letters')?.textContent).toBe("IK");
    expect(one('[data-id="L2H4"]')?.textContent).toContain("induction and copying");
    expect(one('[data-id="L0H0"] .aw-letters')?.textContent).toBe("–");
    expect(one('[data-id="L0H0"]')?.textContent).toContain("no role");
    await click('[data-id="L2H4"]');
    await click('[data-form="ov"]');
    await tick();
    expect(sent.at(-1)?.args).toEqual({ id: "L2H4", what: "ov" });
    await click('[data-form="contexts"]');
    await tick();
    const asked = sent.find(({ args }) => args["what"] === "contexts");
    expect(asked?.op).toBe("beyond");
    await answer("ack", {}, asked?.id);
    await answer("result", { data: contexts }, asked?.id);
    expect(one('[data-part="roles"]')?.textContent).toContain("What it reads");
    await click('[data-form="roles"]');
    expect(all(".aw-letters")).toEqual([]);
  });

  it("name no answer while that is hidden", async () => {
    const { one, click, answer } = show(state(explorer()), { options: { hidden: ["candidates"] } });
    await tick();
    await click('[data-form="roles"]');
    await tick();
    await answer("ack");
    await answer("result", { data: { heads: { L2H4: "IK" }, table } });
    await click('[data-id="L2H4"]');
    expect(one('[data-form="composition"]')).not.toBeNull();
    expect(one('[data-form="ov"]')).toBeNull();
  });

  it("need a kernel", async () => {
    const { one } = show(state(explorer()), FIXED);
    await tick();
    expect(one('[data-form="roles"]')?.getAttribute("aria-disabled")).toBe("true");
  });
});
