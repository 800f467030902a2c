/** A line of tokens of which one is chosen. */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { tokenText } from "../../core/maths/format";
import { Token } from "./names";
import { pressed, useRoving } from "./roving";

export interface TokenNumber {
  /** printed under the token */
  number?: string | undefined;
  /** what a screen reader and the title say beside the token and its position */
  about: string;
  style?: { backgroundColor: string; color: string };
}

export interface TokenItem extends TokenNumber {
  text: string;
  quiet?: boolean;
  /** underlined */
  strange?: boolean;
  /** has no answer here; `about` says why */
  off?: boolean;
  /** follows the prompt */
  new?: boolean;
  /** what a screen reader says more */
  said?: string;
  /** drawn over the token */
  above?: ComponentChildren;
}

/** A number for every item, a stand-in for it ("…"), or nothing. */
export type Numbered = (i: number) => TokenNumber | undefined;

/** An item with another number. */
export const numbered = (under: Numbered | undefined, i: number, item: TokenItem): TokenItem => {
  const more = under?.(i);
  return under ? { ...item, number: undefined, ...more, about: item.about + (more?.about ?? "") } : item;
};

interface TokenListProps {
  items: TokenItem[];
  label: string;
  current: number;
  pick: ((i: number, event: MouseEvent | KeyboardEvent) => void) | null;
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

/** Lists of more tokens than this are drawn where one looks, so many at a time: a click redraws what is seen of them. */
const LONG = 240;
const CHUNK = 40;
/** How high a chunk is that was never drawn, in px, and how many stand around the item that the list starts at. */
const GUESSED = 130;
const AROUND = 1;

/** Which chunks of a long list stand in its box, or hold one of the items that must be there or a neighbour of it. */
function useChunks(box: { current: HTMLDivElement | null }, count: number, centre: number, kept: number[]) {
  const long = count > LONG;
  const middle = Math.floor(centre / CHUNK);
  const [seen, setSeen] = useState({ middle, from: middle - AROUND, to: middle + AROUND });
  const heights = useRef(new Map<number, number>());
  // another centre is scrolled to: what stood around the one before is gone
  const { from, to } = seen.middle === middle ? seen : { from: middle - AROUND, to: middle + AROUND };
  const look = () => {
    const at = box.current;
    if (!at) return;
    const inside = ([...at.children] as HTMLElement[]).flatMap((chunk, i) => {
      const { offsetTop: top, offsetHeight: height } = chunk;
      if (!chunk.style.height) heights.current.set(i, height);
      return top + height > at.scrollTop && top < at.scrollTop + at.clientHeight ? [i] : [];
    });
    const now = { middle, from: inside[0] ?? 0, to: inside[inside.length - 1] ?? 0 };
    if (now.from !== from || now.to !== to) setSeen(now);
  };
  // and their neighbours, to which arrows lead
  const must = new Set(kept.flatMap((i) => [i - 1, i + 1].map((j) => Math.floor(j / CHUNK))));
  const drawn = (chunk: number) => (chunk >= from && chunk <= to) || must.has(chunk);
  return { long, look, drawn, height: (chunk: number) => heights.current.get(chunk) ?? GUESSED };
}

/** A line of tokens of which one is chosen. */
export function TokenList({ items, label, current, pick, escape, part, look, first = 0, start = 0, follow }: TokenListProps) {
  const { tabIndex, stop, list } = useRoving(current, true);
  const box = useRef<HTMLDivElement>(null);
  const wanted = useRef(-1);
  const seen = current >= 0 ? current : first;
  const [end, setEnd] = useState(-1);
  const chunks = useChunks(box, items.length, seen, [stop, end]);
  const item = (i: number) => box.current?.querySelector<HTMLElement>(`[data-i="${i}"]`);
  // A long list scrolls inside its own box; the page must not move.
  useLayoutEffect(() => {
    const at = item(seen);
    if (box.current && at) box.current.scrollTop = at.offsetTop + at.offsetHeight / 2 - box.current.clientHeight / 2;
  }, [seen, items.length]);
  useLayoutEffect(() => {
    if (wanted.current >= 0) item(wanted.current)?.focus();
    wanted.current = -1;
  }, [end]);
  const one = (item: TokenItem, i: number) => {
    const about = `${tokenText(item.text)}, position ${start + i}${item.about}`;
    const act = (event: MouseEvent | KeyboardEvent) => pick?.(i, event);
    return (
      <div
        key={i}
        role="option"
        class={`aw-pick ${item.quiet ? "aw-special" : ""} ${item.new ? "aw-new" : ""}`}
        data-i={i}
        aria-selected={i === current}
        aria-disabled={item.off}
        aria-posinset={chunks.long ? i + 1 : undefined}
        aria-setsize={chunks.long ? items.length : undefined}
        title={about}
        tabIndex={tabIndex(i)}
        onClick={act}
        onKeyDown={pressed(act)}
      >
        {item.above}
        <span class={`aw-tok ${item.style ? "aw-shaded" : ""} ${item.strange ? "aw-strange" : ""}`} style={item.style}>
          <Token text={item.text} />
        </span>
        {item.number !== undefined && <span class="aw-num"> {item.number}</span>}
        <span class="aw-sr">, position {start + i}{item.said}</span>
      </div>
    );
  };
  return (
    <div
      ref={box}
      class={look}
      role="listbox"
      aria-orientation="horizontal"
      aria-label={label}
      data-part={part}
      {...list}
      onScroll={chunks.long ? chunks.look : undefined}
      onKeyDown={(event) => {
        if (event.key === "Escape" && escape) return escape();
        const far = { Home: 0, End: items.length - 1 }[event.key];
        if (chunks.long && far !== undefined) {
          event.preventDefault();
          wanted.current = far;
          setEnd(far);
          item(far)?.focus();
        } else list.onKeyDown(event);
        if (follow && event.defaultPrevented) pick?.(far ?? Number(box.current?.querySelector<HTMLElement>(":focus")?.dataset["i"] ?? current), event);
      }}
    >
      {chunks.long
        ? Array.from({ length: Math.ceil(items.length / CHUNK) }, (_, c) => (
            <div key={c} role="presentation" class="aw-chunk" data-chunk={c} style={chunks.drawn(c) ? undefined : { height: `${chunks.height(c)}px` }}>
              {chunks.drawn(c) && items.slice(c * CHUNK, (c + 1) * CHUNK).map((each, i) => one(each, c * CHUNK + i))}
            </div>
          ))
        : items.map(one)}
    </div>
  );
}
