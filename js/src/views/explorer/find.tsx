/** Features by a word: those that fire here first; a click opens one. */
import { useState } from "preact/hooks";
import { MINUS, plain } from "../../core/maths/format";
import type { Reading } from "../../core/state/reading";
import type { FoundFeatures, Row } from "../../core/types";
import { Await } from "../parts/awaiting";
import { Bars } from "../parts/bars";
import { useView } from "../parts/context";
import { Concept, featureName } from "../tabs/features";

export function Find({ reading }: { reading: Reading }) {
  const { store } = useView();
  const [text, setText] = useState("");
  const [query, ask] = useState("");
  const hint = "Find features by a word";
  return (
    <div data-part="find">
      <form
        class="aw-form"
        onSubmit={(event) => {
          event.preventDefault();
          ask(text.trim());
        }}
      >
        <input class="aw-input" aria-label={hint} placeholder={hint} value={text} onInput={(event) => setText(event.currentTarget.value)} />
        <button class="aw-btn aw-run">Find</button>
      </form>
      {query && (
        <Await of={store.data.load("search", { query }, () => (store.fixed.value ? among(reading, query) : undefined), (answer) => answer.data)}>
          {({ title, note, rows }) => (
            <div class="aw-concepts">
              <p class="aw-caption">
                <b>{title}.</b> {note}
              </p>
              <Bars
                label={title}
                rows={rows.map(({ id, label, value, said, row }) => ({
                  key: id,
                  label: <Concept text={label} below={`${id} · ${said}`} />,
                  value,
                  title: `${label}: ${id}`,
                  ...(row && { act: () => store.select(`${row}/${id.split("/")[1]}`) }),
                }))}
              />
            </div>
          )}
        </Await>
      )}
    </div>
  );
}

/** The same among the cards that are in a page. */
function among(reading: Reading, query: string): FoundFeatures {
  const { header, position } = reading;
  const cards = Object.entries(header.cards ?? {});
  const wanted = query.toLowerCase();
  const has = (text: string) => text.toLowerCase().includes(wanted);
  const found = new Map<string, FoundFeatures["rows"][number]>();
  for (const [key, { label, contexts, up, down, here, arithmetic }] of cards) {
    const [of = "", number] = key.split("/");
    const id = featureName(reading.row(of) as Row, Number(number));
    if (![label, ...contexts.map(({ tokens }) => tokens.join("")), ...[...up, ...down].map(([token]) => token)].some(has) || found.has(id)) continue;
    const fires = here[position] ?? 0;
    const whole = header.concepts?.rows.find((r) => r.id === id)?.value;
    // of a small one the page knows what it wrote through this row alone
    const value = whole ?? Number(arithmetic?.value.replace(MINUS, "-") ?? 0);
    found.set(id, { id, label, value, said: fires > 0 ? `fires at ${plain(fires)}${whole === undefined ? `, through ${of}` : ""}` : "does not fire here", row: of });
  }
  const rows = [...found.values()].sort((a, b) => Number(has(b.label)) - Number(has(a.label)) || Math.abs(b.value) - Math.abs(a.value));
  return { title: `${rows.length} of the ${cards.length} cards in this page for “${query}”`, note: "A running kernel looks through all.", rows };
}
