/** One edge opened: the heads that carried it, and why one of them looked there, in the rows that Python prints. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Graph } from "../../core/state/graph";
import { Await, textHeight } from "../parts/awaiting";
import { useView } from "../parts/context";
import { TableBody } from "../results/table";
import type { Ends } from "./graph";

interface OpenedEdgeProps {
  of: Graph;
  edge: Ends;
  close(): void;
}

export function OpenedEdge({ of, edge: { source, into }, close }: OpenedEdgeProps) {
  const { store } = useView();
  const [head, setHead] = useState("");
  const box = useRef<HTMLElement>(null);
  const known = of.header.between?.[`${source} ${into}`];
  useLayoutEffect(() => box.current?.scrollIntoView?.({ block: "nearest" }), []);
  const found = store.data.load("between", { id: source, into }, () => known, ({ data }) => data);
  return (
    <section ref={box} class="aw-pad aw-gedge" data-part="edge" data-edge={`${source} ${into}`} aria-label={`The edge from ${source}`}>
      <button class="aw-link aw-gshut" data-part="close-edge" onClick={close}>
        Close
      </button>
      <Await of={found} hold={(width) => 24 * 10 + 2 * textHeight(240, width)}>
        {({ table, heads }) => (
          <>
            <TableBody header={table} nested="h4" />
            {heads.length > 0 && (
              <p class="aw-gwhy" role="group" aria-label="Why did it look there?">
                <span>Why did it look there?</span>
                {heads.map((one) => (
                  <button key={one} class="aw-btn" data-head={one} aria-pressed={one === head} title={`The parts of the attention score of ${one}`} onClick={() => setHead(one === head ? "" : one)}>
                    {one}
                  </button>
                ))}
              </p>
            )}
            {head && (
              <div data-part="looked" data-head={head}>
                <Await key={head} of={store.data.load("looked", { id: source, into, head }, () => known?.looked?.[head], ({ data }) => data)} hold={(width) => 24 * 12 + textHeight(200, width)}>
                  {(why) => <TableBody header={why} nested="h4" />}
                </Await>
              </div>
            )}
          </>
        )}
      </Await>
    </section>
  );
}
