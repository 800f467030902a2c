/** Effects of parts as shares of the gap: what putting one into the other prompt brings back, measured; or what it accounts for between
 * the runs, estimated by gradients. */
import type { Signal } from "@preact/signals";
import type { Loaded } from "./answers";
import type { Store } from "./store";
import type { ExplorerHeader } from "../types";

/** A share of the gap, and whether it was measured. */
export type Effect = [share: number, measured: boolean];

/** Whether there is a comparison against which total effects can be estimated. */
export const comparable = ({ corrupted, test }: ExplorerHeader) => !!corrupted && !!test && !test.never && !test.missing;

/** The estimated total effect of every row; undefined where nobody asked, or nobody can. */
export function totalsOf(store: Store): Signal<Loaded<Float32Array>> | undefined {
  const reading = store.reading.value;
  if (!reading?.arrays["effects"] && !(store.lab.wanted.value && reading && comparable(reading.header))) return undefined;
  return store.data.effects();
}

/** The effect of row i; undefined where it is not known. */
export function effectsOf(store: Store, totals: Float32Array | undefined): (i: number) => Effect | undefined {
  const header = store.reading.value?.header;
  const gap = header?.corrupted?.gap ?? 0; // below zero where the other prompt says more of it
  return (i) => {
    const found = store.lab.of(header?.rows[i]?.id ?? "");
    if (found) return [found.recovery, true];
    const estimated = totals?.[i];
    return estimated !== undefined && gap ? [estimated / gap, false] : undefined;
  };
}
