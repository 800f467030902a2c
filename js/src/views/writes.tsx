/** What a component writes into the stream, read as tokens; and which neurons of an MLP did it. */
import { tokenText } from "../core/format";
import { sumOf } from "../core/geometry";
import type { Row } from "../core/types";
import { Await, type BarRow, Bars, Sides, TargetName, Token, useView } from "./common";

export function Written({ row }: { row: Row }) {
  const { store } = useView();
  return (
    <Await of={store.data.writes(row.id)}>
      {({ up, down }) => (
        <div data-part="writes">
          <p class="aw-caption">The tokens whose logits {row.id} raises and lowers most here, in logits.</p>
          <Sides sides={[words("Raises", up), words("Lowers", down)]} />
        </div>
      )}
    </Await>
  );
}

const words = (name: string, pairs: [string, number][]) => ({
  name,
  title: name,
  rows: pairs.map(([text, value], i) => ({ key: String(i), label: <Token text={text} />, title: tokenText(text), value })),
});

export function Neurons({ row }: { row: Row }) {
  const { store } = useView();
  return (
    <Await of={store.data.neurons(row.id)}>
      {(n) => {
        const more: [string, number | null][] = [
          [`${n.rest_count} others`, n.rest_count && n.rest],
          ["output bias", n.bias],
          ["rounding", n.rounding],
        ];
        const rows: BarRow[] = n.labels.map((label, i) => ({
          key: label,
          label,
          value: n.values[i] ?? 0,
          ...(!store.fixed.value && { title: `Why ${label} fired`, act: () => store.explain({ neuron: label }) }),
        }));
        for (const [label, value] of more) if (value) rows.push({ key: label, label, value, quiet: true });
        const sum = sumOf(rows.map((r) => r.value));
        return (
          <div data-part="neurons">
            <p class="aw-caption">
              The neurons of {row.id} that wrote most to <TargetName />; all rows sum to {store.reading.value?.signed(sum)}.
              {!store.fixed.value && <span class="aw-do"> Click a neuron to ask why it fired.</span>}
            </p>
            <Bars label={`Neurons of ${row.id}`} rows={rows} />
          </div>
        );
      }}
    </Await>
  );
}
