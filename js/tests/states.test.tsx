/**
 * Every kind of view as Python sends it: now (states.json, written by tests/states.py), and as version 0.1.0 saved it
 * (saved-0.1.json: the traits of its offline pages, written once and for ever).
 */
import { afterEach, describe, expect, it } from "vitest";
import { readEmbedded } from "../src/core/host/host";
import type { Kind } from "../src/core/types";
import { SENT } from "./fixture";
import saved from "./saved-0.1.json";
import { close, draw, tick } from "./show";

afterEach(close);

/** By kind, what must be on the screen: where, and a text that stands there. */
const DRAWN: Record<Exclude<Kind, "attribution">, [string, RegExp]> = {
  explorer: [".aw-finding", /lead: \+1\.95 of 9\.13 logits for ·Paris over ·Berlin|lead: \+7\.10 of 19\.45 logits for ·Paris/],
  attention: ['[data-part="heads"]', /L1H2.*L3H5/],
  bars: ['[data-part="sum"]', /L1H2|L2\.mlp/],
  card: ['[data-part="feature"]', /Computed label; fires on/],
  comparison: [".aw-three", /L3H1/],
  effects: ['[role="listbox"]', /·France/],
  graph: ['[data-part="into"]', /L2\.z.*rounding|L2\.z.*biases/],
  grid: ['[role="grid"]', /L1.*H3/],
  lens: ['[role="grid"]', /·Paris/],
  patching: ['[role="grid"]', /recovery/],
  phrase: ['[data-part="spine"]', /·Paris/],
  survey: ['[role="grid"]', /L4.*L0.*7M/],
  table: ["table", /L1\.mlp/],
  tokens: ['[role="listbox"]', /·France/],
  trace: ['[data-part="flow"]', /mlp.*In sum shown.*not shown.*Attribution, not a test/],
  verdicts: ['[role="listbox"]', /L3\.mlp/],
};

const NOW = Object.fromEntries(Object.entries(SENT).map(([kind, state]) => [kind, { kind, container: state, selected: "", source: -1, options: { hidden: [], static: true } }]));
const OLD = Object.fromEntries(Object.entries(saved).map(([kind, traits]) => [kind, readEmbedded(JSON.stringify(traits))]));

/** The kinds of version 0.1: what it saved is drawn for ever, and nothing is added to it. */
const AT_0_1 = ["attention", "bars", "card", "effects", "explorer", "lens", "patching", "phrase", "trace", "verdicts"];

for (const [when, all] of [["sent now", NOW], ["saved by version 0.1", OLD]] as const) {
  describe(when, () => {
    it("is one view of every kind there was", () => {
      const made = when === "sent now" ? Object.keys(DRAWN).sort() : AT_0_1;
      expect(Object.keys(all).sort()).toEqual(made);
    });

    for (const [kind, [where, said]] of Object.entries(DRAWN).filter(([name]) => when === "sent now" || AT_0_1.includes(name))) {
      it(`draws: ${kind}`, () => {
        const shown = draw(all[kind] ?? {});
        expect(shown.one(where)?.textContent).toMatch(said);
        expect(shown.all('.aw-error, [role="alert"]')).toHaveLength(0);
        expect(shown.el.textContent).not.toMatch(/undefined|NaN|Needs a running kernel/);
      });
    }
  });
}

describe("saved by version 0.1", () => {
  it("keeps the comparison, verdicts and every tab", async () => {
    const { one, all, click, model, el } = draw(OLD["explorer"] ?? {});
    expect(one('[data-part="corrupted-line"]')?.textContent).toContain("1 token differs");
    expect(all('[data-part="waterfall"] .aw-verdict').length).toBeGreaterThan(0);
    for (const [row, tabs] of [["L1H2", ["pattern", "why", "writes", "tokens", "lens"]], ["L1.mlp", ["neurons", "features", "writes"]]] as const) {
      model.set("selected", row);
      await tick();
      for (const tab of tabs) {
        await click(`[role="tab"][data-tab="${tab}"]`);
        expect(one(".aw-panel")?.textContent?.length, `${row} ${tab}`).toBeGreaterThan(40);
        expect(one(".aw-panel")?.textContent, `${row} ${tab}`).not.toMatch(/undefined|NaN/);
      }
    }
    await click('[data-order="trace"]');
    expect(all('[data-part="flow"] [role="option"]').length).toBeGreaterThan(3);
    await click('[data-form="table"]');
    expect(all('[role="treeitem"]').length).toBeGreaterThan(3);
    expect(all(".aw-error")).toHaveLength(0);
    expect(el.querySelector("[role=alert]")).toBeNull();
  });

  it("covers the comparison by its old name", () => {
    const { one } = draw({ ...OLD["explorer"], options: { hidden: ["compare"], static: true } });
    expect(one('[data-part="hidden-corrupted"]')).not.toBeNull();
    expect(one('[data-part="corrupted-line"]')).toBeNull();
  });
});
