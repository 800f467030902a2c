/** Names explain themselves wherever they label something, and an arrow that leads nowhere says why. */
import { afterEach, expect, it } from "vitest";
import { decode } from "../src/core/host/wire";
import { described } from "../src/core/maths/names";
import type { AttentionHeader, PhraseHeader } from "../src/core/types";
import { patching, SENT, state, verdicts } from "./fixture";
import { pack } from "./pack";
import { close, FIXED, show } from "./show";

afterEach(close);

/** Of every element: the name that it shows, and what it says of it. */
const titled = (elements: HTMLElement[], name = (e: HTMLElement) => e.textContent ?? "") => {
  expect(elements.length).toBeGreaterThan(0);
  return elements.map((e) => [name(e), e.title] as const);
};

const told = (pairs: (readonly [string, string])[]) => {
  for (const [name, title] of pairs) expect(title, name).toBe(described(name));
};

it("in a grid of experiments", () => {
  const { all } = show(patching(), "patching", FIXED);
  told(titled(all('[role="gridcell"]:not(.aw-none)'), (e) => e.querySelector(".aw-sr")?.textContent?.split(" at ")[0] ?? ""));
  told(titled(all('[role="rowheader"]')).map(([name, title]) => [`${name}.mlp`, title] as const));
  const parts = { site: "parts", rows: ["L0"], layers: [0], columns: ["H0"], positions: null, cells: ["L0H0"] };
  told(titled(show(patching(1, 1, { grids: [parts] }), "patching", FIXED).all('[role="rowheader"]')));
  const streams = { ...parts, site: "stream", rows: ["L0.pre"], cells: ["L0.pre"] };
  expect(titled(show(patching(1, 1, { grids: [streams] }), "patching", FIXED).all('[role="rowheader"]'))).toEqual([["L0.pre", ""]]);
});

it("in a phrase", () => {
  const { labels } = decode<PhraseHeader>(SENT.phrase).header;
  const rows = titled(show(SENT.phrase, "phrase", FIXED).all(".aw-bars .aw-brow"), (e) => e.querySelector(".aw-name")?.textContent ?? "");
  const named = rows.filter(([name]) => labels.includes(name));
  expect(named.length).toBeGreaterThan(5);
  told(named);
});

it("among verdicts", () => {
  const { all } = show(verdicts(), "verdicts", FIXED);
  for (const [name, title] of titled(all('[role="option"]'), (e) => e.dataset["id"] ?? "")) expect(title.startsWith(`${described(name)}; `), title).toBe(true);
  told(titled(all(".aw-vrow .aw-name")));
  told(titled(all("h3.aw-title")));
});

it("over patterns", () => {
  const { header } = decode<AttentionHeader>(SENT.attention);
  const patterns = Array.from({ length: 2 }, () => Array.from({ length: (header.tokens.length * (header.tokens.length + 1)) / 2 }, () => 0.1)).flat();
  const two = pack({ ...header, heads: ["L3H5", "L2H1"] }, { patterns: { dtype: "f4", shape: [2, patterns.length / 2], values: patterns } });
  const { all } = show(two, "attention", FIXED);
  told(titled(all(".aw-thumb"), (e) => e.dataset["id"] ?? ""));
  told(titled(all("h3.aw-title")));
});

it("in a grid of one's own, where a row that names no part keeps its title", () => {
  const header = { kind: "grid", title: "Mine", unit: "", rows: ["L3H1", "a row"], columns: ["L0.mlp", "a column"] };
  const { all } = show(pack(header, { values: { dtype: "f4", shape: [2, 2], values: [1, 2, 3, 4] } }), "grid", FIXED);
  expect(all('[role="rowheader"]').map((e) => e.title)).toEqual([described("L3H1"), "a row"]);
  expect(all('[role="columnheader"][title]').map((e) => e.title).filter(Boolean)).toEqual([described("L0.mlp"), "a column"]);
});

it("on an arrow that leads nowhere, and only there", async () => {
  const { one, click } = show(state());
  const why = (part: string) => [one(`[data-part="${part}"]`)?.title, one(`[data-part="${part}"]`)?.getAttribute("aria-description")];
  const [none, earlier, later] = [["", null], Array(2).fill("There is nothing earlier to go back to"), Array(2).fill("There is nothing later to go forward to")];
  expect([why("back"), why("forward")]).toEqual([earlier, later]);
  await click('[data-id="L0.mlp"]');
  expect([why("back"), why("forward")]).toEqual([none, later]);
  await click('[data-part="back"]');
  expect([why("back"), why("forward")]).toEqual([earlier, none]);
});
