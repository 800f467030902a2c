/** Where one is, how to go back, and the same numbers as Python. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { pythonFor } from "../../core/state/python";
import { toClipboard } from "../parts/clipboard";
import { useView } from "../parts/context";
import { TargetName, Token } from "../parts/names";
import { featureName } from "../tabs/features";

export function Crumbs() {
  const { store } = useView();
  const [code, setCode] = useState("");
  const [copied, setCopied] = useState(false);
  const reading = store.reading.value;
  if (!reading) return null;
  const id = store.open.value;
  const row = reading.row(id);
  const source = store.source.value;
  // The code names the target.
  const secret = store.hides("candidates");
  const path: [ComponentChildren, () => void][] = (reading.header.origin ?? []).map((from) => [
    <TargetName of={from.target} />,
    () => store.explain({ restore: from.question }),
  ]);
  path.push([<TargetName />, () => store.home()]);
  const feature = store.feature.value;
  if (row && store.selected.value) path.push([id, () => store.select(id)]);
  if (row && feature >= 0) path.push([featureName(row, feature), () => {}]);
  if (source >= 0 && row?.kind === "head") path.push([<Token text={reading.tokens[source] ?? ""} />, () => {}]);
  const copy = async (event: MouseEvent) => {
    if (code) {
      setCode("");
      return;
    }
    const whyKey = reading.whyKey(id);
    const text = pythonFor(reading.header.python.setup, {
      id,
      kind: row?.kind ?? "",
      layer: row?.layer ?? null,
      mixture: !!row?.mixture,
      feature: row ? feature : -1,
      tab: store.screen.order.value === "trace" ? "trace" : store.screen.tab.value,
      source,
      weighting: store.screen.weighting.value,
      query: reading.position,
      lens: reading.header.python.lens ?? "",
      verify: (store.lab.of(id) && reading.header.python.verify) ?? "",
      key: store.screen.key.value >= 0 ? store.screen.key.value : Math.max(0, whyKey),
    });
    setCode(text);
    setCopied(await toClipboard(text, event.currentTarget as HTMLElement));
  };
  return (
    <div class="aw-foot">
      <nav class="aw-crumbs" data-part="crumbs" aria-label="Where you are">
        <button class="aw-arrow" data-part="back" aria-label="Back" disabled={store.history.at.value <= 0} onClick={() => store.go(-1)}>
          ‹
        </button>
        <button class="aw-arrow" data-part="forward" aria-label="Forward" disabled={store.history.at.value >= store.history.past.value.length - 1} onClick={() => store.go(1)}>
          ›
        </button>
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
