/** Every head at once: layers by heads, in each cell its pattern, its bar, and an outline where it has an effect. */
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Cell, move } from "../../core/host/keyboard";
import type { Stored } from "../../core/host/wire";
import { share } from "../../core/maths/format";
import { ticks } from "../../core/maths/geometry";
import { barScale, fitting, type Layout, layout } from "../../core/maths/heads";
import { described } from "../../core/maths/names";
import { effectsOf, totalsOf } from "../../core/state/effects";
import { type Grid, gridOf, havings, type Spot } from "../../core/state/heads";
import type { Reading } from "../../core/state/reading";
import type { HeadsForm } from "../../core/state/screen";
import type { Store } from "../../core/state/store";
import { ChosenSet } from "../explorer/chosen";
import { Legend, Sum } from "../explorer/waterfall";
import { Hidden } from "../parts/awaiting";
import { useView } from "../parts/context";
import { useWidth } from "../parts/grid";
import { Asking } from "../parts/guess";
import { RivalName, Token } from "../parts/names";
import { Controls, Key } from "./controls";
import { paint, type Painted } from "./paint";

const HEADER = 18; // px

/** What is known of effects now. */
export function knownEffects(store: Store) {
  const loaded = totalsOf(store)?.value;
  return effectsOf(store, loaded?.state === "ready" ? loaded.value : undefined);
}

/** The form that is drawn: without whole patterns there are small pictures of attention to ask for, and else only rows. */
const formOf = (store: Store, reading: Reading): HeadsForm => {
  const form = store.screen.heads.value;
  return { ...form, strip: form.strip || (!reading.arrays["patterns"] && (store.fixed.value || form.weighting === "contribution")) };
};

