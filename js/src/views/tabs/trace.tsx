/** A walk back to the tokens: a picture, and as its table a tree whose rows open, every node the sum of what is below it. */
import { useMemo, useRef, useState } from "preact/hooks";
import { digitsFor, signed, tokenText } from "../../core/maths/format";
import { graphOf, pathOf } from "../../core/maths/flow";
import { diverging, largest } from "../../core/maths/geometry";
import type { TraceForm } from "../../core/state/screen";
import type { TraceArgs, TraceHeader } from "../../core/types";
import { Await, Hidden, textHeight } from "../parts/awaiting";
import { Track } from "../parts/bars";
import { useView } from "../parts/context";
import { Called, Token } from "../parts/names";
import { pressed, useRoving } from "../parts/roving";
import { Seg } from "../parts/seg";
import { Flow, type FlowProps } from "./flow";

function Tree({ trace, tokens, pick }: FlowProps) {
  const { store } = useView();
  const { labels, kinds, at, depth, values } = trace;
  const graph = useMemo(() => graphOf(trace), [trace]);
  const inner = (i: number) => (depth[i + 1] ?? 0) > (depth[i] ?? 0);
  // at first the largest path through the largest row that opens
  const [open, setOpen] = useState(() => new Set(graph.paths.map((i) => pathOf(graph, i)).find((path) => path.includes(depth.findIndex((_, i) => inner(i))))));
  const box = useRef<HTMLDivElement>(null);
  const seen: number[] = [];
  let closed = Infinity;
  depth.forEach((d, i) => {
    if (d > closed) return;
    closed = inner(i) && !open.has(i) ? d : Infinity;
    seen.push(i);
  });
  const rove = useRoving(0);
  const toggle = (i: number) => {
    const now = new Set(open);
    if (inner(i) && !now.delete(i)) now.add(i);
    setOpen(now);
    if (depth[i] === 1 && kinds[i] === "part") pick?.(labels[i] ?? "", -1);
  };
  const keys = (event: KeyboardEvent) => {
    const side = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const i = Number((event.target as Element).closest<HTMLElement>("[data-i]")?.dataset["i"] ?? -1);
    if (!side || i < 0) return rove.list.onKeyDown(event);
    event.preventDefault();
    if (inner(i) && open.has(i) === side < 0) toggle(i);
    else box.current?.querySelector<HTMLElement>(`[data-i="${side < 0 ? graph.up[i] : inner(i) ? i + 1 : i}"]`)?.focus();
  };
  const { spans, zero } = diverging(values);
  const digits = digitsFor(largest(values));
  return (
    <div ref={box} class="aw-scroll aw-tall" role="tree" aria-label={trace.title} {...rove.list} onKeyDown={keys}>
      {seen.map((i) => {
        const value = values[i] ?? 0;
        const place = at[i] ?? -1;
        return (
          <div
            key={i}
            role="treeitem"
            class={`aw-wrow aw-row ${kinds[i] === "part" ? "" : "aw-others"}`}
            data-i={i}
            aria-level={depth[i]}
            aria-expanded={inner(i) ? open.has(i) : undefined}
            tabIndex={rove.tabIndex(i)}
            onClick={() => toggle(i)}
            onKeyDown={pressed(() => toggle(i))}
          >
            <span class="aw-name aw-node" title={`${store.described(labels[i] ?? "") ?? labels[i]}${place >= 0 ? `, at ${tokenText(tokens[place] ?? "")} ${place}` : ""}`} style={{ paddingLeft: `${14 * ((depth[i] ?? 1) - 1)}px` }}>
              <i class="aw-twist" />
              <Called of={labels[i] ?? ""} />{" "}
              {place >= 0 && (
                <span class="aw-num">
                  <Token text={tokens[place] ?? ""} /> {place}
                </span>
              )}
            </span>{" "}
            <Track value={value} printed={signed(value, digits)} span={spans[i]} zero={zero} many={kinds[i] !== "part"} />{" "}
            <span class="aw-val">{signed(value, digits)}</span>
          </div>
        );
      })}
    </div>
  );
}

const FORMS: [TraceForm, string][] = [
  ["picture", "picture"],
  ["table", "table"],
];

function Forms() {
  const form = useView().store.screen.traced;
  return <Seg label="The trace as" ways={FORMS} now={form.value} pick={(way) => (form.value = way)} />;
}

/** The picture or its table, and what they sum to. */
function Walk(flow: FlowProps) {
  const { trace } = flow;
  return (
    <>
      {useView().store.screen.traced.value === "picture" ? <Flow {...flow} /> : <Tree {...flow} />}
      <p class="aw-total aw-check" data-part="sum">
        {trace.balance}
      </p>
      {trace.notes.map((note) => (
        <p class="aw-quiet aw-small">{note}</p>
      ))}
    </>
  );
}

const WAYS: [TraceArgs["mlps"], string][] = [
  ["stop", "MLPs whole"],
  ["frozen", "MLPs open, gates held"],
];

/** The trace of what the Explorer explains. */
export function TracePanel() {
  const { store } = useView();
  const [mlps, setMlps] = useState<TraceArgs["mlps"]>("stop");
  const reading = store.reading.value;
  if (!reading) return null;
  // its leaves are the words that heads read, its balance is the sum
  const part = store.covered("candidates", "values", "detail", "sum");
  if (part) return <Hidden part={part} what="the trace" />;
  return (
    <div data-part="trace">
      <div class="aw-take">
        <Forms />
        <Seg label="What happens at an MLP" ways={WAYS} now={mlps} pick={(way: TraceArgs["mlps"]) => setMlps(way)} />
      </div>
      <Await of={store.data.trace(mlps)} hold={(width) => 590 + 2 * textHeight(130, width)}>
        {(trace) => (
          <>
            <p class="aw-caption">{trace.title}</p>
            <Walk key={`${store.version.value}${mlps}`} trace={trace} tokens={reading.tokens} pick={(id, source) => store.select(id, source)} />
          </>
        )}
      </Await>
    </div>
  );
}

/** A trace standing alone. */
export function TraceView({ header }: { header: TraceHeader }) {
  return (
    <div class="aw-card aw-pad" data-part="trace">
      <h2 class="aw-headline">{header.title}</h2>
      <p class="aw-sub">
        Who wrote it, in {header.unit}; {header.held ?? "attention and norms held"}: observed, not yet tested.
      </p>
      <Forms />
      <Walk trace={header} tokens={header.tokens} />
    </div>
  );
}
