/** Two attributions side by side: A, B and B − A by part, on one scale, sorted by whichever is asked for. */
import { useState } from "preact/hooks";
import type { Container } from "../../core/host/wire";
import { digitsFor, signed } from "../../core/maths/format";
import { bySize, diverging, largest, sumOf } from "../../core/maths/geometry";
import type { ComparisonHeader } from "../../core/types";
import { BarCell } from "./table";

const NAMES = ["A", "B", "B \u2212 A"];
const TOP = 14;

export function ComparisonView({ data: { header, arrays } }: { data: Container<ComparisonHeader> }) {
  const { title, notes, unit, labels, checks } = header;
  const [by, setBy] = useState(2);
  const [all, setAll] = useState(false);
  const sides = [0, 1, 2].map((i) => [...(arrays["values"]?.at(i) ?? [])]);
  const known = sides.map((side) => side.map((v) => (Number.isNaN(v) ? 0 : v)));
  const order = bySize(known[by] ?? []);
  const shown = all ? order : order.slice(0, TOP);
  const rest = order.slice(shown.length);
  const drawn = [...shown.map((i) => known.map((side) => side[i] ?? 0)), ...(rest.length ? [known.map((side) => sumOf(rest.map((i) => side[i] ?? 0)))] : [])];
  const digits = digitsFor(largest(drawn.flat()));
  const { spans, zero } = diverging(drawn.flat());
  const sums = known.map((side) => sumOf(side));
  const cell = (i: number | undefined, side: number, value: number) => (i !== undefined && Number.isNaN(sides[side]?.[i] ?? 0) ? "" : signed(value, digits));
  return (
    <div class="aw-card aw-pad" data-part="comparison">
      <h2 class="aw-headline">{title}</h2>
      {notes.map((line) => (
        <p class="aw-sub">{line}</p>
      ))}
      <div class={`aw-scroll ${all ? "aw-tall" : ""}`} tabIndex={0} role="group" aria-label={title}>
        <table class="aw-table aw-three">
          <thead>
            <tr>
              <th scope="col">component</th>
              {NAMES.map((name, side) => (
                <>
                  <th key={name} scope="col" class="aw-right" aria-sort={by === side ? "descending" : "none"}>
                    <button title={`Sort by ${name}`} onClick={() => setBy(side)}>
                      {name}
                      {side === 0 && `, ${unit}`}
                      <span aria-hidden="true">{by === side ? " \u25bc" : ""}</span>
                    </button>
                  </th>
                  <td />
                </>
              ))}
            </tr>
          </thead>
          <tbody>
            {drawn.map((row, r) => (
              <tr key={shown[r] ?? "rest"}>
                <td>{r < shown.length ? <span class="aw-name">{labels[shown[r] ?? 0]}</span> : <span class="aw-quiet">{rest.length} others</span>}</td>
                {row.map((value, side) => (
                  <>
                    <td class="aw-right">{cell(shown[r], side, value)}</td>
                    <BarCell value={value} span={spans[NAMES.length * r + side]} zero={zero} />
                  </>
                ))}
              </tr>
            ))}
            <tr class="aw-sumrow">
              <td>sum</td>
              {sums.map((value) => (
                <>
                  <td class="aw-right">
                    <b>{signed(value, digits)}</b>
                  </td>
                  <td />
                </>
              ))}
            </tr>
          </tbody>
        </table>
      </div>
      {rest.length > 0 && (
        <button class="aw-link" onClick={() => setAll(true)}>
          Show more
        </button>
      )}
      {checks.map((line) => (
        <p class="aw-quiet aw-small aw-line-under">{line}</p>
      ))}
    </div>
  );
}
