/** A screen as a line that a person can read and edit; Python writes the question, this adds where one looks. */
import { batch, effect } from "@preact/signals";
import type { Model } from "../host/host";
import type { Mode } from "../types";
import type { Store } from "./store";

const MODES: Mode[] = ["size", "order", "map", "trace"];

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
    const { tab = "", mode = "size" } = (model.get("showing") ?? {}) as { tab?: string; mode?: Mode };
    batch(() => {
      screen.tab.value = tab;
      screen.order.value = MODES.includes(mode) ? mode : "size";
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
  if (!reading || hash.length < 2) return;
  const line = new URLSearchParams(hash.slice(1));
  const asked = new URLSearchParams(reading.header.address ?? "");
  const others = [...line.keys()].filter((name) => asked.has(name) && asked.get(name) !== line.get(name));
  const part = line.get("part") ?? "";
  if (reading.has(part.replace(/\/\d+$/, ""))) store.select(part, Number(line.get("source") ?? -1));
  const mode = line.get("mode") as Mode;
  batch(() => {
    if (MODES.includes(mode)) store.screen.order.value = mode;
    store.screen.tab.value = line.get("tab") ?? "";
    if (others.length) store.screen.problem.value = { message: `This page holds another ${others.join(", ")}.`, hint: "It shows what it holds.", field: "" };
  });
}
