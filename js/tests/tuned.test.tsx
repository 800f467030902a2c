import { afterEach, describe, expect, it, vi } from "vitest";
import { decode } from "../src/core/host/wire";
import { Lens } from "../src/core/state/lens";
import type { LensHeader } from "../src/core/types";
import { explorer, lens, patching, state } from "./fixture";
import { pack } from "./pack";
import { close, press, show, tick } from "./show";

afterEach(() => {
  close();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const ROWS = ["embed", "L0.mid", "L0.post", "L1.mid", "L1.post"];
const HELD: LensHeader["held_out"] = [[16, 2], [9, 1.5], [4, 1], [2, 0.5], null];

/** Two lenses: the other one's probabilities are half, its ranks one more. */
function two(n = 6, rows = ROWS, more: Partial<LensHeader> = {}): Uint8Array {
  const { header, arrays } = decode<LensHeader>(lens(n, rows));
  const of = (name: string) => [...(arrays[name]?.at() ?? [])];
  const numbers = of("numbers");
  const each = numbers.length / 4;
  const shape = [rows.length, n];
  const both = (prefix: string, p: (v: number) => number, by: number) => ({
    [`${prefix}ids`]: { dtype: "i4" as const, shape: [...shape, 2], values: of("ids") },
    [`${prefix}probabilities`]: { dtype: "f4" as const, shape: [...shape, 2], values: of("probabilities").map(p) },
    [`${prefix}numbers`]: { dtype: "f4" as const, shape: [4, ...shape], values: numbers.map((v, i) => (i < each ? p(v) : i < 2 * each ? v + by : v)) },
  });
  return pack({ ...header, tuned: false, other: "Tuned lens: it can be read", held_out: HELD, ...more }, { ...both("", (v) => v, 0), ...both("other_", (v) => v / 2, 1) });
}

function embedded(bytes = two()) {
  const values = new Int32Array(bytes.slice().buffer);
  const made = explorer();
  return state({ header: made.header, arrays: { ...made.arrays, lens: { dtype: "i4", shape: [values.length], values } } });
}

describe("the numbers of two lenses", () => {
  it("are each its own, and know each other", () => {
    const first = new Lens(decode<LensHeader>(two()));
    const { other } = first;
    expect([first.tuned, other?.tuned, other?.other]).toEqual([false, true, first]);
    expect([first.title, other?.title]).toEqual([first.header.title, "Tuned lens: it can be read"]);
    expect(other?.value("probability", 4, 5)).toBeCloseTo(first.value("probability", 4, 5) / 2);
    expect(other?.value("rank", 4, 5)).toBe(first.value("rank", 4, 5) + 1);
    expect(first.heldOut(0)).toEqual([16, 2]);
    expect(other?.heldOut(0)).toEqual([2, 16]);
    expect(first.heldOut(4)).toBeUndefined();
    expect(new Lens(decode<LensHeader>(two(6, ROWS, { tuned: true }))).heldOut(1)).toEqual([1.5, 9]);
  });

  it("share one scale", () => {
    const first = new Lens(decode<LensHeader>(two()));
    expect(first.most("kl")).toBe(first.other?.most("kl"));
    expect(first.most("rank")).toBe(1);
  });
});

describe("the view of two lenses", () => {
  const heads = (all: (s: string) => HTMLElement[]) => all('[role="rowheader"]').map((e) => e.firstChild?.textContent);

  it("switches between them, title and all", async () => {
    const { one, click } = show(two(), "lens");
    expect(one(".aw-headline")?.textContent).toContain("can be read as the top prediction");
    expect(one('[data-form="logit"]')?.getAttribute("aria-pressed")).toBe("true");
    await click('[data-form="tuned"]');
    expect(one(".aw-headline")?.textContent).toBe("Tuned lens: it can be read");
    expect(one('[role="grid"]')?.getAttribute("aria-label")).toMatch(/^Tuned lens/);
    expect(one('[data-part="lens"]')?.textContent).toContain("through a map trained for it");
    await click('[data-form="logit"]');
    expect(one('[role="grid"]')?.getAttribute("aria-label")).toMatch(/^Logit lens/);
  });

  it("begins with the one that was asked for", () => {
    const { one } = show(two(6, ROWS, { tuned: true }), "lens");
    expect(one('[data-form="tuned"]')?.getAttribute("aria-pressed")).toBe("true");
  });

  it("says the KL on texts held out beside each row, or where it is narrow of the cell that is told", async () => {
    vi.stubGlobal("ResizeObserver", class { observe() {} disconnect() {} }); // prettier-ignore
    const narrow = vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(400);
    const small = show(two(), "lens");
    await tick();
    expect(small.one('[role="rowheader"] + .aw-vhead')).toBeNull();
    await press(small.one('[role="grid"]'), "ArrowDown");
    expect(small.one(".aw-told")?.textContent).toContain("on texts held out 2.00 nats, 0.50 by the tuned lens");
    close();
    narrow.mockReturnValue(640);
    const { one, all, click } = show(two(), "lens");
    await tick();
    const beside = () => all('[role="rowheader"] + .aw-vhead').map((e) => e.textContent);
    expect(beside()).toEqual(["0", "2.00", "4.00", "9.00", "16.0"]);
    await click('[data-form="tuned"]');
    expect(beside()).toEqual(["0", "0.50", "1.00", "1.50", "2.00"]);
    expect(one('[role="rowheader"] + .aw-vhead')?.title).toBe("");
    expect(all('[role="rowheader"]')[1]?.textContent).toContain("on texts held out 0.50 nats, 2.00 by the logit lens");
  });

  it("has the rows after attention alone, and in the Explorer on request", async () => {
    const alone = show(two(), "lens");
    expect(heads(alone.all)).toEqual([...ROWS].reverse());
    close();
    const { all, click, one } = show(embedded(two(6, ["embed", "L0.mid", "L0.post", "L1.mid", "L1.post"])), "explorer");
    await click('[data-tab="lens"]');
    expect(heads(all)).toEqual(["L1.post", "L0.post", "embed"]);
    expect(all(".aw-build .aw-val")).toHaveLength(3);
    const built = all(".aw-build .aw-val").map((e) => e.textContent);
    await click('[data-part="lens"] .aw-line .aw-seg:last-child button');
    expect(heads(all)).toEqual([...ROWS].reverse());
    expect(all(".aw-build .aw-val").map((e) => e.textContent)).toEqual(built);
    expect(one('[data-part="lens"] .aw-line .aw-seg:last-child button')?.getAttribute("aria-pressed")).toBe("true");
  });

  it("tells a cell through both, and the last row once", async () => {
    const { one, all } = show(two(), "lens");
    const grid = one('[role="grid"]');
    await press(grid, "ArrowDown");
    const told = one(".aw-told")?.textContent ?? "";
    expect(told).toContain("L1.mid after \u00b7is: \u00b7Paris 60\u00a0%");
    expect(told).toContain("Tuned lens: \u00b7Paris 30\u00a0%");
    await press(grid, "ArrowUp");
    expect(one(".aw-told")?.textContent).not.toContain("Tuned lens");
    expect(all('[role="gridcell"]')).toHaveLength(30);
  });

  it("draws the target through depth, at the position that is kept", async () => {
    const { one, all, click } = show(two(), "lens");
    const points = () => all('[data-part="depth"] polyline').map((e) => (e.getAttribute("points") ?? "").split(" ").map((p) => Number(p.split(",")[1])));
    expect(one('[data-part="depth"] figcaption')?.textContent).toContain("\u00b7Paris after \u00b7is through depth, probability");
    const [plain, tuned] = points();
    expect([plain?.length, tuned?.length]).toEqual([5, 5]);
    // higher is nearer to 1, by the numbers of both lenses
    expect(plain?.[4]).toBeCloseTo(70 - 62 * 0.8);
    expect(tuned?.[4]).toBeCloseTo(70 - 62 * 0.4);
    await click('[data-show="rank"]');
    expect(points()[1]?.[4]).toBeCloseTo(70 - 62 / 2);
    all('[role="gridcell"]')[1]?.click();
    await tick();
    expect(one('[data-part="depth"] figcaption')?.textContent).toContain("after The through depth, rank");
    expect(one('[data-part="depth"] svg')?.getAttribute("aria-label")).toMatch(/^Logit lens: embed \d+.*; Tuned lens: embed/);
  });

  it("shows all positions at once, as colours", async () => {
    const { all, click, one } = show(two(40), "lens");
    expect(all('[role="columnheader"]').length - 1).toBeLessThan(10);
    await click('[data-part="lens"] .aw-line .aw-seg:last-child button:last-child');
    expect(all('[role="columnheader"]').length - 1).toBe(40);
    expect(all(".aw-celltext").every((e) => e.textContent === "")).toBe(true);
    expect(one('[role="gridcell"] .aw-sr')?.textContent).toContain("after <s>");
  });

  it("offers nothing of this where there is one lens", () => {
    const { one } = show(lens(), "lens");
    expect(one('[data-form="tuned"], [data-part="depth"], [data-part="lens"] .aw-line')).toBeNull();
  });
});

describe("the experiment beside the lens", () => {
  it("patches the stream on a click, and draws what came of it", async () => {
    const page = show(embedded(), "explorer");
    await page.click('[data-tab="lens"]');
    expect(page.one('[data-part="patch"]')?.textContent).toContain("need not be used");
    expect(page.one('[data-part="patch"] button')?.textContent).toContain("18 forwards"); // three streams, six positions
    await page.click('[data-part="patch"] button');
    const asked = page.sent.at(-1);
    expect(asked).toMatchObject({ op: "streams", args: {} });
    page.model.emit("msg:custom", { v: 1, id: asked?.id, kind: "result", data: {} }, [patching()]);
    await tick();
    expect(page.one('[data-part="patch-grid"]')).not.toBeNull();
    const open = page.one(".aw-detail")?.getAttribute("data-open");
    page.all('[data-part="patch-grid"] [role="gridcell"]')[0]?.click();
    await tick();
    expect(page.one(".aw-detail")?.getAttribute("data-open")).toBe(open);
  });

  it("says what it needs where no kernel runs", async () => {
    const page = show(embedded(), "explorer", { options: { hidden: [], static: true } });
    await page.click('[data-tab="lens"]');
    expect(page.one('[data-part="patch"] button')?.textContent).toContain("needs the notebook");
    await page.click('[data-part="patch"] button');
    expect(page.one(".aw-panel")?.textContent).toContain("Needs a running kernel");
    expect(page.sent.filter((m) => m.op === "streams")).toHaveLength(0);
  });
});
