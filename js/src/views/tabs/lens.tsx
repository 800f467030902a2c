/** What the model would say after each layer: layers upwards from the tokens, one cell for every place in the prompt. */
import type { Signal } from "@preact/signals";
import { useMemo, useState } from "preact/hooks";
import type { Cell } from "../../core/host/keyboard";
import type { Container } from "../../core/host/wire";
import { css, inkOn, sequential } from "../../core/maths/colour";
import { cellNumber, digitsFor, percent, plain, tokenText } from "../../core/maths/format";
import { diverging, largest } from "../../core/maths/geometry";
import { Lens, type Show } from "../../core/state/lens";
import type { LensHeader } from "../../core/types";
import { Await, Hidden, textHeight } from "../parts/awaiting";
import { Track } from "../parts/bars";
import { useView } from "../parts/context";
import { longest, useGrid, usePages, useWidth } from "../parts/grid";
import { TargetName, Token } from "../parts/names";
import { Seg } from "../parts/seg";
import { forwards } from "../explorer/verdict";
import { PatchingView } from "../results/patching";

const TIGHT = 46; // px of a column where that makes room for all
const COLUMN = 56; // px of a column, at least
const LEAST = 7; // px of a column where all shall be seen
const KL = 46; // px of the column with the KL on texts held out

/** The lens standing alone. */
export function LensView({ data }: { data: Container<LensHeader> }) {
  const first = useMemo(() => new Lens(data), [data]);
  const lens = useChosen(first);
  return (
    <div class="aw-card aw-pad">
      <h2 class="aw-headline">{lens.title}</h2>
      <LensGrid lens={lens} current={lens.columns - 1} />
    </div>
  );
}

/** The one of both lenses that is looked through. */
const useChosen = (first: Lens) => (useView().store.screen.other.value && first.other) || first;

/** The lens of the Explorer's prompt, beside how the explained number builds up. */
export function LensTab() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const part = store.covered("candidates", "values");
  if (part) return <Hidden part={part} what="the lens" />;
  const ask = store.fixed.value ? undefined : (position: number, target: number) => store.explain({ position, target });
  return (
    <Await of={store.data.lens()} hold={(width) => 350 + Math.min(90, 7 * longest(reading.tokens)) + textHeight(340, width) + 29 * (reading.header.model.layers + 1)}>
      {(first) => <Both key={store.version.value} first={first} current={reading.position} build={reading.buildup()} ask={ask} />}
    </Await>
  );
}

/** What can be read, and the experiment that tells whether it is used. */
function Both({ first, ...rest }: Omit<GridProps, "lens"> & { first: Lens }) {
  const { store } = useView();
  const lens = useChosen(first);
  const [patched, patch] = useState(false);
  const count = first.header.layers.filter((name) => !name.endsWith(".mid")).length * first.columns;
  const test = store.reading.value?.header.test;
  return (
    <>
      <h4 class="aw-subtitle">{lens.title}</h4>
      <LensGrid lens={lens} {...rest} />
      {test && !test.never && (
        <p class="aw-quiet aw-small" data-part="patch">
          What can be read there need not be used.{" "}
          <button class="aw-btn" aria-disabled={patched} onClick={() => patch(true)}>
            Patch the stream · {store.fixed.value ? "needs the notebook" : `≤ ${forwards(count)}`}
          </button>
        </p>
      )}
      {patched && <Await of={store.data.streams()}>{(data) => <PatchingView data={data} />}</Await>}
    </>
  );
}

interface GridProps {
  lens: Lens;
  /** the column that is explained */
  current: number;
  /** the explained number so far, for every layer */
  build?: number[] | undefined;
  ask?: ((position: number, target: number) => void) | undefined;
}

