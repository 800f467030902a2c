/** The view of a survey: what Python sends is what is drawn, keys and clicks select, prompts are asked for. */
import { afterEach, expect, it } from "vitest";
import { decode } from "../src/core/host/wire";
import { signed } from "../src/core/maths/format";
import { described } from "../src/core/maths/names";
import { examples, Survey } from "../src/core/state/survey";
import type { SurveyHeader } from "../src/core/types";
import { SENT } from "./fixture";
import { type Given, pack } from "./pack";
import { close, draw, FIXED, press, type Sent, show, tick } from "./show";

afterEach(close);

const sent = new Survey(decode<SurveyHeader>(SENT.survey));
const { parts, groups, prompts, answers } = sent.header;

/** how parts can be replaced there */
const WAY = { how: "something", able: 4, unable: "no pair" };

/** A small survey made by hand: two parts, a column without a part, five prompts. */
function made(changes: Partial<SurveyHeader> = {}, means = [0.5, -0.25, NaN]) {
  const header = {
    kind: "survey",
    title: "Made by hand",
    notes: ["A note."],
    checks: ["A check."],
    unit: "logits",
    level: 0.05,
    columns: ["H0", "H1", "MLP"],
    parts: [
      { id: "L0H1", layer: 0, column: 1 },
      { id: "L1.mlp", layer: 1, column: 2 },
    ],
    groups: [{ name: "all", prompts: [0, 1, 2, 3, 4], specific: [1], why: "", ...WAY }],
    measures: ["mean", "spread", "same_sign", "same_sign_permuted", "p_specific"].map((name) => ({ name, words: name })),
    prompts: ["zero", "one", "two", "three", "four"],
    answers: ["a", "b", "c", "d", "e"],
    closed: "",
    ...changes,
  } satisfies SurveyHeader;
  const [first = 0, second = 0, missing = NaN] = means;
  const measures = [first, second, 0.1, 0.2, 0.8, 1, missing, missing, missing, 0.001];
  const values = [0.5, -1, 2, 0.5, 0, -1, -2, -3, -4, -5];
  const arrays: Record<string, Given> = { measures: { dtype: "f4", shape: [1, 5, 2], values: measures }, values: { dtype: "f4", shape: [2, 5], values } };
  return { header, arrays };
}

/** The request of this operation that was sent last: now and then the page says hello in between. */
const last = (sent: Sent[], op: string) => sent.filter((m) => m.op === op).at(-1);

it("lists prompts as Python does: stable, by tenths, the smallest first", () => {
  const values = [3, 1, 1, 2, 5];
  expect(examples(values, [0, 1, 2, 3, 4], "largest", 3)).toEqual([4, 0, 3]);
  expect(examples(values, [0, 1, 2, 3, 4], "smallest", 3)).toEqual([1, 2, 3]);
  expect(examples(values, [2, 1], "largest")).toEqual([1, 2]);
  expect(examples(values, [0, 1, 2, 3, 4], "deciles")).toEqual([1, 2, 3, 0, 4]);
  const many = Array.from({ length: 26 }, (_, i) => i);
  expect(examples(many, many, "deciles")).toEqual([0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25]);
});

it("has a map for every group, layers upwards, on one scale", () => {
  const { all, one } = show(SENT.survey, "survey", FIXED);
  expect(one(".aw-headline")?.textContent).toBe(sent.header.title);
  const maps = all('[data-part="maps"] [role="grid"]');
  expect(maps).toHaveLength(groups.length);
  let largest = 0;
  maps.forEach((map, g) => {
    const names = [...map.querySelectorAll('[role="rowheader"]')].map((e) => e.textContent);
    expect(names).toEqual(Array.from({ length: sent.layers }, (_, i) => `L${sent.layers - 1 - i}`));
    const cells = [...map.querySelectorAll<HTMLElement>("[data-id]")];
    expect(cells.map((c) => c.dataset["id"]).sort()).toEqual(parts.map(({ id }) => id).sort());
    const means = sent.measure(g, "mean");
    for (const cell of cells) {
      const part = sent.at(cell.dataset["id"] ?? "");
      const mark = cell.querySelector("i");
      expect(cell.title).toBe(described(cell.dataset["id"] ?? ""));
      expect(cell.getAttribute("aria-label")).toContain(`mean ${signed(means[part] ?? 0, sent.digits)} logits`);
      expect(mark?.className).toBe((means[part] ?? 0) < 0 ? "aw-neg" : "aw-pos");
      expect(Number(mark?.style.opacity)).toBeCloseTo(0.2 + 0.8 * Math.max(0, 2 * sent.sameSign(g, part) - 1), 5);
      const side = parseFloat(mark?.style.width ?? "");
      largest = Math.max(largest, side);
      expect(mark?.style.height).toBe(mark?.style.width);
      expect(cell.classList.contains("aw-ringed")).toBe(groups[g]?.specific.includes(part));
    }
  });
  const lead = parts[sent.lead]?.id;
  const leading = all(`[data-id="${lead}"] > i`).map((e) => parseFloat(e.style.width));
  expect(Math.max(...leading)).toBe(largest);
});

