/** Draws the component that the trait `kind` names into the element a host gives, and undoes it without a trace. */
import { effect, signal } from "@preact/signals";
import { type JSX, render as draw } from "preact";
import { guardKeys } from "../core/keyboard";
import { Store } from "../core/store";
import { applyTheme, onceAttached, watchTheme } from "../core/theme";
import type { Model } from "../core/host";
import type { ExplorerHeader, Kind, Views } from "../core/types";
import { type Container, decode } from "../core/wire";
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

/** What draws each kind of state. The Explorer reads its own, once for all its views. */
type Alone = Exclude<Kind, ExplorerHeader["kind"]>;
const ALONE: { [K in Alone]: (data: Container<Views[K]>) => JSX.Element } = {
  attention: (data) => <AttentionView data={data} />,
  bars: (data) => <BarsView data={data} />,
  card: ({ header }) => <CardView header={header} />,
  effects: ({ header }) => <EffectsView header={header} />,
  lens: (data) => <LensView data={data} />,
  patching: (data) => <PatchingView data={data} />,
  phrase: (data) => <PhraseView data={data} />,
  trace: ({ header }) => <TraceView header={header} />,
  verdicts: ({ header }) => <ScatterView header={header} />,
};

function View({ store }: { store: Store }) {
  const state = store.state.value;
  if (store.broken.value || !state) return <Status />;
  if (store.reading.value) return <Explorer />;
  // a name from outside: it may be one that this bundle does not have
  if (Object.hasOwn(ALONE, store.kind)) return ALONE[store.kind as Alone](decode<never>(state));
  return (
    <p class="aw-error" data-part="unknown" role="alert">
      This page has no view called “{store.kind}”. Reload it, then run the cell again.
    </p>
  );
}
