/** Two attributions side by side: A, B and B − A by part and by word, on one scale, sorted by whichever is asked for. */
import { useState } from "preact/hooks";
import type { Container } from "../../core/host/wire";
import { digitsFor, signed, tiny } from "../../core/maths/format";
import { bySize, diverging, largest, sumOf } from "../../core/maths/geometry";
import type { ComparisonHeader } from "../../core/types";
import { useView } from "../parts/context";
import { Called, Token } from "../parts/names";
import { BarCell } from "./table";

type Compared = Container<ComparisonHeader>;

const NAMES = ["A", "B", "B \u2212 A"];
const TOP = 14;
const IN_ORDER = -1;

export function ComparisonView({ data }: { data: Compared }) {
  const { title, notes } = data.header;
  return (
    <div class="aw-card aw-pad" data-part="comparison">
      <h2 class="aw-headline">{title}</h2>
      {notes.map((line) => (
        <p class="aw-sub">{line}</p>
      ))}
      <ByWord data={data} />
      <ByPart data={data} />
    </div>
  );
}

/** A row for every part, and under each column what it sums to. `pick` opens a part, where there is something to open. */
export function ByPart({ data: { header, arrays }, open = "", pick }: { data: Compared; open?: string; pick?: (id: string) => (() => void) | undefined }) {
  const { store } = useView();
  const { title, unit, labels, checks, ends } = header;
  const [by, setBy] = useState(2);
  const [all, setAll] = useState(false);
  const sides = [0, 1, 2].map((i) => [...(arrays["values"]?.at(i) ?? [])]);
  const known = sides.map((side) => side.map((v) => (Number.isNaN(v) ? 0 : v)));
  const order = by === IN_ORDER ? labels.map((_, i) => i) : bySize(known[by] ?? []);
  const kept = (i: number, at: number) => all || at < TOP || labels[i] === open;
  const shown = order.filter(kept);
  const rest = order.filter((i, at) => !kept(i, at));
  const drawn = [...shown.map((i) => known.map((side) => side[i] ?? 0)), ...(rest.length ? [known.map((side) => sumOf(rest.map((i) => side[i] ?? 0)))] : [])];
  const digits = digitsFor(largest(drawn.flat()));
  const { spans, zero } = diverging(drawn.flat());
  const sums = known.map((side) => sumOf(side));
  const cell = (i: number | undefined, side: number, value: number) => (i !== undefined && Number.isNaN(sides[side]?.[i] ?? 0) ? "" : signed(value, digits));
  const heading = (name: string, to: number, right = true) => (
    <th key={name} scope="col" class={right ? "aw-right" : ""} aria-sort={by !== to ? "none" : to === IN_ORDER ? "ascending" : "descending"}>
      <button title={to === IN_ORDER ? "In the order of the model" : `Sort by ${name}`} onClick={() => setBy(to)}>
        {name}
        {to === 0 && `, ${unit}`}
        <span aria-hidden="true">{by !== to ? "" : to === IN_ORDER ? " \u25b2" : " \u25bc"}</span>
      </button>
    </th>
  );
  const under = (name: string, values: (string | undefined)[], strong = false) => (
    <tr class={strong ? "aw-sumrow" : ""} data-row={name}>
      <td class={strong ? "" : "aw-quiet"}>{name}</td>
      {values.map((value) => (
        <>
          <td class={`aw-right ${strong ? "aw-strong" : "aw-quiet"}`}>{value}</td>
          <td />
        </>
      ))}
    </tr>
  );
  return (
    <>
      <div class={`aw-scroll ${all ? "aw-tall" : ""}`} tabIndex={0} role="group" aria-label={title}>
        <table class="aw-table aw-three">
          <thead>
            <tr>
              {heading("component", IN_ORDER, false)}
              {NAMES.map((name, side) => (
                <>
                  {heading(name, side)}
                  <td />
                </>
              ))}
            </tr>
          </thead>
          <tbody>
            {drawn.map((row, r) => {
              const name = labels[shown[r] ?? -1];
              const act = name !== undefined ? pick?.(name) : undefined;
              return (
                <tr key={shown[r] ?? "rest"} data-id={name} class={act ? "aw-row" : ""} aria-current={name !== undefined && name === open ? "true" : undefined} onClick={act}>
                  <td>
                    {name === undefined ? (
                      <span class="aw-quiet">{rest.length} others</span>
                    ) : act ? (
                      <button class="aw-name" title={store.described(name)}>
                        <Called of={name} />
                      </button>
                    ) : (
                      <span class="aw-name" title={store.described(name)}>
                        <Called of={name} />
                      </span>
                    )}
                  </td>
                  {row.map((value, side) => (
                    <>
                      <td class="aw-right">{cell(shown[r], side, value)}</td>
                      <BarCell value={value} printed={cell(shown[r], side, value)} span={spans[NAMES.length * r + side]} zero={zero} />
                    </>
                  ))}
                </tr>
              );
            })}
            {under("sum", sums.map((v) => signed(v, digits)), true)}
            {ends && under("model", [...ends.map((e) => signed(e.actual, digits)), signed((ends[1]?.actual ?? 0) - (ends[0]?.actual ?? 0), digits)])}
            {ends && under("mismatch", ends.map((e) => `${tiny(Math.abs(e.gap))} ${e.exact ? "✓" : "✗"}`))}
          </tbody>
        </table>
      </div>
      {(rest.length > 0 || all) && order.length > TOP && (
        <button class="aw-link" onClick={() => setAll(!all)}>
          {all ? `Show the largest ${TOP} only` : "Show more"}
        </button>
      )}
      {!ends &&
        checks.map((line) => (
          <p class="aw-quiet aw-small aw-line-under">{line}</p>
        ))}
    </>
  );
}

