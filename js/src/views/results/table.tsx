/** Any result as its table: the cells as they are printed, bars about one zero line, rows sorted by a click on a heading. */
import { useState } from "preact/hooks";
import { diverging } from "../../core/maths/geometry";
import type { TableHeader } from "../../core/types";
import { Track } from "../parts/bars";
import { useView } from "../parts/context";

/** The number that a cell prints, or NaN: a sign, digits, and at most a percent sign (as `_NUMBER` in table.py). */
const NUMBER = /^[<>]?[+\u2212-]?(\d[\d,]*)?(\d|\.\d+)(e[+\u2212-]?\d+)?\s?%?$/;
const numberIn = (cell: string) => (NUMBER.test(cell.trim()) ? Number.parseFloat(cell.trim().replace(/\u2212/g, "-").replace(/^[<>]|,/g, "")) : Number.NaN);

/** Largest first, words last. */
function compared(a: string, b: string): number {
  const [x, y] = [numberIn(a), numberIn(b)];
  if (Number.isNaN(x) && Number.isNaN(y)) return a.localeCompare(b, undefined, { numeric: true });
  return Number.isNaN(x) ? 1 : Number.isNaN(y) ? -1 : y - x;
}

/** Whether a column prints numbers, and is set to the right; the last one is in any case. */
const isNumeric = ({ columns, rows }: TableHeader, c: number) => c === columns.length - 1 || rows.every((r) => !r[c]?.trim() || !Number.isNaN(numberIn(r[c])));

export function TableView({ header }: { header: TableHeader }) {
  return (
    <div class="aw-card aw-pad" data-part="table">
      <TableBody header={header} />
    </div>
  );
}

/** The table without its card; `nested` inside another view, which has the larger titles. */
export function TableBody({ header, nested }: { header: TableHeader; nested?: "h3" | "h4" }) {
  const { store } = useView();
  const Title = nested ?? "h2";
  const { title, notes, columns, rows, bars, footer } = header;
  const [{ column, back }, setSorted] = useState({ column: -1, back: false });
  // others in one, and sums, stay under what they sum up
  const end = rows.length - (header.last ?? 0);
  const order = rows.map((_, i) => i).slice(0, end);
  if (column >= 0) order.sort((i, j) => (back ? -1 : 1) * compared(rows[i]?.[column] ?? "", rows[j]?.[column] ?? "") || i - j);
  for (let i = end; i < rows.length; i++) order.push(i);
  const { spans, zero } = diverging(bars.map((b) => b ?? 0));
  const right = columns.map((_, c) => (isNumeric(header, c) ? "aw-right" : ""));
  // one way, the other way, as it came
  const sort = (c: number) => setSorted(column !== c ? { column: c, back: false } : back ? { column: -1, back: false } : { column: c, back: true });
  return (
    <>
      <Title class={nested ? "aw-subtitle" : "aw-headline"}>{title}</Title>
      {notes.map((line) => (
        <p class="aw-sub">{line}</p>
      ))}
      {rows.length > 0 && (
        <div class="aw-scroll" tabIndex={0} role="group" aria-label={title}>
          <table class="aw-table">
            {columns.some(Boolean) && (
              <thead>
                <tr>
                  {columns.map((name, c) => (
                    <th key={c} scope="col" class={right[c]} aria-sort={column !== c ? "none" : back ? "ascending" : "descending"}>
                      {name && (
                        <button title={`Sort by ${name}`} onClick={() => sort(c)}>
                          {name}
                          <span aria-hidden="true">{column === c ? (back ? " \u25b2" : " \u25bc") : ""}</span>
                        </button>
                      )}
                    </th>
                  ))}
                  {bars.length > 0 && <td />}
                </tr>
              </thead>
            )}
            <tbody>
              {order.map((i) => (
                <tr key={i} class={i === end && i > 0 ? "aw-sumrow" : ""}>
                  {rows[i]?.map((cell, c) => (
                    <td class={right[c]} title={c ? undefined : store.described(cell.trim())}>
                      {cell}
                    </td>
                  ))}
                  {bars.length > 0 && <BarCell value={bars[i] ?? 0} span={spans[i]} zero={zero} />}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {footer.map((line) => (
        <p class="aw-quiet aw-small aw-line-under">{line}</p>
      ))}
    </>
  );
}

interface BarCellProps {
  value: number;
  /** the number beside it, where the bar is of what a cell prints */
  printed?: string;
  span: { left: number; width: number } | undefined;
  zero: number;
}

export function BarCell({ value, printed = String(value), span, zero }: BarCellProps) {
  return (
    <td class="aw-tbar">
      <Track value={value} printed={printed} span={span} zero={zero} />
    </td>
  );
}
