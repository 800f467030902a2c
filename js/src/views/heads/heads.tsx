/** Every head at once: layers by heads, in each cell its pattern, its bar, and an outline where it has an effect. */
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Cell, move } from "../../core/host/keyboard";
import type { Stored } from "../../core/host/wire";
import { share } from "../../core/maths/format";
import { ticks } from "../../core/maths/geometry";
import { barScale, type Layout, layout } from "../../core/maths/heads";
import { effectsOf, totalsOf } from "../../core/state/effects";
import { type Grid, gridOf, headsWith, type Spot } from "../../core/state/heads";
import type { Reading } from "../../core/state/reading";
import type { HeadsForm } from "../../core/state/screen";
import type { Loaded } from "../../core/state/answers";
import type { Store } from "../../core/state/store";
import type { Beyond, Roles } from "../../core/types";
import { ChosenSet } from "../explorer/chosen";
import { Legend, Sum } from "../explorer/waterfall";
import { Await, Hidden, NotYet } from "../parts/awaiting";
import { useView } from "../parts/context";
import { useWidth } from "../parts/grid";
import { Asking } from "../parts/guess";
import { Token } from "../parts/names";
import { Seg } from "../parts/seg";
import { TableBody } from "../results/table";
import { Controls, Key } from "./controls";
import { paint } from "./paint";

const HEADER = 18; // px
/** Of several the first. */
const short = (name: string) => name.split("–")[0] ?? "";

/** What is known of effects now. */
export function knownEffects(store: Store) {
  const loaded = totalsOf(store)?.value;
  return effectsOf(store, loaded?.state === "ready" ? loaded.value : undefined);
}

/** The form that is drawn: without whole patterns there are small pictures of attention to ask for, and else only rows. */
const formOf = (store: Store, reading: Reading): HeadsForm => {
  const form = store.screen.heads.value;
  // pictures would tell what heads read
  if (store.hides("detail")) return { ...form, weighting: "effect" };
  return { ...form, strip: form.strip || (!reading.whole && (store.fixed.value || form.weighting === "contribution")) };
};

