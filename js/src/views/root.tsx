/** The component that the trait `kind` names. */
import type { JSX } from "preact";
import { retold } from "../core/host/legacy";
import { type Container, decode } from "../core/host/wire";
import type { Store } from "../core/state/store";
import type { ExplorerHeader, Kind, PanelName, Views } from "../core/types";
import { Explorer } from "./explorer/explorer";
import { Status } from "./explorer/status";
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
import { CardView } from "./tabs/card";
import { LensView } from "./tabs/lens";
import { TraceView } from "./tabs/trace";

/** What draws each kind of state. The Explorer reads its own, once for all its views; a survey and a graph have bundles of their own. */
type Alone = Exclude<Kind, ExplorerHeader["kind"] | "survey" | "graph">;
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

export function View({ store }: { store: Store }) {
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
