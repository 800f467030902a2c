import { afterEach, describe, expect, it, vi } from "vitest";
import { HostModel, readEmbedded } from "../src/core/host/host";
import type { BarsHeader, CardHeader } from "../src/core/types";
import widget from "../src/index";
import { attention, bars, explorer, HOSTILE, longPrompt, phrase, state, trace, view, walk } from "./fixture";
import { close, FIXED, press, show as showLive, tick } from "./show";

afterEach(close);

/** As an offline page shows it. */
const show = (bytes: Uint8Array, kind = "explorer", traits: Record<string, unknown> = {}) => showLive(bytes, kind, { ...FIXED, ...traits });

describe("the explorer", () => {
  it("states the finding, adds up, and opens on the leading head", () => {
    const { el, one, all } = show(state());
    expect(one(".aw")?.dataset).toMatchObject({ ready: "1", version: "1", live: "static", awTheme: "light" });
    expect(one(".aw-headline")?.textContent).toBe("L3.mlp and L3H4 lead: +1.95 of 9.13 logits for ·Paris over ·Berlin");
    expect(one('[data-part="sum"]')?.textContent).toContain("model 9.13");
    expect(all('[data-part="waterfall"] [data-id]')).toHaveLength(13);
    expect(one('[data-part="waterfall"] .aw-others')?.textContent).toContain("41 others");
    expect(one('[aria-selected="true"][data-id]')?.dataset["id"]).toBe("L3H4");
    expect(one(".aw-title")?.textContent).toBe("L3H4 adds +0.89 to ·Paris over ·Berlin");
    expect(one(".aw-sentence")?.textContent).toBe("The largest head. It reads >99.9\u00a0% from ·France, which carries +0.89.");
    expect(one('[data-part="pattern"]')).not.toBeNull();
    expect(el.textContent).toContain("a suspect, not a cause");
  });

  it("selects by click and by key, opens the others, and shows every order", async () => {
    const { model, one, all, click } = show(state());
    await click('[data-id="L0.mlp"]');
    expect([model.get("selected"), model.saves]).toEqual(["L0.mlp", 1]);
    expect(one(".aw-title")?.textContent).toContain("L0.mlp adds +0.45");
    await press(one('[data-id="L2.mlp"]'), "Enter");
    expect(model.get("selected")).toBe("L2.mlp");
    await click(".aw-others");
    expect(all('[data-part="waterfall"] [data-id]')).toHaveLength(54);
    await click('[data-order="heads"]');
    expect(all('[data-part="heads"] [role="gridcell"]')).toHaveLength(45);
    await press(one('[data-part="heads"] [data-id="L0H0"]'), "Enter");
    await click('[data-order="order"]');
    expect(one('[data-part="waterfall"] [data-id]')?.dataset["id"]).toBe("embed");
  });

  it("follows a token upstream and back", async () => {
    const { model, one, click } = show(state());
    await click('[data-part="tokens"] [data-i="4"]');
    expect([model.get("selected"), model.get("source")]).toEqual(["L3H4", 4]);
    expect(one('[data-part="through"]')?.textContent).toContain("Who wrote the +0.89 that ·France carried?");
    expect(one('[data-part="crumbs"]')?.textContent).toContain("·France");
    await click('[data-part="back"]');
    expect(one('[data-part="through"]')).toBeNull();
  });

  it("has a panel for every tab and every kind of row", async () => {
    const { one, click, model, all } = show(state(), "explorer", { selected: "L3H1" });
    await click('[role="tab"][data-tab="why"]');
    expect(one('[data-part="choice"]')?.textContent).toBe(
      "\u00b7is scores \u00b7France 8.32 above <s>, the strongest other token: 4,114 times its attention",
    );
    // One list, which sums to the difference of the two scores; the single score behind it.
    const list = one('[data-part="why"] > .aw-held > .aw-bars');
    expect(list?.getAttribute("aria-label")).toBe("Why \u00b7France rather than <s>");
    expect([...(list?.querySelectorAll(".aw-name") ?? [])].slice(0, 3).map((e) => e.textContent)).toEqual(["L0.mlp", "L1.mlp", "L2.mlp"]);
    const printed = [...(list?.querySelectorAll(".aw-val") ?? [])].map((e) => Number(e.textContent?.replace("\u2212", "-")));
    expect(Math.abs(printed.reduce((a, b) => a + b, 0) - 8.32)).toBeLessThan(0.05);
    expect(one('[data-part="why"] [data-part="sum"]')?.textContent).toContain("scores +5.38 minus \u22122.94");
    const folded = one('[data-part="single"]') as HTMLDetailsElement | null;
    expect([folded?.open, folded?.querySelectorAll(".aw-bars").length]).toEqual([false, 2]);
    expect(folded?.querySelector("summary")?.textContent).toContain("by itself: +5.38 before the softmax");
    expect(one('[data-part="why"]')?.textContent).not.toContain("Click a token");
    expect(all('[data-part="why"] [aria-disabled="true"]').map((e) => e.dataset["i"])).toEqual(["0", "1", "2", "3", "5"]);
    expect(one('[data-part="why"] [data-i="1"]')?.title).toContain("Needs a running kernel");
    await click('[data-part="why"] [data-i="1"]');
    expect(one('[data-part="why"]')?.textContent).toContain("Needs a running kernel");
    await click('[role="tab"][data-tab="writes"]');
    expect(one('[data-part="writes"]')?.textContent).toContain("Raises");
    await click('[role="tab"][data-tab="pattern"]');
    for (const label of ["value-weighted", "contribution"]) {
      all(".aw-seg button").find((b) => b.textContent === label)?.click();
      await tick();
      expect(one('[data-part="pattern"] [role="grid"]')?.getAttribute("aria-label")).toContain(label.replace("-weighted", ""));
    }
    for (const id of ["embed", "pos", "norm.bias", "L0.attn.bias", "L1.mlp"]) {
      model.set("selected", id);
      await tick();
      expect(one(".aw-title")?.textContent).toContain(id);
      expect(one(".aw-sentence")?.textContent?.length).toBeGreaterThan(20);
    }
  });

  it("walks the pattern by keys and reads it out", async () => {
    const { one } = show(state());
    const grid = one('[data-part="pattern"] [role="grid"]');
    const cell = grid?.querySelector<HTMLElement>('[role="gridcell"][tabindex="0"]');
    cell?.focus();
    await press(cell, "End");
    expect(one(".aw-readout")?.textContent).toContain("·is (position 5) reads ·is (position 5): <0.1\u00a0%");
  });

  it("shows its code on request, unless that gives the answer away", async () => {
    const { one, click } = show(state());
    await click('[data-part="copy"]');
    await tick();
    expect(one('[data-part="code"]')?.textContent).toContain('a["L3H4"]');
    expect(show(state(), "explorer", { options: { hidden: ["candidates"], static: true } }).one('[data-part="copy"]')).toBeNull();
  });

  it("says where one is, and goes back to how it opened", async () => {
    const { one, all, click, model } = show(state());
    const crumbs = () => all('[data-part="crumbs"] .aw-crumb').map((e) => `${e.tagName} ${e.textContent} ${e.getAttribute("aria-current")}`);
    expect(crumbs()).toEqual(["SPAN \u00b7Paris over \u00b7Berlin location"]);
    await click('[data-id="L2H5"]');
    await click('[data-tab="why"]');
    expect(crumbs()).toEqual(["BUTTON \u00b7Paris over \u00b7Berlin null", "SPAN L2H5 location"]);
    await click('[data-tab="tokens"]');
    await click('[data-part="tokens"] [data-i="2"]');
    expect(crumbs()).toEqual(["BUTTON \u00b7Paris over \u00b7Berlin null", "BUTTON L2H5 null", "SPAN \u00b7capital location"]);
    await click('[data-tab="why"]');
    await click('[data-part="crumbs"] .aw-crumb');
    expect(crumbs()).toEqual(["SPAN \u00b7Paris over \u00b7Berlin location"]);
    expect([model.get("selected"), one(".aw-title")?.textContent, one(".aw-panel")?.dataset["tab"]]).toEqual(["", "L3H4 adds +0.89 to \u00b7Paris over \u00b7Berlin", "tokens"]);
    expect(document.activeElement).toBe(one('[data-part="back"]'));
  });

  it("names the rows by what one sees", () => {
    const { all } = show(state());
    const row = all('[role="option"][data-id]')[0];
    expect(row?.hasAttribute("aria-label")).toBe(false);
    expect(row?.textContent).toBe("L3.mlp +1.06 for ·Berlin −0.55");
  });

  it("asks for a prediction by its id", async () => {
    const { el, sent } = showLive(state());
    el.querySelectorAll<HTMLElement>('[data-part="candidate"]')[1]?.click();
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { target: 1787 } });
  });

  it("prints as many digits as its largest bar needs", () => {
    const made = explorer(undefined, { corrupted: null, total: -0.00981, actual: -0.00981 });
    for (const name of ["values", "tokens", "value_bias"]) {
      const array = made.arrays[name]!;
      made.arrays[name] = { ...array, values: Array.from(array.values, (v) => v / 100) };
    }
    const { one, all } = show(state(made));
    expect(all('[data-part="waterfall"] [data-id] .aw-val').slice(0, 2).map((e) => e.textContent)).toEqual(["+0.0106", "+0.0089"]);
    const axis = all(".aw-tick").map((e) => e.textContent);
    expect(new Set(axis).size).toBe(axis.length);
    expect(one(".aw-title")?.textContent).toContain("+0.0089");
    expect(one('[data-part="sum"]')?.textContent).toContain("model \u22120.0098");
  });

  it("prints a set of tokens one by one", () => {
    const texts = [" Paris", " Rome", " Oslo", " Bern"];
    const target = { kind: "logit_diff" as const, text: texts.join(" or "), texts, id: 100, against: { text: " Berlin", texts: [" Berlin"], id: 101 }, unit: "logits", phrase: "" };
    const { one } = show(state(explorer(undefined, { target })));
    expect(one(".aw-title")?.textContent).toContain("to \u00b7Paris or \u00b7Rome or \u00b7Oslo \u2026 over \u00b7Berlin");
    expect(one('[data-part="edit-target"]')?.getAttribute("aria-label")).toContain("\u00b7Paris or \u00b7Rome or \u00b7Oslo \u2026");
  });

  it("shows a score without what belongs to predictions", () => {
    const phrase = "attention score of L3H4 from \u201c\u00b7is\u201d (5) to \u201c\u00b7of\u201d (3), before the softmax (query side)";
    const made = explorer(undefined, { kind: "attribution", target: { kind: "score", text: "the score", id: null, against: null, unit: "score", phrase } });
    delete made.arrays["carry"];
    const { one, el, model } = show(state(made), "attribution");
    expect(one(".aw-headline")?.textContent).toBe(`L3.mlp and L3H4 lead: +1.95 of 9.13 logits for the ${phrase}`);
    expect(one(".aw-title")?.textContent).toBe("L3.mlp adds +1.06 to the score");
    for (const gone of [".aw-chip", ".aw-ask", '[data-part="compare-line"]']) expect(one(gone)).toBeNull();
    expect(el.textContent).not.toContain("\u2205");
    model.set("selected", "L3H1");
    return tick().then(() => expect(one(".aw-sentence")?.textContent).toContain("This head was not split here."));
  });

  it("edits the prompt when there is a kernel", async () => {
    const { el, sent } = showLive(state());
    el.querySelector<HTMLElement>('[data-part="edit-prompt"]')?.click();
    await tick();
    const input = el.querySelector<HTMLInputElement>('input[data-part="prompt"]')!;
    expect(input.value).toBe("The capital of France is");
    await press(input, "Escape");
    expect(el.querySelector('input[data-part="prompt"]')).toBeNull();
    el.querySelector<HTMLElement>('[data-part="edit-target"]')?.click();
    await tick();
    const target = el.querySelector<HTMLInputElement>('input[data-part="target"]')!;
    expect(target.value).toBe("·Paris");
    target.value = "·Rome";
    target.dispatchEvent(new Event("input", { bubbles: true }));
    el.querySelector("form")?.dispatchEvent(new Event("submit", { bubbles: true, cancelable: true }));
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { target: " Rome", prompt: null } });
    await tick();
    expect(el.querySelector('[data-part="cancel"]')).not.toBeNull();
    expect(el.querySelector('[aria-busy="true"]')).not.toBeNull();
  });

  it("hides what a teacher hides, and names nothing that would give it away", () => {
    const { el, one } = show(state(), "explorer", { options: { hidden: ["candidates", "values", "detail", "corrupted"] } });
    expect(el.textContent).not.toContain("Paris");
    expect(el.textContent).not.toContain("9.54");
    expect(one('[data-part="crumbs"]')?.textContent).not.toMatch(/L\d/);
    expect(one('[data-part="hidden-detail"]')).not.toBeNull();
    expect(one('[data-part="hidden-values"]')?.textContent).toMatch(/^Hidden: make your prediction first. Which part leads\?/);
  });

  it("survives hostile tokens as text", () => {
    const { el } = show(state(explorer(HOSTILE, { corrupted: null })));
    expect(el.querySelector("img, script")).toBeNull();
    expect(el.textContent).toContain("</script><img src=x onerror=alert(1)>");
    expect(el.textContent).not.toContain("\u202e");
  });

  it("draws long prompts as a picture with one cell to focus", () => {
    const { one, all } = show(state(explorer(longPrompt(60), { corrupted: null })));
    expect(one('[data-part="pattern"] canvas')?.getAttribute("width")).toBe("60");
    expect(all('[data-part="pattern"] [role="gridcell"]')).toHaveLength(1);
  });

  it("says of each layer how far it splits, and shows no zeros for what is not known", () => {
    const made = explorer();
    const fine = { granularity: "heads", reason: "", unscored: "" };
    const blind = { granularity: "heads", reason: "its attention is not understood", unscored: "its attention is not understood" };
    const levels = Array.from({ length: made.header.model.layers }, (_, i) => (i === 3 ? blind : fine));
    const about = { ...made.header.model, words: "per head, without sources in L3", reason: "L3: its attention is not understood", levels };
    const { one, all, el, model } = show(state({ ...made, header: { ...made.header, model: about } }));
    expect(one('[data-part="coarse"]')?.textContent).toBe("Exact per head, without sources in L3: L3: its attention is not understood");
    expect(one('[data-part="detail"]')?.getAttribute("data-open")).not.toMatch(/^L3/);
    model.set("selected", "L3H2");
    return tick().then(() => {
      expect(one(".aw-sentence")?.textContent).toContain("Not split further: its attention is not understood.");
      expect(all('[data-part="tabs"] [role="tab"]').map((tab) => tab.textContent)).toEqual(["Pattern", "Features", "Writes", "Lens"]);
      expect(one('[data-part="tokens"]')).toBeNull();
      expect(el.textContent).toContain("as the model returns it");
    });
  });

  it("names a model that was built by hand, and keeps its story while the answer is hidden", () => {
    const made = explorer();
    const model = { ...made.header.model, built: { called: "built by hand: demo:backup", story: "L0H0 copies." } };
    const built = state({ ...made, header: { ...made.header, model } });
    const shown = show(built);
    expect(shown.one(".aw-headline")?.textContent).toBe("built by hand: demo:backup · L3.mlp and L3H4 lead: +1.95 of 9.13 logits for ·Paris over ·Berlin");
    expect(shown.one('[data-part="story"]')?.textContent).toBe("L0H0 copies.");
    const asked = show(built, "explorer", { options: { hidden: ["values"] } });
    expect(asked.one(".aw-headline")?.textContent).toMatch(/^built by hand: demo:backup · Which parts wrote/);
    expect(asked.one('[data-part="story"]')).toBeNull();
    expect(show(state()).one('[data-part="built"]')).toBeNull();
  });

  it("says why it is coarse, and shows an attribution without inputs", () => {
    const made = explorer();
    const model = { ...made.header.model, granularity: "sublayers", reason: "The heads do not add up." };
    const { one, el } = show(state({ ...made, header: { ...made.header, kind: "attribution", model } }), "attribution");
    expect(one('[data-part="coarse"]')?.textContent).toContain("The heads do not add up.");
    expect(el.querySelector('[data-part="edit-prompt"]')).toBeNull();
  });
});