export function Heads() {
  const { store } = useView();
  const [box, width] = useWidth();
  const [at, setAt] = useState<Cell | null>(null);
  const [most, setMost] = useState(1);
  const reading = store.reading.value;
  const { heads: shown, peek } = store.screen;
  const form = reading && formOf(store, reading);
  const effects = knownEffects(store);
  const told = store.lab.told.value;
  const totals = totalsOf(store)?.value;
  const grid = useMemo(() => reading && gridOf(reading, effects, form?.from ?? null, width), [reading, told, totals, form?.from, width]);
  if (!reading || !grid || !form) return null;
  const hidden = (["values", "heads"] as const).filter((part) => store.hides(part));
  const all = grid.layers.flatMap(({ spots }) => spots);
  const cells = all.filter((s) => s !== undefined);
  if (hidden.length && cells.length < 2) return <Hidden part={hidden[0] ?? "heads"} what="the heads" />;
  const blank = hidden.length > 0;
  const ask = !blank && !reading.whole && !form.strip && form.weighting === "attention";
  const small = ask ? store.data.patterns().value : undefined;
  const asked = form.roles && !blank ? store.data.roles().value : undefined;
  const roles = asked?.state === "ready" ? asked.value : undefined;
  const place = layout(width, grid.heads.length, grid.others.length, form.strip && !blank);
  const scale = barScale(place, cells.filter((s) => s.head).map((s) => s.value), cells.filter((s) => !s.head).map((s) => s.value));
  const guess = store.guessed.value.part;
  const open = blank ? (guess ?? "") : store.open.value;
  const pick = ({ parts: [one, ...more] }: Spot, shift: boolean) => {
    if (!one) return;
    if (blank) store.guess({ part: one.id });
    else if (more.length) shown.value = { ...shown.value, from: [one.layer ?? 0, one.head ?? 0] };
    else if (shift) store.choose(one.id);
    else store.select(one.id);
  };
  const columns = grid.heads.length + grid.others.length;
  const first = Math.max(0, all.findIndex((s) => s?.name === open));
  const here = at ?? { row: Math.floor(first / columns), column: first % columns };
  const keys = (event: KeyboardEvent) => {
    const to = move(event.key, here, grid.layers.length, () => columns, event.ctrlKey || event.metaKey);
    const spot = all[here.row * columns + here.column];
    if (to) {
      event.preventDefault();
      const { spots = [] } = grid.layers[to.row] ?? {};
      const wide = spots[0] ? spots.lastIndexOf(spots[0]) : 0; // of a mixer, which is one cell
      if (to.row === here.row && to.column > here.column && to.column <= wide) to.column = Math.min(wide + 1, columns - 1);
      setAt(to);
      const row = (event.currentTarget as HTMLElement).querySelectorAll('[role="row"]')[to.row + 1];
      (row?.children[1 + Math.max(0, to.column - wide)] as HTMLElement).focus();
    } else if ((event.key === "Enter" || event.key === " ") && spot) {
      event.preventDefault();
      pick(spot, event.shiftKey);
    } else if (event.key === "Escape" && !blank && store.selected.value) {
      event.preventDefault(); // the view stays large
      store.select("");
    }
  };
  const point = (event: Event) => (peek.value = (event.target as Element).closest<HTMLElement>("[data-id]")?.dataset["id"] ?? "");
  const say = (spot: Spot) => (blank ? `${spot.name}: a blank${spot.name === guess ? ", your guess" : ""}` : spoken(store, reading, spot, roles));
  const drawn = (
    <div ref={box}>
      <div
        class="aw-heads"
        role="grid"
        aria-label={blank ? "Which part leads? Choose one" : `Heads and MLPs${reading.unit}`}
        style={{ gridTemplateColumns: [place.side - place.gap, ...grid.heads.map(() => place.cell), ...grid.others.map(() => place.wide), ""].join("px "), gridTemplateRows: `${HEADER}px`, gridAutoRows: `${place.row}px`, gap: `${place.gap}px` }}
        onKeyDown={keys}
        onPointerOver={point}
        onFocusIn={point}
        onPointerLeave={() => (peek.value = "")}
      >
        {!blank && <Canvas grid={grid} place={place} scale={scale} reading={reading} form={form} small={small?.state === "ready" ? small.value : undefined} done={setMost} />}
        <div role="row" class="aw-contents">
          <span role="columnheader" class="aw-hhead">
            <span class="aw-sr">layer</span>
          </span>
          {[...grid.heads, ...grid.others].map((c, i) => (
            <span role="columnheader" class="aw-hhead" key={c} aria-label={c}>
              {store.kindOf(`L0.${c}`)?.short ?? (i < grid.heads.length && place.cell < 22 ? (i % 4 ? "" : short(c).slice(1)) : short(c))}
            </span>
          ))}
        </div>
        {grid.layers.map(({ name, spots }, r) => (
          <div role="row" class="aw-contents" key={name}>
            <span role="rowheader" class="aw-vhead" aria-label={name}>
              {short(name)}
            </span>
            {spots.map((spot, c) => {
              if (spot && spot === spots[c - 1]) return null;
              if (!spot) return <span role="gridcell" key={c} tabIndex={-1} />;
              return (
                <span
                  role="gridcell"
                  key={c}
                  class="aw-head"
                  data-id={spot.name}
                  title={store.described(spot.name)}
                  aria-selected={spot.name === open}
                  data-chosen={isOut(store, spot)}
                  aria-colspan={spots.lastIndexOf(spot) - c + 1}
                  style={{ gridColumnEnd: `span ${spots.lastIndexOf(spot) - c + 1}` }}
                  tabIndex={here.row === r && spots[here.column] === spot ? 0 : -1}
                  onFocusIn={() => setAt((old) => (old?.row === r && spots[old.column] === spot ? old : { row: r, column: c }))}
                  onClick={(event) => pick(spot, event.shiftKey)}
                >
                  {blank && spot.name === guess && <span aria-hidden="true">✓</span>}
                  {roles && spot.head && !spot.parts[1] && (
                    <b class="aw-letters" aria-hidden="true">
                      {roles.heads[spot.name] ?? "–"}
                    </b>
                  )}
                  {!blank && !spot.head && c < (grid.heads.length || columns) && <span class="aw-quiet">{store.kindOf(spot.name)?.short}</span>}
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
  const known = cells.some((s) => s.effect);
  const coming = small?.state === "loading" || small?.state === "ready"; // they are painted a frame after they are there
  const tick = ticks(0, place.cell / 2 / (scale || 1), 2).at(-1) as number;
  return (
    <div data-part="heads">
      {grid.heads.length > 0 && !store.hides("detail") && <Controls reading={reading} form={form} effects={known} />}
      {drawn}
      {small && small.state !== "ready" && small.state !== "loading" && <NotYet loaded={small} />}
      <ReadOut grid={grid} reading={reading} roles={roles} />
      {form.from && (
        <button class="aw-link" data-part="all-heads" onClick={() => (shown.value = { ...shown.value, from: null })}>
          All heads
        </button>
      )}
      {grid.binned && <p class="aw-quiet aw-small">Cells hold several, added: click to see each.</p>}
      <Key heads={grid.heads.length > 0 && (most > 0 || coming)} most={most} form={form} tick={tick} long={tick * scale} unit={reading.header.target.unit} effects={known} />
      <Sums reading={reading} />
      <Sum />
      <Legend />
      <ChosenSet />
      {asked && <RoleTable loaded={asked} head={all.find((s) => s?.head && s.name === store.open.value)?.name} />}
    </div>
  );
}

interface CanvasProps {
  grid: Grid;
  place: Layout;
  scale: number;
  reading: Reading;
  form: HeadsForm;
  small: Stored | undefined;
  done(most: number): void;
}

/** All cells in one picture. */
function Canvas({ grid, place, scale, reading, form, small, done }: CanvasProps) {
  const { palette } = useView();
  const canvas = useRef<HTMLCanvasElement>(null);
  const { strip, weighting, first, reader } = form;
  useLayoutEffect(() => {
    // once a frame: the width comes late
    const frame = requestAnimationFrame(() => canvas.current && done(paint(canvas.current, grid, place, scale, reading, form, palette.value, small)));
    return () => cancelAnimationFrame(frame);
  }, [grid, palette.value, small, strip, weighting, first, reader]);
  return <canvas ref={canvas} aria-hidden="true" style={{ top: `${HEADER + place.gap}px`, left: `${place.side}px` }} />;
}

const isOut = (store: Store, { parts }: Spot) => parts.some(({ id }) => store.chosen.value.includes(id));

/** What a cell is called in words. */
function spoken(store: Store, reading: Reading, spot: Spot, roles?: Roles): string {
  const { name, parts, value, effect } = spot;
  const many = parts.length > 1 ? `, ${parts.length} together` : "";
  const back = effect ? `, effect ${share(effect[0])}${effect[1] ? "" : " (estimated)"}` : "";
  return `${store.called(name)}${many} ${reading.signed(value)} ${reading.header.target.unit}${back}${isOut(store, spot) ? ", taken out" : ""}${roles && spot.head && !parts[1] ? `, ${named(roles, name)}` : ""}`;
}

/** The roles of a head in words. */
const named = ({ heads, table }: Roles, name: string) => table.rows.flatMap(([letter = "", role = ""]) => (heads[name]?.includes(letter) ? [role] : [])).join(" and ") || "no role";

const BEYOND: [Beyond, string][] = [
  ["contexts", "reads"],
  ["ov", "would write"],
  ["qk", "would look for"],
  ["composition", "could read"],
];

/** The legend of the letters, and what the head that is open does over a corpus. */
function RoleTable({ loaded, head }: { loaded: Loaded<Roles>; head: string | undefined }) {
  const { store } = useView();
  const [what, setWhat] = useState<Beyond | "">("");
  if (loaded.state !== "ready") return <NotYet loaded={loaded} />;
  return (
    <div class="aw-worked aw-lettered" data-part="roles">
      <TableBody header={loaded.value.table} nested="h3" />
      {head && (
        <p class="aw-take">
          <span>{head} beyond this prompt</span>
          <Seg label={`${head} beyond this prompt`} ways={BEYOND.filter(([way]) => way !== "ov" || !store.hides("candidates"))} now={what} pick={(way) => setWhat(way)} />
        </p>
      )}
      {head && what && <Await of={store.data.beyond(head, what)}>{(table) => <TableBody key={head + what} header={table} nested="h4" />}</Await>}
    </div>
  );
}

/** The part under the pointer or the focus. */
function ReadOut({ grid, reading, roles }: { grid: Grid; reading: Reading; roles: Roles | undefined }) {
  const { store } = useView();
  const name = store.screen.peek.value || store.open.value;
  const spot = grid.layers.flatMap(({ spots }) => spots).find((s) => s?.name === name);
  const verdict = store.lab.of(name);
  const sources = spot?.head && !store.hides("detail") ? reading.sources(name, undefined) : undefined;
  const lead = sources ? reading.leadSource(sources, spot?.value ?? 0) : -1;
  return (
    <p class="aw-readout aw-told" aria-live="polite">
      {spot && (
        <>
          <b>{name}</b> {spoken(store, reading, spot, roles).slice(name.length)}
          {lead >= 0 && (
            <>
              {", most at the position of "}
              <Token text={reading.tokens[lead] ?? ""} />
            </>
          )}
          {verdict && `; ${verdict.told}`}.
        </>
      )}
    </p>
  );
}

const KINDS: Record<string, string> = { head: "heads", attn: "attention", mlp: "MLPs", layer: "layers" };

/** The sums that make the total. */
function Sums({ reading }: { reading: Reading }) {
  const { store } = useView();
  const sums: Record<string, number> = {};
  reading.header.rows.forEach(({ id, kind }, i) => {
    const name = store.kindOf(id)?.short ?? KINDS[kind] ?? "others";
    sums[name] = (sums[name] ?? 0) + (reading.values[i] ?? 0);
  });
  return (
    <p class="aw-small" data-part="sums">
      {Object.entries(sums)
        .reverse()
        .map(([name, sum]) => `${name} ${reading.signed(sum)}`)
        .join(" · ")}
    </p>
  );
}

const NAMED = 5;

/** Under the headline: heads whose bar and effect disagree. */
export function Apart() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading || store.covered("values", "heads")) return null;
  const effects = knownEffects(store);
  const line = (what: "bar" | "effect", said: string) => {
    const ids = headsWith(what, reading, effects);
    if (!ids.length) return null;
    return (
      <p class="aw-sub" data-part={`${what}-only`}>
        {said}
        {ids.every((id) => store.lab.of(id)) ? "" : " (estimated)"}:{" "}
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
          <button class="aw-link" data-part={`${what}-out`} onClick={() => store.choseAll(ids.filter((id) => store.leavable(id)))}>
            Take all {ids.length} out
          </button>
        )}
      </p>
    );
  };
  return (
    <>
      {line("bar", "A bar and no effect")}
      {line("effect", "An effect and no bar")}
    </>
  );
}
