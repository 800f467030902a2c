import { afterEach, expect, it } from "vitest";
import { decode } from "../src/core/host/wire";
import { plain, signed } from "../src/core/maths/format";
import { curve, heightOf, LARGE, layers, SMALL, walked } from "../src/core/maths/layers";
import { Graph, joined } from "../src/core/state/graph";
import type { CardHeader, GraphHeader, GraphNode, OpenedEdge, TableHeader } from "../src/core/types";
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
  const widths = all(".aw-gedges [data-ends]").map((e) => [e.dataset["ends"], Number(e.getAttribute("stroke-width"))] as const);
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
  const of = Graph.read(decode<GraphHeader>(SENT["graph"]));
  const { all } = show(SENT["graph"] as Uint8Array, "graph", FIXED);
  expect(named(all(".aw-gnode")).sort()).toEqual(of.header.nodes.map((n) => n.name).sort());
  expect(all(".aw-gedges [data-ends]")).toHaveLength(of.edges.length);
  expect(of.header.targets.length).toBeGreaterThan(1);
  for (const { node, total, left, constants } of of.header.targets) {
    const sum = of.into(node).reduce((a, e) => a + e.value, left + constants.reduce((a, b) => a + b, 0));
    expect(Math.abs(sum - total)).toBeLessThan(1e-5 * Math.max(1, Math.abs(total)));
  }
});

// -- nodes taken as one -----------------------------------------------------------------------------------------------
const FRANCE = { name: "about France", members: ["L1.mlp/7@1", "L0.z/3@0"] };
const read = () => Graph.read(decode<GraphHeader>(made()));

it("sums the edges of the members of a group, with their signs, and changes no total", () => {
  const [apart, as] = [read(), read().grouped([FRANCE])];
  const g = as.at("about France");
  expect(as.into(0).map((e) => [as.key(e.source), e.value])).toEqual([["about France", 1.5 - 0.5], ["token@1", 0.25]]);
  expect(as.into(g).map((e) => [as.key(e.source), e.value])).toEqual([["L0.mlp/error@1", -1.5]]);
  expect(as.inside(g)).toBe(4);
  expect(as.outOf(g).map((e) => e.value)).toEqual([1]);
  expect(as.outOf(g)[0]?.live).toBeNaN();
  expect(as.target(g)).toEqual({ node: g, total: 3, left: 0.5, constants: [0, 0] });
  const whole = (of: Graph) => of.edges.reduce((sum, e) => sum + e.value, 0);
  expect(whole(as)).toBeCloseTo(whole(apart), 9);
  expect([as.node(g).kind, as.node(g).position, as.node(g).layer]).toEqual(["group", 1, 1]);
  expect(read().grouped([{ name: "gone", members: ["L9.mlp/1@0"] }]).at("gone")).toBe(-1);
});

it("takes nodes out of other groups, and a group that is chosen along", () => {
  expect(joined([FRANCE], "both", ["about France", "token@0"])).toEqual([{ name: "both", members: [...FRANCE.members, "token@0"] }]);
  expect(joined([FRANCE], "one", ["L0.z/3@0"])).toEqual([{ name: "about France", members: ["L1.mlp/7@1"] }, { name: "one", members: ["L0.z/3@0"] }]);
});

const shifted = (el: HTMLElement | null) => el?.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));

it("gathers nodes by Shift, takes them as one under their label, spreads them out and undoes it", async () => {
  const { one, all, click, model } = show(made(), "graph");
  shifted(one('.aw-gnode[data-name="L1.mlp/7@1"]'));
  one('.aw-gnode[data-name="L0.z/3@0"]')?.focus();
  await press(null, "");
  await press(document.activeElement, "Enter", { shiftKey: true });
  shifted(one('.aw-gnode[data-name="logit"]')); // the answer is in no group
  await press(null, "");
  expect(all("[data-chosen]").map((e) => e.dataset["chosen"])).toEqual(["L1.mlp/7@1", "L0.z/3@0"]);
  expect((one('[data-part="group-name"]') as HTMLInputElement).value).toBe("about France");
  await click('[data-part="chosen"] [type="submit"]');
  expect(model.get("groups")).toEqual([FRANCE]);
  expect(model.get("selected")).toBe("about France");
  expect(named(all(".aw-gnode")).sort()).toEqual(["L0.mlp/error@1", "about France", "logit", "token@0", "token@1"]);
  expect(named(all('[data-part="into"] .aw-brow'))).toEqual(["L0.mlp/error@1", "inside the group", "left out"]);
  expect(one('[data-part="opened"] .aw-total')?.textContent).toBe(`sum ${plain(3)} fire together ${plain(3)}`);
  expect(one('[data-part="feature"]')).toBeNull();
  await click('[data-part="spread"]');
  expect(named(all('.aw-gnode[aria-selected="true"]')).sort()).toEqual(["L0.z/3@0", "L1.mlp/7@1"]);
  expect(one('[data-part="opened"] .aw-total')?.textContent).toContain("fire together");
  await click('[data-part="ungroup"]');
  expect([model.get("groups"), model.get("selected")]).toEqual([[], ""]);
  expect(all(".aw-gnode")).toHaveLength(NODES.length);
});

