/** Side by side: two columns in the Explorer and standing alone, pins, and rows that stay under the others. */
import { afterEach, describe, expect, it } from "vitest";
import { decode } from "../src/core/host/wire";
import type { ComparisonHeader, ExplorerHeader, Pin, TableHeader } from "../src/core/types";
import { explorer, patching, SENT, state } from "./fixture";
import { pack } from "./pack";
import { close, FIXED, show, tick } from "./show";

afterEach(close);

const A = "prompt=The+capital+of+France+is&answer=+Paris";
const B = "prompt=The+capital+of+Germany+is&answer=+Paris";

/** What Python answers, or embeds: the two questions of the sample, asked for as `beside`. */
function compared(beside: string, changes: Partial<ComparisonHeader> = {}): Uint8Array {
  const { header, arrays } = decode<ComparisonHeader>(SENT.comparison);
  const given = Object.fromEntries(Object.entries(arrays).map(([name, a]) => [name, { dtype: "f4" as const, shape: a.shape, values: [...a.shape.keys()].length ? all(a) : [] }]));
  return pack({ ...header, beside, lines: [A, B], ...changes }, given);
}
const all = (a: { shape: number[]; at(...i: number[]): Float32Array }) => Array.from({ length: a.shape[0] ?? 0 }, (_, i) => [...a.at(i)]).flat();
const words = (bytes: Uint8Array) => new Int32Array(bytes.slice().buffer);

const SIDES = { showing: { tab: "", mode: "sides" } };
const printed = (el: Element | undefined | null) => [...(el?.querySelectorAll("td.aw-right") ?? [])].map((e) => e.textContent);
const value = (text: string | null | undefined) => Number((text ?? "").replace("\u2212", "-"));

describe("two columns", () => {
  it("stand alone with every part once, sorted by whichever is asked for, and with their own checks", async () => {
    const { header, arrays } = decode<ComparisonHeader>(SENT.comparison);
    const { one, all: every, click } = show(SENT.comparison, "comparison", FIXED);
    await click("button.aw-link"); // Show more
    const rows = () => every(".aw-three tr[data-id]");
    expect(rows().map((r) => r.dataset["id"]).sort()).toEqual([...header.labels].sort());
    for (const side of [0, 1, 2]) {
      every(".aw-three th button")[side + 1]?.click();
      await tick();
      const sizes = rows().map((r) => Math.abs(value(printed(r)[side])));
      expect(sizes).toEqual([...sizes].sort((x, y) => y - x));
      expect(every(".aw-three th")[side + 1]?.getAttribute("aria-sort")).toBe("descending");
    }
    await click(".aw-three th button"); // component: the order of the model
    expect(rows().map((r) => r.dataset["id"])).toEqual(header.labels);
    const sums = [0, 1, 2].map((i) => [...(arrays["values"]?.at(i) ?? [])].reduce((x, y) => x + y, 0));
    printed(one('[data-row="sum"]')).forEach((text, i) => expect(value(text)).toBeCloseTo(sums[i] ?? 0, 1));
    expect(printed(one('[data-row="model"]')).slice(0, 2).map(value)).toEqual(header.ends?.map((e) => Number(e.actual.toFixed(2))));
    expect(one('[data-row="mismatch"]')?.textContent).toMatch(/✓.*✓/);
  });

  it("have their words under each other, and numbers that sum to what all heads did", () => {
    const texts = { a: ["The", " x", " is"], b: ["The", null, " was"], same: [true, false, false], rest: [0.5, 0.25, -0.25] };
    const header: ComparisonHeader = { ...decode<ComparisonHeader>(SENT.comparison).header, labels: ["L0H0"], words: texts };
    const carried = [1, -2, 3, 1, NaN, 4, 0, 2, 1];
    const { all: every } = show(pack({ ...header }, { values: { dtype: "f4", shape: [3, 1], values: [1, 2, 1] }, carried: { dtype: "f4", shape: [3, 3], values: carried } }), "comparison", FIXED);
    const rows = every(".aw-bywords tr").map((r) => [...r.querySelectorAll("td")].map((e) => e.textContent));
    expect(rows).toEqual([
      ["all heads", "The", "\u00b7x", "\u00b7is", "biases"],
      ["", "The", "nothing", "\u00b7was", ""],
      ["+2.50", "+1.00", "\u22122.00", "+3.00", "+0.50"],
      ["+5.25", "+1.00", "", "+4.00", "+0.25"],
      ["+2.75", "0.00", "+2.00", "+1.00", "\u22120.25"],
    ]);
    expect(every(".aw-bywords .aw-changed")).toHaveLength(4);
  });

  it("of one prompt show its words once, and none of a state from before", () => {
    expect(show(SENT.comparison, "comparison", FIXED).all(".aw-bywords th")[0]?.textContent).toBe("A, B");
    const { words: _words, ends: _ends, ...header } = decode<ComparisonHeader>(SENT.comparison).header;
    const old = show(pack(header, { values: { dtype: "f4", shape: [3, 0], values: [] } }), "comparison", FIXED);
    expect(old.one(".aw-bywords")).toBeNull();
    expect(old.all(".aw-line-under").map((e) => e.textContent)).toEqual(header.checks);
  });
});

