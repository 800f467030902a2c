/** What comes after the first draw, and long lists that are drawn where one looks. */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { ExplorerHeader } from "../src/core/types";
import { explorer, longPrompt, type Made, state } from "./fixture";
import { pack } from "./pack";
import { close, FIXED, press, show, tick } from "./show";

afterEach(() => {
  vi.useRealTimers();
  close();
});

const OPENED = ["neurons", "writes", "features", "cards", "worked", "trace"] as const;
const HEADS = ["carry", "dest", "norms", "post", "value_bias", "tokens", "carried", "patterns", "effects"];

/** The fixture's state as Python sends it: its first draw, the first screen, the rest. */
function sent(version = 1, made: Made = explorer()) {
  const all = made.arrays;
  const some = (names: string[]) => Object.fromEntries(Object.entries(all).filter(([name]) => names.includes(name)));
  const { why_key, ...header } = { ...made.header, version };
  const later = Object.fromEntries(OPENED.map((name) => [name, header[name]]));
  for (const name of OPENED) delete header[name];
  const draw: ExplorerHeader = { ...header, coming: ["heads", "patterns"] };
  const further = { kind: "further", version, absent: {} };
  return {
    draw: pack({ ...draw }, some(["values", "rival"])),
    screen: pack({ ...further, why_key }, some(HEADS)),
    rest: pack({ ...further, ...later, absent: { lens: "No lens here." } }, some(Object.keys(all).filter((name) => !HEADS.includes(name) && !["values", "rival"].includes(name)))),
  };
}

describe("a screen that fills", () => {
  it("draws the bars at once, waits for its heads without asking, and keeps what was clicked", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }); // however slow: no poll is due
    const { draw, screen, rest } = sent();
    const { model, one, all, click, sent: asked } = show(draw, "explorer", { screen: new Uint8Array(), rest: new Uint8Array() });
    expect(one(".aw-headline")?.textContent).toBe("L3.mlp and L3H4 lead: +1.95 of 9.13 logits for ·Paris over ·Berlin");
    expect(one(".aw")?.dataset["coming"]).toBe("heads,patterns");
    expect(all('[data-part="waterfall"] [data-id]')).toHaveLength(13);
    expect(one(".aw-title")?.textContent).toBe("L3H4 adds +0.89 to ·Paris over ·Berlin");
    expect(all('[role="tab"]').map((tab) => tab.dataset["tab"])).toContain("why");
    expect(one(".aw-panel")?.textContent).toContain("Computing");
    await click('[data-id="L2H5"]');
    expect(asked.map((m) => m.op)).toEqual(["hello"]);
    model.set("screen", screen);
    await tick();
    expect(one(".aw")?.dataset["coming"]).toBe("");
    expect(model.get("selected")).toBe("L2H5");
    expect(one(".aw-title")?.textContent).toContain("L2H5");
    expect(all('[data-part="tokens"] [role="option"]')).toHaveLength(6);
    expect(one('[data-part="pattern"]')).not.toBeNull();
    expect(asked.map((m) => m.op)).toEqual(["hello"]);
    model.set("rest", rest);
    await tick();
    await click('[data-id="L3.mlp"]');
    expect(all('[data-tab="neurons"] [data-id], .aw-panel [role="option"], .aw-panel li').length).toBeGreaterThan(0);
    await click('[role="tab"][data-tab="lens"]');
    expect(one(".aw-panel")?.textContent).toContain("No lens here.");
    expect(asked.map((m) => m.op)).toEqual(["hello"]);
  });

  it("does not mix the numbers of two questions", async () => {
    const { model, one } = show(sent(1).draw, "explorer", { screen: sent(1).screen, rest: new Uint8Array() });
    expect(one(".aw")?.dataset["coming"]).toBe("");
    model.set("container", sent(2).draw);
    await tick();
    expect([one(".aw")?.dataset["version"], one(".aw")?.dataset["coming"]]).toEqual(["2", "heads,patterns"]);
    model.set("screen", sent(2).screen);
    await tick();
    expect(one(".aw")?.dataset["coming"]).toBe("");
  });

  it("gives a handler a chance while a question that a cell asked is on its way, and no longer", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const after = async (ms: number) => {
      vi.advanceTimersByTime(ms);
      await tick();
    };
    const { model, answer, sent: asked } = show(sent(1).draw, "explorer", { screen: sent(1).screen, rest: new Uint8Array() });
    const polls = () => asked.filter((m) => m.op === "poll").length;
    await answer("ack");
    await answer("result", { data: {} }, asked[0]?.id);
    await after(550);
    expect(polls()).toBe(0);
    model.set("container", sent(2).draw);
    await after(550);
    expect(polls()).toBe(1);
    model.set("screen", sent(2).screen);
    await answer("ack");
    await after(800);
    expect(polls()).toBe(1);
  });

  it("asks for what the first screen could not bring", async () => {
    const { model, one, sent: asked } = show(sent().draw, "explorer", {});
    model.set("screen", pack({ kind: "further", version: 1, absent: {} }, {}));
    await tick();
    expect(asked.map((m) => m.op)).toContain("head");
    expect(one(".aw")?.dataset["coming"]).toBe("");
  });

  it("reads a saved state that was on its way, and says what it lacks", async () => {
    const { one } = show(sent().draw, "explorer", { ...FIXED });
    await tick();
    expect(one(".aw-headline")?.textContent).toContain("L3.mlp and L3H4 lead");
  });
});

describe("a list of many tokens", () => {
  it("draws where one looks, and says how long it is", async () => {
    const { all, one, model, click } = show(state(explorer(longPrompt(300))), "explorer", { ...FIXED, selected: "L3H1" });
    const options = () => all('[data-part="tokens"] [role="option"]');
    expect(options().length).toBeGreaterThan(60);
    expect(options().length).toBeLessThan(240);
    expect(options()[0]?.getAttribute("aria-setsize")).toBe("300");
    await press(options()[0], "End");
    const last = one('[data-part="tokens"] [data-i="299"]');
    expect(document.activeElement).toBe(last);
    expect(last?.getAttribute("aria-posinset")).toBe("300");
    await press(last, "Enter");
    expect(model.get("source")).toBe(299);
    expect(one('[data-part="tokens"] [aria-selected="true"]')?.dataset["i"]).toBe("299");
    await press(one('[data-part="tokens"] [data-i="299"]'), "Home");
    expect((document.activeElement as HTMLElement).dataset["i"]).toBe("0");
    await click('[data-part="tokens"] [data-i="0"]');
    expect(model.get("source")).toBe(0);
  });
});
