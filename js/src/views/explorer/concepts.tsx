/** What every part wrote, by concept: cumulative bars as of the parts, a feature of all heads of a layer in one row. */
import { useState } from "preact/hooks";
import { bySize, largest, sumOf, waterfall } from "../../core/maths/geometry";
import type { Reading } from "../../core/state/reading";
import type { Concept as Found, Concepts, Row } from "../../core/types";
import { Await, Hidden, barsHeight } from "../parts/awaiting";
import { type BarRow, Bars, Check, ranked } from "../parts/bars";
import { useView } from "../parts/context";
import { Called, Token } from "../parts/names";
import { Find } from "./find";
import { Chip } from "./verdict";
import { pressed, useRoving } from "../parts/roving";
import { Axis, Lines, Step } from "../parts/steps";
import { COMPUTED, Concept, featureName } from "../tabs/features";

const TOP = 13;

export function ByConcept() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  // labels name tokens, rows sum to the number
  const part = store.covered("values", "candidates", "sum", "detail");
  if (part) return <Hidden part={part} what="the concepts" />;
  return (
    <div data-part="concepts">
      <Await of={store.data.concepts()} hold={() => barsHeight(26)}>{(found) => (
        <>
          <Find reading={reading} />
          <Listed of={found} reading={reading} />
        </>
      )}</Await>
    </div>
  );
}

/** What a click on a concept selects: the feature, read through the part that wrote most of it; "" where no row is one. */
function picked({ id, parts }: Found, reading: Reading): string {
  const through = parts?.[0]?.[0] ?? id;
  return reading.has(through) ? (parts ? `${through}/${id.split("/")[1]}` : id) : "";
}

function Listed({ of: { title, note, rows, rest, rest_count, unsaid }, reading }: { of: Concepts; reading: Reading }) {
  const { store } = useView();
  const [all, setAll] = useState(false);
  const [opened, setOpened] = useState(false);
  const row = reading.row(store.open.value);
  const feature = store.feature.value;
  const here = row && feature >= 0 ? featureName(row, feature) : store.selected.value;
  const shown = rows.filter((one, i) => all || i < TOP || one.id === here);
  const count = rest_count + rows.length - shown.length;
  const missed = sumOf(unsaid.map(([, value]) => value));
  const named = shown.map(({ value }) => value);
  const others = sumOf(rows.map(({ value }) => value)) + rest - sumOf(named);
  const bars = [...named, ...(count ? [others] : []), missed];
  const { actual, target } = reading.header;
  const chart = waterfall(bars, actual);
  const rove = useRoving(shown.findIndex(({ id }) => id === here));
  const said = (value: number) => reading.signed(value);
  const total = sumOf(bars);
  return (
    <>
      <h3 class="aw-subtitle">{title}</h3>
      <div class="aw-waterfall aw-concepts">
        <Axis chart={chart}>
          <span class="aw-val">{target.unit.length < 9 && target.unit}</span>
        </Axis>
        <div class="aw-rows">
          <Lines chart={chart} />
          <div role="listbox" aria-label={`Concepts${reading.unit}, largest first`} {...rove.list}>
            {shown.map((one, at) => {
              const { id, label, value, parts } = one;
              const to = picked(one, reading);
              const pick = () => to && store.select(to);
              const found = store.lab.of(id);
              return (
                <div key={id} role="option" class="aw-wrow aw-row" data-id={id} data-i={at} title={label ? `${label}: ${id}` : (parts ? id : `${store.described(id) ?? id}; no dictionary`)} aria-selected={id === here} aria-disabled={!to} tabIndex={rove.tabIndex(at)} onClick={pick} onKeyDown={pressed(pick)}>
                  <span class="aw-name">
                    {parts ? <Concept text={label} below={parts.length > 1 ? `${id} · ${parts[0]?.[0]}, …` : id} /> : <Called of={id} />}
                    {found && <Chip of={found} />}
                  </span>{" "}
                  <Step chart={chart} at={at} value={value} said={said} />
                  <span class="aw-val">{said(value)}</span>
                </div>
              );
            })}
          </div>
          {count > 0 && (
            <button class="aw-wrow aw-row aw-others" disabled={shown.length === rows.length} aria-expanded={all} onClick={() => setAll(true)}>
              <span class="aw-name">
                {count} others{shown.length < rows.length && " ▸"}
              </span>{" "}
              <Step chart={chart} at={shown.length} value={others} said={said} many />
              <span class="aw-val">{said(others)}</span>
            </button>
          )}
          <button class="aw-wrow aw-row aw-others" data-part="unsaid" aria-expanded={opened} onClick={() => setOpened(!opened)}>
            <span class="aw-name">in no feature {opened ? "▾" : "▸"}</span> <Step chart={chart} at={bars.length - 1} value={missed} said={said} many />
            <span class="aw-val">{said(missed)}</span>
          </button>
        </div>
        {opened && <Bars label="In no feature, by part" rows={ranked(unsaid.map(([, value]) => value), 10, (i) => ({ key: unsaid[i]?.[0] ?? "", label: unsaid[i]?.[0] ?? "" }))} />}
      </div>
      <Check total={total} name="model" value={reading.plain(actual)} gap={total - actual} unit={target.unit} most={largest(bars)} />
      <p class="aw-quiet aw-small">
        {note} {COMPUTED}
      </p>
    </>
  );
}

