import { afterEach, describe, expect, it } from "vitest";
import { linked } from "../src/core/maths/cone";
import { share } from "../src/core/maths/format";
import { effects, explorer, patching, state, tested, verdicts } from "./fixture";
import { close, FIXED, show, tick } from "./show";

afterEach(close);

/** The next state: the same question, with a second prompt. */
function compared() {
  const { made } = tested();
  return { ...made, header: { ...made.header, version: made.header.version + 1, question: 1 } };
}

describe("a test", () => {
  it("states its cost, shows its progress, and puts the verdict on the bar", async () => {
    const { made, verdicts } = tested();
    const { model, one, all, click, sent, answer } = show(state(made), "explorer", { selected: "L3H1" });
    expect(one('[data-part="mark"]')?.textContent).toContain("Observed, not yet tested");
    expect(all(".aw-verdict")).toHaveLength(0);
    expect(one('[data-part="test"]')?.textContent).toBe("Test this · ≤ 2 forwards");
    expect(one('[data-part="test-top"]')?.textContent).toBe("Test the top ten · ≤ 72 forwards");
    await click('[data-part="test"]');
    expect(sent.at(-1)).toMatchObject({ op: "verify", args: { components: ["L3H1"] } });
    await answer("progress", { done: 1, total: 2, note: "is it necessary?" });
    expect(one('[data-part="testing"] progress')?.getAttribute("value")).toBe("1");
    expect(one('[data-part="testing"]')?.textContent).toContain("is it necessary?");
    model.set("tested", verdicts);
    await answer("result", { data: { title: verdicts.title } });
    expect(one('[data-part="testing"]')).toBeNull();
    const chip = one('[data-part="waterfall"] [data-id="L3H1"] .aw-verdict');
    expect(chip?.title).toBe("redundant: confirmed with L2H6: without it 1 % goes");
    expect(chip?.querySelector(".aw-sr")?.textContent).toBe(chip?.title);
    expect(one('[data-part="waterfall"] [data-id="L0H6"] .aw-verdict')?.textContent).toContain("through later parts");
    expect(one(".aw-headline")?.textContent).toBe("L3H1 is redundant; L0H6 works through later parts");
    expect(one('[data-part="observed"]')?.textContent).toContain("Observed: ");
    expect(one('[data-part="mark"]')?.textContent).toContain("Tested: n = 1 pair of prompts");
    expect(one('[data-part="together"]')?.textContent).toBe("all others together (35): without these 35 parts 4 % of the gap goes; put into the other prompt 30 % comes back. Then the model says ·Paris 100 %.");
    expect(one('[data-part="decided"]')?.hasAttribute("open")).toBe(false);
    const found = one('[data-part="verdict"]')?.textContent ?? "";
    for (const said of ["redundant: confirmed with L2H6", "Without it, as in the other prompt, the model says ·Berlin 71 %", "+0.09", "+0.20", "more comes from L2H6", "below 0.80", "(tau)", "9.31 logits", "add up to 43 %", "72 forwards in 2 passes"]) expect(found).toContain(said);
    expect(one('[data-part="copy"]')).not.toBeNull();
  });

  it("can be cancelled, and says what went wrong", async () => {
    const { one, click, sent, answer } = show(state(tested().made));
    await click('[data-part="test-top"]');
    expect(sent.at(-1)).toMatchObject({ op: "verify", args: { top: 10 } });
    await click('[data-part="cancel-test"]');
    expect(sent.at(-1)).toMatchObject({ op: "cancel", id: sent.at(-2)?.id });
    await answer("cancelled");
    expect(one('[data-part="testing"]')).toBeNull();
    expect(one('[data-part="test-failed"]')).toBeNull();
    await click('[data-part="test"]');
    await answer("error", { message: "There is no gap.", hint: "Change the prompt more." });
    expect(one('[data-part="test-failed"]')?.textContent).toBe("There is no gap. Change the prompt more.");
  });

  it("keeps the focus while its button is away", async () => {
    const { made, verdicts } = tested();
    const { model, one, click, answer } = show(state(made), "explorer", { selected: "L3H1" });
    const press = async (part: string) => {
      one(`[data-part="${part}"]`)?.focus();
      await click(`[data-part="${part}"]`);
      await tick();
    };
    const focused = () => document.activeElement?.getAttribute("data-part") ?? document.activeElement?.className;
    await press("test");
    expect(focused()).toBe("cancel-test");
    await press("cancel-test");
    await answer("cancelled");
    await tick();
    expect(focused()).toBe("test");
    await press("test-top");
    expect(focused()).toBe("cancel-test");
    model.set("tested", verdicts);
    await answer("result", { data: { title: verdicts.title } });
    await tick();
    expect(focused()).toBe("aw-headline");
  });

  it("takes the focus from nobody who went elsewhere meanwhile", async () => {
    const { made, verdicts } = tested();
    const { one, click, answer } = show(state(made), "explorer", { selected: "L3H1" });
    await click('[data-part="test"]');
    one('[data-part="edit-prompt"]')?.focus();
    await answer("result", { data: { title: verdicts.title } });
    await tick();
    expect(document.activeElement).toBe(one('[data-part="edit-prompt"]'));
  });

  it("tests, turns and explains a feature on its card", async () => {
    const { made } = tested();
    const { one, click, sent, answer, el } = show(state(made), "explorer", { selected: "L2.mlp/29", options: { hidden: [], static: false } });
    const card = () => one('[data-part="feature"]') as HTMLElement;
    await tick();
    (card().querySelector('[data-part="test"]') as HTMLElement).click();
    expect(sent.at(-1)).toMatchObject({ op: "verify", args: { components: ["L2.mlp/29"] } });
    const dial = card().querySelector<HTMLInputElement>('[data-part="dial"]')!;
    expect([dial.min, dial.max, dial.value]).toEqual(["0", "4", "1"]);
    dial.value = "0.5";
    dial.dispatchEvent(new Event("input", { bubbles: true }));
    dial.dispatchEvent(new Event("change", { bubbles: true }));
    await tick();
    expect(card().querySelector("output")?.textContent).toBe("\u00d7 0.5");
    expect(sent.at(-1)).toMatchObject({ op: "ablate", args: { id: "L2.mlp/29", strength: 0.5 } });
    await answer("result", { data: { told: "With L2.mlp/29 \u00d7 0.5 the logit goes down", note: "n = 1" } });
    expect(card().querySelector('[data-part="ablated"]')?.textContent).toBe("With L2.mlp/29 \u00d7 0.5 the logit goes down. n = 1");
    await click('[data-part="feature"] [data-part="explain"]');
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { neuron: "L2.mlp/29" } });
    expect(el.querySelectorAll('[data-part="feature"] [data-part="test"]').length).toBeLessThan(2);
  });

  it("asks for a second prompt in place, or takes the part out alone", async () => {
    const { made } = tested();
    made.header.corrupted = null;
    made.header.test.suggested = "The capital of Germany is";
    const { model, one, click, sent, answer, all } = show(state(made), "explorer", { selected: "L3H1" });
    await click('[data-part="test"]');
    const asked = sent.length;
    expect(one('[data-part="ask-corrupted"]')?.textContent).toContain("An experiment needs a second prompt");
    await tick();
    expect(document.activeElement?.textContent).toContain("The capital of Germany is");
    all('[data-part="ask-corrupted"] button').find((b) => b.textContent?.startsWith("Only take it out"))?.click();
    expect(sent[asked]).toMatchObject({ op: "ablate", args: { id: "L3H1" } });
    await answer("result", { data: { told: "Without L3H1 the logit of “·Paris” goes from 14.54 to 13.29", note: "n = 1" } });
    expect(one('[data-part="ablated"]')?.textContent).toBe("Without L3H1 the logit of “·Paris” goes from 14.54 to 13.29. n = 1");
    await click('[data-part="test"]');
    await click('[data-part="ask-corrupted"] button');
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { corrupted: "The capital of Germany is" } });
    model.set("container", state(compared()));
    await answer("result", { data: {} });
    expect(sent.at(-1)).toMatchObject({ op: "verify", args: { components: ["L3H1"] } });
  });

  it("waits for the state with the second prompt where the answer overtakes it", async () => {
    const { made, verdicts } = tested();
    made.header.corrupted = null;
    made.header.test.suggested = "The capital of Germany is";
    const { model, one, click, sent, answer } = show(state(made), "explorer", { selected: "L3H1" });
    await click('[data-part="test"]');
    await click('[data-part="ask-corrupted"] button');
    await answer("result", { data: {} });
    expect(sent.some((m) => m.op === "verify")).toBe(false);
    model.set("container", state(compared()));
    await tick();
    expect(sent.filter((m) => m.op === "verify")).toHaveLength(1);
    expect(sent.some((m) => m.op === "cancel")).toBe(false);
    expect(one('[data-part="testing"]')).not.toBeNull();
    model.set("tested", { ...verdicts, question: 1 });
    await answer("result", { data: { title: verdicts.title } }, sent.find((m) => m.op === "verify")?.id);
    expect(one('[data-part="waterfall"] [data-id="L3H1"] .aw-verdict')).not.toBeNull();
  });

  it("says nothing about a result that Python did not say", async () => {
    const { made, verdicts } = tested();
    const { one, model } = show(state(made), "explorer", { tested: verdicts });
    const known = JSON.stringify(verdicts);
    for (const { id } of verdicts.findings) {
      model.set("selected", id);
      await tick();
      const said = [...(one('[data-part="verdict"]')?.querySelectorAll("p, .aw-remarks li, details li") ?? [])].map((p) => p.textContent ?? "");
      expect(said.length).toBeGreaterThan(6);
      for (const text of said) expect(known).toContain(text.replace(/\.$/, ""));
    }
  });

  it("is of the question that it was asked on", async () => {
    const { made } = tested();
    made.header.corrupted = null;
    const { model, one, click, sent, answer } = show(state(made), "explorer", { selected: "L3H1" });
    const next = (version: number, question: number) => model.set("container", state({ ...made, header: { ...made.header, version, question } }));
    const takeOut = async () => {
      await click('[data-part="test"]');
      [...document.querySelectorAll<HTMLElement>('[data-part="ask-corrupted"] button')].find((b) => b.textContent?.startsWith("Only take it out"))?.click();
      await tick();
      expect(sent.at(-1)).toMatchObject({ op: "ablate", args: { id: "L3H1" } });
    };
    const found = { data: { told: "Without L3H1 it is another", note: "" } };
    await takeOut();
    const asked = sent.at(-1)?.id;
    next(2, 1); // from Python, while it runs
    await tick();
    expect(sent.at(-1)).toMatchObject({ op: "cancel", id: asked });
    expect(one('[data-part="testing"]')).toBeNull();
    await answer("result", found);
    expect(one('[data-part="ablated"]')).toBeNull();
    await takeOut();
    next(3, 1); // the same question, drawn again with other dictionaries
    await tick();
    expect(one('[data-part="testing"]')).not.toBeNull();
    await answer("result", found);
    expect(one('[data-part="ablated"]')?.textContent).toContain("Without L3H1");
  });

  it("does not outlive its question", async () => {
    const { made, verdicts } = tested();
    const { model, all } = show(state(made), "explorer", { tested: verdicts });
    expect(all('[data-part="waterfall"] .aw-verdict')).toHaveLength(3);
    model.set("container", state(explorer(undefined, { question: 1, version: 2 })));
    await tick();
    expect(all(".aw-verdict")).toHaveLength(0);
  });

  it("is embedded in a page without a kernel, which says what needs one", async () => {
    const { made, verdicts } = tested();
    const { one, all, click } = show(state(made), "explorer", { ...FIXED, tested: verdicts });
    expect(all('[data-part="waterfall"] .aw-verdict')).toHaveLength(3);
    await click('[data-id="L3.mlp"]');
    expect(one('[data-part="test"]')?.getAttribute("aria-disabled")).toBe("true");
    await click('[data-part="test"]');
    expect(one('[data-part="error"]')?.textContent).toContain("Needs a running kernel");
  });

  it("keeps the answer hidden that was hidden", () => {
    const { made, verdicts } = tested();
    const { el } = show(state(made), "explorer", { options: { hidden: ["values"] }, tested: verdicts, selected: "L3H1" });
    for (const part of ["verdict", "test", "test-top"]) expect(el.querySelector(`[data-part="${part}"]`)).toBeNull();
    expect(el.textContent).not.toContain("redundant");
  });
});

