/** Small pieces that every view uses: the context, tokens, names, placeholders, bars, lists that arrows walk. */
import type { Signal } from "@preact/signals";
import { type ComponentChildren, createContext } from "preact";
import { useContext, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Palette } from "../core/colour";
import { digitsFor, pieces, plain, signed, tiny, tokenText } from "../core/format";
import { bySize, diverging, largest, sumOf } from "../core/geometry";
import { step } from "../core/keyboard";
import type { Loaded } from "../core/source";
import type { Store } from "../core/store";
import type { Named, Part, Target } from "../core/types";

export interface View {
  store: Store;
  palette: Signal<Palette>;
}
export const Context = createContext<View | null>(null);
export function useView(): View {
  const view = useContext(Context);
  if (!view) throw new Error("a view is drawn outside its context");
  return view;
}

/** A token as text nodes only; spaces and invisible characters become quiet marks. */
export function Token({ text }: { text: string }) {
  return (
    <bdi class="aw-token">
      {pieces(text).map((p) => (p.mark ? <span class="aw-mark">{p.text}</span> : p.text))}
    </bdi>
  );
}

/** What every view of an attribution says of itself. */
export const Observed = () => (
  <p class="aw-sub" data-part="mark">
    Observed, not tested.
  </p>
);

const OR = 3;

/** A token, or the first of a set of them. */
export function Names({ of }: { of: Named }) {
  const all = of.texts ?? [of.text];
  return (
    <>
      {all.slice(0, OR).map((text, i) => (
        <>
          {i > 0 && <span class="aw-mark"> or </span>}
          <Token text={text} />
        </>
      ))}
      {all.length > OR && <span class="aw-mark"> …</span>}
    </>
  );
}

/** The same as a line of text. */
export function namesText(of: Named): string {
  const all = of.texts ?? [of.text];
  return all.slice(0, OR).map(tokenText).join(" or ") + (all.length > OR ? " …" : "");
}

/** The name of the target, or a stand-in while the answer is hidden. */
export function TargetName({ of }: { of?: Target }) {
  const { store } = useView();
  const target = of ?? store.reading.value?.header.target;
  if (!target) return null;
  if (target.kind === "score") return <>the score</>;
  if (target.kind === "neuron") return <>{target.text}</>;
  if (store.hides("candidates")) return <>the answer</>;
  return (
    <>
      {target.kind === "log_prob" && "log p of "}
      <Names of={target} />
      {target.against && (
        <>
          {" over "}
          <Names of={target.against} />
        </>
      )}
    </>
  );
}

export function Hidden({ part, what }: { part: Part; what: string }) {
  const { store } = useView();
  return (
    <div class="aw-hidden" data-part={`hidden-${part}`}>
      <p>Hidden: make your prediction first.</p>
      {store.fixed.value && (
        <button class="aw-btn" onClick={() => store.show(part)}>
          Show {what}
        </button>
      )}
    </div>
  );
}

export function Await<T>({ of, children }: { of: Signal<Loaded<T>>; children: (value: T) => ComponentChildren }) {
  const loaded = of.value;
  if (loaded.state === "ready") return <>{children(loaded.value)}</>;
  if (loaded.state === "loading") return <p class="aw-quiet aw-wait">Computing…</p>;
  return (
    <p class={loaded.state === "error" ? "aw-error" : "aw-quiet"} role={loaded.state === "error" ? "alert" : undefined}>
      {loaded.text}
      {loaded.state === "error" && loaded.hint && ` ${loaded.hint}`}
      {loaded.retry && (
        <button class="aw-link" onClick={loaded.retry}>
          Try again
        </button>
      )}
    </p>
  );
}

