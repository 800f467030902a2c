/** What every view reads from its root: the store and the colours. */
import type { Signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Palette } from "../../core/maths/colour";
import type { Store } from "../../core/state/store";

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
