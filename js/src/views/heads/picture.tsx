/** The pattern of the head that is pointed at or locked, or the mean of a set; as squares, or as lines between words. */
import type { Reading } from "../../core/state/reading";
import type { Store } from "../../core/state/store";
import type { Row } from "../../core/types";
import { NotYet } from "../parts/awaiting";
import { useView } from "../parts/context";
import { useWidth } from "../parts/grid";
import { heatHeight } from "../parts/heat";
import { Seg } from "../parts/seg";
import { Weighted } from "../tabs/pattern";

/** The heads whose pattern is drawn: the set, else the one that is locked, pointed at, or leads. */
function drawnHeads(store: Store, reading: Reading): Row[] {
  const heads = (ids: string[]) => ids.map((id) => reading.row(id)).filter((row) => row?.kind === "head") as Row[];
  const set = heads(store.chosen.value);
  if (set.length > 1) return set;
  const { peek } = store.screen;
  // what is pointed at asks for nothing
  const [seen] = heads([peek.value]);
  return heads([store.selected.value.replace(/\/\d+$/, ""), seen && reading.weights(seen) ? peek.value : "", store.open.value, reading.lead]).slice(0, 1);
}

export function HeadPicture() {
  const { store } = useView();
  const [box, width] = useWidth();
  const reading = store.reading.value;
  if (!reading || store.covered("values", "heads")) return null;
  const heads = drawnHeads(store, reading);
  if (!heads.length) return null;
  const { heads: form } = store.screen;
  const loaded = heads.map((row) => store.data.pattern(row.id).value);
  const ready = loaded.flatMap((l) => (l.state === "ready" ? [l.value] : []));
  const late = loaded.find((l) => l.state !== "ready");
  const worth = form.value.weighting === "contribution" && heads.every((row) => reading.carries(row));
  const locked = heads[0]?.id === store.selected.value && heads.length === 1;
  return (
    <div data-part="head-picture" data-of={heads.map(({ id }) => id).join(" ")} ref={box} style={late?.state === "absent" ? {} : { minHeight: `${heatHeight(reading.tokens, width, true) + 64}px` }}>
      <div class="aw-take">
        <b>{heads.length > 1 ? `Mean of ${heads.length} heads` : heads[0]?.id}</b>
        <span class="aw-quiet aw-small">{worth ? "contribution" : "attention"}</span>
        {locked ? (
          <button class="aw-link" data-part="unlock" onClick={() => store.select("")}>
            locked × Esc
          </button>
        ) : (
          heads.length < 2 && <span class="aw-quiet aw-small">click to lock</span>
        )}
        <Seg label="Shown as" ways={[["squares", "squares"], ["lines", "lines"]]} now={form.value.drawn} pick={(drawn) => (form.value = { ...form.value, drawn })} />
      </div>
      {late ? <NotYet loaded={late} /> : <Weighted reading={reading} heads={heads} patterns={ready} weighting={worth ? "contribution" : "probability"} compact form={form.value} />}
    </div>
  );
}
