/** What a component writes into the stream, read as tokens; and which neurons of an MLP did it. */
import { plain, tokenText } from "../../core/maths/format";
import { sumOf } from "../../core/maths/geometry";
import type { Row } from "../../core/types";
import { Await, barsHeight, sidesHeight, textHeight } from "../parts/awaiting";
import { type BarRow, Bars, Sides } from "../parts/bars";
import { useView } from "../parts/context";
import { TargetName, Token } from "../parts/names";

export function Written({ row }: { row: Row }) {
  const { store } = useView();
  return (
    <Await of={store.data.writes(row.id)} hold={(width) => 6 + textHeight(72, width) + sidesHeight(8, width)}>
      {({ up, down }) => (
        <div data-part="writes">
          <p class="aw-caption">The tokens whose logits {row.id} raises and lowers most here, in logits.</p>
          <Sides sides={[words("Raises", up), words("Lowers", down)]} />
        </div>
      )}
    </Await>
  );
}

export const words = (name: string, pairs: [string, number][]) => ({
  name,
  title: name,
  rows: pairs.map(([text, value], i) => ({ key: String(i), label: <Token text={text} />, title: tokenText(text), value })),
});

export function Neurons({ row }: { row: Row }) {
  const { store } = useView();
  return (
    <Await of={store.data.neurons(row.id)} hold={(width) => 16 + barsHeight(15) + textHeight(180, width)}>
      {(n) => {
        const more: [string, number | null][] = [
          [`${n.rest_count} others`, n.rest_count && n.rest],
          ["output bias", n.bias],
          ["rounding", n.rounding],
        ];
        // An expert is no single number that one may ask for.
        const ask = !store.fixed.value && !row.mixture;
        const rows: BarRow[] = n.labels.map((label, i) => ({
          key: label,
          label: row.mixture ? <Expert name={label} weight={n.weights?.[i]} /> : label,
          value: n.values[i] ?? 0,
          title: store.described(label) ?? "",
          ...(ask && { title: `Why ${label} fired; ${store.described(label)}`, act: () => store.explain({ neuron: label }) }),
        }));
        for (const [label, value] of more) if (value) rows.push({ key: label, label, value, quiet: true });
        const sum = sumOf(rows.map((r) => r.value));
        return (
          <div data-part="neurons">
            <p class="aw-caption">
              {row.mixture ? `The experts of ${row.id} that the router chose, with its weights, and what they wrote` : `The neurons of ${row.id} that wrote most`}{" "}
              to <TargetName />; all rows sum to {store.reading.value?.signed(sum)}.
              {ask && <span class="aw-do"> Click a neuron to ask why it fired.</span>}
            </p>
            <Bars label={`${row.mixture ? "Experts" : "Neurons"} of ${row.id}`} rows={rows} />
          </div>
        );
      }}
    </Await>
  );
}

/** E3, and how much the router gave it; the experts that every token passes have no weight. */
function Expert({ name, weight }: { name: string; weight: number | null | undefined }) {
  return (
    <>
      {name.replace(/^.*\//, "")} {weight != null && <span class="aw-num">weight {plain(weight)}</span>}
    </>
  );
}
