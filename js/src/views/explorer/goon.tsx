/** More than one word: the model goes on behind the prompt, and every word of the text is a question. */
import type { Reading } from "../../core/state/reading";
import { Hidden } from "../parts/awaiting";
import { useView } from "../parts/context";
import { Spine, WordBars } from "../parts/spine";
import type { Numbered } from "../parts/tokens";

/** The prompt and what follows it. */
export function TextLine({ reading, under }: { reading: Reading; under: Numbered | undefined }) {
  const { store } = useView();
  const { phrase, header } = reading;
  if (!phrase) return null;
  const { all, glance } = store.screen;
  const here = glance.value < 0 ? reading.position + 1 : glance.value;
  return (
    <div class="aw-text">
      <Spine header={phrase.header} current={all.value ? -1 : here} pick={(i) => store.askWord(i)} escape={() => (all.value = true)} wrote={header.passage?.n != null} under={under} />
    </div>
  );
}

/** What contributed to all words together; to one of them, where nobody answers what else it is made of. */
export function Words({ reading }: { reading: Reading }) {
  const { store } = useView();
  const { phrase } = reading;
  const { all, glance } = store.screen;
  if (!phrase) return null;
  const part = store.covered("values", "candidates", "sum");
  if (part) return <Hidden part={part} what="the contributions" />;
  return (
    <section class="aw-pad" data-part="words" aria-label="Contributions to the words">
      <h2 class="aw-headline">{phrase.header.title}</h2>
      <p class="aw-sub" data-part="mark">
        Direct contributions, observed and not tested. Choose a word for all that is known of it.
      </p>
      <WordBars data={phrase} at={all.value ? -1 : glance.value - phrase.header.start} whole={() => (all.value = true)} />
    </section>
  );
}

/** The button that lets the model go on: how far, and from which seed where it samples. */
export function GoOn({ reading }: { reading: Reading }) {
  const { store } = useView();
  const { screen } = store;
  const { passage } = reading.header;
  const { all } = screen;
  const live = reading.header.kind === "explorer" && !store.fixed.value;
  if (!(live || passage) || store.hides("candidates")) return null;
  const n = screen.n.value ?? passage?.n ?? 8;
  const seed = screen.seed.value === undefined ? (passage?.seed ?? null) : screen.seed.value;
  const write = () => void store.write(n, seed);
  const field = (name: string, value: number, least: number, set: (to: number) => void) => (
    <input class="aw-input aw-few" type="number" min={least} aria-label={name} title={name} value={value} onInput={(event) => Number.isInteger(event.currentTarget.valueAsNumber) && set(event.currentTarget.valueAsNumber)} onKeyDown={(event) => event.key === "Enter" && write()} />
  );
  return (
    <div class="aw-next" data-part="continue" role="group" aria-label="What the model writes next">
      {live && (
        <>
          <button class="aw-btn" title={`Let the model write ${n} tokens; each can then be asked why`} onClick={write}>
            Continue
          </button>
          {field("How many tokens", n, 1, (to) => (screen.n.value = to))}
          <label class="aw-quiet" title="Draw every token by its probability, not the likeliest: temperature 1">
            <input type="checkbox" checked={seed !== null} onChange={(event) => (screen.seed.value = event.currentTarget.checked ? 0 : null)} /> sample
          </label>
          {seed !== null && (
            <label class="aw-quiet">
              seed {field("Seed: the same seed gives the same text", seed, 0, (to) => (screen.seed.value = to))}
            </label>
          )}
        </>
      )}
      {passage && (
        <button class="aw-chip" data-part="all-words" aria-pressed={all.value} onClick={() => (all.value = true)}>
          all words
        </button>
      )}
      {passage && live && (
        <button class="aw-link" data-part="drop-words" onClick={() => void store.write(0, null)}>
          The prompt alone
        </button>
      )}
    </div>
  );
}
