/** Under every view, above the Explorer and a graph: open it large, and take it away as a picture, a table, a paragraph or a page. */
import { useRef, useState } from "preact/hooks";
import { inWords } from "../../core/host/protocol";
import { addressOf } from "../../core/state/address";
import type { Form, Meaning, Saved } from "../../core/types";
import { toClipboard } from "./clipboard";
import { useView } from "./context";
import { termsIn, Words } from "./words";

/** What a person saves: a form of Python's, or the picture drawn again as pixels. */
type Kept = Form | "png";

const WORDS: [Kept, string, string][] = [
  ["png", "Picture (PNG)", "image/png"],
  ["svg", "Picture (SVG)", "image/svg+xml"],
  ["csv", "Table (CSV)", "text/csv"],
  ["txt", "Paragraph", "text/plain"],
  ["html", "Page (HTML)", "text/html"],
];

/** A frame without an origin of its own may download nothing: what would be saved comes to be copied. */
const bound = () => window.origin === "null" && window.parent !== window;

export function Foot() {
  const { store } = useView();
  const [open, setOpen] = useState(false);
  const [said, setSaid] = useState("");
  const [text, setText] = useState("");
  const [words, setWords] = useState<Meaning[]>([]);
  const large = useLarge();
  const box = useRef<HTMLDivElement>(null);
  const fixed = store.fixed.value;
  const kept = store.options.value.saved;
  // hidden answers are not given away
  const secret = store.options.value.hidden.length > 0;
  const get = async (form: Form): Promise<Saved> => kept?.[form] ?? (await store.client.request("save", { form }).result).data;
  const save = async (kind: Kept, type: string) => {
    setSaid("");
    setText("");
    try {
      const found = await get(kind === "png" ? "svg" : kind);
      if (kind === "txt") {
        setText(found.text);
        setSaid((await toClipboard(found.text, box.current as HTMLElement)) ? "Copied." : "To be copied:");
      } else if (kind !== "png" && bound()) {
        setText(found.text);
        setSaid("This frame allows no download; to be copied:");
      } else {
        download(kind === "png" ? await pixels(found.text) : new Blob([found.text], { type }), found.name.replace(/svg$/, kind));
        setSaid("Saved.");
      }
    } catch (error) {
      setSaid(inWords(error as Error));
    }
  };
  const address = secret ? "" : addressOf(store);
  const copyState = async () => {
    setOpen(true);
    setText(address);
    // the page's own address then leads to this screen
    if (fixed && window.parent === window) history.replaceState(null, "", `#${address}`);
    setSaid((await toClipboard(address, box.current as HTMLElement)) ? "Copied." : "To be copied:");
  };
  const explain = async () => {
    if (words.length) return setWords([]);
    const view = box.current?.closest(".aw")?.querySelector<HTMLElement>(".aw-card");
    try {
      setWords(termsIn(view?.innerText ?? view?.textContent ?? "", (await store.meanings()).terms));
    } catch (error) {
      setSaid(inWords(error as Error));
    }
  };
  const offered = WORDS.filter(([kind]) => !secret && (!fixed || kept?.[kind === "png" ? "svg" : kind]));
  return (
    <div class="aw-take" data-part="foot" ref={box}>
      <Large large={large} />
      {offered.length > 0 && (
        <button class="aw-link" data-part="save" aria-expanded={open} onClick={() => setOpen(!open)}>
          Save
        </button>
      )}
      {open && (
        <span class="aw-saves" role="group" aria-label="Save as">
          {offered.map(([kind, words, type]) => (
            <button key={kind} class="aw-btn" data-save={kind} onClick={() => void save(kind, type)}>
              {words}
            </button>
          ))}
        </span>
      )}
      {address && (
        <button class="aw-link" data-part="copy-state" title={'Python opens it again: aw.explore(state="…")'} onClick={() => void copyState()}>
          Copy state
        </button>
      )}
      <button class="aw-link" data-part="what" aria-expanded={words.length > 0} onClick={() => void explain()}>
        What do the words mean?
      </button>
      <span class="aw-quiet aw-small" role="status">
        {said}
      </span>
      {words.length > 0 && <Words terms={words} />}
      {open && text && <textarea class="aw-kept" data-part="kept" readOnly rows={text.length > 400 ? 8 : 2} aria-label="What is saved" value={text} />}
    </div>
  );
}

function Large({ large: [on, toggle] }: { large: [boolean, (from: HTMLElement) => void] }) {
  return (
    <button class="aw-link" data-part="large" aria-pressed={on} onClick={(event) => toggle(event.currentTarget)}>
      {on ? "Close (Esc)" : "Open large"}
    </button>
  );
}

/** The view over the whole window, in the browser's top layer: it stays where it is in the page, focus and all. */
function useLarge(): [boolean, (from: HTMLElement) => void] {
  const [on, setOn] = useState(false);
  return [
    on,
    (from) => {
      const root = from.closest<HTMLElement>(".aw");
      if (!root?.showPopover) return;
      const close = () => {
        root.removeEventListener("keydown", escape);
        root.hidePopover();
        root.removeAttribute("popover");
        setOn(false);
        from.focus();
      };
      // an open field takes Escape first
      const escape = (event: KeyboardEvent) => {
        if (event.key === "Escape" && !event.defaultPrevented && !(event.target as Element).closest("form")) close();
      };
      if (root.hasAttribute("popover")) return void root.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
      root.setAttribute("popover", "manual");
      root.showPopover();
      root.addEventListener("keydown", escape);
      from.focus();
      setOn(true);
    },
  ];
}

function download(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A drawing as pixels, twice as fine. */
async function pixels(svg: string): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = 2 * image.width;
  canvas.height = 2 * image.height;
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("This browser draws no PNG; save the SVG.")))));
}