/** Which parts wrote a feature, and the word that each of them read most; a click goes on there. */
export function WrittenBy({ row, feature }: { row: Row; feature: number }) {
  const { store } = useView();
  const reading = store.reading.value;
  const name = featureName(row, feature);
  const listed = store.data.features(row.id).value;
  const known = store.screen.order.value === "concepts" ? store.data.concepts().value : undefined;
  if (!reading || store.hides("values")) return null;
  const own = listed.state === "ready" ? listed.value.values[listed.value.numbers.indexOf(feature)] : undefined;
  const found = known?.state === "ready" ? known.value.rows.find(({ id }) => id === name) : undefined;
  const parts: [string, number][] = found?.parts ?? (own === undefined ? [] : [[row.id, own]]);
  if (!parts.length || (row.kind !== "head" && parts.length < 2)) return null;
  const rows: BarRow[] = parts.map(([id, value]) => {
    const sources = reading.sources(id, undefined);
    const from = sources ? reading.leadSource(sources, reading.value(id)) : -1;
    return {
      key: id,
      label: from < 0 ? <Called of={id} /> : (
        <>
          <Called of={id} /> reads <Token text={reading.tokens[from] ?? ""} />
        </>
      ),
      value,
      ...(from >= 0 && {
        title: `Who wrote what ${id} took from there`,
        act: () => {
          store.screen.tab.value = "tokens";
          store.select(id, from);
        },
      }),
    };
  });
  if (found?.rest) rows.push({ key: "rest", label: `${found.rest[1]} others`, value: found.rest[0], quiet: true });
  return (
    <div class="aw-concepts" data-part="written-by">
      <h4 class="aw-sidetitle">Written by</h4>
      <Bars label={`Who wrote ${name}`} rows={rows} />
    </div>
  );
}

/** The feature that says most of a part, where it is known already. */
export function Mostly({ row, reading }: { row: Row; reading: Reading }) {
  const { store } = useView();
  const found = reading.header.features?.[row.id];
  const [at = -1] = bySize(found?.values ?? []);
  const [value, number] = [found?.values[at] ?? 0, found?.numbers[at] ?? -1];
  if (!found || number < 0 || Math.abs(value) <= Math.abs(found.error) || store.hides("candidates") || store.hides("values")) return null;
  return (
    <>
      {" "}
      Its largest feature:{" "}
      <button class="aw-link" data-part="mostly" onClick={() => store.select(`${row.id}/${number}`)}>
        {found.concepts[at] || featureName(row, number)}
      </button>{" "}
      {reading.signed(value)}.
    </>
  );
}
