/** Parts that are taken out together: which, and what the model says then. */
import { setOf } from "../../core/state/lab";
import { useView } from "../parts/context";
import { TableView } from "../results/table";

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
      <WholeSet forwards={told?.whole ?? 0} />
    </div>
  );
}

/** Whether the chosen parts are a circuit: asked for, with what it costs on the button. */
function WholeSet({ forwards }: { forwards: number }) {
  const { store } = useView();
  const { lab } = store;
  const of = setOf(store.chosen.value);
  const now = lab.running.value?.of === of ? lab.running.value : null;
  const failed = lab.failed.value?.of === of ? lab.failed.value.text : "";
  if (lab.circuit.value?.of === of) return <TableView header={lab.circuit.value.table} />;
  if (now) {
    return (
      <p role="status" data-part="circuit-running">
        <progress class="aw-progress" value={now.done} max={now.total || 1} aria-label="progress" /> {now.note || "Testing the set"}{" "}
        <button class="aw-btn" onClick={() => lab.cancel()}>
          Cancel
        </button>
      </p>
    );
  }
  return (
    <>
      {failed && <p class="aw-error">{failed}</p>}
      {forwards > 0 && !store.fixed.value && (
        <button class="aw-btn" data-part="circuit" title="With the embedding: is it enough, what is left without it, what does it miss, what in it is idle?" onClick={() => lab.wholeSet([...store.chosen.value])}>
          Test as a circuit · ≤ {forwards} forwards
        </button>
      )}
    </>
  );
}
