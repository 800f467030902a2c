/** A view on the page, what a person does to it, and what it sends. Every file that uses it says `afterEach(close)`. */
import { HostModel } from "../src/core/host/host";
import graph from "../src/graph";
import widget from "../src/index";
import survey from "../src/survey";

export interface Sent {
  id: string;
  op: string;
  args: Record<string, unknown>;
}

/** options of an offline page */
export const FIXED = { options: { hidden: [], static: true } };

/** kinds with bundles of their own */
const OWN = new Map([
  ["survey", survey],
  ["graph", graph],
]);

const later = setTimeout; // also in tests that hold the clock
export const tick = () => new Promise((done) => later(done, 5));

const ends: (() => void)[] = [];
export function close(): void {
  for (const end of ends.splice(0)) end();
  document.body.replaceChildren();
}

export async function press(el: Element | null | undefined, key: string, more: KeyboardEventInit = {}): Promise<void> {
  el?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  await tick();
}

/** The view of these traits, and no others. */
export function draw(traits: Record<string, unknown>) {
  const el = document.createElement("div");
  document.body.append(el);
  const sent: Sent[] = [];
  const model = new HostModel(traits, (m) => sent.push(m as Sent));
  ends.push((OWN.get(String(traits["kind"])) ?? widget).render({ model, el }));
  const one = (selector: string) => el.querySelector<HTMLElement>(selector);
  const all = (selector: string) => [...el.querySelectorAll<HTMLElement>(selector)];
  const click = async (selector: string) => {
    const target = one(selector);
    if (!target) throw new Error(`nothing matches ${selector}`);
    target.click();
    await tick();
  };
  /** What Python says, of the last request where none is named. */
  const answer = async (kind: string, more: object = {}, id = sent.filter((m) => m.op !== "cancel").at(-1)?.id) => {
    model.emit("msg:custom", { v: 1, id, kind, ...more }, []);
    await tick();
  };
  return { el, model, sent, one, all, click, answer };
}

/** A view as a running kernel shows it, with nothing selected. */
export function show(bytes: Uint8Array, kind = "explorer", traits: Record<string, unknown> = {}) {
  return draw({ kind, container: bytes, selected: "", source: -1, options: { hidden: [] }, ...traits });
}