function LensGrid({ lens, current, build, ask }: GridProps) {
  const { store, palette } = useView();
  const unit = store.reading.value?.header.target.unit;
  const { tokens, target } = lens.header;
  const { other, flipped, full } = store.screen;
  const between = flipped.value === !!store.reading.value; // alone they are there at first
  const twin = lens.other;
  const mids = lens.header.layers.some(isMid);
  // the rows that are drawn, by their number
  const drawn = lens.header.layers.flatMap((name, i) => (between || !isMid(name) ? [i] : []));
  const layers = drawn.map((i) => lens.header.layers[i] ?? "");
  const show = lens.has(store.screen.lens.value) ? store.screen.lens.value : "top";
  const [kept, keep] = useState<Cell | null>(null);
  const [box, width] = useWidth();
  const held = lens.header.held_out && width >= 460; // where it is narrow the read-out says it
  const n = tokens.length;
  const last = layers.length - 1;
  // rows count from the bottom in the lens, from the top on the screen and for the keys
  const flip = (row: number) => drawn[last - row] ?? 0;
  const beside = build ? (width < 460 ? 78 : 116) : 0; // px of the build-up
  const side = 7.6 * longest(layers) + 12;
  const room = width - side - beside - (held ? KL : 0);
  const least = full.value ? LEAST : room >= n * TIGHT ? TIGHT : COLUMN;
  const { at, setAt, columns, inside, pager } = usePages(n, Math.floor(room / least), current);
  const cell = Math.floor(Math.min(88, room / columns.length - 3));
  const narrow = cell < 24; // colours alone
  const start = { row: 0, column: inside(current) };
  const grid = useGrid({ rows: layers.length, width: () => n, start, at, setAt, pick: keep });
  const stop = at && at.column === inside(at.column) ? at : start;
  const name = <Token text={target.text} />;
  const low = show === "rank" ? "last" : "0";
  const high = show === "rank" ? "first" : plain(lens.most(show), lens.most(show) === 1 ? 0 : 1);
  const modes: [Show, string, preact.ComponentChildren][] = [
    ["top", "top prediction", "The likeliest next token; the colour is its probability."],
    ["probability", "probability", <>The probability of {name}.</>],
    ["rank", "rank", <>The rank of {name} among all tokens: 1 is the top prediction.</>],
    ["entropy", "entropy", "How undecided the row is: entropy in nats, 0 is certain."],
    ["kl", "KL", "How far the row is from the model's own output there: KL divergence in nats, 0 is the same."],
  ];
  const shown = modes.filter(([mode]) => lens.has(mode));
  const pages = n > columns.length || full.value;
  const more = mids || pages;
  const told = at ?? kept;
  const toggle = (of: Signal<boolean>, on: boolean, text: string) => (
    <button
      aria-pressed={on}
      onClick={() => {
        of.value = !of.value;
        keep(null); // rows count anew
        setAt(null);
      }}
    >
      {text}
    </button>
  );
  const { spans, zero } = diverging(build ?? []);
  /** the number of the stream that a row reads, -1 between two */
  const stream = (row: number) => (isMid(lens.header.layers[row] ?? "") ? -1 : lens.header.layers.slice(0, row).filter((name) => !isMid(name)).length);
  const built = (row: number) => plain(build?.[row] ?? 0, Math.min(2, digitsFor(largest(build ?? []))));
  const chars = longest(columns.map((c) => tokens[c] ?? ""));
  const [, mode, meaning] = modes.find(([mode]) => mode === show) ?? [];
  return (
    <div data-part="lens">
      {lens.header.notes.map((note) => (
        <p class="aw-sub">{note}</p>
      ))}
      {(twin || more) && (
        <div class="aw-line">
          {twin && (
            <Seg
              label="Lens"
              ways={[
                ["logit", "logit lens"],
                ["tuned", "tuned lens"],
              ]}
              now={lens.tuned ? "tuned" : "logit"}
              pick={(to) => (other.value = (to === "tuned") !== !!lens.header.tuned)}
            />
          )}
          {more && (
            <div class="aw-seg">
              {mids && toggle(flipped, between, "after attention too")}
              {pages && toggle(full, full.value, `all ${n} positions`)}
            </div>
          )}
        </div>
      )}
      <div class="aw-seg aw-wrap" role="group" aria-label="What the cells show">
        {shown.map(([mode, text]) => (
          <button key={mode} data-show={mode} aria-pressed={mode === show} onClick={() => (store.screen.lens.value = mode)}>
            {text}
          </button>
        ))}
      </div>
      <p class="aw-caption">
        Each row reads the stream after a layer{lens.tuned && ", through a map trained for it,"} as if it were the last: the top row is the model's own output. Each column is what would come after
        the token below it. <span class="aw-do">{meaning}</span>{" "}
        <span class="aw-legend" aria-hidden="true">
          {low} <i /> {high}
        </span>
      </p>
      <div ref={box}>
        <div
          {...grid}
          class={`aw-heat aw-lens ${chars * 6.8 > cell + 2 ? "aw-upright" : ""}`}
          role="grid"
          aria-label={`${nameOf(lens)}: ${mode} by layer and position`}
          aria-colcount={n + 1}
          style={{ gridTemplateColumns: `${side - 3}px ${held ? `${KL - 3}px ` : ""}repeat(${columns.length}, ${cell}px)${build ? ` ${beside - 3}px` : ""}`, "--aw-head": `${Math.min(90, chars * 7 + 8)}px` }}
        >
          {layers.map((_, r) => {
            const row = flip(r);
            const at = stream(row);
            const span = spans[at];
            return (
              <div role="row" class="aw-contents" key={r}>
                <span role="rowheader" class={`aw-vhead ${r === told?.row ? "aw-on" : ""}`} aria-colindex={1} title={store.kindOf(lens.header.layers[row] ?? "")?.words}>
                  {lens.header.layers[row]}
                  {build && at >= 0 && <span class="aw-sr">, {plain(build[at] ?? 0, digitsFor(largest(build)))} so far</span>}
                  <span class="aw-sr">{heldOut(lens, row)}</span>
                </span>
                {held && (
                  <span class="aw-vhead aw-small" aria-hidden="true" title={heldOut(lens, row)}>
                    {row === lens.header.layers.length - 1 ? 0 : short(lens.heldOut(row)?.[0] ?? 0)}
                  </span>
                )}
                {columns.map((c) => {
                  const value = lens.value(show, row, c);
                  const colour = sequential(palette.value, lens.shade(show, value));
                  const best = lens.text(lens.top(row, c, 0).id);
                  return (
                    <span
                      role="gridcell"
                      key={c}
                      class={`aw-cell ${kept?.row === r && kept.column === c ? "aw-picked" : r === 0 && c === current ? "aw-now" : ""}`}
                      aria-colindex={c + 2}
                      style={{ backgroundColor: css(colour), color: css(inkOn(palette.value, colour)) }}
                      tabIndex={stop.row === r && stop.column === c ? 0 : -1}
                      onPointerEnter={() => setAt({ row: r, column: c })}
                      onClick={() => keep({ row: r, column: c })}
                    >
                      <span class="aw-celltext" aria-hidden="true" title={show === "top" && longest([best]) * 7 > cell - 8 ? tokenText(best) : undefined}>
                        {!narrow && (show === "top" ? <Token text={best} /> : cellText(show, value, cell))}
                      </span>
                      <span class="aw-sr">{lens.tell(row, c)}</span>
                    </span>
                  );
                })}
                {build && (
                  <span class="aw-build" aria-hidden="true">
                    {at >= 0 && (
                      <>
                        <Track value={build[at] ?? 0} printed={built(at)} span={span} zero={zero} />
                        <span class="aw-val">{built(at)}</span>
                      </>
                    )}
                  </span>
                )}
              </div>
            );
          })}
          <div role="row" class="aw-contents">
            <span role="columnheader" class="aw-vhead" aria-colindex={1}>
              token
            </span>
            {held && (
              <span class="aw-vhead aw-small" aria-hidden="true" title="KL to the model's output on texts held out, in nats">
                KL
              </span>
            )}
            {columns.map((c) => (
              <span role="columnheader" key={c} aria-colindex={c + 2} class={`aw-hhead ${c === (told?.column ?? current) ? "aw-on" : ""}`} title={tokenText(tokens[c] ?? "")}>
                <Token text={tokens[c] ?? ""} />
              </span>
            ))}
            {build && (
              <span class="aw-quiet aw-small" aria-hidden="true">
                {unit} so far
              </span>
            )}
          </div>
        </div>
      </div>
      <div class={`aw-readout aw-told ${told ? "aw-stuck" : ""}`} aria-live="polite">
        {told ? <Told lens={lens} row={flip(told.row)} column={told.column} /> : <span class="aw-quiet">Point at a cell, or use the arrow keys; a click or Enter keeps it.</span>}
      </div>
      {pager}
      {(twin || kept) && <Depth lens={lens} rows={drawn} column={kept?.column ?? current} show={show} width={Math.min(width, 620)} />}
      {ask && kept && <Ask lens={lens} row={flip(kept.row)} column={kept.column} ask={ask} />}
      {build && <Build build={build} />}
    </div>
  );
}

