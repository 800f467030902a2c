/** A small result that sums to its parent: bars around zero. */
import { useState } from "preact/hooks";
import type { Container } from "../../core/host/wire";
import { digitsFor, signed, tokenText } from "../../core/maths/format";
import { bySize, largest, sumOf } from "../../core/maths/geometry";
import type { BarsHeader } from "../../core/types";
import { Observed } from "../parts/awaiting";
import { Bars, Check } from "../parts/bars";
import { useView } from "../parts/context";
import { Called, Token } from "../parts/names";
import { COMPUTED, Concept } from "../tabs/features";

const TOP = 24;
const MOST = 400;

export function BarsView({ data }: { data: Container<BarsHeader> }) {
  const { store } = useView();
  const [expanded, setExpanded] = useState(false);
  const { header, arrays } = data;
  const values = arrays["values"]?.at() ?? new Float32Array();
  const most = largest(values);
  const natural = !header.own && (header.rows.every((r) => r.token || r.kind === "bias" || r.kind === "rounding"));
  // of dictionaries, what no feature says stands last, however small, as in their tables
  const said = header.rows.at(-1)?.kind === "error" ? header.rows.reduce((last, r, i) => (r.kind === "feature" || r.kind === "component" ? i : last), -1) : -1;
  const features = said < 0 ? header.rows.length : said + 1;
  const order = natural ? header.rows.map((_, i) => i) : bySize(values).filter((i) => i < features);
  const count = expanded ? MOST : natural ? Math.max(TOP, 60) : TOP;
  const shown = [...order.slice(0, count), ...(natural ? [] : header.rows.map((_, i) => i).slice(features))];
  const named = header.rows.some((r) => r.concept);
  const rest = order.slice(count);
  return (
    <div class="aw-card aw-pad" data-part="bars">
      <h2 class="aw-headline">{header.title}</h2>
      {header.note && <p class="aw-sub">{header.note}</p>}
      {!header.own && <Observed />}
      <div class={`aw-scroll aw-tall ${named ? "aw-concepts" : ""}`} tabIndex={0} role="group" aria-label={header.title}>
        <Bars
          label={header.title}
          rows={[
            ...shown.map((i) => {
              const row = header.rows[i];
              const text = row?.label ?? "";
              return { key: String(i), label: row?.token ? <Token text={text} /> : named ? <Concept text={row?.concept} below={text} /> : <Called of={text} />, title: (!row?.token && store.described(text)) || tokenText(text), value: values[i] ?? 0 };
            }),
            ...(rest.length ? [{ key: "rest", label: `${rest.length} others`, value: sumOf(rest.map((i) => values[i] ?? 0)), quiet: true }] : []),
          ]}
        />
      </div>
      {named && <p class="aw-quiet aw-small">{COMPUTED}</p>}
      {rest.length > 0 && !expanded && (
        <button class="aw-link" onClick={() => setExpanded(true)}>
          Show more
        </button>
      )}
      <Check
        total={header.total}
        name={header.parent}
        value={signed(header.parent_value, digitsFor(most))}
        gap={header.own ? header.gap : (header.gap ?? 0)}
        unit={header.unit}
        most={most}
      />
    </div>
  );
}