it("walks with arrows over a place without a part, tells, and opens with Enter", async () => {
  const { header, arrays } = made();
  const { one, all, model } = show(pack(header, arrays), "survey");
  expect(one('[data-part="survey"]')?.dataset["open"]).toBe("L0H1");
  const cell = () => one('[role="gridcell"][tabindex="0"]');
  expect(cell()?.dataset["id"]).toBe("L0H1");
  cell()?.focus();
  await press(cell(), "ArrowUp");
  expect(cell()?.dataset["id"]).toBeUndefined();
  await press(cell(), "Enter");
  expect(model.get("selected")).toBe("");
  await press(cell(), "ArrowRight");
  expect(one(".aw-readout")?.textContent).toBe("L1.mlp: mean \u22120.25 logits, spread 0.20; same sign in 100\u00a0% of 5 prompts; p 0.001, specific.");
  await press(cell(), "Enter");
  expect(model.get("selected")).toBe("L1.mlp");
  expect(one('[data-part="part-title"]')?.textContent).toBe("L1.mlp writes \u22123.00 logits in the mean of 5 prompts");
  expect(all(".aw-chip")).toHaveLength(0);
});

it("shows a dot for every prompt, by sign and by the shape of its group", async () => {
  const { one, all, click, model } = show(SENT.survey, "survey", FIXED);
  const head = parts.find(({ id }) => id === "L3H1")?.id ?? "";
  await click(`[data-id="${head}"]`);
  const values = sent.values(sent.at(head)) ?? [];
  const dots = all('[data-part="strip"] [data-prompt]');
  expect(dots).toHaveLength(prompts.length);
  const curved = (e: Element) => /a/.test(e.getAttribute("d") ?? "");
  for (const dot of dots) {
    const n = Number(dot.dataset["prompt"]);
    expect(dot.getAttribute("class")).toContain((values[n] ?? 0) < 0 ? "aw-minus" : "aw-plus");
    expect(dot.querySelector("title")?.textContent).toContain(`${prompts[n]} → ${answers[n]}`);
    expect(curved(dot)).toBe(groups[0]?.prompts.includes(n));
  }
  dots[2]?.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  await tick();
  expect(model.get("source")).toBe(Number(dots[2]?.dataset["prompt"]));
  expect(one('[data-part="opened"]')?.textContent).toContain(`s.open(${dots[2]?.dataset["prompt"]})`);
  expect(one('[data-part="opened"]')?.textContent).toContain("Needs a running kernel");
});

it("asks Python for the prompt, draws its Explorer inside, and lets it go", async () => {
  const { header, arrays } = made();
  const asked: string[] = [];
  const inner = document.createElement("p");
  let gone = false;
  const view = draw({ kind: "survey", container: pack(header, arrays), selected: "", source: -1, options: { hidden: [] } });
  Object.assign(view.model, {
    widget_manager: {
      get_model: async (id: string) => (asked.push(id), id),
      create_view: async () => ({ el: inner, remove: () => (gone = true) }),
    },
  });
  await view.click('[data-part="prompts"] [data-prompt="2"]');
  const open = last(view.sent, "open");
  expect(open?.args).toEqual({ prompt: 2 });
  await view.answer("result", {}, open?.id);
  expect(last(view.sent, "opened")?.args).toEqual({ prompt: 2 });
  await view.answer("result", { data: { model: "abc" } }, last(view.sent, "opened")?.id);
  await tick();
  expect(asked).toEqual(["abc"]);
  expect(view.one('[data-part="opened"]')?.contains(inner)).toBe(true);
  await view.click('[data-part="close-open"]');
  expect(gone).toBe(true);
  expect(view.one('[data-part="opened"]')).toBeNull();
});