it("shows attention: a picture per head, one in focus", async () => {
  const { one, all, click, model } = show(attention(), "attention");
  expect(all('[data-part="heads"] [data-id]')).toHaveLength(8);
  await click('[data-id="L3H2"]');
  expect(model.get("selected")).toBe("L3H2");
  expect(one(".aw-title")?.textContent).toBe("L3H2");
});

it.each([8, 40])("shows whole squares where %i tokens look ahead", async (n) => {
  const { one, all } = show(attention(n, 2, true), "attention");
  if (n === 8) expect(all('[data-part="pattern"] [role="gridcell"]')).toHaveLength(64);
  const cell = one('[data-part="pattern"] [role="gridcell"][tabindex="0"]');
  cell?.focus();
  await press(cell, "ArrowUp");
  await press(cell, "End");
  expect(one(".aw-readout")?.textContent).toContain(`(position ${n - 2}) reads`);
  expect(one(".aw-readout")?.textContent).toContain(`(position ${n - 1}): ${n === 8 ? "12" : "2.5"}\u00a0%`);
});

it("shows bars that sum to their parent", () => {
  const { one, all } = show(bars(), "bars");
  expect(all(".aw-bars li")).toHaveLength(9);
  expect(one('[data-part="sum"]')?.textContent).toContain("L3H5");
});