describe("in the Explorer", () => {
  it("are asked for, open their rows, and turn to the other question", async () => {
    const view = show(state(), "explorer", SIDES);
    const asked = () => view.sent.filter((m) => m.op === "beside").map((m) => m.args);
    expect(view.one('[data-order="sides"]')?.getAttribute("aria-pressed")).toBe("true");
    await tick();
    expect(asked()).toEqual([{ beside: "compared", swapped: false }]);
    const answer = (bytes: Uint8Array) => {
      view.model.emit("msg:custom", { v: 1, id: view.sent.at(-1)?.id, kind: "result", data: {} }, [new DataView(bytes.slice().buffer)]);
      return tick();
    };
    await answer(compared("compared"));
    const row = view.all(".aw-three tr[data-id]")[1];
    row?.querySelector("button")?.click();
    await tick();
    expect(view.model.get("selected")).toBe(row?.dataset["id"]);
    expect(row?.getAttribute("aria-current")).toBe("true");
    await view.click('[data-side="B"]');
    expect(view.sent.at(-1)).toMatchObject({ op: "explain", args: { line: B } });
    await view.answer("result", { data: {} });
    expect(view.model.get("showing")).toEqual({ tab: "", mode: "sides", beside: A, swapped: true });
    await tick();
    expect(asked().at(-1)).toEqual({ beside: A, swapped: true });
    await answer(compared(A));
    expect(view.one('[data-side="B"]')?.getAttribute("aria-pressed")).toBe("true");
    // another thing beside it
    await view.click('[data-part="sides"] .aw-chip');
    expect(view.model.get("showing")).toEqual({ tab: "", mode: "sides", beside: "compared" });
  });

  it("are there without a kernel where they were embedded, and cannot be turned", async () => {
    const made = explorer();
    const bytes = compared("compared");
    made.arrays["sides"] = { dtype: "i4", shape: [bytes.length / 4], values: words(bytes) };
    const { one, all: every, click, sent } = show(state(made), "explorer", { ...FIXED, ...SIDES });
    expect(every(".aw-three tr[data-id]").length).toBeGreaterThan(10);
    expect(one('[data-side="B"]')?.getAttribute("aria-disabled")).toBe("true");
    await click('[data-side="B"]');
    expect(sent).toEqual([]);
    const other = every('[data-part="sides"] .aw-chip')[1];
    other?.click();
    await tick();
    expect(one('[data-part="sides"]')?.textContent).toContain("Needs a running kernel");
  });

  it("give nothing away, and say what is missing", () => {
    for (const part of ["values", "candidates", "corrupted", "sum", "detail"] as const) {
      const { one } = show(state(), "explorer", { options: { hidden: [part], static: true }, ...SIDES });
      expect(one('[data-part="sides"]')).toBeNull();
      expect(one('[data-part="pins"]')).toBeNull();
      expect(one(`[data-part="hidden-${part}"]`)).not.toBeNull();
    }
    const none = show(state(explorer(undefined, { besides: [] })), "explorer", { ...FIXED, ...SIDES });
    expect(none.one('[data-part="sides"]')?.textContent).toContain("give a comparison prompt");
    const before = explorer();
    delete (before.header as Partial<ExplorerHeader>).besides;
    expect(show(state(before), "explorer", FIXED).one('[data-order="sides"]')).toBeNull();
  });

  it("can be of two pinned questions, which the line names", async () => {
    const pin = explorer().header.pin as Pin;
    const view = show(state(), "explorer", { showing: { tab: "", mode: "size" } });
    await view.click('[data-part="pin"]');
    expect(view.model.get("pinned")).toEqual([pin]);
    expect(view.one('[data-part="compare"]')).toBeNull();
    view.model.set("pinned", [pin, { line: B, name: "the other" }]);
    await tick();
    await view.click('[data-part="compare"]');
    expect(view.model.get("showing")).toEqual({ tab: "", mode: "sides", beside: B });
    expect(view.all('[data-part="sides"] .aw-chip').map((e) => e.textContent)).toContain("the other");
    view.all(".aw-pinned button")[2]?.click(); // its name leads there
    await tick();
    expect(view.sent.at(-1)).toMatchObject({ op: "explain", args: { line: B } });
    view.all(".aw-pinned .aw-edit")[1]?.click();
    await tick();
    expect(view.model.get("pinned")).toEqual([pin]);
  });
});

describe("one rule", () => {
  it("keeps what sums rows up under them, however one sorts", async () => {
    const header: TableHeader = { kind: "table", title: "t", notes: [], columns: ["part", "logits"], rows: [["b", "+1"], ["a", "+3"], ["25 others", "+9"], ["sum", "+13"]], bars: [1, 3, 9, null], footer: [], last: 2 };
    const { all: every } = show(pack({ ...header }, {}), "table", FIXED);
    const order = () => every("tbody tr").map((r) => r.firstElementChild?.textContent);
    for (const [column, expected] of [[1, "a b"], [1, "b a"], [0, "a b"], [0, "b a"]] as const) {
      every("th button")[column]?.click();
      await tick();
      expect(order()).toEqual([...expected.split(" "), "25 others", "sum"]);
    }
  });

  it("runs layers upwards in the map and in every grid", async () => {
    const map = show(state(), "explorer", { ...FIXED, showing: { tab: "", mode: "heads" } });
    expect(map.all('[data-part="heads"] [role="rowheader"]').map((e) => e.textContent)).toEqual(["L4", "L3", "L2", "L1", "L0"]);
    const grid = { site: "parts", rows: ["L0", "L1"], layers: [0, 1], columns: ["H0"], positions: null, cells: ["L0H0", "L1H0"] };
    const grids = show(patching(2, 1, { grids: [grid] }), "patching", FIXED);
    expect(grids.all('[role="rowheader"]').map((e) => e.textContent)).toEqual(["L1", "L0"]);
    expect(grids.all('[role="gridcell"]').map((e) => /L\dH0/.exec(e.textContent ?? "")?.[0])).toEqual(["L1H0", "L0H0"]);
  });
});
