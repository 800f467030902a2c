/** Draws the component that the trait `kind` names into the element a host gives, and undoes it without a trace. */
import { effect, signal } from "@preact/signals";
import { render as draw } from "preact";
import { guardKeys } from "../core/keyboard";
import { Store } from "../core/store";
import { applyTheme, onceAttached, watchTheme } from "../core/theme";
import type { AttentionHeader, BarsHeader, CardHeader, EffectsHeader, LensHeader, Model, PatchingHeader, PhraseHeader, TraceHeader, VerdictsHeader } from "../core/types";
import { decode } from "../core/wire";
import { AttentionView } from "./attention";
import { BarsView } from "./bars";
import { Context } from "./common";
import { EffectsView } from "./effects";
import { Explorer } from "./explorer";
import { CardView } from "./features";
import { LensView } from "./lens";
import { PatchingView } from "./patching";
import { PhraseView } from "./phrase";
import { ScatterView } from "./scatter";
import { Status } from "./status";
import { TraceView } from "./trace";

export function mount(model: Model, host: HTMLElement, kind: string): () => void {
  const root = document.createElement("div");
  root.className = "aw";
  host.append(root);
  const store = new Store(model, kind);
  const palette = signal(applyTheme(host, root));
  const paint = () => (palette.value = applyTheme(host, root));
  const stopTheme = watchTheme(paint);
  const stopWaiting = onceAttached(root, paint);
  const stopKeys = guardKeys(host);
  draw(
    <Context.Provider value={{ store, palette }}>
      <View store={store} />
    </Context.Provider>,
    root,
  );
  const stopMarks = effect(() => {
    root.dataset["live"] = store.live.value;
    root.dataset["version"] = String(store.version.value);
    root.dataset["ready"] = "1";
  });
  return () => {
    stopMarks();
    stopTheme();
    stopWaiting();
    stopKeys();
    draw(null, root);
    store.close();
    root.remove();
  };
}

function View({ store }: { store: Store }) {
  const state = store.state.value;
  if (store.broken.value || !state) return <Status />;
  if (store.kind === "bars") return <BarsView data={decode<BarsHeader>(state)} />;
  if (store.kind === "card") return <CardView header={decode<CardHeader>(state).header} />;
  if (store.kind === "phrase") return <PhraseView data={decode<PhraseHeader>(state)} />;
  if (store.kind === "attention") return <AttentionView data={decode<AttentionHeader>(state)} />;
  if (store.kind === "trace") return <TraceView header={decode<TraceHeader>(state).header} />;
  if (store.kind === "lens") return <LensView data={decode<LensHeader>(state)} />;
  if (store.kind === "patching") return <PatchingView data={decode<PatchingHeader>(state)} />;
  if (store.kind === "verdicts") return <ScatterView header={decode<VerdictsHeader>(state).header} />;
  if (store.kind === "effects") return <EffectsView header={decode<EffectsHeader>(state).header} />;
  return <Explorer />;
}
