/** The picture: a lane for every place that has nodes, a column for every position, and the edges between. */
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { signed, tokenText } from "../../core/maths/format";
import { curve, layers, type Layers, walked } from "../../core/maths/layers";
import type { Edge, Graph } from "../../core/state/graph";
import { useWidth } from "../parts/grid";
import { Token } from "../parts/names";
import { tell } from "./graph";

interface PictureProps {
  of: Graph;
  /** numbers of nodes */
  shown: number[];
  /** the one that is open, or the members of a group that is */
  open: number[];
  /** those whose edges are lit */
  lit: number[];
  /** by name */
  pinned: string[];
  chosen: string[];
  /** the node that is pointed at or focused; -1 for none */
  peek: number;
  setPeek(i: number): void;
  pick(i: number): void;
  /** a click with Shift */
  shift(i: number): void;
  /** a click on a lit edge */
  edge(e: Edge): void;
}

const MOST = 500; // edges drawn
const TAG = 24; // letters
const WIDEST = 6; // px

export function Picture({ of, shown, open, lit, pinned, chosen, peek, setPeek, pick, shift, edge }: PictureProps) {
  const [box, width] = useWidth();
  const { nodes } = of;
  const { tokens } = of.header;
  const laid = useMemo(() => layers(nodes, shown, tokens.length, width), [of, shown.length, width]);
  const grid = useRef<HTMLDivElement>(null);
  const focused = useRef(false);
  const stop = [peek, ...open].find((i) => laid.places.has(i)) ?? 0;
  // the answer stands at the right end of what may be wider than the page
  useLayoutEffect(() => {
    if (box.current) box.current.scrollLeft = box.current.scrollWidth;
  }, [laid.width, width]);
  useLayoutEffect(() => {
    if (focused.current) grid.current?.querySelector<HTMLElement>(`[data-i="${stop}"]`)?.focus();
  }, [stop]);
  const keys = (event: KeyboardEvent) => {
    const to = walked(event.key, stop, laid);
    if (to !== undefined) setPeek(to);
    else if (event.key === "Enter" || event.key === " ") (event.shiftKey ? shift : pick)(stop);
    else return;
    event.preventDefault();
  };
  return (
    <div class="aw-gbox">
      <div class="aw-gnames aw-quiet" aria-hidden="true">
        {laid.lanes.map(({ name, top, height }) => (
          <span style={{ top: `${top}px`, height: `${height}px` }}>{name}</span>
        ))}
      </div>
      <div ref={box} class="aw-gscroll">
        <div
          ref={grid}
          class="aw-gfield"
          role="grid"
          aria-label="Nodes, layers upwards, words across"
          style={{ width: `${laid.width}px`, height: `${laid.height}px` }}
          onKeyDown={keys}
          onFocusIn={() => (focused.current = true)}
          onFocusOut={() => (focused.current = false)}
          onPointerLeave={() => focused.current || setPeek(-1)}
        >
          <Edges of={of} laid={laid} lit={lit} edge={edge} />
          {laid.lanes.map((lane) => (
            <div role="row" class="aw-contents" aria-label={lane.name} key={lane.name}>
              {lane.nodes.map((i) => {
                const { kind, name, label } = of.node(i);
                const at = laid.places.get(i) ?? { x: 0, y: 0, r: 0 };
                const kept = pinned.includes(of.key(i));
                const tag = !i || open.includes(i) || kept || kind === "group" ? label || name : "";
                const side = `${2 * Math.round(at.r)}px`; // whole pixels: a circle stays round
                return (
                  <span
                    key={i}
                    role="gridcell"
                    class={`aw-gnode ${kept ? "aw-gpinned" : ""} ${chosen.includes(of.key(i)) && i ? "aw-gtaken" : ""}`}
                    data-i={i}
                    data-kind={kind}
                    data-name={name}
                    title={tell(of, i)}
                    aria-label={`${tell(of, i)}${chosen.includes(of.key(i)) && i ? ", gathered" : ""}`}
                    aria-selected={open.includes(i)}
                    tabIndex={i === stop ? 0 : -1}
                    style={{ left: `${Math.round(at.x)}px`, top: `${Math.round(at.y)}px` }}
                    onPointerEnter={() => setPeek(i)}
                    onFocus={() => setPeek(i)}
                    onClick={(event) => (event.shiftKey ? shift : pick)(i)}
                  >
                    <i style={{ width: side, height: side }} />
                    {tag && <small class={at.x > laid.width / 2 ? "aw-gleft" : ""}>{tag.length > TAG ? `${tag.slice(0, TAG)}…` : tag}</small>}
                  </span>
                );
              })}
            </div>
          ))}
        </div>
        <div class="aw-gtokens" aria-hidden="true" style={{ width: `${laid.width}px` }}>
          {tokens.map((text, p) => (
            <span title={tokenText(text)} style={{ width: `${laid.columns[p]?.width ?? 0}px` }}>
              <Token text={text} />
            </span>
          ))}
        </div>
      </div>
      {of.edges.length > MOST && <p class="aw-quiet aw-small">Drawn are the {MOST} edges with most influence of {of.edges.length}; an opened node has all of its own.</p>}
    </div>
  );
}

/** Pale lines, and those of lit nodes above them, which a click opens (as a row's "heads" does for keys). */
function Edges({ of, laid, lit, edge }: { of: Graph; laid: Layers; lit: number[]; edge(e: Edge): void }) {
  const most = of.edges[0]?.strength || 1;
  const drawn = of.edges
    .filter((e, n) => e.source !== e.target && (n < MOST || lit.includes(e.source) || lit.includes(e.target)))
    .flatMap((e) => {
      const [from, to] = [laid.places.get(e.source), laid.places.get(e.target)];
      return from && to ? { e, ...e, bright: lit.includes(e.source) || lit.includes(e.target), d: curve(from, to, e.source % 2 ? 1 : -1) } : [];
    })
    .sort((a, b) => Number(a.bright) - Number(b.bright) || a.strength - b.strength);
  const name = (i: number) => of.node(i).name;
  return (
    <svg class="aw-gedges" width={laid.width} height={laid.height} aria-hidden="true">
      {drawn.map(({ source, target, value, strength, bright, d }) => (
        <path key={`${source} ${target}`} data-ends={`${source} ${target}`} class={`${value < 0 ? "aw-minus" : "aw-plus"} ${bright ? "aw-glit" : ""}`} d={d} stroke-width={(0.6 + WIDEST * (strength / most)).toFixed(2)} />
      ))}
      {drawn.filter((e) => e.bright).map(({ e, source, target, value, d }) => (
        <path key={`hit ${source} ${target}`} class="aw-ghit" data-hit={`${source} ${target}`} d={d} onClick={() => edge(e)}>
          <title>{`${name(source)} put ${signed(value)} into ${target ? "" : "the "}${name(target)}${of.opens(e) ? ": which heads carried it?" : ""}`}</title>
        </path>
      ))}
    </svg>
  );
}
