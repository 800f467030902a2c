/** Tokens shaded by what they carried through a head; a click on one asks who wrote that. */
import { useRef } from "preact/hooks";
import { shade, sign } from "../../core/maths/colour";
import { digitsFor, signed, tokenText } from "../../core/maths/format";
import { bySize, sumOf } from "../../core/maths/geometry";
import type { Sources } from "../../core/state/reading";
import type { Row } from "../../core/types";
import { Await, barsHeight, textHeight } from "../parts/awaiting";
import { Bars, opens, ranked } from "../parts/bars";
import { useView } from "../parts/context";
import { Token } from "../parts/names";
import { heatHeight } from "../parts/heat";
import { TokenList } from "../parts/tokens";
import { HeadPattern } from "./pattern";

const MANY = 24;
const TOP = 8;

export function Tokens({ row }: { row: Row }) {
  const { store } = useView();
  const late = useRef("");
  const reading = store.reading.value;
  if (!reading) return null;
  const embedded = reading.sources(row.id, undefined);
  const panel = embedded && <Panel row={row} sources={embedded} />;
  if (panel && late.current !== row.id) return panel;
  late.current = row.id;
  return (
    <Await of={store.data.pattern(row.id)} hold={(width) => 190 + (store.screen.order.value === "heads" ? 0 : heatHeight(reading.tokens, width, true))} instead={panel}>
      {(pattern) => {
        const sources = reading.sources(row.id, pattern);
        return sources ? <Panel row={row} sources={sources} /> : <p class="aw-quiet">{reading.reason(row)}</p>;
      }}
    </Await>
  );
}

function Panel({ row, sources }: { row: Row; sources: Sources }) {
  const { store } = useView();
  const source = store.source.value;
  const carried = sources.tokens[source];
  return (
    <>
      <Carried row={row} sources={sources} />
      {carried === undefined ? store.screen.order.value !== "heads" && <HeadPattern row={row} compact /> : <ThroughPanel row={row} source={source} carried={carried} least={sources.digits} />}
    </>
  );
}

function Carried({ row, sources }: { row: Row; sources: Sources }) {
  const { store, palette } = useView();
  const reading = store.reading.value;
  const source = store.source.value;
  if (!reading) return null;
  const values = sources.tokens;
  const order = bySize(values);
  const most = Math.abs(values[order[0] ?? 0] ?? 0);
  const many = values.length > MANY;
  const show = (v: number) => signed(v, sources.digits);
  const named = new Set(order.slice(0, TOP));
  return (
    <div data-part="tokens">
      <p class="aw-caption">
        What each token contributed through {row.id}{reading.unit}. <span class="aw-do">Click a token to see who wrote what it carried.</span>
      </p>
      <TokenList
        look={`aw-carried ${many ? "aw-flow" : ""}`}
        label={`Tokens by what they carried${reading.unit}`}
        current={source}
        pick={(s) => store.select(row.id, s === source ? -1 : s)}
        escape={() => store.select(row.id)}
        first={order[0] ?? 0}
        items={Array.from(values, (v, s) => ({
          text: reading.tokens[s] ?? "",
          number: !many || named.has(s) ? show(v) : undefined,
          about: `: ${show(v)}`,
          style: shade(palette.value, sign(palette.value, v * 0.85, most)),
          quiet: reading.special(s),
        }))}
      />
      <p class="aw-quiet aw-small">
        The tokens ({show(sumOf(values))}){sources.rounding ? "," : " and"} the value bias ({show(sources.bias)})
        {sources.rounding ? ` and rounding (${show(sources.rounding)})` : ""} sum to {show(sources.sum)}.
      </p>
    </div>
  );
}

/** Which upstream parts wrote what a source token carried through the head. */
function ThroughPanel({ row, source, carried, least }: { row: Row; source: number; carried: number; least: number }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const token = reading.tokens[source] ?? "";
  const digits = Math.max(least, digitsFor(Math.abs(carried)));
  return (
    <div class="aw-through" data-part="through">
      <h4 class="aw-subtitle">
        Who wrote the {signed(carried, digits)} that <Token text={token} /> carried?
      </h4>
      <Await of={store.data.through(row.id, source)} hold={(width) => barsHeight(11) + textHeight(100, width)}>
        {({ labels, values }) => (
          <>
            <Bars label={`Parts that wrote what ${tokenText(token)} carried`} rows={ranked(values, 10, (i) => opens(store, labels[i] ?? ""))} />
            <p class="aw-quiet aw-small">
              Written at <Token text={token} /> before layer {row.layer}; patterns and norms held as they were. Sum{" "}
              {signed(sumOf(values), digits)}.
            </p>
          </>
        )}
      </Await>
      <button class="aw-link" onClick={() => store.select(row.id)}>
        Back to the pattern
      </button>
    </div>
  );
}
