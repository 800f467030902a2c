/** Draws a view into the element that a host gives, and undoes it without a trace. */
import { effect, signal } from "@preact/signals";
import { type FunctionComponent, render as draw } from "preact";
import type { Model } from "../core/host/host";
import { guardKeys } from "../core/host/keyboard";
import { hideStill } from "../core/host/still";
import { applyTheme, onceAttached, watchTheme } from "../core/host/theme";
import { Store } from "../core/state/store";
import { Context } from "./parts/context";
import { Foot } from "./parts/foot";

export type Drawn = FunctionComponent<{ store: Store }>;

export function mount(model: Model, host: HTMLElement, kind: string, View: Drawn): () => void {
  const root = document.createElement("div");
  root.className = "aw";
  host.append(root);
  const store = new Store(model, kind);
  const palette = signal(applyTheme(host, root));
  const paint = () => (palette.value = applyTheme(host, root));
  const stopTheme = watchTheme(paint);
  const stopWaiting = onceAttached(root, paint);
  const stopKeys = guardKeys(host);
  const showStill = hideStill(store.options.peek().still);
  draw(
    <Context.Provider value={{ store, palette, model }}>
      {kind === "explorer" || kind === "graph" ? (
        // these are taller than most windows: what takes them away stands above, where nobody has to scroll for it
        <>
          <Foot />
          <View store={store} />
        </>
      ) : (
        <>
          <View store={store} />
          <Foot />
        </>
      )}
    </Context.Provider>,
    root,
  );
  const stopMarks = effect(() => {
    root.dataset["live"] = store.live.value;
    root.dataset["version"] = String(store.version.value);
    root.dataset["ready"] = "1";
    root.dataset["coming"] = String(store.reading.value?.header.coming ?? "");
  });
  return () => {
    stopMarks();
    stopTheme();
    stopWaiting();
    stopKeys();
    showStill();
    draw(null, root);
    store.close();
    root.remove();
  };
}
