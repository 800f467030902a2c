/** Folded under every part that is a vector: its bar as a dot product, in the rows that Python prints. */
import type { Row } from "../../core/types";
import { Await, textHeight } from "../parts/awaiting";
import { useView } from "../parts/context";
import { TableBody } from "../results/table";

/** Rows that are directions in the stream, or behind its norm. */
const VECTORS = new Set(["head", "mlp", "embed", "pos", "attn", "layer", "attn.bias", "norm.bias"]);

export function WorkItOut({ row }: { row: Row }) {
  const { store } = useView();
  const open = store.screen.worked.value;
  if (!VECTORS.has(row.kind) || store.covered("values", "candidates")) return null;
  return (
    <div class="aw-out" data-part="worked">
      <button class="aw-link" aria-expanded={open} onClick={() => (store.screen.worked.value = !open)}>
        Work it out
      </button>{" "}
      <span class="aw-quiet aw-small">{row.id} as a dot product</span>
      {open && (
        <div class="aw-worked">
          <Await of={store.data.worked(row.id)} hold={(width) => 282 + 3 * textHeight(72, width)}>{(table) => <TableBody key={row.id} header={table} nested="h4" />}</Await>
        </div>
      )}
    </div>
  );
}