it("shows computed labels in bars of features, and says that they are computed", () => {
  const rows = [
    { label: "L2.mlp/29", kind: "feature", token: false, concept: "about France" },
    { label: "decoder bias", kind: "bias", token: false, concept: "" },
  ];
  const header: BarsHeader = { kind: "bars", title: "L2.mlp by feature", note: "", unit: "logits", rows, total: 3, parent: "L2.mlp", parent_value: 3, gap: 0 };
  const { all, el } = show(view(header, { values: { dtype: "f4", shape: [2], values: [2, 1] } }), "bars");
  expect(all(".aw-name").map((e) => e.textContent)).toEqual(["about France L2.mlp/29", "decoder bias"]);
  expect(el.textContent).toContain("Labels are computed");
});

it("keeps what no feature says last, in its order, however large: bias, skip connection, error", () => {
  const kinds = ["feature", "feature", "bias", "skip", "error"];
  const rows = kinds.map((kind, i) => ({ label: `${kind} ${i}`, kind, token: false, concept: "" }));
  const header: BarsHeader = { kind: "bars", title: "L2.mlp by feature", note: "", unit: "logits", rows, total: 9, parent: "L2.mlp", parent_value: 9, gap: 0 };
  const { all } = show(view(header, { values: { dtype: "f4", shape: [5], values: [1, 2, 0.5, 5, 0.5] } }), "bars");
  expect(all(".aw-name").map((e) => e.textContent)).toEqual(["feature 1", "feature 0", "bias 2", "skip 3", "error 4"]);
});

