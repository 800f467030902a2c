/** Grids of experiments: one cell, one place that was patched. The cone of the selected cell is what it can be linked to. */
import type { Cell } from "../../core/host/keyboard";
import type { Container } from "../../core/host/wire";
import { css, inkOn, mix, sign } from "../../core/maths/colour";
import { linked, type Place } from "../../core/maths/cone";
import { plain, share, signed, tokenText } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import type { PatchGrid, PatchingHeader } from "../../core/types";
import { useView } from "../parts/context";
import { longest, useGrid, usePages, useWidth } from "../parts/grid";
import { Token } from "../parts/names";

const SITES: Record<string, string> = {
  stream: "residual stream before each layer, and behind the last",
  attn: "attention output",
  mlp: "MLP output",
  z: "heads",
  q: "queries",
  k: "keys",
  v: "values",
  pattern: "attention patterns",
  joint: "patched together",
};

/** The same with a capital. */
const said = (words: string) => words.charAt(0).toUpperCase() + words.slice(1);

/** What a grid is of: heads and MLPs share one, and one of the two may be all there is. */
function about({ site, columns }: PatchGrid): string {
  if (site !== "parts") return SITES[site] ?? site;
  const mlps = columns.includes("MLP");
  const heads = columns.some((c) => c !== "MLP" && c !== "attn");
  const what = [heads && "heads", columns.includes("attn") && "attention layers", mlps && "MLPs"].filter(Boolean).join(" and ");
  return `${what}, all positions together`;
}

/** The component that a cell belongs to, by the name that the Explorer uses. */
const owner = (cell: string) => cell.split(" @")[0]?.replace(/\.(q|k|v|pattern)$/, "") ?? "";

/** What a share is, and what a blue cell does. */
const SHARES: Record<string, [string, string]> = {
  recovery: ["Recovery: the share of the gap that comes back", "brings the answer back"],
  damage: ["Damage: the share of the gap that goes", "takes it away"],
  "between the runs": ["Between the runs: the share of the gap that the part accounts for on the way", "is for the answer"],
};

export function PatchingView({ data }: { data: Container<PatchingHeader> }) {
  const { header, arrays } = data;
  const values = arrays["values"]?.at() ?? new Float32Array();
  const known = arrays["known"]?.at() ?? new Float32Array();
  const most = Math.max(1, largest(values));
  let from = 0;
  return (
    <div class="aw-card aw-pad" data-part="patching">
      <h2 class="aw-headline">{header.title}</h2>
      <p class="aw-sub">
        {header.estimated ? said(header.words) : `Tested: ${header.words}`}. {SHARES[header.share]?.[0]}; 0 is none of it, 1 all.
      </p>
      <p class="aw-sub">
        Gap {plain(header.gap, 2)} {header.unit}; {[...header.notes, header.cost].join("; ")}.
      </p>
      {header.grids.map((grid, g) => {
        const size = grid.cells.length;
        from += size;
        const part = [from - size, from] as const;
        return <Grid key={g} grid={grid} header={header} values={values.slice(...part)} known={known.slice(...part)} most={most} />;
      })}
    </div>
  );
}

interface GridProps {
  grid: PatchGrid;
  header: PatchingHeader;
  values: Float32Array;
  known: Float32Array;
  most: number;
}

