/** Draws the component that the trait `kind` names into the element a host gives, and undoes it without a trace. */
import { effect, signal } from "@preact/signals";
import { type JSX, render as draw } from "preact";
import type { Model } from "../core/host/host";
import { guardKeys } from "../core/host/keyboard";
import { retold } from "../core/host/legacy";
import { hideStill } from "../core/host/still";
import { applyTheme, onceAttached, watchTheme } from "../core/host/theme";
import { type Container, decode } from "../core/host/wire";
import { Store } from "../core/state/store";
import type { ExplorerHeader, Kind, PanelName, Views } from "../core/types";
import { Explorer } from "./explorer/explorer";
import { Status } from "./explorer/status";
import { Context } from "./parts/context";
import { Foot } from "./parts/foot";
import { Help } from "./parts/help";
import { AttentionView } from "./results/attention";
import { BarsView } from "./results/bars";
import { ComparisonView } from "./results/comparison";
import { EffectsView, TokensView } from "./results/effects";
import { GridView } from "./results/grid";
import { PatchingView } from "./results/patching";
import { PhraseView } from "./results/phrase";
import { ScatterView } from "./results/scatter";
import { TableView } from "./results/table";
import { CardView } from "./tabs/features";
import { LensView } from "./tabs/lens";
import { TraceView } from "./tabs/trace";

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
  const showStill = hideStill(store.options.peek().still);
  draw(
    <Context.Provider value={{ store, palette }}>
      {kind === "explorer" ? (
        // it is taller than most windows: what takes it away stands above it, where nobody has to scroll for it
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

/** What draws each kind of state. The Explorer reads its own, once for all its views. */
type Alone = Exclude<Kind, ExplorerHeader["kind"]>;
const ALONE: { [K in Alone]: (data: Container<Views[K]>) => JSX.Element } = {
  attention: (data) => <AttentionView data={data} />,
  bars: (data) => <BarsView data={data} />,
  card: ({ header }) => <CardView header={header} />,
  comparison: (data) => <ComparisonView data={data} />,
  effects: ({ header }) => <EffectsView header={header} />,
  grid: (data) => <GridView data={data} />,
  lens: (data) => <LensView data={data} />,
  patching: (data) => <PatchingView data={data} />,
  phrase: (data) => <PhraseView data={data} />,
  table: ({ header }) => <TableView header={header} />,
  tokens: (data) => <TokensView data={data} />,
  trace: ({ header }) => <TraceView header={header} />,
  verdicts: ({ header }) => <ScatterView header={retold(header)} />,
};

/** Panels that are called otherwise. */
const HELP: Record<string, PanelName> = { card: "feature", tokens: "values" };

function View({ store }: { store: Store }) {
  const state = store.state.value;
  if (store.broken.value || !state) return <Status />;
  if (store.reading.value) return <Explorer />;
  // a name from outside: it may be one that this bundle does not have
  if (Object.hasOwn(ALONE, store.kind)) {
    return (
      <div class="aw-alone">
        <Help of={HELP[store.kind] ?? (store.kind as Exclude<Alone, "card">)} />
        {ALONE[store.kind as Alone](decode<never>(state))}
      </div>
    );
  }
  return (
    <p class="aw-error" data-part="unknown" role="alert">
      This page has no view called “{store.kind}”. Reload it, then run the cell again.
    </p>
  );
}
