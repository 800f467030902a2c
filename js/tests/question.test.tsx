/** The question on the page: a rival beside the answer, what both get alike, and a set of rows that is taken out. */
import { afterEach, describe, expect, it } from "vitest";
import { percent, share } from "../src/core/maths/format";
import { waterfall } from "../src/core/maths/geometry";
import { explorer, state } from "./fixture";
import percents from "./percents.json";
import { close, FIXED, press, show as showKind, tick } from "./show";

afterEach(close);

function show(bytes: Uint8Array, traits: Record<string, unknown> = {}) {
  const page = showKind(bytes, "explorer", { chosen: [], without: {}, ...traits });
  const row = (id: string) => page.one(`[data-part="waterfall"] [data-id="${id}"]`);
  const shift = async (id: string) => {
    row(id)?.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));
    await tick();
  };
  const asked = () => page.sent.filter((m) => m.op === "without");
  return { ...page, row, shift, asked };
}
const made = explorer();
const { header } = made;
const array = (name: string) => Array.from(made.arrays[name]?.values ?? []);
const at = (id: string) => header.rows.findIndex((r) => r.id === id);

describe("percents", () => {
  it("are printed as Python prints them", () => {
    for (const [value, part, of] of percents as [number, string, string][]) {
      expect(percent(value)).toBe(part);
      expect(share(value)).toBe(of);
    }
  });
});

describe("a contrast", () => {
  it("is a second bar and a second number of every row; the first alone is summed and placed", () => {
    const { one, all, row } = show(state(made), FIXED);
    const values = array("values");
    const rival = array("rival");
    expect(values.reduce((a, b) => a + b, 0)).toBeCloseTo(header.actual, 4);
    const shown = all('[data-part="waterfall"] [data-id]').map((r) => r.dataset["id"] ?? "");
    const sizes = shown.map((id) => Math.abs(values[at(id)] ?? 0));
    expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
    const rest = values.reduce((a, b) => a + b, 0) - shown.reduce((sum, id) => sum + (values[at(id)] ?? 0), 0);
    const totals = array("effects");
    const reach = shown.flatMap((id) => [rival[at(id)] ?? 0, totals[at(id)] ?? 0]);
    const chart = waterfall([...shown.map((id) => values[at(id)] ?? 0), rest], header.actual, ...reach);
    shown.forEach((id, i) => {
      const bar = row(id)?.querySelector<HTMLElement>(".aw-bar");
      const ghost = row(id)?.querySelector<HTMLElement>(".aw-ghost");
      expect(parseFloat(bar?.style.left ?? "")).toBeCloseTo(100 * (chart.spans[i]?.left ?? -1), 3);
      expect(parseFloat(bar?.style.width ?? "")).toBeCloseTo(100 * (chart.spans[i]?.width ?? -1), 3);
      expect(parseFloat(ghost?.style.width ?? "")).toBeCloseTo(100 * Math.abs(chart.place(rival[at(id)] ?? 0) - chart.zero), 3);
      expect(row(id)?.querySelectorAll(".aw-val")).toHaveLength(1);
    });
    expect(row("L3H1")?.textContent).toBe("L3H1 +0.84 for ·Berlin +0.45");
    expect(one('[data-part="waterfall"] .aw-axis')?.textContent).toContain("·Berlin");
    expect(one('[data-part="waterfall"] .aw-others')?.textContent).toMatch(/\+1\.23\+0\.49/);
  });

  it("names the three parts that write most for both, in Python's words, and opens them", async () => {
    const { one, all, model } = show(state(made), FIXED);
    const told = all('[data-part="alike"] li').map((li) => li.textContent);
    expect(told).toEqual(header.shared?.map((s) => s.told));
    expect(told).toHaveLength(3);
    expect(told[0]).toBe("L1.mlp +3.56, and +0.40 more for the answer");
    one('[data-part="alike"] button')?.click();
    await tick();
    expect(model.get("selected")).toBe("L1.mlp");
  });

  it("can be dropped for nothing, and comes back", async () => {
    const { one, sent } = show(state(made));
    expect(one('[data-part="edit-against"]')?.title).toContain("Rather than ·Berlin, the answer to the other prompt");
    one('[data-part="drop-against"]')?.click();
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { against: "" } });
    close();
    const contrast = { rival: { text: " Berlin", texts: [" Berlin"], id: 7 }, taken: false, told: "62\u00a0% of this gap is common to all tokens", matched: "" };
    const alone = explorer(undefined, { contrast, target: { ...header.target, against: null } });
    const again = show(state(alone));
    expect(again.one('[data-part="drop-against"]')).toBeNull();
    expect(again.one('[data-part="contrast"]')?.textContent).toBe("62\u00a0% of this gap is common to all tokens. Ask rather than ·Berlin");
    again.one('[data-part="take-rival"]')?.click();
    expect(again.sent.at(-1)).toMatchObject({ op: "explain", args: { against: 7 } });
  });

  it("is not made up where both prompts are answered alike: a sentence, and a prompt that would do", () => {
    const contrast = { rival: null, taken: false, told: "The other prompt is answered alike, ·Paris: no rival is taken", matched: "The capital of Germany is" };
    const { one, sent } = show(state(explorer(undefined, { contrast })));
    expect(one('[data-part="contrast"]')?.textContent).toBe("The other prompt is answered alike, ·Paris: no rival is taken. Compare with “The capital of Germany is”");
    one('[data-part="matched"]')?.click();
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { corrupted: "The capital of Germany is" } });
  });

  it("does not name the rival while the answer is hidden", () => {
    const { el } = show(state(made), { options: { hidden: ["candidates"] } });
    expect(el.textContent).not.toContain("Berlin");
    expect(el.textContent).toContain("for the other");
  });

  it("is no part of a state without one", () => {
    const plain = explorer(undefined, { shared: [], target: { ...header.target, against: null } });
    delete plain.arrays["rival"];
    const { one, all, row } = show(state(plain), FIXED);
    expect(one('[data-part="alike"]')).toBeNull();
    expect(all(".aw-ghost, .aw-rival")).toHaveLength(0);
    expect(row("L3H1")?.textContent).toBe("L3H1 +0.84");
  });
});

