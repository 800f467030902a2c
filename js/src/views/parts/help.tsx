/** "?" on a panel: what it shows, how to read it, what it cannot show, what to look at next. The text comes on the click. */
import { useLayoutEffect, useState } from "preact/hooks";
import { inWords } from "../../core/host/protocol";
import type { Reading } from "../../core/state/reading";
import type { PanelHelp, PanelName } from "../../core/types";
import { useView } from "./context";

const HEADS: [keyof PanelHelp, string][] = [
  ["shows", "Shows"],
  ["read", "Read it"],
  ["cannot", "Does not say"],
  ["next", "Next"],
];

export function Help({ of }: { of: PanelName }) {
  const { store } = useView();
  const [said, setSaid] = useState<PanelHelp | string>("");
  const open = store.screen.help.value === of;
  // also where the panel comes back with its help open
  useLayoutEffect(() => {
    if (!open) return;
    let here = true;
    const say = (text: PanelHelp | string) => here && setSaid(text);
    setSaid("");
    store.meanings().then(
      ({ panels }) => say(panels?.[of] ?? "This page was saved without it."),
      (error: Error) => say(inWords(error)),
    );
    return () => {
      here = false;
    };
  }, [open, of]);
  const keys = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !open) return;
    event.preventDefault(); // the view stays large
    store.screen.help.value = "";
    (event.currentTarget as HTMLElement).querySelector("button")?.focus();
  };
  return (
    <span class="aw-helps" onKeyDown={keys}>
      <button class="aw-help" data-help={of} aria-label="What is this, and how is it read?" title="What is this, and how is it read?" aria-expanded={open} onClick={() => (store.screen.help.value = open ? "" : of)}>
        ?
      </button>
      {open && (
        <span class={`aw-helped ${store.fixed.value ? "" : "aw-roomy"}`} role="note" data-part="help">
          {typeof said === "string"
            ? said || "…"
            : HEADS.map(([part, head]) => (
                <span key={part}>
                  <b>{head}</b> {filled(said[part], store.covered("values", "sum") ? null : store.reading.value, store.open.value)}
                </span>
              ))}
        </span>
      )}
    </span>
  );
}

/** A text with the numbers of this screen. */
function filled(text: string, reading: Reading | null, open: string): string {
  const values: Record<string, string> = reading
    ? { part: open, value: reading.signed(reading.value(open)), total: reading.plain(reading.header.actual) }
    : { part: "a part", value: "its number", total: "the model\u2019s own number" };
  return text.replace(/\{(\w+)\}/g, (all, name: string) => values[name] ?? all);
}
