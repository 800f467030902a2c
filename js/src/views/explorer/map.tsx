/** Layers by heads: the whole model at one glance. The same names, colours and clicks as the bars. */
import { useState } from "preact/hooks";
import { move } from "../../core/host/keyboard";
import { css, inkOn, sign } from "../../core/maths/colour";
import { signed } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import { Hidden } from "../parts/awaiting";
import { useView } from "../parts/context";
import { RivalName } from "../parts/names";
import { ChosenSet } from "./chosen";
import { Sum } from "./waterfall";

interface Spot {
  id: string;
  value: number;
  column: string;
}

const COLUMN: Record<string, string> = { mlp: "MLP", attn: "attn", layer: "layer" };

export function ComponentMap() {
  const { store, palette } = useView();
  const reading = store.reading.value;
  const [at, setAt] = useState<{ row: number; column: number } | null>(null);
  if (!reading) return null;
  if (store.hides("values") || store.hides("map")) return <Hidden part={store.hides("map") ? "map" : "values"} what="the map" />;
  const { header, values } = reading;
  const unit = header.target.unit;
  const layers = new Map<number, Spot[]>();
  const single: Spot[] = [];
  const groups = new Map<string, { sum: number; count: number; ids: string[] }>();
  header.rows.forEach((row, i) => {
    const value = values[i] ?? 0;
    const column = row.kind === "head" ? String(row.head) : COLUMN[row.kind];
    if (row.layer !== null && column) layers.set(row.layer, [...(layers.get(row.layer) ?? []), { id: row.id, value, column }]);
    else if (row.layer === null) single.push({ id: row.id, value, column: "" });
    else {
      const group = groups.get(row.kind) ?? { sum: 0, count: 0, ids: [] };
      groups.set(row.kind, { sum: group.sum + value, count: group.count + 1, ids: [...group.ids, row.id] });
    }
  });
  const columns = [...new Set([...layers.values()].flat().map((s) => s.column))].sort((a, b) => Number(a in COLUMN_ORDER) - Number(b in COLUMN_ORDER) || (COLUMN_ORDER[a] ?? Number(a)) - (COLUMN_ORDER[b] ?? Number(b)));
  const grid = [...layers.keys()].sort((a, b) => a - b).map((layer) => ({
    layer,
    spots: columns.map((c) => layers.get(layer)?.find((s) => s.column === c)),
  }));
  const most = largest([...layers.values()].flat().map((s) => s.value));
  const open = store.open.value;
  const openRow = grid.findIndex((r) => r.spots.some((s) => s?.id === open));
  const here = at ?? { row: Math.max(0, openRow), column: Math.max(0, grid[openRow]?.spots.findIndex((s) => s?.id === open) ?? 0) };
  const told = grid[here.row]?.spots[here.column];
  const verdict = store.lab.of(told?.id ?? "");
  // no room for numbers
  const small = columns.length > (reading.digits > 2 ? 9 : 13);
  const keys = (event: KeyboardEvent) => {
    const to = move(event.key, here, grid.length, () => columns.length, event.ctrlKey || event.metaKey);
    const pick = grid[here.row]?.spots[here.column];
    if (to) {
      event.preventDefault();
      setAt(to);
      const cells = (event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>('[role="gridcell"]');
      cells[to.row * columns.length + to.column]?.focus();
    } else if ((event.key === "Enter" || event.key === " ") && pick) {
      event.preventDefault();
      if (event.shiftKey) store.choose(pick.id);
      else store.select(pick.id);
    }
  };
  return (
    <div data-part="map">
      <div class="aw-mapscroll">
        <div
          class={`aw-map ${small ? "aw-dense" : ""}`}
          role="grid"
          aria-label={`Contribution of every component${reading.unit}`}
          style={{ gridTemplateColumns: `auto repeat(${columns.length}, minmax(${small ? 18 : 26}px, 1fr))` }}
          onKeyDown={keys}
          onPointerLeave={() => setAt(null)}
        >
          <div role="row" class="aw-contents">
            <span role="columnheader" class="aw-maphead">
              <span class="aw-sr">layer</span>
            </span>
            {columns.map((c) => (
              <span role="columnheader" class="aw-maphead">
                {c in COLUMN_ORDER ? c : small ? c : `H${c}`}
              </span>
            ))}
          </div>
          {grid.map(({ layer, spots }, r) => (
            <div role="row" class="aw-contents">
              <span role="rowheader" class="aw-mapside">
                L{layer}
              </span>
              {spots.map((spot, c) => {
                if (!spot) return <span role="gridcell" class="aw-spot aw-none" tabIndex={-1} aria-label="none" />;
                const colour = sign(palette.value, spot.value, most, 0.5);
                const text = !small && Math.abs(spot.value) >= 0.04 * most ? signed(spot.value, columns.length < 10 ? reading.digits : Math.abs(spot.value) >= 9.95 ? 0 : 1) : "";
                return (
                  <span
                    role="gridcell"
                    class="aw-spot"
                    data-id={spot.id}
                    aria-selected={spot.id === open}
                    tabIndex={here.row === r && here.column === c ? 0 : -1}
                    style={{ backgroundColor: css(colour), color: css(inkOn(palette.value, colour)) }}
                    onPointerEnter={() => setAt({ row: r, column: c })}
                    onFocusIn={() => setAt({ row: r, column: c })}
                    data-chosen={store.chosen.value.includes(spot.id)}
                    onClick={(event) => (event.shiftKey ? store.choose(spot.id) : store.select(spot.id))}
                  >
                    <span aria-hidden="true">{text}</span>
                    <span class="aw-sr">{`${spot.id} ${reading.signed(spot.value)} ${unit}${store.chosen.value.includes(spot.id) ? ", taken out" : ""}`}</span>
                  </span>
                );
              })}
            </div>
          ))}
        </div>
      </div>
      <p class="aw-readout" aria-live="polite">
        {told && (
          <>
            <b>{told.id}</b> {reading.signed(told.value)} {unit}
            {reading.rival && (
              <>
                {" "}
                ({reading.signed(reading.rivalOf(told.id) ?? 0)} for <RivalName />)
              </>
            )}
            {verdict && `; ${verdict.told}`}.
          </>
        )}{" "}
        <span class="aw-quiet">Blue adds, orange takes away; click to open.</span>
      </p>
      <div class="aw-mapmore">
        {single.map((s) => (
          <button class="aw-pill" key={s.id} data-id={s.id} aria-pressed={s.id === open} onClick={() => store.select(s.id)}>
            <span class="aw-name">{s.id}</span> {reading.signed(s.value)}
          </button>
        ))}
        {[...groups].map(([kind, g]) => (
          <button
            class="aw-pill"
            key={kind}
            title="Show them in order"
            onClick={() => {
              store.screen.order.value = "order";
              store.select(g.ids[0] ?? "");
            }}
          >
            <span class="aw-name">
              {g.count} × {kind}
            </span>{" "}
            {reading.signed(g.sum)}
          </button>
        ))}
      </div>
      <Sum />
      <ChosenSet />
    </div>
  );
}

const COLUMN_ORDER: Record<string, number> = { attn: 0, MLP: 1, layer: 2 };
