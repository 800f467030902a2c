import { afterEach, expect, it } from "vitest";
import { decode } from "../src/core/host/wire";
import { plain, signed } from "../src/core/maths/format";
import { curve, heightOf, LARGE, layers, SMALL, walked } from "../src/core/maths/layers";
import { Graph } from "../src/core/state/graph";
import type { GraphHeader, GraphNode } from "../src/core/types";
import { SENT } from "./fixture";
import { pack } from "./pack";
import { close, FIXED, press, show } from "./show";

afterEach(close);

const node = (kind: GraphNode["kind"], name: string, layer: number, position: number, influence = 0.1, label = ""): GraphNode => ({ kind, name, label, place: name.split("/")[0] ?? "", layer, position, value: kind === "feature" ? 3 : null, influence });

/** Two layers, two words: 1 is put into by 2 and 3, the answer by 1, 2 and 4. */
const NODES: GraphNode[] = [
  { ...node("target", "logit", 2, 1, 1), place: "", value: 2 },
  node("feature", "L1.mlp/7@1", 1, 1, 0.5, "about France"),
  node("feature", "L0.z/3@0", 0, 0, 0.25),
  node("error", "L0.mlp/error@1", 0, 1),
  { ...node("token", "token@1", -1, 1), place: "embed" },
  { ...node("token", "token@0", -1, 0, 0), place: "embed" },
];
const ENDS = [1, 0, 2, 0, 4, 0, 2, 1, 3, 1];
// value, share of influence, live
const EDGES = [1.5, 0.5, 0.75, -0.5, 0.2, NaN, 0.25, 0.1, NaN, 4, 0.3, -2, -1.5, 0.1, NaN];
const TARGETS = [
  { node: 0, total: 2, left: 0.25, constants: [0.5, 0] },
  { node: 1, total: 3, left: 0.5, constants: [0, 0] },
];
const header: GraphHeader = { kind: "graph", title: "Made by hand", held: "Where heads look is not in here.", tested: "2 edges, one by one.", notes: ["A note."], checks: ["A check."], unit: "logits", tokens: ["a", " b"], layers: 2, constants: ["biases", "rounding"], nodes: NODES, targets: TARGETS };
const made = (changes: Partial<GraphHeader> = {}) =>
  pack({ ...header, ...changes }, { ends: { dtype: "i4", shape: [5, 2], values: ENDS }, edges: { dtype: "f4", shape: [5, 3], values: EDGES } });
const named = (all: HTMLElement[]) => all.map((e) => e.dataset["name"]);

it("stands what comes later higher: words, places of a layer in the model's order, layers, the answer", () => {
  const order = [node("token", "token@0", -1, 0), ...["L0.pre", "L0.z", "L0.mid", "L0.mlp", "L0.post", "L1.pre", "L1.attn_out", "L1.mlp_in"].map((place) => node("feature", `${place}/1@0`, Number(place[1]), 0)), node("part", "L2H3", 2, 0), node("target", "logit", 3, 0)];
  const heights = order.map(heightOf);
  expect([...heights].sort((a, b) => a - b)).toEqual(heights);
  expect(new Set(heights).size).toBe(heights.length);
});

it("keeps every node inside its column and lane, apart from all others, on wide pages and on narrow ones", () => {
  const crowd = Array.from({ length: 40 }, (_, i) => node("feature", `L${i % 3}.mlp/${i}@${i % 4}`, i % 3, i % 4, i / 40));
  const all = crowd.map((_, i) => i);
  for (const width of [120, 500, 2000]) {
    const laid = layers(crowd, all, 5, width);
    expect(laid.width).toBeGreaterThanOrEqual(width - 1e-6);
    expect(laid.lanes.map((l) => l.name)).toEqual(["L2.mlp", "L1.mlp", "L0.mlp"]);
    expect(laid.lanes.flatMap((l) => l.nodes).sort((a, b) => a - b)).toEqual(all);
    for (const lane of laid.lanes) {
      for (const i of lane.nodes) {
        const { x, y, r } = laid.places.get(i) ?? { x: 0, y: 0, r: 0 };
        const column = laid.columns[crowd[i]?.position ?? 0] ?? { x: 0, width: 0 };
        expect(Math.abs(x - column.x) + r).toBeLessThanOrEqual(column.width / 2);
        expect(y - r).toBeGreaterThanOrEqual(lane.top);
        expect(y + r).toBeLessThanOrEqual(lane.top + lane.height);
        expect(r).toBeCloseTo(SMALL + (LARGE - SMALL) * Math.sqrt(i / 40), 6);
      }
    }
    const spots = [...laid.places.values()];
    spots.forEach((a, i) => spots.slice(i + 1).forEach((b) => expect(Math.hypot(a.x - b.x, a.y - b.y)).toBeGreaterThan(2 * LARGE - 1e-6)));
  }
});

it("draws an edge from its source to its target, bowed where one stands above the other", () => {
  const [low, high, aside] = [{ x: 10, y: 90, r: 1 }, { x: 10, y: 10, r: 1 }, { x: 80, y: 10, r: 1 }];
  expect(curve(low, aside)).toBe("M10.0 90.0C10.0 50.0 80.0 50.0 80.0 10.0");
  expect(curve(low, high)).not.toBe(curve(low, high, -1));
});

