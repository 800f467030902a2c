/** Tokens shaded by what they carried through a head; a click on one asks who wrote that. */
import { shade, sign } from "../core/colour";
import { digitsFor, signed, tokenText } from "../core/format";
import { bySize, sumOf } from "../core/geometry";
import type { Sources } from "../core/reading";
import type { Row } from "../core/types";
import { Await, Bars, opens, ranked, Token, TokenList, useView } from "./common";
import { HeadPattern } from "./pattern";

const MANY = 24;
const TOP = 8;

export function Tokens({ row }: { row: Row }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const embedded = reading.sources(row.id, undefined);
  if (embedded) return <Panel row={row} sources={embedded} />;
  return (
    <Await of={store.data.pattern(row.id)}>
      {(pattern) => {
        const sources = reading.sources(row.id, pattern);
        return sources ? <Panel row={row} sources={sources} /> : <p class="aw-quiet">{reading.header.model.reason}</p>;
      }}
    </Await>
  );
}

function Panel({ row, sources }: { row: Row; sources: Sources }) {
  const source = useView().store.source.value;
  const carried = sources.tokens[source];
  return (
    <>
      <Carried row={row} sources={sources} />
      {carried === undefined ? <HeadPattern row={row} compact /> : <ThroughPanel row={row} source={source} carried={carried} />}
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
  const digits = digitsFor(most);
  const named = new Set(order.slice(0, TOP));
  const unit = reading.header.target.unit;
  const extra = sources.rounding ? `, the value bias (${signed(sources.bias, digits)}) and rounding (${signed(sources.rounding, digits)})` : ` and the value bias (${signed(sources.bias, digits)})`;
  return (
    <div data-part="tokens">
      <p class="aw-caption">
        What each token contributed through {row.id}, in {unit}. <span class="aw-do">Click a token to see who wrote what it carried.</span>
      </p>
      <TokenList
        look={`aw-carried ${many ? "aw-flow" : ""}`}
        label={`Tokens by what they carried, in ${unit}`}
        current={source}
        pick={(s) => store.select(row.id, s === source ? -1 : s)}
        escape={() => store.select(row.id)}
        first={order[0] ?? 0}
        items={Array.from(values, (v, s) => ({
          text: reading.tokens[s] ?? "",
          number: !many || named.has(s) ? signed(v, digits) : undefined,
          about: `: ${signed(v, digits)}`,
          style: shade(palette.value, sign(palette.value, v * 0.85, most)),
          quiet: reading.special(s),
        }))}
      />
      <p class="aw-quiet aw-small">
        The tokens ({signed(sumOf(values), digits)}){extra} sum to {signed(sources.sum, digits)}.
      </p>
    </div>
  );
}

/** Which upstream parts wrote what a source token carried through the head. */
function ThroughPanel({ row, source, carried }: { row: Row; source: number; carried: number }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const token = reading.tokens[source] ?? "";
  return (
    <div class="aw-through" data-part="through">
      <h4 class="aw-subtitle">
        Who wrote the {signed(carried, digitsFor(Math.abs(carried)))} that <Token text={token} /> carried?
      </h4>
      <Await of={store.data.through(row.id, source)}>
        {({ labels, values }) => {
          const sum = sumOf(values);
          const digits = digitsFor(Math.abs(carried));
          return (
            <>
              <Bars label={`Parts that wrote what ${tokenText(token)} carried`} rows={ranked(values, 10, (i) => opens(store, labels[i] ?? ""))} />
              <p class="aw-quiet aw-small">
                Written at <Token text={token} /> before layer {row.layer}; patterns and norms held as they were. Sum {signed(sum, digits)}
                {Math.abs(sum - carried) > 0.005 && <> of {signed(carried, digits)}: the rest is this layer's own norm and bias</>}.
              </p>
            </>
          );
        }}
      </Await>
      <button class="aw-link" onClick={() => store.select(row.id)}>
        Back to the pattern
      </button>
    </div>
  );
}