const labels = (rows: HTMLElement[]) => rows.map((row) => row.querySelector(".aw-name")?.childNodes[1]?.textContent);

describe("a trace", () => {
  it("opens on the largest path, prints its balance, and is walked by keys", async () => {
    const { one, all, click } = show(trace(), "trace");
    await click('[data-form="table"]');
    const rows = () => all('[role="tree"] > [role="treeitem"]');
    expect(one("h2")?.textContent).toBe(walk.title);
    expect(one('[data-part="sum"]')?.textContent).toBe(walk.balance);
    expect(labels(rows())).toEqual(walk.labels);
    expect(rows().map((r) => r.ariaLevel ?? r.getAttribute("aria-level"))).toEqual(walk.depth.map(String));
    expect(rows()[3]?.textContent).toBe("embed ·France 4  +2.40");
    expect(rows().filter((r) => r.tabIndex === 0)).toHaveLength(1);
    const at = () => document.activeElement as HTMLElement;
    rows()[0]?.focus();
    await press(at(), "ArrowDown");
    expect(at().dataset["i"]).toBe("1");
    await press(at(), "ArrowRight"); // open already: into it
    expect(at().dataset["i"]).toBe("2");
    await press(at(), "ArrowLeft"); // closes
    expect(at().getAttribute("aria-expanded")).toBe("false");
    expect(rows()).toHaveLength(8);
    await press(at(), "ArrowLeft"); // closed already: to its parent
    expect(at().dataset["i"]).toBe("1");
    await press(at(), "ArrowLeft");
    expect(labels(rows())).toEqual(["L3.mlp", "L3H1", "L2H2", "norm.bias"]);
    await press(at(), "Enter");
    expect(rows()).toHaveLength(8);
    await press(at(), "End");
    expect(at().dataset["i"]).toBe("9");
    await press(at(), "ArrowRight"); // a leaf stays
    expect(at().dataset["i"]).toBe("9");
    expect(rows()[0]?.hasAttribute("aria-expanded")).toBe(false);
  });

  it.each(["candidates", "values", "detail", "sum"])("tells nothing of what is hidden: %s", (part) => {
    const { one } = show(state(), "explorer", { showing: { tab: "", mode: "trace" }, options: { hidden: [part], static: true } });
    expect(one('[data-part="trace"]')).toBeNull();
    expect(one(`[data-part="hidden-${part}"]`)).not.toBeNull();
  });

  it("is one way to show the contributions, with MLPs shut or open", async () => {
    const { model, one, click, all } = show(state());
    await click('[data-order="trace"]');
    expect(one('[data-part="trace"] .aw-caption')?.textContent).toBe(walk.title);
    await click('[data-form="table"]');
    await click('[role="treeitem"][data-i="1"]');
    expect(model.get("selected")).toBe("L3H1");
    await click('[role="treeitem"][data-i="1"]');
    await click('[role="treeitem"][data-i="2"]');
    expect(model.get("selected"), "a part of another place is no row of the bars").toBe("L3H1");
    await click('[data-form="frozen"]');
    expect(one('[data-part="trace"] .aw-caption')?.textContent).toBe("with gates held");
    await click('[data-part="copy"]');
    expect(one('[data-part="code"]')?.textContent).toContain("a.trace(depth=None)");
    expect(all('[data-part="waterfall"]')).toHaveLength(0);
  });

  const option = (name: string) => `[role="option"][aria-label^="${name} = "]`;

  it("is a picture first: what is pointed at lights its paths and is told", async () => {
    const { one, all, el } = show(trace({ target: "·Paris", cancelled: 0.3, layers: 5 }), "trace");
    const lit = () => all(".aw-stream div .aw-lit:not(path)").map((e) => e.firstChild?.textContent);
    const told = () => one('[data-part="flow"] .aw-sentence')?.textContent;
    // L3.mlp alone was not followed; of both heads only L3H1 was
    expect(all(".aw-stream path")).toHaveLength(6);
    expect(all(".aw-stream > [aria-hidden] > span").map((e) => e.textContent)).toEqual(["", "L0: nothing shown", "L1", "L2", "L3", "", "L4: nothing shown"]);
    expect(lit()).toEqual([]);
    one(option("L1H0 +2.50 at the position of ·France (4)"))?.focus();
    await tick();
    expect(told()).toBe("L1H0 +2.50 at the position of ·France (4) = embed at ·France (4) +2.40, rounding +0.10");
    expect(lit()).toEqual(["·France", "L3H1", "L1H0", "embed", "·Paris"]);
    expect(all(".aw-stream path.aw-lit")).toHaveLength(3);
    await press(document.activeElement as HTMLElement, "Escape");
    expect(lit()).toEqual([]);
    await press(document.activeElement as HTMLElement, "End");
    expect(told()).toBe("·Paris +14.54 = L3.mlp at ·is (5) +10.00, L3H1 at ·is (5) +3.50, L2H2 at ·is (5) +0.80, norm.bias +0.24");
    one(".aw-stream path:nth-of-type(1)")?.dispatchEvent(new PointerEvent("pointerenter"));
    await tick();
    expect(told()).toMatch(/^.* at the position of .*, read by .*: \+\d/);
    expect(one('[data-part="shares"]')?.textContent).toBe("In sum shown +14.00 (94\u00a0% of all sizes), constants +0.44 (3.0\u00a0% of all sizes), not shown +0.10 (2.7\u00a0% of all sizes): +14.54. Constants: norm.bias +0.24, rounding +0.10, value.bias +0.10.");
    expect(el.textContent).toContain("Attribution, not a test.");
  });

  it("draws as many paths as the slider says, and says in magnitude what is left", async () => {
    const { one, all, el } = show(trace(), "trace");
    const slider = one('input[type="range"]') as HTMLInputElement;
    slider.value = "1";
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await tick();
    expect(all(".aw-stream path")).toHaveLength(1);
    expect(el.textContent).toContain("1 of 4");
    expect(one('[data-part="shares"]')?.textContent).toContain("not shown +4.10 (28\u00a0% of all sizes): +14.54");
  });

  it("selects by a click the row of the bars that it went into, and the word that this one read", async () => {
    const { model, one, click } = show(state());
    await click('[data-order="trace"]');
    const at = async (name: string) => {
      one(option(name))?.dispatchEvent(new MouseEvent("click", { bubbles: true }));
      await tick();
    };
    await at("L1H0 +2.50 at the position of ·France (4)");
    expect([model.get("selected"), model.get("source")]).toEqual(["L3H1", 4]);
    await at("L2H2 +0.80 at the position of ·is (5)");
    expect([model.get("selected"), model.get("source")]).toEqual(["L2H2", -1]);
    one(option("L3.mlp +10.00 at the position of ·is (5)"))?.focus();
    await press(document.activeElement as HTMLElement, "Enter");
    expect(model.get("selected")).toBe("L3.mlp");
  });

  it("gives nothing away", async () => {
    const { el, one, click } = show(state(), "explorer", { options: { hidden: ["values"], static: true } });
    await click('[data-order="trace"]');
    expect(one('[data-part="flow"]')).toBeNull();
    expect(one('[role="tree"]')).toBeNull();
    expect(el.textContent).not.toContain("14.54");
  });
});