/** Both prompts word under word, and what all heads together carried from each word. */
export function ByWord({ data: { header, arrays } }: { data: Compared }) {
  const { words } = header;
  if (!words) return null;
  const { a, b, same, rest } = words;
  const carried = rest && [0, 1, 2].map((i) => [...(arrays["carried"]?.at(i) ?? [])]);
  const alike = same.every(Boolean);
  const digits = carried ? digitsFor(largest(carried.flat().filter((v) => !Number.isNaN(v)))) : 2;
  const prints = (v: number | undefined) => (v === undefined || Number.isNaN(v) ? "" : signed(v, digits));
  const biases = rest?.some((v) => /[1-9]/.test(signed(v, digits)));
  const line = (name: string, texts: (string | null)[]) => (
    <tr>
      <th scope="row">{name}</th>
      {rest && <td class="aw-quiet">{name === "B" ? "" : "all heads"}</td>}
      {texts.map((text, i) => (
        <td key={i} class={same[i] ? "" : "aw-changed"}>
          {text === null ? <span class="aw-sr">nothing</span> : <Token text={text} />}
        </td>
      ))}
      {biases && <td class="aw-quiet">{name === "B" ? "" : "biases"}</td>}
    </tr>
  );
  return (
    <div class="aw-scroll" data-part="by-word" tabIndex={0} role="group" aria-label="Word under word">
      <table class="aw-table aw-bywords">
        <tbody>
          {line(alike ? "A, B" : "A", a)}
          {!alike && line("B", b)}
          {carried?.map((side, i) => (
            <tr key={i} class={i === 0 ? "aw-sumrow" : ""}>
              <th scope="row">{i === 0 ? `heads carried, A` : i === 1 ? "B" : NAMES[i]}</th>
              <td class="aw-strong">{prints(sumOf(side.filter((v) => !Number.isNaN(v))) + (rest?.[i] ?? 0))}</td>
              {side.map((v) => (
                <td class={/[1-9]/.test(prints(v)) ? (v < 0 ? "aw-minus" : "aw-plus") : "aw-quiet"}>{prints(v)}</td>
              ))}
              {biases && <td class="aw-quiet">{prints(rest?.[i])}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
