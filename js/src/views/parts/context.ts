/** What every view reads from its root: the store, the colours, and the host's model. */
import type { Signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Model } from "../../core/host/host";
import type { Palette } from "../../core/maths/colour";
import type { Store } from "../../core/state/store";

export interface View {
  store: Store;
  palette: Signal<Palette>;
  model: Model;
}
export const Context = createContext<View | null>(null);
export function useView(): View {
  const view = useContext(Context);
  if (!view) throw new Error("a view is drawn outside its context");
  return view;
}
