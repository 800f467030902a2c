/** A heat map: one row per reader, one column per token it reads. A lower triangle, or a square where tokens look ahead. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Cell } from "../../core/host/keyboard";
import { css, inkOn } from "../../core/maths/colour";
import { cellNumber, digitsFor, percent, signed, tokenText } from "../../core/maths/format";
import { placeLabels } from "../../core/maths/geometry";
import { colourOf, ramp, type Scale } from "../../core/maths/thumbs";
import { textHeight } from "./awaiting";
import { useView } from "./context";
import { type GridKeys, longest, useGrid, useWidth } from "./grid";
import { Token } from "./names";

export interface HeatProps {
  tokens: string[];
  /** value of (reader t, read s); s <= t, unless tokens look ahead */
  get(t: number, s: number): number;
  ahead?: boolean;
  /** probabilities print and colour as such; anything else is scaled to its largest magnitude */
  scale: Scale;
  most: number;
  /** the row that is being explained */
  current: number;
  label: string;
  /** what the read-out says about a cell */
  tell(t: number, s: number): string;
  /** a click in the current row */
  pick?: ((s: number) => void) | undefined;
  picked?: number;
  compact?: boolean;
}

/** Up to this many tokens, cells are elements with printed numbers; beyond it, a canvas. */
export const SMALL = 14;
const LABEL = 11; // px
const GAP = 13; // px between labels

const guttered = (chars: number) => Math.min(120, chars * 7 + 10);
const cellOf = (width: number, chars: number, n: number, compact?: boolean) => Math.floor(Math.max(20, Math.min(compact ? 74 : 84, (width - guttered(chars) - 4) / n - 3)));
const sized = (width: number, chars: number, n: number, compact?: boolean) => {
  const gutter = Math.min(96, Math.min(14, chars) * 6.8 + 8);
  return [gutter, Math.max(120, Math.min(compact ? 400 : 620, width - gutter - 6, n * 24))] as const;
};

/** How high a pattern of these tokens is drawn. */
export function heatHeight(tokens: string[], width: number, compact?: boolean): number {
  const [n, chars] = [tokens.length, longest(tokens)];
  const [gutter, size] = sized(width, chars, n, compact);
  const head = chars * 6.8 > cellOf(width, chars, n, compact) + 2 ? Math.min(90, chars * 7 + 8) : compact ? 25 : 28;
  return (n <= SMALL ? head + n * (compact ? 28 : 31) : gutter + size) + 6 + textHeight(88, width);
}

export function Heat(props: HeatProps) {
  const [box, width] = useWidth();
  const [at, setAt] = useState<Cell | null>(null);
  const n = props.tokens.length;
  const told = at && at.row < n ? props.tell(at.row, at.column) : "";
  const shared = { ...props, width, at, setAt };
  return (
    <div data-part="pattern">
      <div ref={box}>{n <= SMALL ? <Cells {...shared} /> : <Picture {...shared} />}</div>
      <p class="aw-readout aw-quiet" aria-live="polite">
        {told || "Each row is a reader, each column what it reads. Point at a cell, or use the arrow keys."}
      </p>
    </div>
  );
}

interface Drawn extends HeatProps {
  width: number;
  at: Cell | null;
  setAt(cell: Cell | null): void;
}

/** How many tokens a row may read. */
const reach = ({ tokens, ahead }: HeatProps, row: number) => (ahead ? tokens.length : row + 1);

/** Only the row that is explained can be picked. */
const keys = (props: Drawn): GridKeys => ({
  rows: props.tokens.length,
  width: (row) => reach(props, row),
  start: { row: props.current, column: 0 },
  at: props.at,
  setAt: props.setAt,
  pick: (here) => here.row === props.current && props.pick?.(here.column),
});

