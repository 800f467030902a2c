/** A hybrid: mixers where other layers have attention, said wherever a part is named, one cell among the heads. */
import { afterEach, describe, expect, it } from "vitest";
import { gridOf } from "../src/core/state/heads";
import { Reading } from "../src/core/state/reading";
import type { ExplorerHeader, PartKind, Row } from "../src/core/types";
import { explorer, type Made, state } from "./fixture";
import { close, press, show, tick } from "./show";

afterEach(close);

const WORDS = "a gated delta net in place of attention: it carries a state along the sequence and has no attention pattern";
const KINDS: PartKind[] = [
  { short: "delta net", words: WORDS, parts: ["L0.attn", "L2.attn"] },
  { short: "Mamba", words: "a Mamba mixer beside attention and MLP", parts: ["L0.beside", "L1.beside", "L2.beside"] },
];
const SAID = "Exact per head in 1 of 3 layers: L0 and L2 have a gated delta net in place of attention";

/** Three layers, heads in some of them only. */
function hybrid(attention: number[], heads = 3, beside = false, layers = 3): Made {
  const rows: Row[] = Array.from({ length: layers }, (_, layer) => [
    ...(attention.includes(layer) ? Array.from({ length: heads }, (_, head) => ({ id: `L${layer}H${head}`, kind: "head", layer, head })) : [{ id: `L${layer}.attn`, kind: "attn", layer, head: null }]),
    ...(beside ? [{ id: `L${layer}.beside`, kind: "beside", layer, head: null }] : []),
    { id: `L${layer}.mlp`, kind: "mlp", layer, head: null },
  ]).flat();
  const { header } = explorer();
  const levels = Array.from({ length: layers }, (_, i) => ({ granularity: attention.includes(i) ? "heads" : "sublayers", reason: "", unscored: "" }));
  const model: ExplorerHeader["model"] = { ...header.model, layers, heads, granularity: "mixed", words: "per head in 1 of 3 layers", levels, mixers: SAID };
  return { header: { ...header, rows, model }, arrays: { values: { dtype: "f4", shape: [rows.length], values: rows.map((_, i) => (i % 2 ? -1 : 1) * (i + 1)) } } };
}
const grid = (of: Made) => gridOf(new Reading(state(of)), () => undefined, null, 664);
const shown = (of: Made, mode: string) => show(state(of), "explorer", { showing: { tab: "", mode }, chosen: [], without: {}, options: { hidden: [], kinds: KINDS } });
const names = (of: Made) => grid(of).layers.map(({ spots }) => spots.map((s) => s?.name));

describe("the grid", () => {
  it("puts a mixer in the place of the heads of its layer, and gives it no column", () => {
    const of = hybrid([1]);
    expect(grid(of).others).toEqual(["MLP"]);
    expect(names(of)).toEqual([
      ["L2.attn", "L2.attn", "L2.attn", "L2.mlp"],
      ["L1H0", "L1H1", "L1H2", "L1.mlp"],
      ["L0.attn", "L0.attn", "L0.attn", "L0.mlp"],
    ]);
  });

  it("gives what stands beside attention a column of its own", () => {
    const of = hybrid([0, 1, 2], 2, true);
    expect(grid(of).others).toEqual(["beside", "MLP"]);
    expect(names(of)[0]).toEqual(["L2H0", "L2H1", "L2.beside", "L2.mlp"]);
  });

  it("keeps the column where no layer has heads, and where a cell holds layers of both kinds", () => {
    expect(grid(hybrid([])).others).toEqual(["attn", "MLP"]);
    const many = hybrid(Array.from({ length: 20 }, (_, i) => 3 * i), 2, false, 60);
    const found = grid(many);
    expect([found.binned, found.others]).toEqual([true, ["attn", "MLP"]]);
    const told = found.layers.flatMap(({ spots }) => [...new Set(spots)].flatMap((s) => s?.parts.map((p) => p.id) ?? []));
    expect(new Set(told), "every part stands in one cell").toEqual(new Set(many.header.rows.map((r) => r.id)));
    expect(told).toHaveLength(many.header.rows.length);
  });
});

describe("on the page", () => {
  const cells = (page: ReturnType<typeof shown>) => page.all('[data-part="heads"] [role="row"]').map((row) => [...row.querySelectorAll('[role="gridcell"]')] as HTMLElement[]);

  it("draws it as one cell over all heads, by its name, and names what is beside attention over its column", () => {
    const [, top = [], middle = []] = cells(shown(hybrid([1]), "heads"));
    expect([top.length, middle.length]).toEqual([2, 4]);
    expect([top[0]?.getAttribute("aria-colspan"), top[0]?.style.gridColumnEnd]).toEqual(["3", "span 3"]);
    expect(top[0]?.textContent).toMatch(/^delta net/);
    expect(top[0]?.textContent).toContain("L2.attn (delta net)");
    expect(top[0]?.title).toBe(`L2.attn: ${WORDS}`);
    close();
    const page = shown(hybrid([0, 1, 2], 2, true), "heads");
    expect(page.all('[data-part="heads"] [role="columnheader"]').map((c) => c.textContent)).toEqual(["layer", "H0", "H1", "Mamba", "MLP"]);
    expect(page.one('[data-part="sums"]')?.textContent).toContain("Mamba ");
  });

  it("is one step of the arrows to either side, and keeps the column up and down", async () => {
    const page = shown(hybrid([1]), "heads");
    const at = () => (document.activeElement as HTMLElement).dataset["id"];
    page.one('[data-id="L1H2"][role="gridcell"]')?.focus();
    await tick();
    const steps: [string, string][] = [
      ["ArrowUp", "L2.attn"],
      ["ArrowRight", "L2.mlp"],
      ["ArrowLeft", "L2.attn"],
      ["ArrowDown", "L1H2"],
      ["ArrowDown", "L0.attn"],
      ["Home", "L0.attn"],
      ["End", "L0.mlp"],
    ];
    for (const [key, wanted] of steps) {
      await press(document.activeElement, key);
      expect(at(), key).toBe(wanted);
      expect(page.all('[data-part="heads"] [role="gridcell"][tabindex="0"]').map((c) => c.dataset["id"])).toEqual([wanted]);
    }
    await press(document.activeElement, "ArrowLeft");
    await press(document.activeElement, "Enter");
    expect(page.model.get("selected")).toBe("L0.attn");
  });

  it("says it beside the bar and in the detail, and that the model mixes layers", async () => {
    const page = shown(hybrid([1]), "size");
    const row = page.one('[data-part="waterfall"] [data-id="L0.attn"]');
    expect(row?.querySelector(".aw-name")?.textContent).toBe("L0.attn delta net");
    expect(row?.title).toBe(`L0.attn: ${WORDS}`);
    expect(page.one('[data-part="waterfall"] [data-id="L1H0"] .aw-name')?.textContent).toBe("L1H0");
    expect(page.one('[data-part="coarse"]')?.textContent).toBe(SAID);
    row?.click();
    await tick();
    expect(page.one('[data-part="detail"] .aw-sentence')?.textContent?.trim()).toBe(`L0.attn is ${WORDS}.`);
    expect(page.all('[data-part="tabs"] [role="tab"]').map((t) => t.dataset["tab"]), "no pattern, no tokens, no why").toEqual(["writes", "lens"]);
  });
});
