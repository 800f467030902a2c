/** The keys, the width and the pages of a grid of cells. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { type Cell, move } from "../../core/host/keyboard";
import { tokenText } from "../../core/maths/format";
import { windowOf } from "../../core/maths/geometry";

export function useWidth(): [{ current: HTMLDivElement | null }, number] {
  const ref = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(420);
  useLayoutEffect(() => {
    const box = ref.current;
    if (!box || typeof ResizeObserver === "undefined") return;
    const read = () => box.clientWidth > 0 && setWidth(box.clientWidth);
    read();
    const observer = new ResizeObserver(read);
    observer.observe(box);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

export const longest = (tokens: string[]) => Math.max(...tokens.map((t) => [...tokenText(t)].length), 1);

export interface GridKeys {
  rows: number;
  width(row: number): number;
  /** where the keys start */
  start: Cell;
  at: Cell | null;
  setAt(cell: Cell | null): void;
  pick?: ((here: Cell) => void) | undefined;
}

/** Focus and keys of a grid: one stop, arrows, Home, End, Enter. */
export function useGrid({ rows, width, start, at, setAt, pick }: GridKeys) {
  const focused = useRef(false);
  const grid = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (focused.current) grid.current?.querySelector<HTMLElement>('[role="gridcell"][tabindex="0"]')?.focus();
  }, [at]);
  return {
    ref: grid,
    onKeyDown: (event: KeyboardEvent) => {
      const here = at ?? start;
      const to = move(event.key, here, rows, width, event.ctrlKey || event.metaKey);
      if (to) {
        event.preventDefault();
        focused.current = true;
        setAt(to);
      } else if ((event.key === "Enter" || event.key === " ") && pick) {
        event.preventDefault();
        pick(here);
      }
    },
    onFocusIn: () => {
      focused.current = true;
      if (!at) setAt(start);
    },
    onFocusOut: () => (focused.current = false),
    onPointerLeave: () => {
      if (!focused.current) setAt(null);
    },
  };
}

/** The columns of a grid that have room, the cell that is pointed at, and how that cell and the pager move them. */
export function usePages(n: number, fit: number, current: number) {
  const [at, setAt] = useState<Cell | null>(null);
  const [from, setFrom] = useState(Infinity);
  const { first, count } = windowOf(n, fit, from, current);
  const last = first + count - 1;
  return {
    at,
    setAt: (to: Cell | null) => {
      setAt(to);
      if (to && to.column < first) setFrom(to.column);
      if (to && to.column > last) setFrom(to.column - count + 1);
    },
    columns: Array.from({ length: count }, (_, i) => first + i),
    /** a column, or the drawn one that is nearest to it */
    inside: (column: number) => Math.min(Math.max(column, first), last),
    pager: <Pager n={n} first={first} count={count} go={setFrom} />,
  };
}

/** Leads along the columns that have no room beside each other. */
function Pager({ n, first, count, go }: { n: number; first: number; count: number; go(first: number): void }) {
  if (count >= n) return null;
  return (
    <p class="aw-quiet aw-small">
      <button class="aw-link" disabled={first === 0} onClick={() => go(Math.max(0, first - count))}>
        ‹ earlier
      </button>{" "}
      tokens {first} to {first + count - 1} of {n}{" "}
      <button class="aw-link" disabled={first + count >= n} onClick={() => go(first + count)}>
        later ›
      </button>
    </p>
  );
}
