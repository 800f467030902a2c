/** What a component writes into the stream, read as tokens; and which neurons of an MLP did it. */
import { signed, tokenText } from "../core/format";
import type { Row } from "../core/types";
import { Await, Bars, TargetName, Token, useView } from "./common";

export function Written({ row }: { row: Row }) {
  const { store } = useView();
  return (
    <Await of={store.data.writes(row.id)}>
      {({ up, down }) => (
        <div data-part="writes">
          <p class="aw-caption">The tokens whose logits {row.id} raises and lowers most here, in logits.</p>
          <div class="aw-sides">
            <div class="aw-side">
              <h4 class="aw-sidetitle">Raises</h4>
              <Words pairs={up} label="Tokens raised" />
            </div>
            <div class="aw-side">
              <h4 class="aw-sidetitle">Lowers</h4>
              <Words pairs={down} label="Tokens lowered" />
            </div>
          </div>
        </div>
      )}
    </Await>
  );
}

function Words({ pairs, label }: { pairs: [string, number][]; label: string }) {
  const rows = pairs.map(([text, value], i) => ({ key: String(i), label: <Token text={text} />, title: tokenText(text), value }));
  return rows.length ? <Bars rows={rows} label={label} /> : <p class="aw-quiet">None.</p>;
}

export function Neurons({ row }: { row: Row }) {
  const { store } = useView();
  const value = store.reading.value?.value(row.id) ?? 0;
  return (
    <Await of={store.data.neurons(row.id)}>
      {(n) => (
        <div data-part="neurons">
          <p class="aw-caption">
            The neurons of {row.id} that wrote most to <TargetName />; everything sums to {signed(value)}.
          </p>
          <Bars
            label={`Neurons of ${row.id}`}
            rows={[
              ...n.labels.map((label, i) => ({ key: label, label, value: n.values[i] ?? 0 })),
              ...(n.rest_count ? [{ key: "rest", label: `${n.rest_count} others`, value: n.rest, quiet: true }] : []),
              ...(n.bias ? [{ key: "bias", label: "output bias", value: n.bias, quiet: true }] : []),
              ...(n.rounding !== null && n.rounding !== undefined ? [{ key: "rounding", label: "rounding", value: n.rounding, quiet: true }] : []),
            ]}
          />
        </div>
      )}
    </Await>
  );
}
