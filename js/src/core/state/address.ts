/** A screen as a line that a person can read and edit; Python writes the question, this adds where one looks. */
import { batch, effect } from "@preact/signals";
import type { Model } from "../host/host";
import type { Mode, Showing } from "../types";
import type { Store } from "./store";

const MODES: Mode[] = ["size", "order", "map", "trace", "sides"];

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

const same = (a: Showing, b: Showing) => (a.tab || "") === (b.tab || "") && (a.mode || "size") === (b.mode || "size") && (a.beside || "") === (b.beside || "") && !a.swapped === !b.swapped && !a.all === !b.all;

/** Keep tab and mode, and what stands side by side, in step with Python. Returns what ends it. */
export function follow(store: Store, model: Model): () => void {
  const { screen } = store;
  const read = () => {
    const { tab = "", mode = "size", beside = "", swapped = false, all = false } = (model.get("showing") ?? {}) as Partial<Showing>;
    batch(() => {
      screen.tab.value = tab;
      screen.order.value = MODES.includes(mode) ? mode : "size";
      screen.beside.value = beside;
      screen.swapped.value = swapped;
      screen.all.value = all;
    });
  };
  if (model.get("showing") === undefined) return () => undefined;
  read();
  model.on("change:showing", read);
  const stop = effect(() => {
    const [beside, swapped] = [screen.beside.value, screen.swapped.value];
    const now: Showing = { tab: screen.tab.value, mode: screen.order.value, ...(beside && { beside }), ...(swapped && { swapped }), ...(screen.all.value && { all: true }) };
    if (same(now, model.get("showing") as Showing)) return;
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
  if (!reading || hash.length < 2) return;
  const line = new URLSearchParams(hash.slice(1));
  const asked = new URLSearchParams(reading.header.address ?? "");
  const all = line.get("word") === "all" && !!reading.header.passage;
  if (all) line.delete("word");
  const others = [...line.keys()].filter((name) => asked.has(name) && asked.get(name) !== line.get(name));
  const part = line.get("part") ?? "";
  if (reading.has(part.replace(/\/\d+$/, ""))) store.select(part, Number(line.get("source") ?? -1));
  const mode = line.get("mode") as Mode;
  batch(() => {
    if (MODES.includes(mode)) store.screen.order.value = mode;
    store.screen.tab.value = line.get("tab") ?? "";
    store.screen.beside.value = line.get("beside") ?? "";
    store.screen.swapped.value = line.get("side") === "B";
    store.screen.all.value = all;
    if (others.length) store.screen.problem.value = { message: `This page holds another ${others.join(", ")}.`, hint: "It shows what it holds.", field: "" };
  });
}
