/** Where one is, how to go back, and the same numbers as Python. */
import { batch } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { pythonFor } from "../../core/state/python";
import { toClipboard } from "../parts/clipboard";
import { useView } from "../parts/context";
import { TargetName, Token } from "../parts/names";
import { featureName } from "../tabs/features";

/** Questions to come back to; two of them are set side by side. */
function Pins() {
  const { store } = useView();
  const here = store.reading.value?.header.pin;
  const pins = store.pinned.value;
  if (!here || store.fixed.value) return null;
  const [a, b] = pins.slice(-2);
  const compare = async () => {
    if (!a || !b || (a.line !== here.line && !(await store.explain({ line: a.line })))) return;
    batch(() => {
      store.screen.order.value = "sides";
      store.screen.beside.value = b.line;
      store.screen.swapped.value = false;
    });
  };
  return (
    <span class="aw-chips" data-part="pins" role="group" aria-label="Pinned questions">
      <button class="aw-link" data-part="pin" aria-pressed={pins.some(({ line }) => line === here.line)} title="Keep this question, to come back to it or to set it beside another" onClick={() => store.pin(here)}>
        {pins.some(({ line }) => line === here.line) ? "Unpin" : "Pin"}
      </button>
      {pins.map((pin) => (
        <span key={pin.line} class="aw-chip aw-pinned" data-on={pin.line === here.line}>
          <button title={pin.name} onClick={() => pin.line !== here.line && void store.explain({ line: pin.line })}>
            {pin.name}
          </button>
          <button class="aw-edit" aria-label={`Unpin ${pin.name}`} onClick={() => store.pin(pin)}>
            ×
          </button>
        </span>
      ))}
      {a && b && (
        <button class="aw-btn" data-part="compare" title={`${a.name} beside ${b.name}`} onClick={() => void compare()}>
          {pins.length > 2 ? "Compare the last two" : "Compare"}
        </button>
      )}
    </span>
  );
}

/** A step through the history; one that cannot be taken says why. */
function Arrow({ part, by, off }: { part: "back" | "forward"; by: 1 | -1; off: string | false }) {
  const { store } = useView();
  return (
    <button class="aw-arrow" data-part={part} aria-label={by < 0 ? "Back" : "Forward"} disabled={!!off} {...(off && { title: off, "aria-description": off })} onClick={() => store.go(by)}>
      {by < 0 ? "‹" : "›"}
    </button>
  );
}

export function Crumbs() {
  const { store } = useView();
  const [code, setCode] = useState("");
  const [copied, setCopied] = useState(false);
  const reading = store.reading.value;
  if (!reading) return null;
  const id = store.open.value;
  const row = reading.row(id);
  const source = store.source.value;
  const at = store.history.at.value;
  // The code names the target.
  const secret = store.hides("candidates");
  const path: [ComponentChildren, () => void][] = (reading.header.origin ?? []).map((from) => [
    <TargetName of={from.target} />,
    () => store.explain({ restore: from.question }),
  ]);
  const { all, glance } = store.screen;
  const words = reading.header.passage && (all.value || glance.value >= 0) ? reading.header.passage : null;
  path.push([words ? "words" : <TargetName />, () => store.home()]);
  const feature = store.feature.value;
  if (!words && row && store.selected.value) path.push([id, () => store.select(id)]);
  if (!words && row && feature >= 0) path.push([featureName(row, feature), () => {}]);
  if (!words && source >= 0 && row?.kind === "head") path.push([<Token text={reading.tokens[source] ?? ""} />, () => {}]);
  const copy = async (event: MouseEvent) => {
    if (code) {
      setCode("");
      return;
    }
    const whyKey = reading.whyKey(id);
    const one = all.value ? "" : `[${glance.value - (words?.start ?? 0)}]`;
    const text = words ? `${words.code}\n\np${one}.top(10)\n` : pythonFor(reading.header.python.setup, {
      id,
      kind: row?.kind ?? "",
      layer: row?.layer ?? null,
      mixture: !!row?.mixture,
      feature: row ? feature : -1,
      tab: ["trace", "concepts"].includes(store.screen.order.value) ? store.screen.order.value : store.screen.tab.value,
      source,
      weighting: store.screen.weighting.value,
      query: reading.position,
      lens: reading.header.python.lens ?? "",
      verify: (!store.hides("corrupted") && store.lab.of(id) && reading.header.python.verify) || "",
      many: (store.lab.told.value?.findings?.length ?? 0) > 1,
      key: store.screen.key.value >= 0 ? store.screen.key.value : Math.max(0, whyKey),
    });
    setCode(text);
    setCopied(await toClipboard(text, event.currentTarget as HTMLElement));
  };
  return (
    <div class="aw-foot">
      <nav class="aw-crumbs" data-part="crumbs" aria-label="Where you are">
        <Arrow part="back" by={-1} off={at <= 0 && "There is nothing earlier to go back to"} />
        <Arrow part="forward" by={1} off={at >= store.history.past.value.length - 1 && "There is nothing later to go forward to"} />
        {path.map(([name, go], i) => (
          <>
            {i > 0 && <span aria-hidden="true">›</span>}
            {i < path.length - 1 ? (
              <button
                class="aw-crumb"
                onClick={(event) => {
                  // the button becomes plain text, and must not take the focus with it
                  event.currentTarget.parentElement?.querySelector("button")?.focus();
                  go();
                }}
              >
                {name}
              </button>
            ) : (
              <span class="aw-crumb" aria-current="location">
                {name}
              </span>
            )}
          </>
        ))}
        {reading.header.kind === "explorer" && !secret && <Pins />}
      </nav>
      {!secret && (
        <button class="aw-btn" data-part="copy" aria-expanded={code !== ""} onClick={copy}>
          {code ? (copied ? "Copied ✓ (close)" : "Close") : "Copy as Python"}
        </button>
      )}
      {code && !secret && (
        <pre class="aw-code" data-part="code" role="group" tabIndex={0} aria-label="Python code">
          {code}
        </pre>
      )}
    </div>
  );
}
