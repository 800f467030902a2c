/** Bars around a common zero, and the line that says what they sum to. */
import type { ComponentChildren } from "preact";
import { digitsFor, plain, readsZero, signed, tiny } from "../../core/maths/format";
import { bySize, diverging, largest, sumOf } from "../../core/maths/geometry";
import type { Store } from "../../core/state/store";
import { Called } from "./names";

export interface BarRow {
  key: string;
  label: ComponentChildren;
  value: number;
  title?: string;
  /** what a click does; no button without it */
  act?: ((event: MouseEvent) => void) | undefined;
  quiet?: boolean;
}

/** The largest values as rows, and the others summed in one. */
export function ranked(values: ArrayLike<number>, top: number, row: (i: number) => Omit<BarRow, "value">): BarRow[] {
  const order = bySize(values).filter((i) => values[i] !== 0);
  const rest = order.slice(top);
  const rows: BarRow[] = order.slice(0, top).map((i) => ({ ...row(i), value: values[i] ?? 0 }));
  if (rest.length) rows.push({ key: "rest", label: `${rest.length} others`, value: sumOf(rest.map((i) => values[i] ?? 0)), quiet: true });
  return rows;
}

/** A row that opens the component it names. (The norm and the rounding of an inner place are not those of the bars.) */
export function opens(store: Store, id: string): Omit<BarRow, "value"> {
  const known = store.reading.value?.has(id) && id !== "norm.bias" && id !== "rounding";
  return { key: id, label: <Called of={id} />, title: store.described(id) ?? "", ...(known && { act: () => store.select(id) }) };
}

export interface Side {
  name: string;
  title: ComponentChildren;
  rows: BarRow[];
  sum?: number;
}

/** Two lists beside each other, on one scale. */
export function Sides({ sides }: { sides: Side[] }) {
  const scale = sides.flatMap((s) => s.rows.map((r) => r.value));
  return (
    <div class="aw-sides">
      {sides.map(({ name, title, rows, sum }) => (
        <div>
          <h4 class="aw-sidetitle">{title}</h4>
          {rows.length ? <Bars label={name} rows={rows} scale={scale} /> : <p class="aw-quiet">None.</p>}
          {sum !== undefined && (
            <p class="aw-total">
              <span class="aw-quiet">sum</span> {signed(sum, digitsFor(largest(scale)))}
            </p>
          )}
        </div>
      ))}
    </div>
  );
}

interface CheckProps {
  total: number;
  /** what the sum is held against, and its number as printed; "" for nothing */
  name: string;
  value: string;
  /** null where there is nothing to hold it against */
  gap: number | null;
  unit: string;
  /** the largest bar, which says how many digits to print */
  most: number;
}

/** The line under bars: their sum beside the number that they split. */
export function Check({ total, name, value, gap, unit, most }: CheckProps) {
  return (
    <p class="aw-total aw-check" data-part="sum">
      <span>
        sum <b>{plain(total, digitsFor(most))}</b>
      </span>
      {name && (
        <span>
          {name} <b>{value}</b>
        </span>
      )}
      <span>
        {gap === null ? unit : `mismatch ${tiny(Math.abs(gap))} · ${unit}`}
      </span>
    </p>
  );
}

interface TrackProps {
  value: number;
  /** the number as it stands beside the bar */
  printed: string;
  span: { left: number; width: number } | undefined;
  /** where 0 is, as a share */
  zero: number;
  many?: boolean | undefined;
}

/** One bar about a zero line; none where the number beside it reads 0.00. */
export function Track({ value, printed, span, zero, many }: TrackProps) {
  const at = (x: number) => `${100 * x}%`;
  return (
    <span class="aw-track" aria-hidden="true">
      <i class="aw-zero" style={{ left: at(zero) }} />
      {span && !readsZero(printed) && <i class={`aw-bar ${value < 0 ? "aw-neg" : "aw-pos"} ${many ? "aw-many" : ""}`} style={{ left: at(span.left), width: at(span.width) }} />}
    </span>
  );
}

/** Bars around a common zero, with names and printed numbers. `scale`: all values that share it, when there are more. */
export function Bars({ rows, label, scale }: { rows: BarRow[]; label: string; scale?: number[] }) {
  const values = rows.map((r) => r.value);
  const digits = digitsFor(largest(scale ?? values));
  const { spans, zero } = diverging(values, scale);
  return (
    <ul class="aw-bars" aria-label={label}>
      {rows.map((row, i) => {
        const printed = signed(row.value, digits);
        const inside = (
          <>
            <span class="aw-name">{row.label}</span>
            <Track value={row.value} printed={printed} span={spans[i]} zero={zero} many={row.quiet} />
            <span class="aw-val">{printed}</span>
          </>
        );
        return (
          <li key={row.key}>
            {row.act ? (
              <button class="aw-brow" title={row.title} onClick={row.act}>
                {inside}
              </button>
            ) : (
              <div class="aw-brow" title={row.title}>
                {inside}
              </div>
            )}
          </li>
        );
      })}
    </ul>
  );
}