describe("features", () => {
  const at = () => document.activeElement as HTMLElement;
  const wait = () => new Promise((done) => setTimeout(done, 30));

  it("three clicks from the prompt to a feature, and back, the focus kept inside", async () => {
    const { model, one, all, click, el } = show(state());
    await click('[data-part="waterfall"] [data-id="L2.mlp"]');
    await click('[role="tab"][data-tab="features"]');
    const names = all('[data-part="features"] .aw-name').map((e) => e.textContent);
    expect(names.slice(0, 2)).toEqual(["after ·capital, about France L2.mlp/29 · fires at 8.88", "L2.mlp/7 · fires at 3.50"]);
    expect(names.slice(3)).toEqual(["decoder bias", "reconstruction error"]);
    const bar = one('[data-part="waterfall"] [data-id="L2.mlp"] .aw-val')?.textContent?.slice(1);
    expect(one('[data-part="features"] [data-part="sum"]')?.textContent).toBe(`sum ${bar}L2.mlp ${bar}mismatch 1e\u22128 · logits`);
    expect(one('[data-part="features"]')?.textContent).toContain("Labels are computed");
    // Without a kernel only what was embedded opens, and the others say why not.
    expect(all('[data-part="features"] button')).toHaveLength(1);
    expect(all('[data-part="features"] .aw-brow')[1]?.title).toContain("Needs a running kernel");
    await click('[data-part="features"] button');
    await wait();
    expect(model.get("selected")).toBe("L2.mlp/29");
    expect(at().textContent).toBe("All features of L2.mlp");
    const card = one('[data-part="feature"]')!;
    expect(card.textContent).toContain("Computed label; fires on 1.2\u00a0% of tokens.");
    expect(one('[data-part="arithmetic"]')?.textContent).toBe("fires at 8.88, promotes ·Paris over ·Berlin by 0.103 per unit (0.466 before the norm divides by 4.54): 8.88 × 0.103 = +0.91");
    expect(card.querySelector(".aw-context")?.textContent).toBe("<s>The capital of France (4.50) is (9.00)…");
    expect([...card.querySelectorAll("mark")].map((m) => m.title)).toEqual(["activation 4.50", "activation 9.00", "activation 8.00"]);
    expect(card.querySelectorAll(".aw-carried .aw-shaded")).toHaveLength(1);
    expect(card.textContent).toContain("Promotes·Paris+1.20");
    expect(el.querySelector("img")).toBeNull();
    await click('[data-part="feature"] p .aw-link'); // one that is like it, and back
    await wait();
    expect(model.get("selected")).toBe("L2.mlp/7");
    model.set("selected", "L2.mlp/29");
    await wait();
    expect(all(".aw-crumb").map((c) => c.textContent)).toEqual(["·Paris over ·Berlin", "L2.mlp", "L2.mlp/29"]);
    expect(one('[data-id="L2.mlp"][aria-selected="true"]')).not.toBeNull();
    await click('[data-part="copy"]');
    await tick();
    expect(one('[data-part="code"]')?.textContent).toContain('a.features("L2.mlp").card(29)');
    await click('[data-part="feature"] .aw-link');
    await wait();
    expect(model.get("selected")).toBe("L2.mlp");
    expect(at().title).toBe("after ·capital, about France: open L2.mlp/29");
    await click('[data-part="back"]');
    expect(one('[data-part="feature"]')).not.toBeNull();
    await click('[role="tab"][data-tab="writes"]'); // another tab leaves the feature
    expect([model.get("selected"), one('[data-part="writes"]') !== null]).toEqual(["L2.mlp", true]);
  });

  it("opens where Python says, names a head's dictionary, and needs no label", async () => {
    const { model, one, all } = show(state(), "explorer", { selected: "L3H1/29" });
    expect(one('[data-part="feature"] .aw-subtitle')?.textContent).toBe("L3.z/29");
    expect(one('[data-part="arithmetic"]')?.textContent).toContain("; this is what it writes through L3H1 alone");
    expect(one('[data-part="feature"]')?.textContent).toContain("It fires too rarely for a label");
    expect(all(".aw-crumb").map((c) => c.textContent)).toEqual(["·Paris over ·Berlin", "L3H1", "L3.z/29"]);
    model.set("selected", "L2.mlp/311");
    await tick();
    expect(one('[data-part="feature"]')?.textContent).toContain("Needs a running kernel");
  });

  it("asks the kernel for what was not embedded", async () => {
    const { el, model, sent } = showLive(state(), "explorer", { selected: "L3H1/7" });
    await tick();
    model.set("selected", "L3.mlp");
    await tick();
    el.querySelector<HTMLElement>('[data-tab="features"]')?.click();
    await tick();
    expect(sent.filter((m) => m.op.startsWith("feature")).map((m) => [m.op, m.args["id"]])).toEqual([["feature", "L3H1/7"], ["features", "L3.mlp"]]);
  });

  it("greys the tab of a model without dictionaries, and says why", async () => {
    const absent = { features: "gpt2 comes without dictionaries of features." };
    const { one, click } = show(state(explorer(undefined, { features: {}, absent })));
    const tab = one('[role="tab"][data-tab="features"]')!;
    expect([tab.getAttribute("aria-disabled"), tab.title]).toEqual(["true", absent.features]);
    await click('[role="tab"][data-tab="features"]');
    expect(one(".aw-panel")?.textContent).toContain(absent.features);
  });

  it("shows a card alone", () => {
    const header: CardHeader = { kind: "card", name: "L2.mlp/29", tokens: HOSTILE, ...explorer().header.cards!["L2.mlp/29"]! };
    const { one, el } = show(view(header, {}), "card");
    expect(one(".aw-caption")?.textContent).toBe("Computed label; fires on 1.2\u00a0% of tokens.");
    const said = HOSTILE[1] ?? "";
    const more = show(view({ ...header, more: [["described (m)", said]], related: [[7, "cosine 0.50"]], contexts: [{ tokens: HOSTILE, values: HOSTILE.map(() => 1), cut: [false, false], drawn: "1 to 2" }] }, {}), "card");
    expect(more.el.textContent).toContain(`described (m) ${said}`);
    expect(more.el.textContent).toContain("L2.mlp/7 cosine 0.50");
    expect(more.one(".aw-context")?.textContent).toMatch(/^1 to 2: /);
    expect(more.el.querySelector('img, [data-part="feature"] .aw-link')).toBeNull();
    const bare = show(view({ ...header, label: "", density: null, contexts: [] }, {}), "card");
    expect(bare.one(".aw-caption")?.textContent?.trim()).toBe("No label was computed.");
    expect(bare.el.textContent).not.toContain("Fires most");
    expect(el.querySelector("img")).toBeNull();
  });

  it("draws a long prompt as running text", () => {
    const { one, all } = show(state(explorer(longPrompt(60), { corrupted: null })), "explorer", { selected: "L2.mlp/29" });
    expect(one('[data-part="feature"] [aria-label="The prompt"] mark')?.textContent).toContain("(8.88)");
    expect(all('[data-part="feature"] .aw-carried')).toHaveLength(0);
  });
});

