/** What anywidget imports, and the offline page. Nothing slow may happen in `initialize`, so there is none. */
import { HostModel, type Model, readEmbedded } from "./core/host/host";
import { type Drawn, mount } from "./views/mount";

interface RenderProps {
  model: Model;
  el: HTMLElement;
  /** anywidget 0.11 passes it, 0.9 does not */
  signal?: AbortSignal;
}

export interface Widget {
  render(props: RenderProps): () => void;
}

export const widgetOf = (View: Drawn): Widget => ({
  render({ model, el, signal }) {
    let end: (() => void) | null = mount(model, el, String(model.get("kind")), View);
    const stop = () => {
      end?.();
      end = null;
    };
    signal?.addEventListener("abort", stop, { once: true });
    return stop;
  },
});

/** The same view with a host that has no kernel. Reads #aw-state and the bytes beside it, draws into #aw-root. */
export function onPage(widget: Widget): void {
  const state = document.getElementById("aw-state") as (HTMLElement & { bytes?: Record<string, DataView> }) | null;
  const root = document.getElementById("aw-root");
  if (state && root) widget.render({ model: new HostModel(readEmbedded(state.textContent || "{}", state.bytes)), el: root });
}