function cellText(show: Show, value: number, width: number): string {
  if (show === "probability") return value < 0.005 ? "" : cellNumber(value);
  if (show === "rank") return value < 1e4 ? String(value) : `${Math.round(value / 1000)}k`;
  return width > 33 ? short(value) : plain(value, value < 9.95 ? 1 : 0);
}

const short = (nats: number) => plain(nats, nats < 9.95 ? 2 : 1);
const isMid = (layer: string) => layer.endsWith(".mid");
const nameOf = (lens: Lens) => (lens.tuned ? "Tuned lens" : "Logit lens");

/** How far a row is from the output where nothing was trained, by both lenses. */
function heldOut(lens: Lens, row: number): string {
  const [own, other] = lens.heldOut(row) ?? [];
  return own === undefined || other === undefined ? "" : `; on texts held out ${short(own)} nats, ${short(other)} by the ${lens.tuned ? "logit" : "tuned"} lens`;
}

/** The target after one token, through depth, by both lenses. */
function Depth({ lens, rows, column, show, width }: { lens: Lens; rows: number[]; column: number; show: Show; width: number }) {
  const { layers, tokens, target } = lens.header;
  const mode = show === "top" ? "probability" : show;
  const x = (i: number) => 24 + (i * (width - 48)) / Math.max(1, rows.length - 1);
  const each = Math.ceil((rows.length * 52) / width);
  const both = [lens, ...(lens.other ? [lens.other] : [])].sort((a, b) => +a.tuned - +b.tuned);
  const value = (of: Lens, row: number) => of.value(mode, row, column);
  const text = (of: Lens, row: number) => (mode === "probability" ? percent : plain)(value(of, row), mode === "rank" ? 0 : 2);
  return (
    <figure class="aw-depth" data-part="depth">
      <figcaption class="aw-small">
        <Token text={target.text} /> after <Token text={tokens[column] ?? ""} /> through depth, {mode === "kl" ? "KL" : mode}, {plain(lens.most(mode), lens.most(mode) === 1 ? 0 : 1)} at the top
        {lens.other && "; solid by the tuned lens, dashed by the logit lens"}
      </figcaption>
      <svg width={width} height={74} role="img" aria-label={both.map((of) => `${nameOf(of)}: ${rows.map((row) => `${layers[row]} ${text(of, row)}`).join(", ")}`).join("; ")}>
        <path class="aw-axis" d={`M24 6V70H${width - 24}`} />
        {both.map((of) => {
          const points = rows.map((row, i) => [x(i), 70 - 62 * of.shade(mode, value(of, row)), text(of, row)] as const);
          return (
            <g class={of.tuned ? "aw-tuned" : ""} key={+of.tuned}>
              <polyline points={points.map(([a, b]) => `${a},${b}`).join(" ")} />
              {points.map(([a, b, said], i) => (
                <circle cx={a} cy={b} r={3}>
                  <title>{`${nameOf(of)}, ${layers[rows[i] ?? 0]}: ${said}`}</title>
                </circle>
              ))}
            </g>
          );
        })}
      </svg>
      <div class="aw-plabels" aria-hidden="true" style={{ height: "16px" }}>
        {rows.map((row, i) => (rows.length - 1 - i) % each === 0 && <span style={{ left: `${x(i)}px`, transform: "translate(-50%)" }}>{layers[row]}</span>)}
      </div>
    </figure>
  );
}

