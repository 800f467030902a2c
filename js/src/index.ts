/** What anywidget imports. Nothing slow may happen in `initialize`, so there is none. */
import type { Model } from "./core/host/host";
import { mount } from "./views/root";

interface RenderProps {
  model: Model;
  el: HTMLElement;
  /** anywidget 0.11 passes it, 0.9 does not */
  signal?: AbortSignal;
}

function render({ model, el, signal }: RenderProps): () => void {
  let end: (() => void) | null = mount(model, el, String(model.get("kind")));
  const stop = () => {
    end?.();
    end = null;
  };
  signal?.addEventListener("abort", stop, { once: true });
  return stop;
}

export default { render };