function Cells(props: Drawn) {
  const { tokens, get, scale, most, current, label, width, at, setAt, pick, picked, tell, compact } = props;
  const { palette } = useView();
  const grid = useGrid(keys(props));
  const n = tokens.length;
  const chars = longest(tokens);
  const gutter = guttered(chars);
  const cell = cellOf(width, chars, n, compact);
  const height = compact ? 25 : 28;
  const upright = chars * 6.8 > cell + 2;
  const stop = at ?? { row: current, column: 0 };
  return (
    <div
      {...grid}
      class={`aw-heat ${upright ? "aw-upright" : ""}`}
      role="grid"
      aria-label={label}
      style={{ gridTemplateColumns: `${gutter}px repeat(${n}, ${cell}px)`, gridAutoRows: `${height}px`, "--aw-head": `${Math.min(90, chars * 7 + 8)}px` }}
    >
      <div role="row" class="aw-contents">
        <span role="columnheader" class="aw-hhead" style={{ gridColumn: 1, gridRow: 1 }}>
          <span class="aw-sr">reader</span>
        </span>
        {tokens.map((t, s) => (
          <span role="columnheader" class={`aw-hhead ${at?.column === s ? "aw-on" : ""}`} style={{ gridColumn: s + 2, gridRow: 1 }} title={tokenText(t)}>
            <Token text={t} />
          </span>
        ))}
      </div>
      {tokens.map((token, t) => (
        <div role="row" class="aw-contents">
          <span role="rowheader" class={`aw-vhead ${t === (at?.row ?? current) ? "aw-on" : ""}`} style={{ gridColumn: 1, gridRow: t + 2 }} title={tokenText(token)}>
            <Token text={token} />
          </span>
          {Array.from({ length: reach(props, t) }, (_, s) => {
            const value = get(t, s);
            const colour = colourOf(palette.value, scale, value, most);
            const strong = scale === "probability" ? value >= 0.1 : most > 0 && Math.abs(value) >= 0.1 * most;
            const text = !strong || cell < 26 ? "" : scale === "probability" ? cellNumber(value) : scale === "signed" ? signed(value, digitsFor(most)) : value.toFixed(1);
            return (
              <span
                role="gridcell"
                class={`aw-cell ${t === current ? "aw-now" : ""} ${t === current && s === picked ? "aw-picked" : ""}`}
                style={{ gridColumn: s + 2, gridRow: t + 2, backgroundColor: css(colour), color: css(inkOn(palette.value, colour)) }}
                tabIndex={stop.row === t && stop.column === s ? 0 : -1}
                onPointerEnter={() => setAt({ row: t, column: s })}
                onClick={t === current && pick ? () => pick(s) : undefined}
              >
                <span aria-hidden="true">{text}</span>
                <span class="aw-sr">{tell(t, s)}</span>
              </span>
            );
          })}
        </div>
      ))}
    </div>
  );
}

