/** A map per group: layers upwards, heads and MLPs across, all on one scale. */
import { useState } from "preact/hooks";
import type { Cell } from "../../core/host/keyboard";
import type { Survey, Tests } from "../../core/state/survey";
import { useView } from "../parts/context";
import { useGrid, useWidth } from "../parts/grid";
import { Glyph } from "./glyph";

export interface Spot {
  group: number;
  part: number;
}

export interface Parts {
  of: Survey;
  tests: Tests;
  /** the part whose prompts are shown, and their group */
  open: number;
  group: number;
  point(spot: Spot | null): void;
  pick(spot: Spot): void;
}

const APART = 16; // px between maps
/** px of a cell, at least and at most: of a few columns, and of many */
const [FEW, MANY] = [
  [15, 34],
  [10, 20],
] as const;
const COLUMNS = 20;
/** how opaque a part is whose sign is a matter of chance */
const FAINT = 0.2;

/** The cells of as many maps as fit beside each other; `side`: the names of layers. */
function cellOf(width: number, maps: number, columns: number, side: number): number {
  const [least, most] = columns < COLUMNS ? FEW : MANY;
  for (let beside = maps; ; beside--) {
    const cell = Math.floor(((width - APART * (beside - 1)) / beside - side) / columns);
    if (cell >= least || beside <= 1) return Math.max(4, Math.min(most, cell));
  }
}

export function Maps(props: Parts) {
  const [box, width] = useWidth();
  const { groups, columns } = props.of.header;
  const side = props.of.layers > 10 ? 34 : 26;
  const cell = cellOf(width, groups.length, columns.length, side);
  return (
    <div ref={box} class="aw-smaps" data-part="maps">
      {groups.map((_, g) => (
        <GroupMap key={g} {...props} here={g} cell={cell} side={side} />
      ))}
    </div>
  );
}

function GroupMap({ of, tests, here, cell, side, open, group, point, pick }: Parts & { here: number; cell: number; side: number }) {
  const { store } = useView();
  const { columns, parts, groups } = of.header;
  const [at, setAt] = useState<Cell | null>(null);
  const own = groups[here];
  if (!own) return null;
  const rows = of.layers;
  const spots: (number | undefined)[][] = Array.from({ length: rows }, () => []);
  parts.forEach(({ layer, column }, i) => ((spots[rows - 1 - layer] as (number | undefined)[])[column] = i));
  const mean = of.measure(here, "mean");
  const chosen = parts[open];
  const start = { row: rows - 1 - (chosen?.layer ?? 0), column: chosen?.column ?? 0 };
  const show = (cell: Cell | null) => {
    const part = cell && spots[cell.row]?.[cell.column];
    setAt(cell);
    point(part === null || part === undefined ? null : { group: here, part });
  };
  const take = ({ row, column }: Cell) => {
    const part = spots[row]?.[column];
    if (part !== undefined) pick({ group: here, part });
  };
  const use = useGrid({ rows, width: () => columns.length, start, at, setAt: show, pick: take });
  const stop = at ?? start;
  const short = (name: string, i: number) => (/^H\d/.test(name) ? (cell < 19 && i % 4 ? "" : cell < 24 ? name.slice(1) : name) : cell < 24 ? name.slice(0, 1) : name);
  return (
    <div data-group={own.name} style={{ width: `${side + columns.length * cell}px` }}>
      <h3 class={`aw-small aw-sname ${here === group ? "aw-strong" : ""}`}>
        <Glyph group={here} /> {own.name}, {own.prompts.length} prompts
      </h3>
      <div {...use} class="aw-heat aw-smap" role="grid" aria-label={`${own.name}: mean of every part`} style={{ gridTemplateColumns: `${side}px repeat(${columns.length}, ${cell}px)`, gridTemplateRows: `repeat(${rows}, ${cell}px)` }}>
        {spots.map((row, r) => (
          <div role="row" class="aw-contents" key={r}>
            <span role="rowheader" class="aw-vhead">
              {cell < 14 && (rows - 1 - r) % 4 ? <span class="aw-sr">L{rows - 1 - r}</span> : `L${rows - 1 - r}`}
            </span>
            {columns.map((_, c) => {
              const part = row[c];
              const tabIndex = stop.row === r && stop.column === c ? 0 : -1;
              if (part === undefined) return <span role="gridcell" key={c} tabIndex={tabIndex} />;
              const id = parts[part]?.id ?? "";
              const value = mean[part] ?? 0;
              const steady = Math.max(0, 2 * of.sameSign(here, part) - 1);
              const size = `${((cell - Math.min(7, 0.35 * cell)) * Math.sqrt(Math.abs(value) / (of.most || 1))).toFixed(1)}px`;
              return (
                <span
                  role="gridcell"
                  key={c}
                  class={`aw-spot ${own.specific.includes(part) ? "aw-ringed" : ""}`}
                  data-id={id}
                  title={store.described(id)}
                  aria-selected={part === open}
                  aria-label={of.told(here, part, tests, store.called(id))}
                  tabIndex={tabIndex}
                  onPointerEnter={() => show({ row: r, column: c })}
                  onClick={() => take({ row: r, column: c })}
                >
                  <i class={value < 0 ? "aw-neg" : "aw-pos"} style={{ width: size, height: size, opacity: FAINT + (1 - FAINT) * steady }} />
                </span>
              );
            })}
          </div>
        ))}
        <div role="row" class="aw-contents">
          <span role="columnheader" class="aw-vhead">
            <span class="aw-sr">layer</span>
          </span>
          {columns.map((name, i) => (
            <span role="columnheader" class="aw-hhead" key={name} aria-label={name} title={name}>
              {short(name, i) || <span class="aw-sr">{name}</span>}
            </span>
          ))}
        </div>
      </div>
    </div>
  );
}
