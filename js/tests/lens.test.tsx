import { afterEach, describe, expect, it } from "vitest";
import { decode } from "../src/core/host/wire";
import { windowOf } from "../src/core/maths/geometry";
import { Lens } from "../src/core/state/lens";
import { Reading } from "../src/core/state/reading";
import type { LensHeader } from "../src/core/types";
import { explorer, HOSTILE, lens, type Made, state } from "./fixture";
import { pack } from "./pack";
import { close, press, show as showKind, tick } from "./show";

afterEach(close);

const LAYERS = ["embed", "L0", "L1", "L2", "L3", "L4"];

/** A lens as Python embeds it: its container as whole numbers. */
function embedded(bytes = lens(6, LAYERS), made: Made = explorer()): Made {
  const values = new Int32Array(bytes.slice().buffer);
  return { header: made.header, arrays: { ...made.arrays, lens: { dtype: "i4", shape: [values.length], values } } };
}

function show(bytes: Uint8Array, kind: string, options: Record<string, unknown> = { static: true }) {
  const page = showKind(bytes, kind, { options: { hidden: [], ...options } });
  const told = () => page.one(".aw-told")?.textContent ?? "";
  return { ...page, press: (key: string, more = {}) => press(page.one('[role="grid"]'), key, more), told };
}

describe("the numbers", () => {
  const made = new Lens(decode<LensHeader>(lens()));

  it("are those of the container, row 0 being the embedding", () => {
    expect([made.columns, made.k]).toEqual([6, 2]);
    expect(made.top(0, 3, 0)).toEqual({ id: 203, p: Math.fround(0.9) });
    expect(made.text(made.top(4, 5, 0).id)).toBe(" Paris");
    expect(made.value("probability", 4, 5)).toBeCloseTo(0.8);
    expect(made.value("top", 4, 5)).toBeCloseTo(0.8);
    expect(made.value("rank", 1, 3)).toBe(23);
    expect(made.value("kl", 0, 0)).toBe(4);
    expect(made.tell(4, 5)).toBe("L3 after \u00b7is: \u00b7Paris 80\u00a0%; \u00b7Paris 80\u00a0%, rank 1");
  });

  it("fill the scale: probabilities as they are, ranks by their inverse, the others by the largest", () => {
    expect(made.shade("probability", 0.3)).toBe(0.3);
    expect([made.shade("rank", 1), made.shade("rank", 4)]).toEqual([1, 0.25]);
    expect([made.most("kl"), made.shade("kl", 1)]).toEqual([4, 0.25]);
    expect(made.shade("entropy", made.most("entropy"))).toBe(1);
  });

  it("draws the columns that end with the explained one, and never beyond the prompt", () => {
    expect(windowOf(6, 9, Infinity, 5)).toEqual({ first: 0, count: 6 });
    expect(windowOf(40, 8, Infinity, 39)).toEqual({ first: 32, count: 8 });
    expect(windowOf(40, 8, Infinity, 3)).toEqual({ first: 0, count: 8 });
    expect(windowOf(40, 8, 12, 39)).toEqual({ first: 12, count: 8 });
    expect(windowOf(40, 8, 38, 39)).toEqual({ first: 32, count: 8 });
    expect(windowOf(40, 0, Infinity, 39)).toEqual({ first: 39, count: 1 });
  });

  it("builds up to the total without the constants", () => {
    const reading = new Reading(state());
    const build = reading.buildup() ?? [];
    expect(build).toHaveLength(reading.header.model.layers + 1);
    expect(build[0]).toBeCloseTo(reading.value("embed") + reading.value("pos"));
    const first = reading.header.rows.map((r, i) => (r.layer === 0 ? (reading.values[i] ?? 0) : 0)).reduce((a, b) => a + b, 0);
    expect((build[1] ?? 0) - (build[0] ?? 0)).toBeCloseTo(first);
    expect(build.at(-1)).toBeCloseTo(reading.header.total - reading.value("norm.bias"));
    const target = { ...reading.header.target, kind: "score" as const, id: null };
    expect(new Reading(state(explorer(undefined, { target }))).buildup()).toBeUndefined();
  });
});

