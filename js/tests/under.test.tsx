/** A number under each word: what it sums to, which of them was tested, and what hides it. */
import { afterEach, describe, expect, it } from "vitest";
import { digitsFor, plain, signed } from "../src/core/maths/format";
import { largest, sumOf } from "../src/core/maths/geometry";
import { decode } from "../src/core/host/wire";
import { Reading } from "../src/core/state/reading";
import type { Part, Replaced, TotalsHeader, Under } from "../src/core/types";
import { explorer, SENT, state, TOKENS } from "./fixture";
import { close, FIXED, press, show, tick } from "./show";

afterEach(close);

const under = (way: Under) => ({ showing: { tab: "", mode: "size", under: way } });
const reading = new Reading(SENT.explorer);
const sent = (name: "carried" | "totals") => decode<TotalsHeader>(reading.arrays[name]?.bytes);
const numbers = (all: (selector: string) => HTMLElement[]) => all('[data-part="prompt-tokens"] .aw-pick').map((e) => e.querySelector(".aw-num")?.textContent?.trim() ?? "");
const printed = (values: ArrayLike<number>) => Array.from(values, (v) => signed(v, digitsFor(largest(values as Float32Array))));
const TESTED: Replaced = { told: "each replaced by 8 others", unit: "logits", cost: "8 passes", values: [null, -1, -2, 0.5, -8, -3], spread: [null, 0.1, 0.2, 0.3, 0.4, 0.5] };

describe("the sums", () => {
  it("of what all heads carried are those of the heads one by one, and close on their bars", () => {
    const heads = reading.header.rows.filter(({ kind }) => kind === "head");
    const each = heads.map(({ id }) => reading.sources(id, undefined));
    const values = sent("carried").arrays["values"]?.at() ?? [];
    expect(values).toHaveLength(TOKENS.length);
    TOKENS.forEach((_, s) => expect(values[s]).toBeCloseTo(sumOf(each.map((one) => one?.tokens[s] ?? 0)), 4));
    const rest = sumOf(each.map((one) => (one?.bias ?? 0) + (one?.rounding ?? 0)));
    const bars = sumOf(heads.map(({ id }) => reading.value(id)));
    expect(sumOf(values) + rest).toBeCloseTo(bars, 4);
    expect(sent("carried").header.told).toContain(`the bars of all heads sum to ${signed(bars)}`);
  });

  it("of all paths close on the model's own number", () => {
    const { header, arrays } = sent("totals");
    const values = arrays["values"]?.at() ?? new Float32Array();
    const constants = reading.header.actual - sumOf(values);
    for (const said of [signed(sumOf(values)), signed(constants), `the model\u2019s own number is ${plain(reading.header.actual)}`]) expect(header.told).toContain(said);
  });
});

describe("the switch", () => {
  it("is closed at first, opens on what heads carried, and is closed again", async () => {
    const { one, all, click, model } = show(state(), "explorer", { ...FIXED, showing: { tab: "", mode: "size" } });
    expect(one(".aw-numbers")).toBeNull();
    expect(numbers(all).join("")).toBe("");
    await click('[data-part="under"]');
    expect(one('[data-part="under"]')?.getAttribute("aria-expanded")).toBe("true");
    expect(model.get("showing")).toMatchObject({ under: "carried" });
    expect(numbers(all)).toEqual(printed(sent("carried").arrays["values"]?.at() ?? []));
    expect(one('[data-part="closing"]')?.textContent).toBe(sent("carried").header.told);
    await click('[data-form="totals"]');
    expect(numbers(all)).toEqual(printed(sent("totals").arrays["values"]?.at() ?? []));
    await click('[data-part="under"]');
    expect(one(".aw-numbers")).toBeNull();
    expect(model.get("showing")).toEqual({ tab: "", mode: "size" });
  });

  it("never says that a number of a position came from its word, nor that what was observed was tested", () => {
    for (const way of ["carried", "totals"] as const) {
      const { all, one } = show(state(), "explorer", { ...FIXED, ...under(way) });
      for (const e of all('[data-part="prompt-tokens"] .aw-pick')) {
        expect(e.title).toContain("at this position");
        expect(e.title).toMatch(/observed$/);
        expect(e.title).not.toContain("tested");
      }
      expect(one('[data-part="closing"]')?.textContent).toMatch(/^Observed/);
      close();
    }
  });

  it("asks for all paths where they did not travel, and says what is wrong", async () => {
    const made = explorer();
    delete made.arrays["totals"];
    const { one, all, sent: asked, answer } = show(state(made), "explorer", under("totals"));
    await tick();
    expect(asked.map(({ op }) => op)).toContain("totals");
    expect(numbers(all)).toEqual(TOKENS.map(() => "…"));
    await answer("error", { message: "The recording has changed.", hint: "Run it again." }, asked.find(({ op }) => op === "totals")?.id);
    expect(one('[data-part="closing"]')?.textContent).toContain("The recording has changed. Run it again.");
    expect(numbers(all).join("")).toBe("");
  });

  it("says why the page has none", () => {
    const made = explorer(undefined, { absent: { carried: "What all heads carried is not known here." } });
    delete made.arrays["carried"];
    const { one, all } = show(state(made), "explorer", under("carried"));
    expect(one('[data-part="closing"]')?.textContent).toBe("What all heads carried is not known here.");
    expect(numbers(all).join("")).toBe("");
  });
});

