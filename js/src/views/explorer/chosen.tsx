/** Parts that are taken out together: which, and what the model says then. */
import { useView } from "../parts/context";

export function ChosenSet() {
  const { store } = useView();
  const { lab } = store;
  const chosen = store.chosen.value;
  const reading = store.reading.value;
  if (!reading || store.hides("values") || reading.header.test?.never !== "") return null;
  if (!chosen.length) {
    if (store.fixed.value) return null;
    return (
      <p class="aw-quiet aw-small" data-part="choose">
        Shift+click (or Shift+Enter) takes several rows out together.
      </p>
    );
  }
  const told = lab.without.value;
  return (
    <div class="aw-found" data-part="chosen" role="group" aria-label="Parts that are taken out together">
      <p class="aw-chips">
        {chosen.map((id) => (
          <button key={id} class="aw-chip" aria-label={`Put ${id} back`} aria-disabled={store.fixed.value} onClick={() => store.choose(id)}>
            {id} <span aria-hidden="true">×</span>
          </button>
        ))}
        {!store.fixed.value && (
          <button class="aw-link" data-part="clear" onClick={() => store.choseAll([])}>
            Put all back
          </button>
        )}
      </p>
      <p class="aw-first" role="status" data-part="without">
        {told && !store.hides("candidates") ? <b>{told.told}.</b> : lab.measuring.value ? "Measuring…" : <span class="aw-error">{lab.unmeasured.value}</span>}
      </p>
    </div>
  );
}