describe("the view", () => {
  it("offers no entropy and no KL where they were left out", async () => {
    const modes = (page: ReturnType<typeof show>) => page.all("[data-show]").map((e) => e.getAttribute("data-show"));
    expect(modes(show(lens(), "lens"))).toEqual(["top", "probability", "rank", "entropy", "kl"]);
    const page = show(lens(6, LAYERS, 2), "lens");
    expect(modes(page)).toEqual(["top", "probability", "rank"]);
    page.press("ArrowUp");
    await tick();
    expect(page.told()).toMatch(/rank \d+$/);
  });

  it("has layers upwards from the tokens", () => {
    const { all, one } = show(lens(), "lens");
    expect(all('[role="rowheader"]').map((e) => e.textContent)).toEqual(["L3", "L2", "L1", "L0", "embed"]);
    expect(all('[role="gridcell"]')).toHaveLength(30);
    expect(all('[role="row"]').at(-1)?.textContent).toContain("\u00b7France");
    expect(one('[role="row"]')?.textContent).toContain("\u00b7Paris");
    expect(one(".aw-headline")?.textContent).toContain("top prediction from L1 on");
    expect(one(".aw-build")).toBeNull();
  });

  it("switches what the cells show", async () => {
    const { all, click, one } = show(lens(), "lens");
    const last = () => all('[role="row"]')[0]?.querySelector('[role="gridcell"]:nth-of-type(7) .aw-celltext')?.textContent;
    const seen: Record<string, string | undefined> = {};
    for (const mode of ["top", "probability", "rank", "entropy", "kl"]) {
      await click(`[data-show="${mode}"]`);
      expect(one(`[data-show="${mode}"]`)?.getAttribute("aria-pressed")).toBe("true");
      seen[mode] = last();
    }
    expect(seen).toEqual({ top: "\u00b7Paris", probability: ".80", rank: "1", entropy: "1.00", kl: "0.00" });
  });

  it("tells the likeliest tokens of a cell, by keys and by pointer", async () => {
    const { press, told, all } = show(lens(), "lens");
    expect(told()).toContain("arrow keys");
    await press("ArrowDown");
    expect(told()).toContain("L2 after \u00b7is: \u00b7Paris 60\u00a0%");
    expect(told()).toContain("rank 1; entropy 1.25 nats, KL to the output 1.00 nats");
    await press("End", { ctrlKey: true });
    expect(told()).toContain("embed after \u00b7is");
    await press("Home");
    expect(told()).toContain("embed after <s>: <s> 90\u00a0%\u00b7second embed 5.0\u00a0%");
    all('[role="gridcell"]')[1]?.dispatchEvent(new Event("pointerenter"));
    await tick();
    expect(told()).toContain("L3 after The");
    expect(all('[role="gridcell"][tabindex="0"]')).toHaveLength(1);
  });

  it("shows a part of a long prompt and walks the rest", async () => {
    const { all, press, one, told, click } = show(lens(40), "lens");
    const heads = () => all('[role="columnheader"]').length - 1;
    expect(heads()).toBeLessThan(10);
    expect(one('[data-part="lens"]')?.textContent).toContain(`tokens ${40 - heads()} to 39 of 40`);
    await press("Home");
    expect(told()).toContain("after <s>");
    expect(one('[data-part="lens"]')?.textContent).toContain("tokens 0 to");
    await click(".aw-link:last-of-type");
    expect(one('[data-part="lens"]')?.textContent).toContain(`tokens ${heads()} to`);
    expect(all('[role="gridcell"][tabindex="0"]')).toHaveLength(1);
  });

  it("prints hostile tokens as text", () => {
    const { el, one } = show(pack({ ...decode<LensHeader>(lens()).header, tokens: HOSTILE.slice(0, 6), words: Object.fromEntries(HOSTILE.map((t, i) => [200 + i, t])) }, raw()), "lens");
    expect(el.querySelector("img, script")).toBeNull();
    expect(one('[role="grid"]')?.textContent).toContain("onerror=alert(1)");
  });
});