it("shows the experts of a mixture, whom nobody can ask why they fired", async () => {
  const made = explorer();
  const rows = made.header.rows.map((row) => (row.id === "L2.mlp" ? { ...row, mixture: true } : row));
  const experts = { labels: ["L2.mlp/E3", "L2.mlp/shared"], values: [0.4, -0.1], weights: [0.62, null], rest: 0, rest_count: 0, bias: 0, rounding: 1e-9 };
  const bytes = state(explorer(undefined, { rows, neurons: { "L2.mlp": experts } }));
  const { one, all, click } = show(bytes, "explorer", { selected: "L2.mlp", options: { hidden: [], static: false } });
  expect(one('[role="tab"][aria-selected="true"]')?.textContent).toBe("Experts");
  expect(all('[data-part="neurons"] .aw-name').map((e) => e.textContent?.trim())).toEqual(["E3 weight 0.62", "shared", "rounding"]);
  expect(all('[data-part="neurons"] button')).toHaveLength(0);
  await click('[data-part="copy"]');
  await tick();
  expect(one('[data-part="code"]')?.textContent).toContain("a.experts(2)");
});

it("opens a neuron, and names the way back", async () => {
  const live = { options: { hidden: [], static: false } };
  const asked = (model: HostModel, gesture: Promise<void>) => {
    const send = vi.spyOn(model, "send");
    const found = () => send.mock.calls.map(([m]) => m as { op: string; args: Record<string, unknown> }).find((m) => m.op === "explain")?.args;
    return gesture.then(found);
  };
  const before = show(state(), "explorer", { ...live, selected: "L2.mlp" });
  const button = '[data-part="neurons"] button[title^="Why L2N"]';
  expect(await asked(before.model, tick().then(() => before.click(button)))).toMatchObject({ neuron: expect.stringMatching(/^L2N\d+$/) });
  close();
  const token = { kind: "logit", text: " Paris", id: 100, against: null, unit: "logits", phrase: "" } as const;
  const target = { ...token, kind: "neuron", text: "L2N22", id: null, unit: "pre-activation", phrase: "pre-activation of L2N22 at “·is” (5)" } as const;
  const made = explorer(undefined, { question: 1, target, origin: [{ question: 0, target: token }] });
  const shown = show(state(made), "explorer", live);
  expect(shown.one(".aw-headline")?.textContent).toContain("for the pre-activation of L2N22");
  expect(shown.one(".aw-title")?.textContent).toContain("to L2N22");
  expect(shown.one('[data-part="candidate"]')).toBeNull();
  expect(shown.all(".aw-crumb").map((c) => c.textContent)).toEqual(["·Paris", "L2N22"]);
  expect(await asked(shown.model, tick().then(() => shown.click("button.aw-crumb")))).toMatchObject({ restore: 0 });
});

