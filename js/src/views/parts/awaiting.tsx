/** What stands in for what is hidden, not there yet, or not tested. */
import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { Loaded } from "../../core/state/answers";
import type { Part } from "../../core/types";
import { Asking } from "./guess";

/** What every view of an attribution says of itself. */
export const Observed = () => (
  <p class="aw-sub" data-part="mark">
    Observed, not tested.
  </p>
);

/** What is hidden, where it is no question of its own. */
export const Hidden = ({ part, what }: { part: Part; what: string }) => <Asking parts={[part]} what={what} />;

export function Await<T>({ of, children }: { of: Signal<Loaded<T>>; children: (value: T) => ComponentChildren }) {
  const loaded = of.value;
  if (loaded.state === "ready") return <>{children(loaded.value)}</>;
  if (loaded.state === "loading") return <p class="aw-quiet" data-part="waiting">Computing…</p>;
  return (
    <p class={loaded.state === "error" ? "aw-error" : "aw-quiet"} role={loaded.state === "error" ? "alert" : undefined}>
      {loaded.text}
      {loaded.state === "error" && loaded.hint && ` ${loaded.hint}`}
      {loaded.retry && (
        <button class="aw-link" onClick={loaded.retry}>
          Try again
        </button>
      )}
    </p>
  );
}