/** One focus stop for a whole list; arrows, Home and End walk it. Items carry data-i. */
export function useRoving(current: number, sideways = false) {
  const [focus, setFocus] = useState(-1);
  const stop = focus >= 0 ? focus : Math.max(0, current);
  const tabIndex = (i: number) => (i === stop ? 0 : -1);
  const list = {
    onFocusIn: (event: FocusEvent) => {
      const item = (event.target as Element).closest<HTMLElement>("[data-i]");
      if (item) setFocus(Number(item.dataset["i"]));
    },
    onFocusOut: () => setFocus(-1),
    onKeyDown: (event: KeyboardEvent) => {
      const list = event.currentTarget as HTMLElement;
      const items = [...list.querySelectorAll<HTMLElement>("[data-i]")];
      const at = items.indexOf((event.target as Element).closest("[data-i]") as HTMLElement);
      const to = at < 0 ? null : step(event.key, at, items.length, sideways);
      if (to === null) return;
      event.preventDefault();
      items[to]?.focus();
    },
  };
  return { tabIndex, list };
}

export const pressed = (act: () => void) => (event: KeyboardEvent) => {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  act();
};

export interface TokenItem {
  text: string;
  /** printed under the token */
  number?: string | undefined;
  /** what a screen reader and the title say beside the token and its position */
  about: string;
  style?: { backgroundColor: string; color: string };
  quiet?: boolean;
  /** has no answer here; `about` says why */
  off?: boolean;
  /** drawn over the token */
  above?: ComponentChildren;
}

interface TokenListProps {
  items: TokenItem[];
  label: string;
  current: number;
  pick: ((i: number) => void) | null;
  escape?: () => void;
  part?: string;
  /** class of the list: aw-toks on the prompt line, aw-carried for shaded tokens, aw-flow when there are many */
  look: string;
  /** the item that a long list starts at, when none is chosen */
  first?: number;
  /** position of the first item */
  start?: number;
  /** the item that an arrow leads to is chosen at once */
  follow?: boolean;
}

/** A line of tokens of which one is chosen. */
export function TokenList({ items, label, current, pick, escape, part, look, first = 0, start = 0, follow }: TokenListProps) {
  const { tabIndex, list } = useRoving(current, true);
  const box = useRef<HTMLDivElement>(null);
  const seen = current >= 0 ? current : first;
  // A long list scrolls inside its own box; the page must not move.
  useLayoutEffect(() => {
    const item = box.current?.children[seen] as HTMLElement | undefined;
    if (box.current && item) box.current.scrollTop = item.offsetTop + item.offsetHeight / 2 - box.current.clientHeight / 2;
  }, [seen, items.length]);
  return (
    <div
      ref={box}
      class={look}
      role="listbox"
      aria-orientation="horizontal"
      aria-label={label}
      data-part={part}
      {...list}
      onKeyDown={(event) => {
        if (event.key === "Escape" && escape) return escape();
        list.onKeyDown(event);
        if (follow && event.defaultPrevented) pick?.(Number(box.current?.querySelector<HTMLElement>(":focus")?.dataset["i"] ?? current));
      }}
    >
      {items.map((item, i) => {
        const about = `${tokenText(item.text)}, position ${start + i}${item.about}`;
        const act = () => pick?.(i);
        return (
          <div
            key={i}
            role="option"
            class={`aw-pick ${item.quiet ? "aw-special" : ""}`}
            data-i={i}
            aria-selected={i === current}
            aria-disabled={item.off}
            title={about}
            tabIndex={tabIndex(i)}
            onClick={act}
            onKeyDown={pressed(act)}
          >
            {item.above}
            <span class={`aw-tok ${item.style ? "aw-shaded" : ""}`} style={item.style}>
              <Token text={item.text} />
            </span>
            {item.number !== undefined && <span class="aw-num"> {item.number}</span>}
            <span class="aw-sr">, position {start + i}</span>
          </div>
        );
      })}
    </div>
  );
}

export interface BarRow {
  key: string;
  label: ComponentChildren;
  value: number;
  title?: string;
  /** what a click does; no button without it */
  act?: ((event: MouseEvent) => void) | undefined;
  quiet?: boolean;
}