it("says what is wrong with a state it cannot read", () => {
  const { one } = show(new Uint8Array(3));
  expect(one('[data-part="status"]')?.textContent).toContain("not an attrib_widgets state");
});

it("says so when it has no view of that name", () => {
  for (const kind of ["surprise", "toString"]) {
    const { one } = show(bars(), kind);
    expect(one('[data-part="unknown"]')?.textContent).toBe(`This page has no view called \u201c${kind}\u201d. Reload it, then run the cell again.`);
    close();
  }
});

it("leaves nothing behind, by its own end or by the host's signal", () => {
  const el = document.createElement("div");
  document.body.append(el);
  const model = new HostModel({ kind: "explorer", container: state(), selected: "", source: -1, options: {} });
  widget.render({ model, el })();
  const abort = new AbortController();
  widget.render({ model, el, signal: abort.signal });
  expect(el.children).toHaveLength(1);
  abort.abort();
  expect(el.children).toHaveLength(0);
  expect(model.listeners).toBe(0);
});

it("reads the traits of an offline page", () => {
  const bytes = state();
  let binary = "";
  for (const b of bytes) binary += String.fromCharCode(b);
  const traits = readEmbedded(JSON.stringify({ kind: "explorer", container: btoa(binary), options: { static: true } }));
  expect(new Uint8Array((traits["container"] as DataView).buffer)).toEqual(bytes);
});