it("offers the line where no view can be drawn inside", async () => {
  const { header, arrays } = made();
  const { click, answer, one, sent } = show(pack(header, arrays), "survey");
  await click('[data-part="prompts"] [data-prompt="2"]');
  await answer("result", {}, last(sent, "open")?.id);
  await answer("result", { data: { model: "abc" } }, last(sent, "opened")?.id);
  await tick();
  expect(one('[data-part="opened"]')?.textContent).toContain("run the line");
  expect(one('[data-part="opened"] code')?.textContent).toBe("s.open(2)");
});

it("says why nothing opens without the model", async () => {
  const { header, arrays } = made({ closed: "No model here." });
  const { click, one, sent } = show(pack(header, arrays), "survey");
  expect(one('[data-part="mark-read"]')).toBeNull();
  await click('[data-part="prompts"] [data-prompt="2"]');
  expect(one('[data-part="opened"]')?.textContent).toContain("No model here.");
  expect(sent.filter(({ op }) => op !== "hello")).toEqual([]);
});

it("marks the word that a head reads most, of the prompts that are shown", async () => {
  const { header, arrays } = made();
  const { click, answer, all, one, sent } = show(pack(header, arrays), "survey");
  await click('[data-part="mark-read"]');
  const asked = last(sent, "reads");
  expect(asked?.args).toEqual({ id: "L0H1", prompts: [2, 3, 0, 4, 1] });
  await answer("result", { data: { reads: [{ prompt: 2, before: "t", word: " w", after: "o", share: 0.5 }] } }, asked?.id);
  expect(all("mark").map((m) => m.textContent)).toEqual(["w"]);
  expect(one('[data-prompt="2"].aw-brow .aw-ptext')?.textContent).toBe("t wo");
  expect(one('[data-prompt="2"].aw-brow')?.title).toContain("reads \u00b7w with 50");
  await click('[data-id="L1.mlp"]');
  expect(one('[data-part="mark-read"]')).toBeNull();
});

it("asks for a part that did not travel", async () => {
  const { header, arrays } = made();
  const { measures } = arrays as { measures: Given };
  const { model, sent, one, all } = show(pack(header, { measures }), "survey");
  await tick();
  const asked = sent.filter(({ op }) => op === "surveyed");
  expect(asked).toMatchObject([{ args: { id: "L0H1" } }]);
  expect(one('[data-part="waiting"]')).not.toBeNull();
  model.emit("msg:custom", { v: 1, id: asked[0]?.id, kind: "result", data: {} }, [pack({ kind: "surveyed" }, { values: { dtype: "f4", shape: [5], values: [1, 2, 3, 4, 5] } })]);
  await tick();
  expect(all('[data-part="prompts"] .aw-val').map((e) => e.textContent)).toEqual(["+5.00", "+4.00", "+3.00", "+2.00", "+1.00"]);
  const fixed = show(pack(header, { measures }), "survey", FIXED);
  expect(fixed.el.textContent).toContain("Needs a running kernel");
});

it("draws two measures, and greys what was not asked", async () => {
  const { header, arrays } = made({ groups: [{ name: "all", prompts: [0, 1, 2, 3, 4], specific: [], why: "one answer", ...WAY }] });
  const { click, all, one, model } = show(pack(header, arrays), "survey");
  expect(one('[data-part="legend"]')?.textContent).not.toContain("ring");
  await click('[data-form="measures"]');
  expect(all('[data-axis="Up"] option').map((o) => (o as HTMLOptionElement).disabled)).toEqual([false, false, false, true, false, true]);
  const dots = all('[data-part="measures"] [role="option"]');
  expect(dots.map((d) => d.dataset["id"])).toEqual(["L0H1", "L1.mlp"]);
  const [first, second] = dots.map((d) => parseFloat(d.style.left));
  expect(first as number).toBeGreaterThan(second as number);
  expect(dots[1]?.classList.contains("aw-takes")).toBe(true);
  await click('[data-part="measures"] [data-id="L1.mlp"]');
  expect(model.get("selected")).toBe("L1.mlp");
});

