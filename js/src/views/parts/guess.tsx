/** What is hidden asks: a blank to mark, a button that uncovers it, and what was said beside what it is. */
import type { ComponentChildren } from "preact";
import { tokenText } from "../../core/maths/format";
import type { Part, Row } from "../../core/types";
import { useView } from "./context";

/** Rows that can lead: what writes to the stream. */
const LEADS = new Set(["embed", "pos", "head", "attn", "attn.bias", "mlp", "layer"]);
const TOLD = 6;

/** Stands where something is hidden: the question, blanks, and the way out. */
export function Asking({ parts, question = "", what = "", tall = false, children }: { parts: Part[]; question?: string; what?: string; tall?: boolean; children?: ComponentChildren }) {
  const { store } = useView();
  const [first] = parts;
  return (
    <div class={`aw-hidden ${tall ? "aw-blanks" : ""}`} data-part={`hidden-${first}`} role="group" aria-label={question || `Hidden: ${what}`}>
      <p>Hidden: make your prediction first. {question}</p>
      {children}
      <button class="aw-btn" data-part="reveal" disabled={store.locked.value} onClick={() => store.reveal(parts)}>
        Reveal {what}
      </button>
    </div>
  );
}

/** The next token, to be typed. */
export function TokenBlank() {
  const { store } = useView();
  return (
    <input
      class="aw-input aw-blank"
      data-part="guess"
      aria-label="Your guess of the next token"
      placeholder="your guess"
      spellcheck={false}
      autocomplete="off"
      dir="auto"
      value={store.guessed.value.token ?? ""}
      onChange={(event) => store.guess({ token: event.currentTarget.value })}
      onKeyDown={(event) => event.key === "Enter" && event.currentTarget.value && store.guess({ token: event.currentTarget.value })}
    />
  );
}

/** What was said, and what it is. */
export function Compared({ kind, row }: { kind: "part" | "token" | "word"; row?: Row }) {
  const { store } = useView();
  const reading = store.reading.value;
  const { part, token, word } = store.guessed.value;
  if (!reading) return null;
  let said = "";
  let truth = "";
  let place = 0; // from 1; 0 where it is not known
  let how = "";
  if (kind === "part" && part) {
    const order = reading.order.map((i) => reading.header.rows[i]).filter((r) => r && LEADS.has(r.kind));
    [said, truth, how] = [part, order[0]?.id ?? "", "leads"];
    place = order.findIndex((r) => r?.id === part) + 1;
  } else if (kind === "token" && token) {
    const all = reading.header.candidates.map((c) => c.text);
    [said, truth, how] = [token, all[0] ?? "", "is likeliest"];
    place = all.findIndex((text) => text.trim() === token.trim()) + 1;
  } else if (kind === "word" && row && word?.of === row.id) {
    const sources = reading.sources(row.id, undefined);
    if (!sources) return null;
    const order = reading.sourcesBySize(sources, reading.value(row.id));
    [said, truth, how] = [reading.tokens[word.at] ?? "", reading.tokens[order[0] ?? 0] ?? "", `is what ${row.id} reads`];
    place = order.indexOf(word.at) + 1;
  }
  if (!said) return null;
  const name = tokenText(said);
  return (
    <p class="aw-sub" data-part={`compared-${kind}`} role="status">
      You said <b>{name}</b>
      {place === 1 ? ": right." : `; ${tokenText(truth)} ${how}, ${name} is ${place ? `number ${place}` : `not among the first ${TOLD}`}.`}
    </p>
  );
}
