/** A map of one's own numbers, with named rows and columns. */
import type { Container } from "../../core/host/wire";
import { css, inkOn, sign } from "../../core/maths/colour";
import { digitsFor, signed, tokenText } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import type { GridHeader } from "../../core/types";
import { useView } from "../parts/context";
import { longest, useGrid, usePages, useWidth } from "../parts/grid";
import { Token } from "../parts/names";

export function GridView({ data: { header, arrays } }: { data: Container<GridHeader> }) {
  const { palette, store } = useView();
  const { title, unit, rows, columns } = header;
  const values = arrays["values"]?.at() ?? new Float32Array();
  const most = largest(values);
  const digits = digitsFor(most);
  const [box, width] = useWidth();
  const n = columns.length;
  const side = 7.6 * Math.min(24, longest(rows)) + 12;
  const { at, setAt, columns: shown, inside, pager } = usePages(n, Math.floor((width - side) / 30), 0);
  const cell = Math.floor(Math.min(72, (width - side) / shown.length - 3));
  const start = { row: 0, column: shown[0] ?? 0 };
  const use = useGrid({ rows: rows.length, width: () => n, start, at, setAt });
  const stop = at && at.column === inside(at.column) ? at : start;
  const chars = longest(shown.map((c) => columns[c] ?? ""));
  const upright = chars * 6.8 > cell + 2;
  const value = (row: number, column: number) => values[row * n + column] ?? 0;
  const tell = (row: number, column: number) => `${tokenText(rows[row] ?? "")}, ${tokenText(columns[column] ?? "")}: ${signed(value(row, column), digits)} ${unit}`;
  return (
    <div class="aw-card aw-pad" data-part="shown-grid">
      <h2 class="aw-headline">{title}</h2>
      <div ref={box} class="aw-scroll aw-tall">
        <div
          {...use}
          class={`aw-heat aw-patches ${upright ? "aw-upright" : ""}`}
          role="grid"
          aria-label={title}
          style={{ gridTemplateColumns: `${side - 3}px repeat(${shown.length}, ${cell}px)`, "--aw-head": `${Math.min(90, chars * 7 + 8)}px` }}
        >
          <div role="row" class="aw-contents">
            <span role="columnheader" class="aw-vhead" />
            {shown.map((c) => (
              <span role="columnheader" key={c} class={`aw-hhead ${at?.column === c ? "aw-on" : ""}`} title={store.described(columns[c] ?? "") ?? tokenText(columns[c] ?? "")}>
                <Token text={columns[c] ?? ""} />
              </span>
            ))}
          </div>
          {rows.map((name, r) => (
            <div role="row" class="aw-contents" key={r}>
              <span role="rowheader" class={`aw-vhead ${at?.row === r ? "aw-on" : ""}`} title={store.described(name) ?? tokenText(name)}>
                <Token text={name} />
              </span>
              {shown.map((c) => {
                const colour = sign(palette.value, value(r, c), most);
                return (
                  <span
                    role="gridcell"
                    key={c}
                    class="aw-cell"
                    tabIndex={stop.row === r && stop.column === c ? 0 : -1}
                    style={{ backgroundColor: css(colour), color: css(inkOn(palette.value, colour)) }}
                    onPointerEnter={() => setAt({ row: r, column: c })}
                  >
                    <span aria-hidden="true">{cell > 36 && Math.abs(value(r, c)) >= most / 10 && signed(value(r, c), digits)}</span>
                    <span class="aw-sr">{tell(r, c)}</span>
                  </span>
                );
              })}
            </div>
          ))}
        </div>
      </div>
      {pager}
      <p class="aw-readout" aria-live="polite">
        {at ? tell(at.row, at.column) : <span class="aw-quiet">Blue is above zero, orange below{unit && `, in ${unit}`}. Point at a cell, or use the arrow keys.</span>}
      </p>
    </div>
  );
}
