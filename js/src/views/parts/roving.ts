/** Lists that arrows walk, and what Enter does in them. */
import { useState } from "preact/hooks";
import { step } from "../../core/host/keyboard";

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
  return { tabIndex, stop, list };
}

export const pressed = (act: (event: KeyboardEvent) => void) => (event: KeyboardEvent) => {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  act(event);
};
