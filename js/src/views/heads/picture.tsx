/** The pattern of the head that is pointed at or locked, or the mean of a set; as squares, or as lines between words. */
import type { Reading } from "../../core/state/reading";
import type { Store } from "../../core/state/store";
import type { Row } from "../../core/types";
import { useView } from "../parts/context";
import { useWidth } from "../parts/grid";
import { heatHeight } from "../parts/heat";
import { Seg } from "../parts/seg";
import { Weighted } from "../tabs/pattern";

/** The heads whose pattern is drawn: the set, else the one that is locked, pointed at, or leads. */
export function pictured(store: Store, reading: Reading): Row[] {
  const head = (id: string) => {
    const row = reading.row(id);
    return row?.kind === "head" ? [row] : [];
  };
  const set = store.chosen.value.flatMap(head);
  if (set.length > 1) return set;
  const locked = head(store.selected.value.replace(/\/\d+$/, ""));
  if (locked.length) return locked;
  const seen = head(store.screen.peek.value);
  return seen[0] && reading.weights(seen[0]) ? seen : head(store.open.value).concat(head(reading.lead)).slice(0, 1);
}

export function HeadPicture() {
  const { store } = useView();
  const [box, width] = useWidth();
  const reading = store.reading.value;
  if (!reading || store.hides("values") || store.hides("heads")) return null;
  const heads = pictured(store, reading);
  if (!heads.length) return null;
  const { heads: form } = store.screen;
  const loaded = heads.map((row) => store.data.pattern(row.id).value);
  const ready = loaded.flatMap((l) => (l.state === "ready" ? [l.value] : []));
  const worth = form.value.weighting === "contribution" && heads.every((row) => reading.carries(row));
  const locked = heads[0]?.id === store.selected.value && heads.length === 1;
  return (
    <div class="aw-large" data-part="head-picture" data-of={heads.map(({ id }) => id).join(" ")} ref={box} style={{ minHeight: `${heatHeight(reading.tokens, width, true) + 30}px` }}>
      <div class="aw-hbar">
        <b>{heads.length > 1 ? `Mean of ${heads.length} heads` : heads[0]?.id}</b>
        <span class="aw-quiet aw-small">{worth ? "what each read carries" : "attention"}</span>
        {locked ? (
          <button class="aw-link" data-part="unlock" onClick={() => store.select("")}>
            locked × Esc
          </button>
        ) : (
          heads.length < 2 && <span class="aw-quiet aw-small">click a head to lock it</span>
        )}
        <Seg label="Squares or lines" ways={[["squares", "squares"], ["lines", "lines"]]} now={form.value.lines ? "lines" : "squares"} pick={(way) => (form.value = { ...form.value, lines: way === "lines" })} />
      </div>
      {ready.length === heads.length ? (
        <Weighted reading={reading} heads={heads} patterns={ready} weighting={worth ? "contribution" : "probability"} compact form={form.value} />
      ) : (
        <p class="aw-quiet" data-part="waiting">
          {loaded.some((l) => l.state === "loading") ? "Computing…" : loaded.map((l) => ("text" in l ? l.text : "")).find(Boolean)}
        </p>
      )}
    </div>
  );
}
