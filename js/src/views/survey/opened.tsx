/** A prompt of the survey in the Explorer, under it; where that cannot be, the line that opens it. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { nest } from "../../core/host/nested";
import { inWords } from "../../core/host/protocol";
import { NEEDS_KERNEL } from "../../core/state/answers";
import type { Survey } from "../../core/state/survey";
import { toClipboard } from "../parts/clipboard";
import { useView } from "../parts/context";

export function Opened({ of, prompt, close }: { of: Survey; prompt: number; close(): void }) {
  const { store, model } = useView();
  const { closed, prompts, answers } = of.header;
  const never = closed || (store.fixed.value ? NEEDS_KERNEL : "");
  const [said, setSaid] = useState(never || "Opening the Explorer…");
  const [copied, setCopied] = useState("");
  const place = useRef<HTMLDivElement>(null);
  const code = `s.open(${prompt})`;
  useLayoutEffect(() => {
    if (never) return;
    let here = true;
    let end: (() => void) | undefined;
    const asked = store.client.request("open", { prompt });
    // what was computed is opened by a message of its own: hosts lose a widget that a thread opens
    asked.result
      .then(() => (here ? store.client.request("opened", { prompt }).result : undefined))
      .then((opened) => (here && opened && place.current ? nest(model, opened.data.model, place.current) : undefined))
      .then(
        (stop) => {
          if (here) [end] = [stop];
          else stop?.();
          setSaid("");
        },
        (error: Error) => here && setSaid(inWords(error)),
      );
    return () => {
      here = false;
      asked.cancel();
      end?.();
    };
  }, []);
  const copy = async (event: MouseEvent) => setCopied((await toClipboard(code, event.currentTarget as HTMLElement)) ? "Copied." : "");
  return (
    <section class="aw-pad aw-body" data-part="opened" data-prompt={prompt} aria-label={`Prompt ${prompt}`}>
      <p class="aw-sopen">
        <b>Prompt {prompt}</b> {prompts[prompt]} → {answers[prompt]} <code class="aw-name">{code}</code>
        <button class="aw-link" data-part="copy-open" onClick={(event) => void copy(event)}>
          Copy
        </button>
        <button class="aw-link" data-part="close-open" onClick={close}>
          Close
        </button>
        <span class="aw-quiet aw-small" role="status">
          {copied || said}
        </span>
      </p>
      <div ref={place} />
    </section>
  );
}
