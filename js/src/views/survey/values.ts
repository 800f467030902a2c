/** What a part writes to every prompt: embedded, or asked for once. */
import { useLayoutEffect, useState } from "preact/hooks";
import { inWords } from "../../core/host/protocol";
import { decode } from "../../core/host/wire";
import { type Loaded, NEEDS_KERNEL } from "../../core/state/answers";
import type { Survey } from "../../core/state/survey";
import { useView } from "../parts/context";

export function useValues(of: Survey, part: number): Loaded<Float32Array> {
  const { store } = useView();
  const [asked, setAsked] = useState<Record<number, Loaded<Float32Array>>>({});
  const here = of.values(part);
  const fixed = store.fixed.value;
  const set = (loaded: Loaded<Float32Array>) => setAsked((before) => ({ ...before, [part]: loaded }));
  const ask = () => {
    set({ state: "loading" });
    store.client.request("surveyed", { id: of.header.parts[part]?.id ?? "" }).result.then(
      ({ buffers }) => set({ state: "ready", value: decode(buffers[0]).arrays["values"]?.at() ?? new Float32Array() }),
      (error: Error) => set({ state: "error", text: inWords(error), hint: "", retry: ask }),
    );
  };
  useLayoutEffect(() => {
    if (!here && !fixed && !asked[part]) ask();
  }, [of, part, fixed]);
  if (here) return { state: "ready", value: here };
  return fixed ? { state: "absent", text: NEEDS_KERNEL, retry: null } : (asked[part] ?? { state: "loading" });
}
