/** What stands in for what is hidden, not there yet, or not tested. */
import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import type { Loaded } from "../../core/state/answers";
import type { Part } from "../../core/types";
import { Asking } from "./guess";
import { useWidth } from "./grid";

/** What every view of an attribution says of itself. */
export const Observed = () => (
  <p class="aw-sub" data-part="mark">
    Observed, not tested.
  </p>
);

/** What is hidden, where it is no question of its own. */
export const Hidden = ({ part, what }: { part: Part; what: string }) => <Asking parts={[part]} what={what} />;

interface AwaitProps<T> {
  of: Signal<Loaded<T>>;
  /** by the width of its place, the height that is kept free for what comes late, and stays so: nothing jumps */
  hold?: (width: number) => number;
  /** what is known without it */
  instead?: ComponentChildren;
  children: (value: T) => ComponentChildren;
}

export function Await<T>({ of, hold, instead, children }: AwaitProps<T>) {
  const [box, width] = useWidth();
  const late = useRef<unknown>(null);
  const loaded = of.value;
  if (loaded.state === "loading") late.current = of;
  const inside = loaded.state === "ready" ? <>{children(loaded.value)}</> : instead ? <>{instead}</> : <NotYet loaded={loaded} />;
  return hold ? (
    <div ref={box} class="aw-held" style={late.current === of ? { minHeight: `${hold(width)}px` } : {}}>
      {inside}
    </div>
  ) : (
    inside
  );
}

/** The height of text, of so many letters at 12.5 px. */
export const textHeight = (letters: number, width: number) => 19 * Math.ceil((6.6 * letters) / width);

/** The height of so many bars. */
export const barsHeight = (rows: number) => 24 * rows;

/** The height of two lists of bars, under each other where there is no room. */
export const sidesHeight = (rows: number, width: number) => (width < 484 ? 2 : 1) * (barsHeight(rows) + 24) + 20;

export function NotYet<T>({ loaded }: { loaded: Exclude<Loaded<T>, { state: "ready" }> }) {
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