it("refuses a name that is taken, and lets go of what was gathered", async () => {
  const { one, all } = show(made(), "graph", { ...FIXED, groups: [FRANCE] });
  expect(one(".aw-ggroup")?.textContent).toBe("about France 2");
  shifted(one('.aw-gnode[data-name="token@1"]'));
  await press(null, "");
  const input = one('[data-part="group-name"]') as HTMLInputElement;
  input.value = "about  France";
  input.dispatchEvent(new InputEvent("input", { bubbles: true }));
  await press(null, "");
  expect(one('[data-part="chosen"] [role="alert"]')?.textContent).toContain("already");
  expect((one('[data-part="chosen"] [type="submit"]') as HTMLButtonElement).disabled).toBe(true);
  await press(input, "Escape");
  expect(all("[data-chosen]")).toEqual([]);
});

// -- cards and edges --------------------------------------------------------------------------------------------------
const table = (title: string): TableHeader => ({ kind: "table", title, notes: ["Where heads look is not in here."], columns: ["head", "logits"], rows: [["L1H2", "+1.5"]], bars: [1.5], footer: [], last: 0 });
const CARRIED: OpenedEdge = { table: table("L1.mlp/7@1 put in"), heads: ["L1H2", "L1H0"] };

it("asks for the card of a feature that is opened, once for all its positions, and for no other node", async () => {
  const { one, sent, click, answer } = show(made(), "graph");
  await click('.aw-gnode[data-name="token@1"]');
  expect(sent.map((m) => m.op)).not.toContain("feature");
  await click('.aw-gnode[data-name="L1.mlp/7@1"]');
  expect(sent.at(-1)).toMatchObject({ op: "feature", args: { id: "L1.mlp/7@1" } });
  const { kind: _kind, name: _name, tokens: _tokens, ...own } = decode<CardHeader>(SENT["card"]).header;
  await answer("result", { data: { ...own, here: [0, 2] } });
  expect(one('[data-part="feature"]')?.textContent).toContain(own.label);
  expect(one('[data-part="feature"] .aw-contexts')?.childElementCount).toBe(own.contexts.length);
});

it("opens an edge by its row or its line: which heads carried it, and why they looked there", async () => {
  const { one, all, sent, click, answer } = show(made(), "graph");
  await click('[data-edge="L1.mlp/7@1 "]');
  expect(sent.at(-1)).toMatchObject({ op: "between", args: { id: "L1.mlp/7@1", into: "" } });
  await answer("result", { data: CARRIED });
  expect(one('[data-part="edge"]')?.textContent).toContain("Where heads look is not in here.");
  await click('[data-head="L1H0"]');
  expect(sent.at(-1)).toMatchObject({ op: "looked", args: { id: "L1.mlp/7@1", into: "", head: "L1H0" } });
  await answer("result", { data: table("the score of L1H0") });
  expect(one('[data-part="looked"]')?.textContent).toContain("the score of L1H0");
  await click('[data-part="close-edge"]');
  expect(one('[data-part="edge"]')).toBeNull();
  await click('.aw-gnode[data-name="L0.mlp/error@1"]');
  one('[data-hit="3 1"]')?.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  await press(null, "");
  expect(one('[data-part="graph"]')?.dataset["open"]).toBe("L1.mlp/7@1");
  expect(all('[data-edge="L0.mlp/error@1 L1.mlp/7@1"][aria-expanded="true"]')).toHaveLength(1);
});

it("has on a page what travelled with it, and says of the rest what is needed", async () => {
  const { kind: _kind, name: _name, tokens: _tokens, ...own } = decode<CardHeader>(SENT["card"]).header;
  const bytes = made({ cards: { "L1.mlp/7": own }, between: { "L1.mlp/7@1 ": { ...CARRIED, looked: { L1H2: table("the score of L1H2") } } } });
  const { one, click } = show(bytes, "graph", FIXED);
  await click('[data-edge="L1.mlp/7@1 "]');
  await click('[data-head="L1H2"]');
  expect(one('[data-part="looked"]')?.textContent).toContain("the score of L1H2");
  await click('[data-head="L1H0"]');
  expect(one('[data-part="looked"]')?.textContent).toContain("Needs a running kernel");
  await click('.aw-gnode[data-name="L1.mlp/7@1"]');
  expect(one('[data-part="feature"]')?.textContent).toContain(own.label);
  await click('.aw-gnode[data-name="L0.z/3@0"]');
  expect(one('[data-part="feature"]')?.textContent).toContain("Needs a running kernel");
});
