/** The picture: a lane for every place that has nodes, a column for every position, and the edges between. */
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { tokenText } from "../../core/maths/format";
import { curve, layers, type Layers, walked } from "../../core/maths/layers";
import type { Graph } from "../../core/state/graph";
import { useWidth } from "../parts/grid";
import { Token } from "../parts/names";
import { told } from "./graph";

interface PictureProps {
  of: Graph;
  /** numbers of nodes */
  shown: number[];
  open: number;
  pinned: number[];
  /** the node that is pointed at or focused; -1 for none */
  peek: number;
  setPeek(i: number): void;
  pick(i: number): void;
}

const MOST = 500; // edges drawn
const TAG = 24; // letters
const WIDEST = 6; // px

export function Picture({ of, shown, open, pinned, peek, setPeek, pick }: PictureProps) {
  const [box, width] = useWidth();
  const { nodes, tokens } = of.header;
  const laid = useMemo(() => layers(nodes, shown, tokens.length, width), [of, shown.length, width]);
  const grid = useRef<HTMLDivElement>(null);
  const focused = useRef(false);
  const stop = laid.places.has(peek) ? peek : laid.places.has(open) ? open : 0;
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
    else if (event.key === "Enter" || event.key === " ") pick(stop);
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
          <Edges of={of} laid={laid} lit={[...new Set([peek >= 0 ? peek : open, ...pinned])]} />
          {laid.lanes.map((lane) => (
            <div role="row" class="aw-contents" aria-label={lane.name} key={lane.name}>
              {lane.nodes.map((i) => {
                const { kind, name } = of.node(i);
                const at = laid.places.get(i) ?? { x: 0, y: 0, r: 0 };
                const { label } = of.node(i);
                const tag = !i || i === open || pinned.includes(i) ? label || name : "";
                const side = `${2 * Math.round(at.r)}px`; // whole pixels: a circle stays round
                return (
                  <span
                    key={i}
                    role="gridcell"
                    class={`aw-gnode ${pinned.includes(i) ? "aw-gpinned" : ""}`}
                    data-i={i}
                    data-kind={kind}
                    data-name={name}
                    title={told(of, i)}
                    aria-label={told(of, i)}
                    aria-selected={i === open}
                    tabIndex={i === stop ? 0 : -1}
                    style={{ left: `${Math.round(at.x)}px`, top: `${Math.round(at.y)}px` }}
                    onPointerEnter={() => setPeek(i)}
                    onFocus={() => setPeek(i)}
                    onClick={() => pick(i)}
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

/** Pale lines, and those of lit nodes above them. */
function Edges({ of, laid, lit }: { of: Graph; laid: Layers; lit: number[] }) {
  const most = of.edges[0]?.strength || 1;
  const drawn = of.edges
    .filter((e, n) => (n < MOST || lit.includes(e.source) || lit.includes(e.target)) && laid.places.has(e.source) && laid.places.has(e.target))
    .map((e) => ({ ...e, bright: lit.includes(e.source) || lit.includes(e.target) }))
    .sort((a, b) => Number(a.bright) - Number(b.bright) || a.strength - b.strength);
  return (
    <svg class="aw-gedges" width={laid.width} height={laid.height} aria-hidden="true">
      {drawn.map(({ source, target, value, strength, bright }) => {
        const [from, to] = [laid.places.get(source), laid.places.get(target)];
        return from && to ? <path key={`${source} ${target}`} data-ends={`${source} ${target}`} class={`${value < 0 ? "aw-minus" : "aw-plus"} ${bright ? "aw-glit" : ""}`} d={curve(from, to, source % 2 ? 1 : -1)} stroke-width={(0.6 + WIDEST * (strength / most)).toFixed(2)} /> : null;
      })}
    </svg>
  );
}
