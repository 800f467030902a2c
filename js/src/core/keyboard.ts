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

/** Where a key leads in a grid whose rows may have different lengths; null when the key is not a move. */
export function move(key: string, at: Cell, rows: number, width: (row: number) => number, whole = false): Cell | null {
  const clamp = (row: number, column: number): Cell => {
    const r = Math.max(0, Math.min(rows - 1, row));
    return { row: r, column: Math.max(0, Math.min(width(r) - 1, column)) };
  };
  switch (key) {
    case "ArrowRight":
      return clamp(at.row, at.column + 1);
    case "ArrowLeft":
      return clamp(at.row, at.column - 1);
    case "ArrowDown":
      return clamp(at.row + 1, at.column);
    case "ArrowUp":
      return clamp(at.row - 1, at.column);
    case "PageDown":
      return clamp(at.row + 10, at.column);
    case "PageUp":
      return clamp(at.row - 10, at.column);
    case "Home":
      return whole ? clamp(0, 0) : clamp(at.row, 0);
    case "End":
      return whole ? clamp(rows - 1, Infinity) : clamp(at.row, width(at.row) - 1);
    default:
      return null;
  }
}

/** The same for a list: up, down, Home, End, and optionally left and right. */
export function step(key: string, at: number, length: number, sideways = false): number | null {
  const last = length - 1;
  if (key === "ArrowDown" || (sideways && key === "ArrowRight")) return Math.min(last, at + 1);
  if (key === "ArrowUp" || (sideways && key === "ArrowLeft")) return Math.max(0, at - 1);
  if (key === "PageDown") return Math.min(last, at + 10);
  if (key === "PageUp") return Math.max(0, at - 10);
  if (key === "Home") return 0;
  if (key === "End") return last;
  return null;
}