function Grid({ grid, header, values, known, most }: GridProps) {
  const { store, palette } = useView();
  const { rows, columns, positions, layers, cells, site } = grid;
  const [box, width] = useWidth();
  const n = columns.length;
  const side = 7.6 * longest([...rows, "token"]) + 12;
  const current = positions ? Math.max(0, positions.indexOf(header.position)) : n - 1;
  const { at, setAt, columns: shown, inside, pager } = usePages(n, Math.floor((width - side) / (positions ? 30 : 26)), current);
  const cell = Math.floor(Math.min(72, (width - side) / shown.length - 3));
  // layers grow upwards, as in the lens and in the map
  const real = (row: number) => rows.length - 1 - row;
  const index = (row: number, column: number) => real(row) * n + column;
  const place = (row: number, column: number): Place => {
    const whole = site === "parts" ? (columns[column] === "MLP" ? "mlp" : "z") : site;
    return { layer: layers[real(row)] ?? 0, position: positions?.[column] ?? null, site: whole };
  };
  const { selected, source } = store;
  const isPicked = (row: number, column: number) => {
    const name = cells[index(row, column)] ?? "";
    return name !== "" && owner(name) === selected.value && (source.value < 0 || !positions || positions[column] === source.value);
  };
  const chosen = rows.flatMap((_, row) => columns.map((_, column) => ({ row, column }))).find((c) => isPicked(c.row, c.column));
  const centre = chosen && { ...place(chosen.row, chosen.column), ...(source.value < 0 && { position: null }) };
  const pick = ({ row, column }: Cell) => {
    const name = cells[index(row, column)];
    if (!name || store.reading.value) return; // in the Explorer a row is selected, and no place
    const again = isPicked(row, column);
    store.select(again ? "" : owner(name), again ? -1 : (positions?.[column] ?? -1));
  };
  const start = { row: rows.length - 1, column: shown[0] ?? 0 };
  const use = useGrid({ rows: rows.length, width: () => n, start, at, setAt, pick });
  const stop = at && at.column === inside(at.column) ? at : start;
  const chars = longest(shown.map((c) => columns[c] ?? ""));
  const upright = chars * 6.8 > cell + 2;
  const tell = (row: number, column: number) => {
    const i = index(row, column);
    const name = cells[i]?.split(" @")[0];
    if (!name) return "no such cell";
    const where = positions ? ` at ${tokenText(columns[column] ?? "")} (position ${positions[column]})` : "";
    const value = values[i] ?? 0;
    return known[i] ? `${name}${where}: ${header.share} ${signed(value, 2)}, ${share(value)} of the gap` : `${name}${where}: not computed`;
  };
  const heads = (
    <div role="row" class="aw-contents">
      <span role="columnheader" class="aw-vhead">
        {positions ? "token" : ""}
      </span>
      {shown.map((c) => (
        <span role="columnheader" key={c} class={`aw-hhead ${at?.column === c ? "aw-on" : ""}`} title={tokenText(columns[c] ?? "")}>
          {positions ? <Token text={columns[c] ?? ""} /> : columns[c]}
        </span>
      ))}
    </div>
  );
  return (
    <section data-part="patch-grid" data-site={site}>
      <h3 class="aw-subtitle">{about(grid)}</h3>
      <div ref={box} class="aw-scroll aw-tall">
        <div
          {...use}
          class={`aw-heat aw-patches aw-lens ${upright ? "aw-upright" : ""}`}
          role="grid"
          aria-label={`${header.share} of ${about(grid)}`}
          style={{ gridTemplateColumns: `${side - 3}px repeat(${shown.length}, ${cell}px)`, "--aw-head": `${Math.min(90, chars * 7 + 8)}px` }}
        >
          {rows.map((_, r) => (
            <div role="row" class="aw-contents" key={r}>
              <span role="rowheader" class={`aw-vhead ${at?.row === r ? "aw-on" : ""}`} title={store.described(`${rows[real(r)]}${/^(attn|mlp)$/.test(site) ? `.${site}` : ""}`)}>
                {rows[real(r)]}
              </span>
              {shown.map((c) => {
                const i = index(r, c);
                const value = values[i] ?? 0;
                const out = centre !== undefined && !isPicked(r, c) && !linked(centre, place(r, c), header.parallel);
                const full = sign(palette.value, value, most, 0.6);
                const colour = out ? mix(palette.value.ground, full, 0.22) : full;
                return (
                  <span
                    role="gridcell"
                    key={c}
                    class={`aw-cell ${isPicked(r, c) ? "aw-picked" : centre && !out ? "aw-cone" : ""} ${known[i] ? "" : "aw-none"}`}
                    aria-selected={isPicked(r, c)}
                    title={store.described(owner(cells[i] ?? ""))}
                    tabIndex={stop.row === r && stop.column === c ? 0 : -1}
                    style={{ backgroundColor: css(colour), color: css(inkOn(palette.value, colour)) }}
                    onPointerEnter={() => setAt({ row: r, column: c })}
                    onClick={() => pick({ row: r, column: c })}
                  >
                    <span aria-hidden="true">{!out && cell > 29 && Math.abs(value) >= 0.005 && signed(value, 2).replace("0.", ".")}</span>
                    <span class="aw-sr">{tell(r, c)}</span>
                  </span>
                );
              })}
            </div>
          ))}
          {heads}
        </div>
      </div>
      {pager}
      <p class="aw-readout" aria-live="polite">
        {at || chosen ? tell((at ?? chosen)?.row ?? 0, (at ?? chosen)?.column ?? 0) : <span class="aw-quiet">Blue {SHARES[header.share]?.[1]}, orange the opposite. Click a cell: what it cannot influence, or hear of, pales.</span>}
      </p>
    </section>
  );
}
