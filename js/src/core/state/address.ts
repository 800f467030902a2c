/** A screen as a line that a person can read and edit; Python writes the question, this adds where one looks. */
import { batch, effect } from "@preact/signals";
import type { Model } from "../host/host";
import type { Mode, Showing, Tab } from "../types";
import type { Store } from "./store";

/** As records, so that a name that the contract has and this has not is an error of the compiler. */
const MODES: Record<Mode, 1> = { size: 1, order: 1, map: 1, trace: 1 };
const TABS: Record<Tab, 1> = { "": 1, tokens: 1, pattern: 1, why: 1, neurons: 1, features: 1, writes: 1, lens: 1 };
const isMode = (name: string): name is Mode => Object.hasOwn(MODES, name);
const isTab = (name: string): name is Tab => Object.hasOwn(TABS, name);

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
  };
  for (const [name, value] of Object.entries(looking)) if (value) line.set(name, value);
  return line.toString();
}

/** Keep tab and mode in step with Python. Returns what ends it. */
export function follow(store: Store, model: Model): () => void {
  const { screen } = store;
  const read = () => {
    const { tab = "", mode = "size" } = (model.get("showing") ?? {}) as Partial<Showing>;
    batch(() => {
      screen.tab.value = isTab(tab) ? tab : "";
      screen.order.value = isMode(mode) ? mode : "size";
    });
  };
  if (model.get("showing") === undefined) return () => undefined;
  read();
  model.on("change:showing", read);
  const stop = effect(() => {
    const now = { tab: screen.tab.value, mode: screen.order.value };
    const was = model.get("showing") as typeof now;
    if (now.tab === (was.tab ?? "") && now.mode === (was.mode ?? "size")) return;
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
  const [part, source, tab, mode, pins] = [take("part", ""), Number(take("source", "-1")), take("tab", ""), take("mode", "size"), take("pins", "")];
  const wrong: string[] = [];
  // "" and what is as it was asked differ from nothing
  for (const [name, value] of line) {
    if (!asked.has(name) && value) wrong.push(`This page holds no ${name}.`);
    else if (asked.has(name) && value !== asked.get(name)) wrong.push(`This page holds another ${name}.`);
  }
  if (pins && pins !== String(store.chosen.peek())) wrong.push("This page holds other pins.");
  if (!part || reading.has(part.replace(/\/\d+$/, ""))) store.select(part, source >= 0 && source < reading.tokens.length ? source : -1);
  else wrong.push(`There is no part “${part}”.`);
  batch(() => {
    if (isMode(mode)) store.screen.order.value = mode;
    else wrong.push(`There is no mode “${mode}”.`);
    if (isTab(tab)) store.screen.tab.value = tab;
    else wrong.push(`There is no tab “${tab}”.`);
    if (wrong.length) store.screen.problem.value = { message: wrong.join(" "), hint: "It shows what it holds.", field: "" };
  });
}
