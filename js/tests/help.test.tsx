/** "?" and "Work it out": asked for on the click, filled with this screen, closed by Escape with the focus kept. */
import { afterEach, expect, it } from "vitest";
import type { Meanings } from "../src/core/types";
import { explorer, state, view } from "./fixture";
import { close, FIXED, press, show, tick } from "./show";

afterEach(close);

const PANEL = { shows: "Shows {part}.", read: "It is {value} of {total}.", cannot: "Nothing of it.", next: "Go on." };
const MEANINGS = { terms: [], panels: { detail: PANEL, contributions: PANEL, tokens: PANEL } } as unknown as Meanings;

it("asks once, and speaks of this screen", async () => {
  const { one, all, click, answer, sent } = show(state());
  await click('[data-help="detail"]');
  expect(sent.filter((m) => m.op === "words")).toHaveLength(1);
  await answer("result", { data: MEANINGS }, sent.find((m) => m.op === "words")?.id);
  const { rows, actual } = explorer().header as unknown as { rows: { id: string }[]; actual: number };
  expect(rows.some((r) => r.id === one('[data-part="detail"]')?.dataset["open"])).toBe(true);
  const value = one(".aw-title .aw-plus")?.textContent;
  expect(one('[data-part="help"]')?.textContent).toBe(
    `Shows Shows ${one('[data-part="detail"]')?.dataset["open"]}.Read it It is ${value} of ${actual.toFixed(2)}.Does not say Nothing of it.Next Go on.`,
  );
  await click('[data-help="tokens"]'); // one at a time
  expect([all('[data-part="help"]').length, one('[data-help="detail"]')?.getAttribute("aria-expanded")]).toEqual([1, "false"]);
  expect(sent.filter((m) => m.op === "words")).toHaveLength(1);
  await press(one('[data-help="tokens"]'), "Escape");
  expect(one('[data-part="help"]')).toBeNull();
  expect(document.activeElement).toBe(one('[data-help="tokens"]'));
});

it("needs no kernel on a page, and gives no hidden number away", async () => {
  const options = { hidden: ["values"], static: true, words: MEANINGS };
  const { one, click } = show(state(), "explorer", { ...FIXED, options });
  await click('[data-help="contributions"]');
  expect(one('[data-part="help"]')?.textContent).toContain("It is its number of the model\u2019s own number.");
});

it("stays filled when its panel goes away and comes back", async () => {
  const { one, click, model } = show(state(), "explorer", { ...FIXED, options: { hidden: [], static: true, words: MEANINGS } });
  await click('[data-help="detail"]');
  const said = one('[data-part="help"]')?.textContent;
  model.set("options", { hidden: ["detail"], static: true, words: MEANINGS });
  await tick();
  expect(one('[data-help="detail"]')).toBeNull();
  model.set("options", { hidden: [], static: true, words: MEANINGS });
  await tick();
  expect(one('[data-part="help"]')?.textContent).toBe(said);
});

it("tells no sum that is hidden", async () => {
  const { one, click } = show(state(), "explorer", { ...FIXED, options: { hidden: ["sum"], static: true, words: MEANINGS } });
  await click('[data-help="contributions"]');
  expect(one('[data-part="help"]')?.textContent).toContain("It is its number of the model\u2019s own number.");
});

it("says why where Python cannot tell", async () => {
  const { one, click, answer, sent } = show(state());
  await click('[data-help="detail"]');
  await answer("error", { message: "It is gone.", hint: "Run it again." }, sent.find((m) => m.op === "words")?.id);
  expect(one('[data-part="help"]')?.textContent).toBe("It is gone. Run it again.");
});

it("works a row out with the table of Python, and keeps the fold open for the next row", async () => {
  const table = (title: string) => ({ kind: "table", title, notes: ["÷ norm: 4.5"], columns: ["number", "product"], rows: [["7", "+1.00"]], bars: [1], footer: ["bar +1.00"] });
  const { one, click, answer, sent } = show(state(explorer(undefined, { worked: {} })));
  const open = one('[data-part="detail"]')?.dataset["open"];
  await click('[data-part="worked"] button');
  const asked = () => sent.filter((m) => m.op === "worked");
  expect(asked().map((m) => m.args["id"])).toEqual([open]);
  await answer("result", { data: table(`${open} worked out`) }, asked()[0]?.id);
  expect(one('[data-part="worked"] h4')?.textContent).toBe(`${open} worked out`);
  expect(one('[data-part="worked"] tbody td')?.textContent).toBe("7");
  await click('[data-part="waterfall"] [data-id="L1.mlp"], [data-part="waterfall"] [data-id="L0.mlp"]');
  expect(asked()).toHaveLength(2);
});

it("has none for a row that is no vector", async () => {
  const { one } = show(state(), "explorer", { ...FIXED, selected: "rounding" });
  expect(one('[data-part="detail"]')?.dataset["open"]).toBe("rounding");
  expect(one('[data-part="worked"]')).toBeNull();
});

it("stands on a result by itself", async () => {
  const header = { kind: "table" as const, title: "T", notes: [], columns: ["component", "n"], rows: [["L3H1", "+1"]], bars: [], footer: [] };
  const { one, all } = show(view(header, {}), "table", FIXED);
  expect(all('[data-help="table"]')).toHaveLength(1);
  expect(one("td")?.title).toBe("L3H1: head 1 of layer 3, the chapter\u2019s Head 3.1; counting from 0");
});
