/** A line of tokens of which one is chosen. */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { tokenText } from "../../core/maths/format";
import { Token } from "./names";
import { pressed, useRoving } from "./roving";

export interface TokenItem {
  text: string;
  /** printed under the token */
  number?: string | undefined;
  /** what a screen reader and the title say beside the token and its position */
  about: string;
  style?: { backgroundColor: string; color: string };
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
        if (follow && event.defaultPrevented) pick?.(Number(box.current?.querySelector<HTMLElement>(":focus")?.dataset["i"] ?? current), event);
      }}
    >
      {items.map((item, i) => {
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
      })}
    </div>
  );
}
