/** A trace as a picture: words below, layers upwards, the answer on top, and a line for all that a part took from another. */
import { useLayoutEffect, useMemo, useState } from "preact/hooks";
import { digitsFor, percent, readsZero, signed, tokenText } from "../../core/maths/format";
import { graphOf, layoutOf, type Node, pathOf, pathsOf, sharesOf, through } from "../../core/maths/flow";
import { largest, sumOf } from "../../core/maths/geometry";
import type { Trace } from "../../core/types";
import { ranked } from "../parts/bars";
import { useView } from "../parts/context";
import { useWidth } from "../parts/grid";
import { pressed, useRoving } from "../parts/roving";

export interface FlowProps {
  trace: Trace;
  tokens: string[];
  /** a row of the bars, and the word that it read */
  pick?: ((id: string, source: number) => void) | undefined;
}

/** Paths that are drawn at first. */
const FIRST = 12;
/** pixels of the names of the layers */
const SIDE = 40;
const SHARES = ["shown", "constants", "not shown"];

const box = (x: number, y: number, width?: number) => `left:${x}px;top:${y}px;width:${width}px`;

export function Flow({ trace, tokens, pick }: FlowProps) {
  const { store } = useView();
  const { labels, kinds, at, depth, values } = trace;
  const graph = useMemo(() => graphOf(trace), [trace]);
  const { nodes, up, paths } = graph;
  const answer = nodes[-1] as Node;
  const words = tokens.map(tokenText);
  const [count, setCount] = useState(Math.min(FIRST, paths.length));
  const [lit, setLit] = useState<{ rows: number[]; told: string } | null>(null);
  const [scroll, room] = useWidth();
  const drawn = pathsOf(graph, paths.slice(0, count));
  const { most, parts, lines, columns, height, width, levels } = layoutOf(graph, trace, drawn, words, (label) => store.called(label));
  const rove = useRoving(parts.length - 1, true);
  useLayoutEffect(() => {
    scroll.current?.scrollTo(answer.x, 0);
  }, []);

  const print = (v: number) => signed(v, digitsFor(largest(values)));
  /** sums by name, the largest of them, of those rows that have one */
  const list = (named: (row: number) => string | false | undefined) => {
    const sums = new Map<string, number>();
    values.forEach((v, i) => {
      const what = named(i);
      if (what) sums.set(what, (sums.get(what) ?? 0) + v);
    });
    const names = [...sums.keys()];
    return ranked([...sums.values()], 4, (i) => ({ key: "", label: names[i] }))
      .filter((row) => !readsZero(print(row.value)))
      .map((row) => `${row.label} ${print(row.value)}`)
      .join(", ");
  };
  const spot = (p?: number) => `${words[p as number]} (${p})`;
  const where = (n?: Node) => store.called(n?.label) + (n === answer ? "" : ` at the position of ${spot(n?.at)}`);
  const inside = lit && through(graph, lit.rows);
  /** its class, and that it lights its paths; a click goes to the row of the bars that its largest path went into, and to where that one read it */
  const on = (rows: number[], told: string, look = "") => {
    const light = () => setLit({ rows, told });
    const choose = () => {
      const [first, second] = pathOf(graph, rows.find((i) => depth[i] === 1) ?? paths.find((end) => pathOf(graph, end).some((i) => rows.includes(i))) ?? -1).reverse();
      if (first !== undefined) pick?.(labels[first] as string, at[second as number] ?? -1);
    };
    return { class: `${look} ${inside && rows.some((i) => inside.has(i)) ? "aw-lit" : ""}`, onPointerEnter: light, onFocusIn: light, onClick: choose, onKeyDown: pressed(choose) };
  };
  const shares = sharesOf(trace, drawn);
  const size = sumOf(shares.map((s) => s.size));
  return (
    <div data-part="flow" onKeyDown={(e) => e.key === "Escape" && setLit(null)}>
      <label class="aw-take aw-small">
        paths shown
        <input class="aw-progress" type="range" min={1} max={paths.length} value={count} onInput={(e) => setCount(+e.currentTarget.value)} />
        {count} of {paths.length}
      </label>
      {room < width + SIDE && (
        <button class="aw-link aw-small" data-part="earlier" onClick={() => scroll.current?.scrollTo(0, 0)}>
          ◂ back to the first word
        </button>
      )}
      <div ref={scroll} class="aw-stream aw-small">
        <div aria-hidden="true">
          {levels.map(({ y, name }) => (
            <span class="aw-quiet aw-stuck" style={box(0, y)}>
              {name}
            </span>
          ))}
        </div>
        <div style={`${box(0, 0, width)};height:${height + 22}px`} class={inside ? "aw-unlit" : ""} role="listbox" aria-label={trace.title} {...rove.list} onPointerLeave={() => setLit(null)}>
          <svg width={width} height={height} aria-hidden="true">
            {columns.map(({ x, width }) => (
              <rect x={x + 1} width={width - 2} height={height} />
            ))}
            {lines.map(({ row, wide, way }) => (
              <path d={way} stroke-width={wide} {...on([row], `${where(nodes[row])}, read by ${where(nodes[up[row] as number])}: ${print(values[row] as number)}`, (values[row] as number) < 0 ? "aw-neg" : "aw-pos")} />
            ))}
          </svg>
          {columns.map(({ x, width }, p) => (
            <span aria-hidden="true" style={box(x + 1, height, width - 2)} {...on(paths.filter((i) => at[i] === p), spot(p))}>
              {words[p]}
            </span>
          ))}
          {parts.map((node, i) => {
            const { rows, value } = node;
            const told = `${store.called(node.label)} ${print(value)}${node === answer ? "" : ` at the position of ${spot(node.at)}`} = ${list((i) =>
              rows.includes(up[i] as number) ? (kinds[i] === "part" ? `${store.called(labels[i])} at ${spot(at[i])}` : kinds[i] === "pruned" ? "pruned" : labels[i]) : rows.includes(i) && paths.includes(i) && "not followed further",
            )}`;
            return (
              <div role="option" aria-selected={told === lit?.told} aria-label={told} data-i={i} tabIndex={rove.tabIndex(i)} style={box(node.x, node.y, node.width)} {...on(rows, told)}>
                {store.called(node.label)} <br />
                {print(value)}
              </div>
            );
          })}
        </div>
      </div>
      <p class="aw-sentence">{lit ? lit.told : "Point at a part or a line, or use the arrow keys, to light its paths."}</p>
      <p class="aw-small" data-part="shares">
        In sum {shares.map((s, i) => `${SHARES[i]} ${print(s.value)} (${percent(s.size / size)} of all sizes)`).join(", ")}: {print(answer.value)}. Constants: {list((i) => kinds[i] === "constant" && labels[i]) || "none"}.
      </p>
      <p class="aw-quiet aw-small">
        Attribution, not a test. A column is a position; blue adds, orange takes away; the widest line is {print(most)}.
      </p>
    </div>
  );
}