describe("a phrase", () => {
  it("shows all tokens with their odds, and their contributions together", () => {
    const { one, all } = show(phrase(), "phrase");
    expect(one(".aw-headline")?.textContent).toBe("A phrase has log-probability");
    expect(all('[data-part="spine"] [data-i]').map((e) => e.title)[1]).toBe("·or, position 6: probability 4.0\u00a0%, entropy 3.90 nats");
    expect(all(".aw-odds > i:first-child").map((e) => e.style.height)[1]).toBe("4%");
    expect(all(".aw-unsure").map((e) => e.style.bottom)[1]).toBe("96%");
    expect(one('[data-part="token"] .aw-title')?.textContent).toBe("All 4 tokens: 0.58 nats");
    expect(all(".aw-bars li").map((e) => e.textContent)).toEqual(["embed+1.00", "odd\u22120.42"]);
    expect(one('[data-part="sum"]')?.textContent).toBe("sum 0.58model 0.58mismatch 2e\u22127 · nats");
    expect(document.querySelector("img")).toBeNull();
  });

  it("goes to the token that is clicked, that arrows lead to, or that Python names", async () => {
    const { one, all, click, model } = show(phrase(), "phrase");
    await click('[data-part="spine"] [data-i="1"]');
    expect([model.get("selected"), model.get("source"), model.saves]).toEqual(["", 1, 1]);
    expect(one('[data-part="token"] .aw-title')?.textContent).toBe("·or: \u22121.75 nats");
    expect(one(".aw-sentence")?.textContent).toContain("Likeliest here: ·Rome 50\u00a0%, ·or 4.0\u00a0%");
    expect(all(".aw-bars li").map((e) => e.textContent)).toEqual(["odd\u22122.00", "embed+0.25"]);
    one('[data-part="spine"] [data-i="1"]')?.focus();
    await press(document.activeElement, "ArrowRight");
    expect([model.get("source"), document.activeElement?.getAttribute("data-i")]).toEqual([2, "2"]);
    await press(document.activeElement, "x");
    await press(document.activeElement, "End");
    expect(model.get("source")).toBe(3);
    await press(document.activeElement, "Escape");
    expect(model.get("source")).toBe(-1);
    expect(one('[data-part="token"] .aw-title')?.textContent).toContain("All 4 tokens");
    model.set("source", 0);
    await tick();
    expect(one('[data-part="spine"] [aria-selected="true"]')?.dataset["i"]).toBe("0");
  });
});

describe("texts and tokens", () => {
  const unseen = { at: [2, 3], said: "demo never saw “had” in training", code: 'aw.explore("gpt2", "Mary had")' };
  const strange = () => {
    const made = explorer();
    return state({ ...made, header: { ...made.header, prompt: { ...made.header.prompt, unseen } } });
  };

  it("underlines words that were never seen, says so, and greys the answer", () => {
    const { one, all } = show(strange(), "explorer", { options: { hidden: [] } });
    expect(all('[data-part="prompt-tokens"] .aw-strange').map((e) => e.textContent)).toEqual(explorer().header.prompt.tokens.slice(2, 4).map((t) => t.replace(" ", "·")));
    expect(one('[data-part="prompt-tokens"] [data-i="2"]')?.title).toContain("never seen in training");
    expect(one('[data-part="unseen"]')?.textContent).toContain("demo never saw “had” in training. A larger model");
    expect(one('[data-part="unseen"] code')?.textContent).toBe(unseen.code);
    expect(one(".aw-answer")?.className).toContain("aw-doubt");
    expect(show(state()).one(".aw-answer")?.className).not.toContain("aw-doubt");
  });

  it("offers tasks in place, and not twice while the prompt is edited", async () => {
    const { all, click } = show(strange(), "explorer", { options: { hidden: [] } });
    expect(all('[data-part="unseen"] [data-part="examples"] button').map((b) => b.textContent)).toEqual(explorer().header.examples.map((e) => e.label));
    await click('[data-part="edit-prompt"]');
    expect(all('[data-part="examples"]')).toHaveLength(1);
    expect(show(strange()).one('[data-part="unseen"] button'), "an offline page has nobody to ask").toBeNull();
  });

  it("has a button for the better token beside its remark", async () => {
    const note = "“·Rome”, with its space, is 20 times likelier";
    const changes = { notes: ["another remark", note], better: [{ field: "against" as const, text: " Rome", note }] };
    const { all, sent } = showLive(state(explorer(undefined, changes)));
    const [button, ...more] = all('[data-part="better"]');
    expect([button?.textContent, button?.parentElement?.textContent, more.length]).toEqual(["use ·Rome", `${note} use ·Rome`, 0]);
    button?.click();
    await tick();
    expect(sent.find((m) => m.op === "explain")?.args).toMatchObject({ against: " Rome", target: null, prompt: null });
    expect(show(state(explorer(undefined, changes))).one('[data-part="better"]'), "an offline page has nobody to ask").toBeNull();
  });
});
