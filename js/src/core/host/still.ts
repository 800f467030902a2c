/**
 * The static picture in an output beside the view is for a notebook without its kernel: it is not seen while the view
 * lives. It carries no script, so the view hides it: in its own document (JupyterLab, Notebook 7; VS Code has one for a
 * notebook, Colab one for a cell), and in other frames of the view's origin. A host that draws every output in a frame
 * of an origin of its own, or of none (`sandbox`), shows both.
 */

/** milliseconds; another document tells nobody when a picture arrives in it */
const LOOK = 1000;

/** Every document of the page that the view may write into. */
function* documents(from: Window): Generator<Document> {
  try {
    yield from.document;
  } catch {
    // of another origin; the frames in it need not be
  }
  for (let i = 0; i < from.length; i++) yield* documents(from[i] as Window);
}

/** The largest element around a picture, or frame around its page, that holds nothing else. */
function alone(e: Element): Element {
  if (e.localName === "body") {
    const frame = e.ownerDocument.defaultView?.frameElement;
    return frame ? alone(frame) : e;
  }
  const seen = (node: Node) => node !== e && (node.nodeType === 1 ? !/^(script|style|link)$/i.test(node.nodeName) : node.nodeType === 3 && node.nodeValue?.trim());
  const up = e.parentElement;
  return !up || [...up.childNodes].some(seen) ? e : alone(up);
}

/** Hides the pictures with this mark. Returns the function that shows them again. */
export function hideStill(still: string | undefined): () => void {
  if (!still) return () => {};
  const own = `.aw-still-${CSS.escape(still)}`;
  const styles = new Map<Document, Element>();
  let boxes = new Set<Element>();
  const rule = (page: Document) => {
    if (styles.has(page)) return;
    const style = page.createElement("style");
    style.textContent = `${own},.jp-OutputArea-child:has(${own}),[data-aw-still="${still}"]{display:none!important}`;
    page.head.append(style);
    styles.set(page, style);
  };
  const mark = (now: Set<Element>) => {
    for (const box of boxes) if (!now.has(box)) box.removeAttribute("data-aw-still");
    for (const box of now) box.setAttribute("data-aw-still", still);
    boxes = now;
  };
  const look = () => {
    const found = [...documents(top ?? window)].flatMap((page) => [...page.querySelectorAll(own)]);
    const now = new Set(found.map(alone));
    for (const e of [...found, ...now]) rule(e.ownerDocument);
    mark(now);
  };
  const show = () => {
    mark(new Set());
    for (const style of styles.values()) style.remove();
    styles.clear();
  };
  rule(document); // what comes later is hidden before it is painted
  look();
  const timer = setInterval(look, LOOK);
  // a frame that is taken away ends without a word
  addEventListener("pagehide", show);
  return () => {
    clearInterval(timer);
    removeEventListener("pagehide", show);
    show();
  };
}
