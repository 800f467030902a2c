/** Keys inside the view: grids that arrows walk through, and peace with the notebook's own shortcuts. */

/**
 * Keeps the notebook from acting on keys typed here (`x` would cut the cell). JupyterLab listens on the way up,
 * Notebook 7 on the way down, and both ask the focused element itself whether to stay quiet.
 */
export function guardKeys(host: HTMLElement): () => void {
  const quiet = (event: FocusEvent) => (event.target as Element | null)?.setAttribute?.("data-lm-suppress-shortcuts", "");
  const stop = (event: KeyboardEvent) => event.stopPropagation();
  host.addEventListener("focusin", quiet);
  host.addEventListener("keydown", stop);
  return () => {
    host.removeEventListener("focusin", quiet);
    host.removeEventListener("keydown", stop);
  };
}

export interface Cell {
  row: number;
  column: number;
}

const ALL = Infinity;

/** Where a key leads in a grid whose rows may have different lengths; null when the key is not a move. */
export function move(key: string, at: Cell, rows: number, width: (row: number) => number, whole = false): Cell | null {
  const far = whole ? ALL : 0;
  const by = (
    {
      ArrowRight: [0, 1],
      ArrowLeft: [0, -1],
      ArrowDown: [1, 0],
      ArrowUp: [-1, 0],
      PageDown: [10, 0],
      PageUp: [-10, 0],
      Home: [-far, -ALL],
      End: [far, ALL],
    } as Record<string, [number, number]>
  )[key];
  if (!by) return null;
  const row = within(at.row + by[0], rows);
  return { row, column: within(at.column + by[1], width(row)) };
}

/** The same for a list: up, down, Home, End, and optionally left and right. */
export function step(key: string, at: number, length: number, sideways = false): number | null {
  const turned = { ArrowRight: "ArrowDown", ArrowLeft: "ArrowUp" }[key];
  const to = turned && !sideways ? null : move(turned ?? key, { row: at, column: 0 }, length, () => 1, true);
  return to && to.row;
}

const within = (at: number, count: number) => Math.max(0, Math.min(count - 1, at));