/** The largest values as rows, and the others summed in one. */
export function ranked(values: ArrayLike<number>, top: number, row: (i: number) => Omit<BarRow, "value">): BarRow[] {
  const order = bySize(values).filter((i) => values[i] !== 0);
  const rest = order.slice(top);
  const rows: BarRow[] = order.slice(0, top).map((i) => ({ ...row(i), value: values[i] ?? 0 }));
  if (rest.length) rows.push({ key: "rest", label: `${rest.length} others`, value: sumOf(rest.map((i) => values[i] ?? 0)), quiet: true });
  return rows;
}

/** A row that opens the component it names. (The norm and the rounding of an inner place are not those of the bars.) */
export function opens(store: Store, id: string): Omit<BarRow, "value"> {
  const known = store.reading.value?.has(id) && id !== "norm.bias" && id !== "rounding";
  return { key: id, label: id, ...(known && { title: `Open ${id}`, act: () => store.select(id) }) };
}

export interface Side {
  name: string;
  title: ComponentChildren;
  rows: BarRow[];
  sum?: number;
}

/** Two lists beside each other, on one scale. */
export function Sides({ sides }: { sides: Side[] }) {
  const scale = sides.flatMap((s) => s.rows.map((r) => r.value));
  return (
    <div class="aw-sides">
      {sides.map(({ name, title, rows, sum }) => (
        <div>
          <h4 class="aw-sidetitle">{title}</h4>
          {rows.length ? <Bars label={name} rows={rows} scale={scale} /> : <p class="aw-quiet">None.</p>}
          {sum !== undefined && (
            <p class="aw-total">
              <span class="aw-quiet">sum</span> {signed(sum, digitsFor(largest(scale)))}
            </p>
          )}
        </div>
      ))}
    </div>
  );
}

interface CheckProps {
  total: number;
  /** what the sum is held against, and its number as printed */
  name: string;
  value: string;
  gap: number;
  unit: string;
  /** the largest bar, which says how many digits to print */
  most: number;
}

/** The line under bars: their sum beside the number that they split. */
export function Check({ total, name, value, gap, unit, most }: CheckProps) {
  return (
    <p class="aw-total aw-check" data-part="sum">
      <span>
        sum <b>{plain(total, digitsFor(most))}</b>
      </span>
      {name && (
        <span>
          {name} <b>{value}</b>
        </span>
      )}
      <span>
        gap {tiny(Math.abs(gap))} · {unit}
      </span>
    </p>
  );
}

/** Bars around a common zero, with names and printed numbers. `scale`: all values that share it, when there are more. */
export function Bars({ rows, label, scale }: { rows: BarRow[]; label: string; scale?: number[] }) {
  const values = rows.map((r) => r.value);
  const digits = digitsFor(largest(scale ?? values));
  const { spans, zero } = diverging(values, scale);
  return (
    <ul class="aw-bars" aria-label={label}>
      {rows.map((row, i) => {
        const span = spans[i];
        const inside = (
          <>
            <span class="aw-name">{row.label}</span>
            <span class="aw-track" aria-hidden="true">
              <i class="aw-zero" style={{ left: `${100 * zero}%` }} />
              <i
                class={`aw-bar ${row.value < 0 ? "aw-neg" : "aw-pos"} ${row.quiet ? "aw-many" : ""}`}
                style={{ left: `${100 * (span?.left ?? 0)}%`, width: `${100 * (span?.width ?? 0)}%` }}
              />
            </span>
            <span class="aw-val">{signed(row.value, digits)}</span>
          </>
        );
        return (
          <li key={row.key}>
            {row.act ? (
              <button class="aw-brow" title={row.title} onClick={row.act}>
                {inside}
              </button>
            ) : (
              <div class="aw-brow" title={row.title}>
                {inside}
              </div>
            )}
          </li>
        );
      })}
    </ul>
  );
}