describe("total effects", () => {
  it("stand beside the bars, and keep a mediator out of the others", () => {
    const { one, all, click } = show(state(tested().made));
    const row = one('[data-part="waterfall"] [data-id="L0H6"]');
    expect(row?.querySelector(".aw-back")?.textContent).toMatch(/^, recovery \(estimated\) ~\d+\u00a0%$/);
    expect(row?.querySelector(".aw-measured")).toBeNull();
    expect(one('[data-part="legend"]')?.textContent).toContain("estimated");
    expect(all('[data-part="waterfall"] [data-id]')).toHaveLength(14);
    expect(one('[data-part="legend"]')?.textContent).toContain("perhaps through other parts; test it");
    // sorted by it, the one that brings back most comes first, and the bars still end at the sum
    return click('[data-part="by-effect"]').then(() => {
      const shares = all('[data-part="waterfall"] [data-id] .aw-back').map((e) => Number(/~(.*?)\u00a0%/.exec((e.textContent ?? "").replace("\u2212", "-"))?.[1]));
      expect(shares.length).toBeGreaterThan(1);
      expect(shares.map(Math.abs)).toEqual([...shares.map(Math.abs)].sort((a, b) => b - a));
    });
  });

  it("say how far the inputs miss the gap, and what a large miss means", () => {
    const { made } = tested();
    const own = Array.from(made.arrays["effects"]?.values ?? []);
    for (const [error, said] of [[0.04, /Completeness error 4\u00a0%\./], [-0.9, /Completeness error \u221290\u00a0%: .*jumps/], [Number.NaN, null]] as const) {
      const values = [...own.slice(0, made.header.rows.length), error];
      made.arrays["effects"] = { dtype: "f4", shape: [values.length], values };
      const text = show(state(made)).one('[data-part="legend"]')?.textContent ?? "";
      if (said) expect(text).toMatch(said);
      else expect(text).not.toContain("ompleteness");
      close();
    }
  });

  it("say so only where something estimated is shown", () => {
    const { made, verdicts } = tested();
    const values = [...Array.from(made.arrays["effects"]?.values ?? []).slice(0, made.header.rows.length), 0.04];
    made.arrays["effects"] = { dtype: "f4", shape: [values.length], values };
    const { one } = show(state(made), "explorer", { tested: verdicts });
    const legend = () => one('[data-part="legend"]')?.textContent ?? "";
    expect(legend()).toContain("Damage");
    expect(legend()).not.toContain("ompleteness");
  });

  it("are not needed for the damage that a test measured", () => {
    const { made, verdicts } = tested();
    delete made.arrays["effects"];
    const { one, all, sent } = show(state(made), "explorer", { tested: verdicts });
    expect(one('[data-part="legend"]')?.textContent).toContain("Damage");
    expect(one('[data-part="estimate"]')).toBeNull();
    const measured = verdicts.findings.filter(({ id }) => one(`[data-part="waterfall"] [data-id="${id}"]`));
    expect(measured.length).toBeGreaterThan(1);
    for (const { id, damage } of measured.filter((f) => f.damage)) expect(one(`[data-part="waterfall"] [data-id="${id}"] .aw-measured`)?.textContent).toContain(share(damage));
    expect(all('[data-part="waterfall"] .aw-back').length).toBeGreaterThan(1);
    expect(sent.some((m) => m.op === "effects")).toBe(false);
  });

  it("are asked for where they are dear", async () => {
    const { made } = tested();
    delete made.arrays["effects"];
    const { click, sent } = show(state(made));
    expect(sent.some((m) => m.op === "effects")).toBe(false);
    await click('[data-part="estimate"]');
    expect(sent.at(-1)?.op).toBe("effects");
  });

  it("are shares of the gap, also where the other prompt says more of it", () => {
    const { made } = tested();
    const { header, arrays } = made;
    const totals = Array.from(arrays["effects"]?.values ?? []);
    const { corrupted } = header;
    for (const gap of [17, -17]) {
      const { one, all } = show(state({ ...made, header: { ...header, corrupted: corrupted && { ...corrupted, gap } } }));
      const back = (id: string) => one(`[data-part="waterfall"] [data-id="${id}"] .aw-back`)?.textContent;
      const shown = all('[data-part="waterfall"] [data-id]').map((r) => r.dataset["id"] ?? "");
      const large = header.rows.filter((_, i) => Math.abs(totals[i] ?? 0) >= 0.1 * 17).map((r) => r.id);
      expect(large.length).toBeGreaterThan(0);
      for (const id of large) {
        expect(shown).toContain(id);
        expect(back(id)).toBe(`, recovery (estimated) ~${share((totals[header.rows.findIndex((r) => r.id === id)] ?? 0) / gap)}`);
      }
      close();
    }
  });

  it("say what went wrong, and can be asked for again", async () => {
    const { made } = tested();
    delete made.arrays["effects"];
    const { one, all, click, sent, answer } = show(state(made));
    await click('[data-part="estimate"]');
    expect(one('[data-part="estimate"]')?.textContent).toContain("Estimating");
    await answer("error", { message: "No gradients here.", hint: "Load it otherwise." });
    expect(one('[data-part="estimate"]')).toBeNull();
    expect(all('[role="alert"]').map((e) => e.textContent)).toEqual(["No gradients here. Load it otherwise.Try again"]);
    all("button").find((b) => b.textContent === "Try again")?.click();
    await tick();
    expect(sent.filter((m) => m.op === "effects")).toHaveLength(2);
    expect(one('[data-part="estimate"]')?.textContent).toContain("Estimating");
  });

  it("are asked for one question at a time, and never without a comparison", async () => {
    const { made } = tested();
    delete made.arrays["effects"];
    const { model, one, click, sent } = show(state(made));
    const asked = () => sent.filter((m) => m.op === "effects").length;
    const next = async (version: number, changes: object) => {
      model.set("container", state({ ...made, header: { ...made.header, version, ...changes } }));
      await tick();
    };
    await click('[data-part="estimate"]');
    await next(2, {}); // drawn again with other dictionaries
    expect(asked()).toBe(2);
    await next(3, { corrupted: null });
    expect(asked()).toBe(2);
    await next(4, { question: 1 });
    expect(one('[data-part="estimate"]')?.textContent).toContain("Estimate total effects");
    expect(asked()).toBe(2);
  });
});

