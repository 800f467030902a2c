/** The view of an attribution graph, with its help. */
import { decode } from "../../core/host/wire";
import { Graph } from "../../core/state/graph";
import type { Store } from "../../core/state/store";
import type { GraphHeader } from "../../core/types";
import { Status } from "../explorer/status";
import { Help } from "../parts/help";
import { GraphView } from "./graph";

const READ = new WeakMap<object, Graph>();

/** Each state is read once. */
function read(state: object): Graph {
  const found = READ.get(state) ?? Graph.read(decode<GraphHeader>(state));
  READ.set(state, found);
  return found;
}

export function View({ store }: { store: Store }) {
  const state = store.state.value;
  if (store.broken.value || !state) return <Status />;
  return (
    <div class="aw-alone">
      <Help of="graph" />
      <GraphView of={read(state as object)} />
      <Status />
    </div>
  );
}
