/** Another widget of the kernel, drawn inside this one, in hosts that hand their manager on (JupyterLab, Notebook 7). */
import type { Model } from "./host";

interface Manager {
  get_model?(id: string): Promise<unknown>;
  create_view?(model: unknown): Promise<{ el: HTMLElement; remove(): void }>;
}

/** Draws the widget of this id into an element; what comes back takes it away. */
export async function nest(host: Model, id: string, into: HTMLElement): Promise<() => void> {
  const manager = host.widget_manager as Manager | undefined;
  if (!manager?.get_model || !manager.create_view) throw new Error("This page draws no view inside another: run the line.");
  const view = await manager.create_view(await manager.get_model(id));
  into.replaceChildren(view.el);
  return () => view.remove();
}