describe("the views of experiments", () => {
  it("link what can hear of each other", () => {
    const at = (layer: number, position: number | null, site = "z") => ({ layer, position, site });
    expect(linked(at(1, 3), at(2, 4), false)).toBe(true);
    expect(linked(at(2, 4), at(1, 3), false)).toBe(true);
    expect(linked(at(1, 3), at(2, 2), false)).toBe(false);
    expect(linked(at(1, 3), at(1, 4), false)).toBe(false);
    expect(linked(at(1, 3), at(1, 3, "mlp"), false)).toBe(true);
    expect(linked(at(1, 3), at(1, 3, "mlp"), true)).toBe(false);
    expect(linked(at(1, 3, "stream"), at(1, 3), true)).toBe(true);
    expect(linked(at(1, null), at(2, 0), false)).toBe(true);
  });

  it("says of an estimate that nothing was tested, and of what a grid is", () => {
    const grid = { site: "parts", rows: ["L0", "L1"], layers: [0, 1], columns: ["H0", "H1"], positions: null, cells: ["L0H0", "L0H1", "L1H0", "L1H1"] };
    const words = "estimated from gradients, not tested, for clean parts put into the corrupted run";
    const estimate = show(patching(2, 2, { estimated: true, words, grids: [grid] }), "patching", FIXED);
    expect(estimate.one('[data-part="patching"]')?.textContent).not.toContain("Tested");
    expect(estimate.one(".aw-sub")?.textContent).toContain("Estimated from gradients, not tested, for clean parts");
    expect(estimate.one("h3")?.textContent).toBe("heads, all positions together");
    const exact = show(patching(2, 2, { grids: [{ ...grid, columns: ["H0", "MLP"] }] }), "patching", FIXED);
    expect(exact.one(".aw-sub")?.textContent).toContain("Tested: clean parts put into the corrupted run.");
    expect(exact.one("h3")?.textContent).toBe("heads and MLPs, all positions together");
  });

  it("show a grid with its values, its cone and a selection that goes both ways", async () => {
    const { model, one, all, click } = show(patching(), "patching", FIXED);
    const cells = all('[role="gridcell"]');
    expect(cells).toHaveLength(24);
    const cell = (layer: number, position: number) => cells[(3 - layer) * 6 + position]!; // layers grow upwards
    expect(cell(2, 4).textContent).toContain("L2.mlp at ·France (position 4): recovery +0.24, 24\u00a0% of the gap");
    expect(cell(3, 5).textContent).toContain("not computed");
    cell(2, 4).click();
    await tick();
    expect([model.get("selected"), model.get("source")]).toEqual(["L2.mlp", 4]);
    expect(all('[role="gridcell"][aria-selected="true"]')).toEqual([cell(2, 4)]);
    expect(one(".aw-readout")?.textContent).toContain("L2.mlp at ·France");
    const lit = (layer: number, position: number) => cell(layer, position).classList.contains("aw-cone");
    expect([lit(1, 0), lit(1, 4), lit(3, 4), lit(3, 5)]).toEqual([true, true, true, true]);
    expect([lit(1, 5), lit(2, 3), lit(2, 5), lit(3, 3)]).toEqual([false, false, false, false]);
    model.set("source", 1);
    model.set("selected", "L0.mlp");
    await tick();
    expect(all('[role="gridcell"][aria-selected="true"]')).toEqual([cell(0, 1)]);
    await click('[role="gridcell"][aria-selected="true"]');
    expect(model.get("selected")).toBe("");
  });

  it("draw every tested part in its region, and open it by click and by key", async () => {
    const { model, one, all } = show(verdicts(), "verdicts", FIXED);
    const dots = all('[role="option"]');
    expect(dots.map((d) => d.dataset["id"])).toEqual(["L0H6", "L3H1", "L2H5"]);
    expect(Number.parseFloat(dots[1]!.style.left)).toBeCloseTo((100 * 0.19) / 0.7, 4);
    expect(Number.parseFloat(dots[1]!.style.bottom)).toBeCloseTo((100 * 0.11) / 0.7, 4);
    expect(one(".aw-region")?.textContent).toBe("needed");
    dots[1]!.click();
    await tick();
    expect(model.get("selected")).toBe("L3H1");
    expect(one('[data-part="verdict"]')?.textContent).toContain("redundant: confirmed with L2H6");
    dots[2]!.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
    await tick();
    expect(model.get("selected")).toBe("L2H5");
  });

  it("shade the tokens of a prompt by what they do", async () => {
    const { one, all, model } = show(effects(), "effects", FIXED);
    expect(all(".aw-num").map((e) => e.textContent?.trim())).toEqual(["−1.00", "−2.00", "+0.50", "−8.00", "−3.00"]);
    all('[role="option"]')[4]?.click();
    await tick();
    expect(model.get("source")).toBe(4);
    expect(one(".aw-readout")?.textContent).toBe("·France, position 4: −8.00 logits without it, give or take 0.40");
  });
});