/** For long prompts: one pixel per pair, stretched; labels where there is room, and always at the cell in focus. */
function Picture(props: Drawn) {
  const { tokens, get, scale, most, current, label, width, at, setAt, pick, picked, tell, compact } = props;
  const { palette } = useView();
  const canvas = useRef<HTMLCanvasElement>(null);
  const grid = useGrid(keys(props));
  const n = tokens.length;
  const [gutter, size] = sized(width, longest(tokens), n, compact);
  const cell = size / n;
  const colours = palette.value;
  useLayoutEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const image = context.createImageData(n, n);
    const pixels = new Uint32Array(image.data.buffer);
    const colour = ramp(colours, scale, most);
    for (let t = 0; t < n; t++) for (let s = 0; s < reach(props, t); s++) pixels[t * n + s] = colour(get(t, s));
    context.putImageData(image, 0, 0);
  }, [colours, get, scale, most, n, props.ahead]);

  const row = at?.row ?? current;
  const strong = Array.from({ length: reach(props, row) }, (_, s) => s).sort((a, b) => Math.abs(get(row, b)) - Math.abs(get(row, a))).slice(0, 4);
  const wanted = at ? [at.column, ...strong] : picked !== undefined && picked >= 0 ? [picked, ...strong] : strong;
  const columns = placeLabels(n, cell, GAP, wanted);
  const rows = placeLabels(n, cell, GAP, at ? [at.row, current] : [current]);
  const find = (event: PointerEvent | MouseEvent): Cell | null => {
    const frame = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const s = Math.floor(((event.clientX - frame.left) / frame.width) * n);
    const t = Math.floor(((event.clientY - frame.top) / frame.height) * n);
    return t >= 0 && t < n && s >= 0 && s < reach(props, t) ? { row: t, column: s } : null;
  };
  const focus = at ?? { row: current, column: strong[0] ?? 0 };
  const px = (v: number) => `${v}px`;
  return (
    <div class="aw-picture" style={{ paddingLeft: px(gutter) }}>
      <Labels look="aw-above" style={{ width: px(size), height: px(gutter) }} tokens={tokens} shown={columns} on={at?.column} place={(s) => ({ left: px((s + 0.5) * cell - LABEL / 2 - 1), maxHeight: px(gutter - 4) })} />
      <Labels look="aw-left" style={{ width: px(gutter), height: px(size), top: px(gutter) }} tokens={tokens} shown={rows} on={row} place={(t) => ({ top: px((t + 0.5) * cell - LABEL / 2 - 2) })} />
      <div
        {...grid}
        class="aw-frame"
        role="grid"
        aria-label={label}
        aria-rowcount={n}
        aria-colcount={n}
        style={{ width: px(size), height: px(size) }}
        onPointerMove={(e: PointerEvent) => {
          const cell = find(e);
          if (cell && (cell.row !== at?.row || cell.column !== at.column)) setAt(cell);
        }}
        onClick={(e: MouseEvent) => {
          const cell = find(e);
          if (cell?.row === current) pick?.(cell.column);
        }}
      >
        <canvas ref={canvas} width={n} height={n} aria-hidden="true" />
        <i class="aw-nowrow" style={{ top: px(current * cell - 1), height: px(cell + 2), width: px(reach(props, current) * cell + 2) }} />
        {at && <i class="aw-cross" style={{ top: px(at.row * cell), height: px(cell), width: px(at.column * cell) }} />}
        {at && <i class="aw-cross" style={{ left: px(at.column * cell), width: px(cell), height: px(at.row * cell) }} />}
        <div role="row" aria-rowindex={focus.row + 1}>
          <span
            role="gridcell"
            class="aw-focuscell"
            tabIndex={0}
            aria-colindex={focus.column + 1}
            aria-label={tell(focus.row, focus.column)}
            style={{ left: px(focus.column * cell - 1), top: px(focus.row * cell - 1), width: px(cell + 2), height: px(cell + 2) }}
          />
        </div>
      </div>
    </div>
  );
}

interface LabelsProps {
  look: string;
  style: Record<string, string>;
  tokens: string[];
  shown: number[];
  on: number | undefined;
  place(i: number): Record<string, string>;
}

/** Words along a picture, as many as have room. */
export function Labels({ look, style, tokens, shown, on, place }: LabelsProps) {
  return (
    <div class={`aw-plabels ${look}`} style={style} aria-hidden="true">
      {shown.map((i) => (
        <span key={i} class={on === i ? "aw-on" : ""} style={place(i)}>
          <Token text={tokens[i] ?? ""} />
        </span>
      ))}
    </div>
  );
}

/** The sentence under a pattern. */
export function readOut(tokens: string[], t: number, s: number, value: number, weighting: string, unit: string): string {
  const reads = `${tokenText(tokens[t] ?? "")} (position ${t}) reads ${tokenText(tokens[s] ?? "")} (position ${s})`;
  if (weighting === "probability") return `${reads}: ${percent(value)}`;
  if (weighting === "own") return `${reads}: ${signed(value, Math.max(2, digitsFor(Math.abs(value))))} ${unit}`;
  if (weighting === "value") return `${reads}: writes a vector of norm ${value.toFixed(2)}`;
  return `${reads}: carries ${signed(value, Math.max(3, digitsFor(Math.abs(value))))} ${unit}`;
}
