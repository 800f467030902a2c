/** What is going on: progress with a way to stop it, a kernel that does not answer, an error without a field. */
import { LIVE, lost } from "../../core/host/protocol";
import { useView } from "../parts/context";

export function Status() {
  const { store } = useView();
  const busy = store.screen.busy.value;
  const live = store.live.value;
  const problem = store.screen.problem.value;
  const broken = store.broken.value;
  return (
    <div class="aw-status" data-part="status" role="status">
      {broken && <p class="aw-error">{broken} Run the cell again.</p>}
      {busy && (
        <p>
          {busy.total > 0 ? <progress class="aw-progress" value={busy.done} max={busy.total} aria-label="progress" /> : <span class="aw-spin" aria-hidden="true" />}
          <span>{LIVE[live] || busy.note || "Computing; the old numbers stay until the new ones are complete."}</span>
          <button type="button" class="aw-btn" data-part="cancel" onClick={() => store.cancel()}>
            Cancel
          </button>
        </p>
      )}
      {!busy && LIVE[live] && !lost(live) && <p>{LIVE[live]} What is embedded keeps working.</p>}
      {lost(live) && (
        <p class="aw-warn">
          {LIVE[live]} What is embedded keeps working.
          <button type="button" class="aw-link" onClick={() => store.client.ping()}>
            Try again
          </button>
        </p>
      )}
      {problem && problem.field !== (store.screen.editing.value || "none") && <Problem />}
    </div>
  );
}

export function Problem() {
  const { store } = useView();
  const problem = store.screen.problem.value;
  if (!problem) return null;
  return (
    <p class="aw-error" data-part="error" role="alert">
      <b>{problem.message}</b> {problem.hint}
      <button type="button" class="aw-link" onClick={() => (store.screen.problem.value = null)}>
        Dismiss
      </button>
    </p>
  );
}
