/** The card of the feature that is open, as the Explorer shows it. */
import type { Graph } from "../../core/state/graph";
import { Await } from "../parts/awaiting";
import { useView } from "../parts/context";
import { Card, cardHeight } from "../tabs/card";

export function NodeCard({ of, name }: { of: Graph; name: string }) {
  const { store } = useView();
  const feature = name.split("@")[0] ?? name;
  const card = store.data.load("feature", { id: name }, () => of.header.cards?.[feature], ({ data }) => data);
  return (
    <section class="aw-pad aw-gcard" data-part="feature" aria-label={`The card of ${feature}`}>
      <Await of={card} hold={cardHeight}>
        {(found) => <Card name={feature} card={found} tokens={of.header.tokens} />}
      </Await>
    </section>
  );
}