describe("another word", () => {
  it("is an experiment: its cost on the button, progress, cancel, then the changes", async () => {
    const { one, all, click, sent: asked, answer } = show(state(), "explorer", under("replaced"));
    const { words } = reading.header.test;
    expect(one('[data-part="test-words"]')?.textContent).toBe(`Test every word · ≤ ${words} forwards`);
    expect(asked.map(({ op }) => op)).not.toContain("replaced");
    one('[data-part="test-words"]')?.focus();
    await click('[data-part="test-words"]');
    expect(asked.at(-1)).toMatchObject({ op: "replaced", args: {} });
    await answer("progress", { done: 1, total: 2, note: "replacing" });
    expect(one('[data-part="testing"] progress')?.getAttribute("value")).toBe("1");
    expect(document.activeElement?.getAttribute("data-part")).toBe("cancel-test");
    await click('[data-part="cancel-test"]');
    expect(asked.at(-1)).toMatchObject({ op: "cancel", id: asked.at(-2)?.id });
    await answer("cancelled");
    await click('[data-part="test-words"]');
    await answer("result", { data: TESTED });
    expect(numbers(all)).toEqual(["", ...printed(TESTED.values.slice(1) as number[])]);
    expect(one('[data-part="closing"]')?.textContent).toBe("Total effect of every token, tested: each replaced by 8 others. 8 passes.");
    const titles = all('[data-part="prompt-tokens"] .aw-pick').map((e) => e.title);
    expect(titles[4]).toContain("without it, give or take 0.40");
    expect(titles[0]).toMatch(/; stays as it is$/);
    expect(titles.slice(1).every((title) => title.endsWith(", tested") && !title.includes("observed"))).toBe(true);
  });

  it("stays what was found, on a page without Python too", () => {
    const found = show(state(explorer(undefined, { replaced: TESTED })), "explorer", { ...FIXED, ...under("replaced") });
    expect(numbers(found.all)).toEqual(["", ...printed(TESTED.values.slice(1) as number[])]);
    close();
    const { one } = show(state(), "explorer", { ...FIXED, ...under("replaced") });
    expect(one('[data-part="test-words"]')?.getAttribute("aria-disabled")).toBe("true");
    expect(one('[data-part="test-words"]')?.textContent).toContain("needs the notebook");
  });

  it("is not asked of a number inside the model", () => {
    const never = "A number inside the model has no experiment here: go back to a token.";
    const { one } = show(state(explorer(undefined, { test: { ...reading.header.test, never } })), "explorer", under("replaced"));
    expect(one('[data-part="test-words"]')?.getAttribute("aria-disabled")).toBe("true");
    expect(one('[data-part="closing"]')?.textContent).toContain(never);
  });
});

describe("what is hidden", () => {
  for (const part of ["values", "candidates", "detail", "sum"] as Part[]) {
    it(`${part}: no number stands under a word, and nothing is asked`, async () => {
      for (const way of ["carried", "totals", "replaced"] as const) {
        const { one, all, sent: asked } = show(state(explorer(undefined, { replaced: TESTED })), "explorer", { ...under(way), options: { hidden: [part] } });
        await tick();
        expect(numbers(all).join("")).toBe("");
        expect(all('[data-part="prompt-tokens"] [style]')).toHaveLength(0);
        expect(one(".aw-numbers") ?? one('[data-part="under"]')).toBeNull();
        expect(asked.map(({ op }) => op)).not.toContain("totals");
        close();
      }
    });
  }
});

it("keeps the keys of the line of words", async () => {
  const { one, all } = show(state(), "explorer", { ...FIXED, ...under("carried") });
  const first = one('[data-part="prompt-tokens"] [tabindex="0"]');
  first?.focus();
  await press(first, "Home");
  expect(document.activeElement).toBe(all('[data-part="prompt-tokens"] .aw-pick')[0]);
});