describe("a set of rows that is taken out", () => {
  it("grows by Shift+click and by key, asks once a set, and cancels what is obsolete", async () => {
    const { model, one, row, shift, asked, sent, answer } = show(state(made));
    expect(one('[data-part="choose"]')?.textContent).toContain("Shift+click");
    await shift("L3H1");
    expect(model.get("chosen")).toEqual(["L3H1"]);
    expect(model.get("selected")).toBe("");
    expect(asked().at(-1)?.args).toEqual({ components: ["L3H1"] });
    expect(row("L3H1")?.dataset["chosen"]).toBe("true");
    expect(row("L3H1")?.textContent).toContain("taken out");
    await press(row("L3H4"), "Enter", { shiftKey: true });
    expect(model.get("chosen")).toEqual(["L3H1", "L3H4"]);
    expect(asked()).toHaveLength(2);
    expect(sent.some((m) => m.op === "cancel" && m.id === asked()[0]?.id)).toBe(true);
    expect(one('[data-part="without"]')?.textContent).toBe("Measuring…");
    const told = "without these 2 parts: ·Paris 99\u00a0%; 20\u00a0% of the gap goes";
    model.set("without", { question: header.question, components: ["L3H1"], told: "of another set" });
    expect(one('[data-part="without"]')?.textContent).not.toContain("another set");
    model.set("without", { question: header.question, components: ["L3H1", "L3H4"], told });
    await answer("result", { data: {} }, asked()[1]?.id);
    expect(one('[data-part="without"]')?.textContent).toBe(`${told}.`);
    await shift("L3H1"); // out of the set again
    expect(model.get("chosen")).toEqual(["L3H4"]);
    expect(one('[data-part="without"]')?.textContent).toBe("Measuring…");
    await answer("error", { message: "No.", hint: "Yes." }, asked().at(-1)?.id);
    expect(one('[data-part="without"]')?.textContent).toBe("No. Yes.");
    one('[data-part="clear"]')?.click();
    await tick();
    expect(model.get("chosen")).toEqual([]);
    expect(one('[data-part="chosen"]')).toBeNull();
  });

  it("takes only what can be taken out", async () => {
    const { model, asked, shift, one } = show(state(made));
    one('[data-order="order"]')?.click();
    await tick();
    await shift("embed");
    expect(model.get("chosen")).toEqual([]);
    expect(asked()).toHaveLength(0);
  });

  it("is tested as a circuit with its cost on the button, and the answer stands under its own set alone", async () => {
    const told = { question: header.question, told: "without them: ·Berlin 71\u00a0%", whole: 12 };
    const page = show(state(made), { chosen: ["L3H1"], without: { ...told, components: ["L3H1"] } });
    const { model, one, click, sent, shift, answer } = page;
    const whole = () => one('[data-part="chosen"] [data-part="table"]');
    const of = (...components: string[]) => model.set("without", { ...told, components });
    expect(one('[data-part="circuit"]')?.textContent).toBe("Test as a circuit · ≤ 12 forwards");
    await click('[data-part="circuit"]');
    const first = sent.at(-1);
    expect(first).toMatchObject({ op: "circuit", args: { components: ["L3H1"] } });
    expect(one('[data-part="circuit-running"]')).not.toBeNull();
    await shift("L3H4");
    expect(sent.some((m) => m.op === "cancel" && m.id === first?.id)).toBe(true);
    expect(one('[data-part="circuit-running"]')).toBeNull();
    of("L3H1", "L3H4");
    const table = { kind: "table", title: "This part alone", notes: [], columns: [], rows: [], bars: [], footer: [] };
    await answer("result", { data: table }, first?.id);
    expect(whole(), "it came too late for another set").toBeNull();
    expect(one('[data-part="circuit"]')).not.toBeNull();
    await shift("L3H4");
    of("L3H1");
    await tick();
    expect(whole()?.textContent).toBe("This part alone");
    model.set("container", state({ ...made, header: { ...header, question: 5, version: 2 } }));
    await tick();
    expect(whole()).toBeNull();
  });

  it("is read from Python, and measured anew for another question", async () => {
    const { model, row, asked } = show(state(made), { chosen: ["L3H1"] });
    await tick();
    expect(row("L3H1")?.dataset["chosen"]).toBe("true");
    expect(asked()).toHaveLength(1);
    model.set("chosen", ["L3H1", "L4.mlp"]);
    await tick();
    expect(asked().at(-1)?.args).toEqual({ components: ["L3H1", "L4.mlp"] });
    model.set("container", state({ ...made, header: { ...header, question: 5, version: 2 } }));
    await tick();
    expect(asked()).toHaveLength(3);
  });

  it("is told in a page without a kernel, and cannot be changed there", async () => {
    const without = { question: header.question, components: ["L3H1"], told: "without this part: ·Paris 99.7\u00a0%; 11\u00a0% of the gap goes" };
    const { model, one, shift, asked } = show(state(made), { ...FIXED, chosen: ["L3H1"], without });
    expect(one('[data-part="without"]')?.textContent).toBe(`${without.told}.`);
    await shift("L3H4");
    expect(model.get("chosen")).toEqual(["L3H1"]);
    expect(one('[data-part="error"]')?.textContent).toContain("Needs a running kernel");
    expect(asked()).toHaveLength(0);
  });
});
