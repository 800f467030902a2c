/** A screen as a line that a person can read and edit; Python writes the question, this adds where one looks. */
import { batch, effect, type Signal } from "@preact/signals";
import type { Model } from "../host/host";
import { renamedMode } from "../host/legacy";
import type { Mode, Showing, Tab, Under } from "../types";
import type { Store } from "./store";

/** As records, so that a name that the contract has and this has not is an error of the compiler. */
const MODES: Record<Mode, 1> = { size: 1, order: 1, heads: 1, concepts: 1, trace: 1, sides: 1 };
const TABS: Record<Tab, 1> = { "": 1, tokens: 1, pattern: 1, why: 1, neurons: 1, features: 1, writes: 1, lens: 1 };
const UNDERS: Record<Under | "", 1> = { "": 1, carried: 1, totals: 1, replaced: 1 };
function among<T extends string>(names: { [name in T]: 1 }) {
  return (name: string): name is T => Object.hasOwn(names, name);
}
const [isMode, isTab, isUnder] = [among(MODES), among(TABS), among(UNDERS)];

/** The line of what is on the screen; "" where there is no question. */
export function addressOf(store: Store): string {
  const asked = store.reading.value?.header.address;
  if (asked === undefined) return "";
  const line = new URLSearchParams(asked);
  const { screen, selected, source, chosen } = store;
  const looking = {
    part: selected.value,
    source: source.value < 0 ? "" : String(source.value),
    tab: screen.tab.value,
    mode: screen.order.value === "size" ? "" : screen.order.value,
    pins: chosen.value.join(","),
    beside: screen.beside.value,
    side: screen.swapped.value ? "B" : "",
    under: screen.under.value,
  };
  const { all } = screen;
  if (all.value) {
    for (const name of ["position", "answer", "rival"]) line.delete(name);
    line.set("word", "all");
    looking.part = looking.source = "";
  }
  for (const [name, value] of Object.entries(looking)) if (value) line.set(name, value);
  for (const pin of store.pinned.value) line.append("pinned", pin.line);
  return line.toString();
}

const told = ({ tab, mode, beside, swapped, all, under }: Showing) => String([tab, mode || "size", beside, !!swapped, !!all, under]);

/** Keep tab and mode, what stands side by side and under the words, in step with Python. Returns what ends it. */
export function follow(store: Store, model: Model): () => void {
  const { screen } = store;
  const read = () => {
    const { tab = "", mode: named = "size", beside = "", swapped = false, all = false, under = "" } = (model.get("showing") ?? {}) as Partial<Showing>;
    const mode = renamedMode(named);
    batch(() => {
      screen.tab.value = isTab(tab) ? tab : "";
      screen.order.value = isMode(mode) ? mode : "size";
      screen.beside.value = beside;
      screen.swapped.value = swapped;
      screen.all.value = all;
      screen.under.value = isUnder(under) ? under : "";
    });
  };
  if (model.get("showing") === undefined) return () => undefined;
  read();
  model.on("change:showing", read);
  const stop = effect(() => {
    const [beside, swapped, under] = [screen.beside.value, screen.swapped.value, screen.under.value];
    const now: Showing = { tab: screen.tab.value, mode: screen.order.value, ...(beside && { beside }), ...(swapped && { swapped }), ...(screen.all.value && { all: true }), ...(under && { under }) };
    if (told(now) === told(model.get("showing") as Showing)) return;
    model.set("showing", now);
    model.save_changes();
  });
  return () => {
    stop();
    model.off("change:showing", read);
  };
}

/** An offline page goes where its own address says, and says what it cannot show. */
export function goToHash(store: Store, hash: string): void {
  const reading = store.reading.peek();
  if (!reading || !hash.includes("=")) return;
  const line = new URLSearchParams(hash.slice(1));
  const asked = new URLSearchParams(reading.header.address ?? "");
  const take = (name: string, initial: string) => {
    const found = line.get(name) || initial;
    line.delete(name);
    return found;
  };
  const [part, source, tab, mode, pins] = [take("part", ""), Number(take("source", "-1")), take("tab", ""), renamedMode(take("mode", "size")), take("pins", "")];
  const [beside, side, under, all] = [take("beside", ""), take("side", ""), take("under", ""), line.get("word") === "all" && !!reading.header.passage];
  const pinned = line.getAll("pinned");
  line.delete("pinned");
  if (all) line.delete("word");
  const wrong: string[] = [];
  // "" and what is as it was asked differ from nothing
  for (const [name, value] of line) {
    if (!asked.has(name) && value) wrong.push(`This page holds no ${name}.`);
    else if (asked.has(name) && value !== asked.get(name)) wrong.push(`This page holds another ${name}.`);
  }
  if (pins && pins !== String(store.chosen.peek())) wrong.push("This page holds other pins.");
  if (pinned.some((one) => store.pinned.peek().every(({ line }) => line !== one))) wrong.push("This page holds other pinned questions.");
  // which of the two the question is, only Python turns
  if (side && (side === "B") !== store.screen.swapped.peek()) wrong.push(`There is no side “${side}”.`);
  if (!part || reading.has(part.replace(/\/\d+$/, ""))) store.select(part, source >= 0 && source < reading.tokens.length ? source : -1);
  else wrong.push(`There is no part “${part}”.`);
  batch(() => {
    const look = <T extends string>(name: string, value: string, is: (value: string) => value is T, at: Signal<T>) => {
      if (is(value)) at.value = value;
      else wrong.push(`There is no ${name} “${value}”.`);
    };
    look("mode", mode, isMode, store.screen.order);
    look("tab", tab, isTab, store.screen.tab);
    look("number under words", under, isUnder, store.screen.under);
    store.screen.beside.value = beside;
    store.screen.all.value = all;
    if (wrong.length) store.screen.problem.value = { message: wrong.join(" "), hint: "It shows what it holds.", field: "" };
  });
}