it("walks along a lane, and to the nearest of the next one", () => {
  const laid = layers(NODES, [0, 1, 2, 3, 4, 5], 2, 400);
  expect(laid.lanes.map(({ name, nodes }) => [name, nodes])).toEqual([["answer", [0]], ["L1.mlp", [1]], ["L0.mlp", [3]], ["L0.z", [2]], ["words", [5, 4]]]);
  expect([walked("ArrowDown", 3, laid), walked("ArrowDown", 2, laid), walked("ArrowUp", 4, laid)]).toEqual([2, 5, 2]);
  expect([walked("ArrowLeft", 4, laid), walked("ArrowLeft", 5, laid), walked("End", 5, laid)]).toEqual([5, 5, 4]);
  expect([walked("ArrowUp", 0, laid), walked("ArrowDown", 4, laid), walked("x", 4, laid)]).toEqual([0, 4, undefined]);
});

it("opens the answer first, then a node that is clicked: rows that sum, by size, live beside", async () => {
  const { one, all, click, model } = show(made(), "graph");
  expect(named(all('[data-part="into"] .aw-brow'))).toEqual(["L1.mlp/7@1", "L0.z/3@0", "token@1", "left out", "biases"]);
  expect(one('[data-part="out"]')).toBeNull();
  await click('.aw-gnode[data-name="L1.mlp/7@1"]');
  expect(model.get("selected")).toBe("L1.mlp/7@1");
  expect(named(all('[data-part="into"] .aw-brow'))).toEqual(["L0.z/3@0", "L0.mlp/error@1", "left out"]);
  expect(all('[data-part="into"] .aw-glive').map((e) => e.lastChild?.textContent ?? "")).toEqual([signed(-2), "", ""]);
  expect(one('[data-part="opened"] .aw-total')?.textContent).toBe(`sum ${plain(3)} fires ${plain(3)}`);
  expect(named(all('[data-part="out"] .aw-brow'))).toEqual(["logit"]);
  expect(one('[data-part="told"]')?.textContent).toContain("about France, fires 3.00: 50");
  await click('[data-part="out"] [data-name="logit"]');
  expect(model.get("selected")).toBe("");
});

it("lights the edges of a node that is pointed at, and of what is pinned", async () => {
  const { one, all, click } = show(made(), "graph");
  const lit = () => all(".aw-glit").map((e) => e.dataset["ends"]).sort();
  expect(lit()).toEqual(["1 0", "2 0", "4 0"]);
  expect(one('[data-ends="2 0"]')?.getAttribute("class")).toContain("aw-minus");
  await click('.aw-gnode[data-name="L0.mlp/error@1"]');
  expect(lit()).toEqual(["3 1"]);
  await click('[data-part="pin"]');
  one('.aw-gnode[data-name="token@1"]')?.dispatchEvent(new Event("pointerenter"));
  await press(null, "");
  expect(lit()).toEqual(["3 1", "4 0"]);
  await click('[data-pinned="L0.mlp/error@1"]');
  await click('[data-part="pin"]');
  expect(all("[data-pinned]")).toEqual([]);
  const widths = all(".aw-gedges path").map((e) => [e.dataset["ends"], Number(e.getAttribute("stroke-width"))] as const);
  const strongest = widths.reduce((a, b) => (b[1] > a[1] ? b : a));
  expect(strongest[0]).toBe("1 0");
});

it("hides errors and constants, and their rows stay in the sum", async () => {
  const { all, one, click } = show(made(), "graph", { ...FIXED, selected: "L1.mlp/7@1" });
  const total = one('[data-part="opened"] .aw-total')?.textContent;
  await click('[data-chip="errors"]');
  await click('[data-chip="constants"]');
  expect(named(all(".aw-gnode"))).not.toContain("L0.mlp/error@1");
  expect(all('[data-ends="3 1"]')).toEqual([]);
  expect(named(all('[data-part="into"] .aw-brow'))).toEqual(["L0.z/3@0", "errors, hidden", "left out", "constants, hidden"]);
  expect(one('[data-part="opened"] .aw-total')?.textContent).toBe(total);
});

it("is one stop for keys, which walk, tell and open", async () => {
  const { one, all, model } = show(made(), "graph");
  const stop = () => all('.aw-gnode[tabindex="0"]');
  expect(named(stop())).toEqual(["logit"]);
  stop()[0]?.focus();
  await press(document.activeElement, "ArrowDown");
  expect((document.activeElement as HTMLElement).dataset["name"]).toBe("L1.mlp/7@1");
  expect(stop()).toHaveLength(1);
  expect(one('[data-part="told"]')?.textContent).toContain("L1.mlp/7@1");
  await press(document.activeElement, "Enter");
  expect(model.get("selected")).toBe("L1.mlp/7@1");
});

it("says what was observed apart from what was tested, also where nothing was", () => {
  const { one } = show(made({ tested: "" }), "graph");
  expect(one('[data-part="observed"]')?.textContent).toBe("Observed. Where heads look is not in here.");
  expect(one('[data-part="tested"]')?.textContent).toContain("No edge was");
});

it("draws what Python sent: every node and edge, and every opened node sums", () => {
  const of = new Graph(decode<GraphHeader>(SENT["graph"]));
  const { all } = show(SENT["graph"] as Uint8Array, "graph", FIXED);
  expect(named(all(".aw-gnode")).sort()).toEqual(of.header.nodes.map((n) => n.name).sort());
  expect(all(".aw-gedges path")).toHaveLength(of.edges.length);
  expect(of.header.targets.length).toBeGreaterThan(1);
  for (const { node, total, left, constants } of of.header.targets) {
    const sum = of.into(node).reduce((a, e) => a + e.value, left + constants.reduce((a, b) => a + b, 0));
    expect(Math.abs(sum - total)).toBeLessThan(1e-5 * Math.max(1, Math.abs(total)));
  }
});
