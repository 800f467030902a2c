/** A screen as a line: read and written again it is the same line, for everything that a line can say. */
import { afterEach, describe, expect, it } from "vitest";
import { HostModel } from "../src/core/host/host";
import { addressOf, goToHash } from "../src/core/state/address";
import { Store } from "../src/core/state/store";
import { Reading } from "../src/core/state/reading";
import type { Mode, Tab } from "../src/core/types";
import { explorer, SENT, state } from "./fixture";

const stores: Store[] = [];
afterEach(() => {
  for (const store of stores.splice(0)) store.close();
});

const MODES: Mode[] = ["size", "order", "heads", "trace"];
const TABS: Tab[] = ["", "tokens", "pattern", "why", "neurons", "features", "writes", "lens"];
const now = new Reading(SENT.explorer);
const feature = `L3H1/${now.header.features?.["L3H1"]?.numbers[0]}`;
const PLACES: [string, string][] = [["", ""], ["L3H1", ""], ["L3H1", "4"], ["L1.mlp", ""], [feature, ""]];

/** The question of the sent state, and the same without a comparison and without a rival. */
const asked = now.header.address ?? "";
const without = (...names: string[]) => {
  const line = new URLSearchParams(asked);
  for (const name of names) line.delete(name);
  return line.toString();
};
const QUESTIONS = { "as it was sent": asked, "no comparison": without("compared", "compared_ids"), "no rival": without("rival") };

const HELD = Object.fromEntries(Object.values(QUESTIONS).map((address) => [address, address === asked ? SENT.explorer : state(explorer(undefined, { address }))]));

function page(address: string, chosen: string[] = []): Store {
  const container = HELD[address];
  const store = new Store(new HostModel({ kind: "explorer", container, selected: "", source: -1, chosen, options: { hidden: [], static: true } }, () => undefined), "explorer");
  stores.push(store);
  return store;
}

describe("line, screen, line", () => {
  for (const [name, address] of Object.entries(QUESTIONS)) {
    it(name, () => {
      for (const [part, source] of address === asked ? PLACES : PLACES.slice(0, -1)) {
        for (const tab of TABS) {
          for (const mode of MODES) {
            for (const pins of ["", "L3H1,L4.mlp"]) {
              const line = new URLSearchParams(address);
              const looking = { part, source, tab, mode: mode === "size" ? "" : mode, pins };
              for (const [field, value] of Object.entries(looking)) if (value) line.set(field, value);
              const store = page(address, pins ? pins.split(",") : []);
              goToHash(store, `#${line}`);
              expect(store.screen.problem.value, `${line}`).toBeNull();
              expect(addressOf(store)).toBe(`${line}`);
              store.close();
            }
          }
        }
      }
    }, 60_000);
  }
});

it("names the numbers under the words", () => {
  for (const under of ["carried", "totals", "replaced"]) {
    const store = page(asked);
    goToHash(store, `#${asked}&under=${under}`);
    expect(store.screen.under.value).toBe(under);
    expect(addressOf(store)).toBe(`${new URLSearchParams(asked)}&under=${under}`);
  }
});

describe("what a page cannot show", () => {
  for (const [line, said] of [
    ["tab=zzz", "There is no tab “zzz”."],
    ["mode=tree", "There is no mode “tree”."],
    ["under=zzz", "There is no number under words “zzz”."],
    ["part=L9H9", "There is no part “L9H9”."],
    ["prompt=Another", "This page holds another prompt."],
    ["model=gpt2", "This page holds another model."],
    ["promt=a", "This page holds no promt."],
    ["pins=L3H1", "This page holds other pins."],
    ["side=B", "There is no side “B”."],
    ["position=2", "This page holds no position."],
  ]) {
    it(`is said: ${line}`, () => {
      const store = page(asked);
      goToHash(store, `#${line}`);
      expect(store.screen.problem.value?.message).toBe(said);
      expect(addressOf(store)).toBe(new URLSearchParams(asked).toString());
    });
  }

  it("is not said of an anchor", () => {
    const store = page(asked);
    goToHash(store, "#top");
    expect(store.screen.problem.value).toBeNull();
  });
});