/** An experiment on L0H1: prompts 0, 2 and 4 were tested. */
const EFFECTS = [1, NaN, -3, NaN, 0.25];
const tested = () => pack({ kind: "survey_tests", tests: [{ part: "L0H1", group: 0, how: "replaced by something", said: "it falls", n: 3 }] }, { effects: { dtype: "f4", shape: [1, 5], values: EFFECTS } });

it("tests a part on every prompt that can be, and cancels", async () => {
  const { header, arrays } = made();
  const { click, answer, one, sent, model } = show(pack(header, arrays), "survey");
  expect(one('[data-part="ways"]')?.textContent).toContain("in the place of L0H1: something. All");
  expect(one('[data-part="ways"]')?.textContent).toContain("1 of 5 prompts (no pair)");
  expect(one('[data-part="test-all"]')?.textContent).toBe("Test L0H1 on 4 of 5");
  await click('[data-part="test-all"]');
  const asked = last(sent, "test");
  expect(asked?.args).toEqual({ ids: ["L0H1"], groups: ["all"] });
  expect((one('[data-part="test-all"]') as HTMLButtonElement).disabled).toBe(true);
  await answer("progress", { done: 1, total: 4, note: "" }, asked?.id);
  expect(one('[data-part="testing"]')?.textContent).toContain("1 of 4 prompts");
  await click('[data-part="cancel-test"]');
  expect(last(sent, "cancel")?.id).toBe(asked?.id);
  model.set("tests", tested());
  await answer("cancelled", {}, asked?.id);
  expect(one('[data-part="testing"]')).toBeNull();
  expect(one('[data-part="test-said"]')?.textContent).toContain("L0H1 replaced by something: it falls.");
  await click('[data-part="test-all"]');
  await answer("error", { message: "Too hot.", hint: "Wait." }, last(sent, "test")?.id);
  expect(one('[data-part="test"] .aw-error')?.textContent).toBe("Too hot. Wait.");
});

it("shows effects beside contributions, named and outlined, and as an axis", async () => {
  const { header, arrays } = made();
  const { all, one, click } = show(pack(header, arrays), "survey", { ...FIXED, tests: tested() });
  expect((one('[data-part="test-all"]') as HTMLButtonElement).disabled).toBe(true);
  const rows = all('[data-part="prompts"] [data-prompt]');
  const shown = rows.map((r) => [r.dataset["prompt"], r.querySelector(".aw-effect")?.lastChild?.textContent]);
  const printed = EFFECTS.map((v) => (Number.isNaN(v) ? "\u2013" : signed(v, 2)));
  expect(shown).toEqual([2, 3, 0, 4, 1].map((p) => [String(p), printed[p]]));
  expect(one(".aw-pheads")?.textContent).toBe("contributioneffect");
  expect(all(".aw-dots .aw-tested path").map((d) => d.dataset["prompt"])).toEqual(["2", "4", "0"]);
  expect(all(".aw-dots > g:not(.aw-tested) path")).toHaveLength(5);
  const mean = (1 - 3 + 0.25) / 3;
  expect(one(".aw-told")?.textContent).toContain(`tested: effect ${signed(mean, 2)} in the mean`);
  await click('[data-id="L1.mlp"]');
  expect(all(".aw-effect, .aw-dots .aw-tested")).toEqual([]);
  await click('[data-form="measures"]');
  const axis = one('[data-axis="Up"]') as HTMLSelectElement;
  axis.value = "effect";
  axis.dispatchEvent(new Event("change", { bubbles: true }));
  await new Promise((done) => setTimeout(done, 5));
  expect(all('[data-part="measures"] [role="option"]').map((d) => d.dataset["id"])).toEqual(["L0H1"]);
});