/** The arrays of the small lens, to be packed under another header. */
function raw() {
  const { arrays } = decode(lens());
  const numbers = arrays["numbers"];
  return {
    ids: { dtype: "i4" as const, shape: [5, 6, 2], values: arrays["ids"]?.at() ?? [] },
    probabilities: { dtype: "f4" as const, shape: [5, 6, 2], values: arrays["probabilities"]?.at() ?? [] },
    numbers: { dtype: "f4" as const, shape: [4, 5, 6], values: numbers?.at() ?? [] },
  };
}

describe("the explorer's tab", () => {
  it("opens what is embedded, with the build-up beside it", async () => {
    const { all, click, one } = show(state(embedded()), "explorer");
    await click('[data-tab="lens"]');
    expect(all('[data-part="lens"] [role="gridcell"]')).toHaveLength(36);
    expect(all(".aw-build")).toHaveLength(6);
    const reading = new Reading(state());
    const top = reading.buildup()?.at(-1) ?? 0;
    expect(one(".aw-build .aw-val")?.textContent).toBe(reading.plain(top));
    expect(one('[data-part="buildup"]')?.textContent).toContain(`${reading.plain(top)} after the last layer`);
    await click('[data-id="L3.mlp"]');
    expect(one('[data-part="lens"]')).not.toBeNull();
    expect(one('[data-part="ask"]')).toBeNull();
  });

  it("is not there for a row that has no other tab", async () => {
    const { click, one } = show(state(embedded()), "explorer");
    await click(".aw-others");
    await click('[data-id="norm.bias"]');
    expect(one('[data-part="tabs"]')).toBeNull();
    await click('[data-id="embed"]');
    expect(one('[data-tab="lens"]')).not.toBeNull();
  });

  it("says what needs a kernel, and asks one that runs", async () => {
    const page = show(state(), "explorer");
    await page.click('[data-tab="lens"]');
    expect(page.one(".aw-panel")?.textContent).toContain("Needs a running kernel");
    close();
    const live = show(state(), "explorer", {});
    await live.click('[data-tab="lens"]');
    expect(live.sent.map((m) => m.op)).toContain("lens");
    expect(live.one(".aw-panel")?.textContent).toContain("Computing");
  });

  it("asks why a cell's token would come there", async () => {
    const { press, click, one, sent } = show(state(embedded()), "explorer", {});
    await click('[data-tab="lens"]');
    expect(one('[data-part="ask"]')).toBeNull();
    await press("ArrowLeft");
    await press("Enter");
    expect(one('[data-part="ask"]')?.textContent).toBe("Explain \u00b7France after \u00b7France");
    await click('[data-part="ask"]');
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { position: 4, target: 204, prompt: null } });
  });

  it("starts afresh with a new question, in the same colours", async () => {
    const { click, one, press, told, model } = show(state(embedded()), "explorer", {});
    await click('[data-tab="lens"]');
    await click('[data-show="rank"]');
    await press("ArrowLeft");
    await press("Enter");
    const shorter = embedded(lens(3, LAYERS), explorer(["<s>", "The", " capital"]));
    model.set("container", pack({ ...shorter.header, version: 2 }, shorter.arrays));
    await tick();
    expect(told()).toContain("Point at a cell");
    expect(one('[data-part="ask"]')).toBeNull();
    expect(one('[data-show="rank"]')?.getAttribute("aria-pressed")).toBe("true");
    expect(one('[data-part="lens"] .aw-now .aw-celltext')?.textContent).toBe("1");
  });

  it("keeps a hidden answer hidden", async () => {
    const { click, one, all } = show(state(embedded()), "explorer", { static: true, hidden: ["candidates"] });
    await click('[data-tab="lens"]');
    expect(all('.aw-panel [role="gridcell"]')).toHaveLength(0);
    expect(one(".aw-panel")?.textContent).not.toContain("Paris");
    await click(".aw-panel .aw-btn");
    expect(all('.aw-panel [role="gridcell"]')).toHaveLength(36);
  });
});
