/** Concepts mode: a feature of all heads of a layer as one row, beside parts without a dictionary and what no feature says. */
import { afterEach, describe, expect, it } from "vitest";
import type { Concepts, ExplorerHeader } from "../src/core/types";
import { explorer, SENT, state, tested } from "./fixture";
import states from "./states.json";
import { close, FIXED, press, show as showLive, tick } from "./show";

afterEach(close);

const REAL = states.explorer.header as unknown as ExplorerHeader & { concepts: Concepts };
const FOUND = REAL.concepts;
const show = (traits: Record<string, unknown> = {}) => showLive(SENT.explorer, "explorer", { ...FIXED, showing: { tab: "", mode: "concepts" }, ...traits });
const read = (text: string | null | undefined) => Number(text?.replace("\u2212", "-"));
/** the first row that several heads wrote */
const HEADS = FOUND.rows.find(({ parts }) => (parts?.length ?? 0) > 1);

describe("concepts", () => {
  it("draws rows that sum to the number, the largest first, and says who leads", () => {
    const { one, all } = show();
    expect(one('[data-part="concepts"] h3')?.textContent).toBe(FOUND.title);
    const rows = all('[data-part="concepts"] [role="option"]');
    expect(rows.map((r) => r.dataset["id"])).toEqual(FOUND.rows.slice(0, 13).map(({ id }) => id));
    expect(rows[0]?.textContent).toContain(FOUND.rows[0]?.label);
    const printed = all('[data-part="concepts"] .aw-row > .aw-val').map((e) => read(e.textContent));
    expect(printed).toHaveLength(15); // the others, and what no feature says
    expect(Math.abs(printed.reduce((a, b) => a + b, 0) - REAL.actual)).toBeLessThan(0.08);
    expect(one('[data-part="concepts"] [data-part="sum"]')?.textContent).toMatch(/sum 9\.13model 9\.13mismatch \d+e−\d/);
  });

  it("finds features by a word among the cards of a page, and opens one", async () => {
    const { one, all, model } = show();
    const find = async (text: string) => {
      const input = one('[data-part="find"] input') as HTMLInputElement;
      input.value = text;
      input.dispatchEvent(new InputEvent("input", { bubbles: true }));
      await tick();
      one('[data-part="find"] form')?.dispatchEvent(new SubmitEvent("submit", { bubbles: true, cancelable: true }));
      await tick();
    };
    const cards = Object.entries(REAL.cards ?? {});
    const [key = "", card] = cards[0] ?? [];
    const word = card?.contexts[0]?.tokens.find((t) => t.length > 5)?.trim() ?? "";
    await find(word.toUpperCase());
    expect(one('[data-part="find"] .aw-caption')?.textContent).toContain(`cards in this page for \u201c${word.toUpperCase()}\u201d. A running kernel`);
    const rows = all('[data-part="find"] .aw-brow');
    expect(rows.length).toBeGreaterThan(0);
    expect(rows[0]?.textContent).toMatch(/fires at|does not fire here/);
    for (const r of rows) {
      const id = r.title.split(": ").at(-1) ?? "";
      const whole = REAL.concepts.rows.find((c) => c.id === id)?.value;
      const own = Object.entries(REAL.cards ?? {}).find(([k]) => r.textContent?.includes(`through ${k.split("/")[0]}`) && k.endsWith(`/${id.split("/")[1]}`))?.[1];
      const known = whole ?? read(own?.arithmetic?.value ?? "0");
      expect(Math.abs(read(r.querySelector(".aw-val")?.textContent) - known)).toBeLessThan(0.0051);
    }
    rows.find((r) => r.title.endsWith(`/${key.split("/")[1]}`))?.click();
    await tick();
    expect(model.get("selected")).toBe(key);
    await find("no such word");
    expect(all('[data-part="find"] .aw-brow')).toHaveLength(0);
  });

  it("asks a kernel for features by a word, and lists what it says", async () => {
    const { one, all, sent, model, answer } = showLive(SENT.explorer, "explorer", { showing: { tab: "", mode: "concepts" } });
    (one('[data-part="find"] input') as HTMLInputElement).value = "France";
    one('[data-part="find"] input')?.dispatchEvent(new InputEvent("input", { bubbles: true }));
    await tick();
    one('[data-part="find"] form')?.dispatchEvent(new SubmitEvent("submit", { bubbles: true, cancelable: true }));
    await tick();
    const asked = sent.filter((m) => m.op === "search");
    expect(asked.map((m) => m.args)).toEqual([{ query: "France" }]);
    const row = { id: "L3.z/164", label: "about France", value: 3, said: "fires at 7.58", row: "L3H4" };
    await answer("result", { data: { title: "2 features", note: "", rows: [row, { ...row, id: "L3/9", row: "" }] } }, asked[0]?.id);
    expect(all('[data-part="find"] .aw-brow').map((r) => r.tagName)).toEqual(["BUTTON", "DIV"]);
    all('[data-part="find"] .aw-brow')[0]?.click();
    await tick();
    expect(model.get("selected")).toBe("L3H4/164");
  });

  it("opens the others and what no feature says", async () => {
    const { all, click } = show();
    const count = FOUND.rows.length;
    await click('[data-part="concepts"] .aw-others');
    expect(all('[data-part="concepts"] [role="option"]')).toHaveLength(count);
    await click('[data-part="unsaid"]');
    const said = all('[data-part="concepts"] .aw-bars .aw-val').map((e) => read(e.textContent));
    const whole = FOUND.unsaid.reduce((sum, [, value]) => sum + value, 0);
    expect(Math.abs(said.reduce((a, b) => a + b, 0) - whole)).toBeLessThan(0.06);
    await click('[data-part="unsaid"]');
    expect(all('[data-part="concepts"] .aw-bars')).toHaveLength(0);
  });

  it("opens a concept: its card, the parts that wrote it, and the word that each read", async () => {
    const { model, one, all, click } = show();
    const [through = ""] = HEADS?.parts?.[0] ?? [];
    const number = HEADS?.id.split("/")[1];
    await click(`[data-part="concepts"] [data-id="${HEADS?.id}"]`);
    expect(model.get("selected")).toBe(`${through}/${number}`);
    expect(one('[data-part="concepts"] [aria-selected="true"]')?.dataset["id"]).toBe(HEADS?.id);
    const bars = all('[data-part="written-by"] .aw-val').map((e) => read(e.textContent));
    expect(bars).toHaveLength(HEADS?.parts?.length ?? 0);
    expect(Math.abs(bars.reduce((a, b) => a + b, 0) - (HEADS?.value ?? 0))).toBeLessThan(0.05);
    expect(one('[data-part="written-by"]')?.textContent).toContain(`${through} reads ·France`);
    expect(one('[data-part="crumbs"]')?.textContent).toContain(`${through}›${HEADS?.id}`);
    await click('[data-part="written-by"] button');
    expect([model.get("selected"), model.get("source")]).toEqual([through, 4]);
    expect(one('[data-part="through"]')?.textContent).toContain("·France carried");
  });

  it("is walked by keys", async () => {
    const { model, all } = show();
    const rows = all('[data-part="concepts"] [role="option"]');
    expect(rows.map((r) => r.tabIndex)).toEqual([0, ...Array(12).fill(-1)]);
    rows[0]?.focus();
    await press(rows[0] ?? null, "ArrowDown");
    expect(document.activeElement === rows[1] || rows[1]?.tabIndex === 0).toBe(true);
    await press(rows[1] ?? null, "Enter");
    const [part] = FOUND.rows[1]?.parts?.[0] ?? [FOUND.rows[1]?.id];
    expect(String(model.get("selected"))).toContain(part);
  });

  it("copies the calls that print it", async () => {
    const { one, click } = show();
    await click('[data-part="copy"]');
    expect(one('[data-part="code"]')?.textContent).toContain("c = a.concepts()");
    await click('[data-part="copy"]');
    await click(`[data-part="concepts"] [data-id="${HEADS?.id}"]`);
    await click('[data-part="copy"]');
    expect(one('[data-part="code"]')?.textContent).toContain(`c.parts("${HEADS?.parts?.[0]?.[0]}/${HEADS?.id.split("/")[1]}")`);
  });

  it("tests the feature that is open, and shows what was found beside it", async () => {
    // a concept whose card is at hand
    const number = Object.keys(REAL.cards ?? {}).find((name) => name.startsWith("L3H1/"))?.split("/")[1];
    const id = `L3.z/${number}`;
    const { model, sent, one, click } = showLive(SENT.explorer, "explorer", { showing: { tab: "", mode: "concepts" }, selected: `L3H1/${number}` });
    expect(one('[data-part="concepts"] [aria-selected="true"]')?.dataset["id"]).toBe(id);
    await click('[data-part="feature"] [data-part="test"]');
    expect(sent.filter((m) => m.op === "verify").at(-1)?.args).toEqual({ components: [id] });
    const { verdicts } = tested();
    const [finding] = verdicts.findings;
    model.set("tested", { ...verdicts, question: REAL.question, findings: [{ ...finding, id }] } as never);
    await tick();
    expect(one(`[data-part="concepts"] [data-id="${id}"] .aw-verdict`)?.textContent).toContain(finding?.chip);
    expect(one('[data-part="feature"] .aw-verdict')?.textContent).toContain(finding?.chip);
    expect(one('[data-part="waterfall"]')).toBeNull();
  });

  it("is grey where there is no dictionary, and says why", async () => {
    const { features: _f, cards: _c, concepts: _n, ...header } = explorer().header;
    const reason = "This model comes without dictionaries of features.";
    const made = { ...explorer(), header: { ...header, absent: { features: reason, concepts: reason } } };
    const { one, click } = showLive(state(made), "explorer", { ...FIXED, showing: { tab: "", mode: "size" } });
    const button = one('[data-order="concepts"]');
    expect([button?.getAttribute("aria-disabled"), button?.title]).toEqual(["true", reason]);
    await click('[data-order="concepts"]');
    expect(one('[data-part="concepts"]')?.textContent).toBe(reason);
  });

  it("is covered while numbers or tokens are hidden", () => {
    for (const hidden of ["values", "candidates", "sum"]) {
      const { one, el } = show({ options: { hidden: [hidden], static: true } });
      expect(one('[data-part="concepts"]')).toBeNull();
      expect(el.textContent).not.toContain(FOUND.title);
    }
  });

  it("goes from the strongest head over its concept to the word in three clicks", async () => {
    const { model, one, click } = showLive(SENT.explorer, "explorer", FIXED);
    await click('[data-part="waterfall"] [data-id="L3H1"]');
    await click('[data-part="mostly"]');
    expect(one('[data-part="feature"] .aw-subtitle')?.textContent).toContain("about France");
    await click('[data-part="written-by"] button');
    expect([model.get("selected"), model.get("source")]).toEqual(["L3H1", 4]);
    await tick();
    expect(one('[data-part="through"]')?.textContent).toContain("·France");
  });
});