/** The likeliest tokens of one cell, and the numbers of the target; through both lenses, where there are two. */
function Told({ lens, row, column }: { lens: Lens; row: number; column: number }) {
  const { layers, tokens } = lens.header;
  const twin = row < layers.length - 1 ? lens.other : undefined;
  return (
    <>
      <p>
        <b>{layers[row]}</b> after <Token text={tokens[column] ?? ""} />: <Tops lens={lens} row={row} column={column} />
      </p>
      <Numbers lens={lens} row={row} column={column} />
      {twin && (
        <>
          <p>
            {nameOf(twin)}: <Tops lens={twin} row={row} column={column} />
          </p>
          <Numbers lens={twin} row={row} column={column} />
        </>
      )}
    </>
  );
}

interface CellProps {
  lens: Lens;
  row: number;
  column: number;
}

function Tops({ lens, row, column }: CellProps) {
  return (
    <>
      {Array.from({ length: lens.k }, (_, i) => lens.top(row, column, i)).map(({ id, p }, i) => (
        <span class="aw-once" key={i}>
          <Token text={lens.text(id)} /> {percent(p)}
        </span>
      ))}
    </>
  );
}

function Numbers({ lens, row, column }: CellProps) {
  const number = (show: Show) => lens.value(show, row, column);
  return (
    <p class="aw-quiet">
      <Token text={lens.header.target.text} /> {percent(number("probability"))}, rank {number("rank")}
      {lens.has("entropy") && `; entropy ${plain(number("entropy"), 2)} nats, KL to the output ${plain(number("kl"), 2)} nats`}
      {heldOut(lens, row)}
    </p>
  );
}

function Ask({ lens, row, column, ask }: { lens: Lens; row: number; column: number; ask(position: number, target: number): void }) {
  const { id } = lens.top(row, column, 0);
  return (
    <button
      class="aw-btn"
      data-part="ask"
      onClick={(event) => {
        // the answer takes this button away, and must not take the focus with it
        event.currentTarget.closest(".aw-detail")?.querySelector<HTMLElement>('[role="tab"][tabindex="0"]')?.focus();
        ask(lens.header.positions[column] ?? 0, id);
      }}
    >
      Explain <Token text={lens.text(id)} /> after <Token text={lens.header.tokens[column] ?? ""} />
    </button>
  );
}

function Build({ build }: { build: number[] }) {
  const reading = useView().store.reading.value;
  if (!reading) return null;
  const end = build[build.length - 1] ?? 0;
  const now = reading.plain(reading.header.actual);
  return (
    <p class="aw-quiet aw-small" data-part="buildup">
      Beside the grid, <TargetName /> builds up: all contributions summed up to each layer, with the scale that the last norm has in the end. It stands at{" "}
      {reading.plain(end)} after the last layer{now !== reading.plain(end) && `; with biases and other constants it is ${now}`}.
    </p>
  );
}