export function Heads() {
  const { store } = useView();
  const [box, width] = useWidth();
  const [at, setAt] = useState<Cell | null>(null);
  const [painted, setPainted] = useState<Painted | null>(null);
  const reading = store.reading.value;
  const { heads: shown, peek } = store.screen;
  const form = reading && formOf(store, reading);
  const effects = knownEffects(store);
  const told = store.lab.told.value;
  const others = reading ? new Set(reading.header.rows.filter((r) => r.layer !== null && /^(attn|mlp|layer)$/.test(r.kind)).map((r) => r.kind)).size : 0;
  const totals = totalsOf(store)?.value;
  const grid = useMemo(() => reading && gridOf(reading, effects, form?.from ?? null, fitting(width, others)), [reading, told, totals, form?.from, width]);
  useLayoutEffect(() => () => void (peek.value = ""), []);
  if (!reading || !grid || !form) return null;
  const hidden = (["values", "heads"] as const).filter((part) => store.hides(part));
  const cells = grid.layers.flatMap(({ spots }) => spots).filter((s) => s !== undefined);
  if (hidden.length && cells.length < 2) return <Hidden part={hidden[0] ?? "heads"} what="the heads" />;
  const blank = hidden.length > 0;
  const secret = store.hides("detail");
  const ask = !blank && !secret && !reading.arrays["patterns"] && !form.strip && form.weighting === "attention";
  const small = ask ? store.data.patterns().value : undefined;
  const place = layout(width, grid.heads.length, grid.others.length, form.strip && !blank);
  const scale = barScale(place, cells.filter((s) => s.parts[0]?.kind === "head").map((s) => s.value), cells.filter((s) => s.parts[0]?.kind !== "head").map((s) => s.value));
  const guess = store.guessed.value.part;
  const open = blank ? (guess ?? "") : store.open.value;
  const pick = (spot: Spot, shift: boolean) => {
    const id = spot.parts[0];
    if (!id) return;
    if (blank) store.guess({ part: id.id });
    else if (spot.parts.length > 1) shown.value = { ...shown.value, from: [id.layer ?? 0, id.head ?? 0] };
    else if (shift) store.choose(id.id);
    else store.select(id.id);
  };
  const columns = grid.heads.length + grid.others.length;
  const openRow = grid.layers.findIndex(({ spots }) => spots.some((s) => s?.name === open));
  const here = at ?? { row: Math.max(0, openRow), column: Math.max(0, grid.layers[openRow]?.spots.findIndex((s) => s?.name === open) ?? 0) };
  const keys = (event: KeyboardEvent) => {
    const to = move(event.key, here, grid.layers.length, () => columns, event.ctrlKey || event.metaKey);
    const spot = grid.layers[here.row]?.spots[here.column];
    if (to) {
      event.preventDefault();
      setAt(to);
      const cells = (event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>('[role="gridcell"]');
      cells[to.row * columns + to.column]?.focus();
    } else if ((event.key === "Enter" || event.key === " ") && spot) {
      event.preventDefault();
      pick(spot, event.shiftKey);
    } else if (event.key === "Escape" && !blank && store.selected.value) {
      event.preventDefault(); // the view stays large
      store.select("");
    }
  };
  const point = (event: Event) => (peek.value = (event.target as Element).closest<HTMLElement>("[data-id]")?.dataset["id"] ?? "");
  const say = (spot: Spot) => (blank ? `${spot.name}: a blank${spot.name === guess ? ", your guess" : ""}` : spoken(store, reading, spot));
  const drawn = (
    <div ref={box}>
      <div
        class="aw-heads"
        role="grid"
        aria-label={blank ? "Which part leads? Choose one" : `Contribution of every component${reading.unit}`}
        style={{ gridTemplateColumns: `${place.side - place.gap}px repeat(${grid.heads.length}, ${place.cell}px) repeat(${grid.others.length}, ${place.wide}px)`, gridTemplateRows: `${HEADER}px`, gridAutoRows: `${place.row}px`, gap: `${place.gap}px` }}
        onKeyDown={keys}
        onPointerOver={point}
        onFocusIn={point}
        onPointerLeave={() => (peek.value = "")}
      >
        {!blank && <Canvas grid={grid} place={place} scale={scale} reading={reading} form={form} secret={secret} small={small?.state === "ready" ? small.value : undefined} done={setPainted} />}
        <div role="row" class="aw-contents">
          <span role="columnheader" class="aw-hhead">
            <span class="aw-sr">layer</span>
          </span>
          {[...grid.heads, ...grid.others].map((c) => (
            <span role="columnheader" class="aw-hhead" key={c}>
              {place.cell < 22 && c.startsWith("H") ? <span aria-hidden="true">{Number(c.slice(1)) % 4 ? "" : c.slice(1)}</span> : c}
              {place.cell < 22 && c.startsWith("H") && <span class="aw-sr">{c}</span>}
            </span>
          ))}
        </div>
        {grid.layers.map(({ name, spots }, r) => (
          <div role="row" class="aw-contents" key={name}>
            <span role="rowheader" class="aw-vhead">
              {name}
            </span>
            {spots.map((spot, c) => {
              if (!spot) return <span role="gridcell" key={c} tabIndex={-1} aria-label="none" />;
              return (
                <span
                  role="gridcell"
                  key={c}
                  class="aw-head"
                  data-id={spot.name}
                  title={described(spot.name)}
                  aria-selected={spot.name === open}
                  data-chosen={spot.parts.some(({ id }) => store.chosen.value.includes(id))}
                  tabIndex={here.row === r && here.column === c ? 0 : -1}
                  onFocusIn={() => setAt({ row: r, column: c })}
                  onMouseDown={(event) => event.shiftKey && event.preventDefault()} // no text is marked
                  onClick={(event) => pick(spot, event.shiftKey)}
                >
                  {blank && spot.name === guess && <span aria-hidden="true">✓</span>}
                  {!blank && c >= grid.heads.length && place.under > 18 && <span aria-hidden="true">{reading.signed(spot.value)}</span>}
                  <span class="aw-sr">{say(spot)}</span>
                </span>
              );
            })}
          </div>
        ))}
      </div>
    </div>
  );
  if (blank) {
    return (
      <Asking parts={[...hidden]} question="Which part leads?" tall>
        {drawn}
        <p class="aw-readout" aria-live="polite">
          {guess ? `You say ${guess}.` : peek.value}
        </p>
      </Asking>
    );
  }
  const tick = ticks(0, place.cell / 2 / (scale || 1), 2).at(-1) ?? 0;
  return (
    <div data-part="heads">
      {!secret && <Controls reading={reading} form={form} effects={cells.some((s) => s.effect)} />}
      {drawn}
      <ReadOut grid={grid} reading={reading} />
      {form.from && (
        <button class="aw-link" data-part="all-heads" onClick={() => (shown.value = { ...shown.value, from: null })}>
          Back to all layers and heads
        </button>
      )}
      {grid.binned && <p class="aw-quiet aw-small">A cell holds several heads: their bars added, the strongest of their patterns and effects. Click one to see them one by one.</p>}
      <Key painted={painted} form={form} tick={tick} long={tick * scale} unit={reading.header.target.unit} waiting={small?.state === "loading"} effects={cells.some((s) => s.effect)} />
      <Rest reading={reading} />
      <Sum />
      <Legend />
      <ChosenSet />
    </div>
  );
}

interface CanvasProps {
  grid: Grid;
  place: Layout;
  scale: number;
  reading: Reading;
  form: HeadsForm;
  secret: boolean;
  small: Stored | undefined;
  done(painted: Painted): void;
}

/** All cells in one picture. */
function Canvas({ grid, place, scale, reading, form, secret, small, done }: CanvasProps) {
  const { palette } = useView();
  const canvas = useRef<HTMLCanvasElement>(null);
  const { strip, weighting, first, reader } = form;
  useLayoutEffect(() => {
    if (canvas.current) done(paint(canvas.current, grid, place, scale, reading, form, palette.value, secret, small));
  }, [grid, reading, palette.value, secret, small, strip, weighting, first, reader, place.cell, place.wide]);
  return <canvas ref={canvas} aria-hidden="true" style={{ top: `${HEADER + place.gap}px` }} />;
}

/** What a cell is called in words. */
function spoken(store: Store, reading: Reading, { name, parts, value, effect }: Spot): string {
  const many = parts.length > 1 ? `, ${parts.length} together:` : "";
  const back = effect ? `, effect ${share(effect[0])}${effect[1] ? "" : " (estimated)"}` : "";
  return `${name}${many} ${reading.signed(value)} ${reading.header.target.unit}${back}${parts.some(({ id }) => store.chosen.value.includes(id)) ? ", taken out" : ""}`;
}

/** The part under the pointer or the focus. */
function ReadOut({ grid, reading }: { grid: Grid; reading: Reading }) {
  const { store } = useView();
  const name = store.screen.peek.value || store.open.value;
  const spot = grid.layers.flatMap(({ spots }) => spots).find((s) => s?.name === name);
  const [row] = spot?.parts ?? [];
  const verdict = store.lab.of(name);
  const sources = row?.kind === "head" && spot?.parts.length === 1 && !store.hides("detail") ? reading.sources(row.id, undefined) : undefined;
  const lead = sources ? reading.leadSource(sources, spot?.value ?? 0) : -1;
  return (
    <p class="aw-readout aw-two" aria-live="polite">
      {spot && (
        <>
          <b>{name}</b> {spoken(store, reading, spot).slice(name.length)}
          {reading.rival && spot.parts.length === 1 && (
            <>
              {" "}
              ({reading.signed(reading.rivalOf(name) ?? 0)} for <RivalName />)
            </>
          )}
          {lead >= 0 && (
            <>
              {"; most of it at the position of "}
              <Token text={reading.tokens[lead] ?? ""} />
            </>
          )}
          {verdict && `; ${verdict.told}`}.
        </>
      )}
    </p>
  );
}

/** What is no head and no MLP: with the two sums it makes the total. */
function Rest({ reading }: { reading: Reading }) {
  const { store } = useView();
  const { rows } = reading.header;
  const groups = new Map<string, { sum: number; ids: string[] }>();
  rows.forEach(({ id, kind, layer }, i) => {
    const name = kind === "head" || kind === "mlp" || layer !== null ? kind : id;
    const group = groups.get(name) ?? { sum: 0, ids: [] };
    groups.set(name, { sum: group.sum + (reading.values[i] ?? 0), ids: [...group.ids, id] });
  });
  return (
    <div class="aw-mapmore">
      {[...groups].map(([kind, { sum, ids: [first = "", ...more] }]) =>
        kind in DRAWN ? (
          <span class="aw-pill" key={kind}>
            <span class="aw-name">{DRAWN[kind]}</span> {reading.signed(sum)}
          </span>
        ) : (
          <button
            class="aw-pill"
            key={kind}
            data-id={more.length ? undefined : first}
            title={more.length ? "Show them in order" : described(first)}
            aria-pressed={more.length ? undefined : first === store.open.value}
            onClick={() => {
              if (more.length) store.screen.order.value = "order";
              store.select(first);
            }}
          >
            <span class="aw-name">{more.length ? `${more.length + 1} × ${kind}` : first}</span> {reading.signed(sum)}
          </button>
        ),
      )}
    </div>
  );
}

const DRAWN: Record<string, string> = { head: "heads", mlp: "MLPs", attn: "attention", layer: "layers" };
const NAMED = 5;

/** Under the headline: heads whose bar and effect disagree. */
export function Apart() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading || store.hides("values") || store.hides("heads")) return null;
  const effects = knownEffects(store);
  const { bar, effect } = havings(reading, effects);
  const measured = (ids: string[]) => ids.length > 0 && ids.every((id) => store.lab.of(id));
  const line = (ids: string[], said: string, part: string) =>
    ids.length > 0 && (
      <p class="aw-sub" data-part={part}>
        {said}
        {measured(ids) ? "" : " (estimated)"}:{" "}
        {ids.slice(0, NAMED).map((id, i) => (
          <>
            {i > 0 && ", "}
            <button class="aw-link aw-name" onClick={() => store.select(id)}>
              {id}
            </button>
          </>
        ))}
        {ids.length > NAMED && ` and ${ids.length - NAMED} more`}.{" "}
        {!store.fixed.value && ids.length > 1 && (
          <button class="aw-link" data-part={`${part}-out`} onClick={() => store.choseAll(ids.filter((id) => store.leavable(id)))}>
            Take them out together
          </button>
        )}
      </p>
    );
  return (
    <>
      {line(bar, "A bar and no effect", "bar-only")}
      {line(effect, "An effect and no bar", "effect-only")}
    </>
  );
}
