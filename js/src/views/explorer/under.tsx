/** A number under each word: what heads carried from there, what came by all paths, or what another word does. */
import { type Palette, shade, sign } from "../../core/maths/colour";
import { digitsFor, signed } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import { NEEDS_KERNEL } from "../../core/state/answers";
import { WORDS } from "../../core/state/lab";
import type { Reading } from "../../core/state/reading";
import type { Store } from "../../core/state/store";
import type { Under as Way } from "../../core/types";
import { NotYet } from "../parts/awaiting";
import { useView } from "../parts/context";
import { Help } from "../parts/help";
import { Seg } from "../parts/seg";
import type { Numbered } from "../parts/tokens";
import { howReplaced, withoutIt } from "../results/effects";
import { forwards, Under } from "./verdict";

const WAYS: [Way, string][] = [
  ["carried", "carried by heads"],
  ["totals", "all paths"],
  ["replaced", "if another"],
];

/** All three tell of the answer what a row, its detail or its sum tells. */
const wayOf = (store: Store) => !store.covered("values", "candidates", "sum", "detail") && store.screen.under.value;

const testedOf = (store: Store, reading: Reading) => store.lab.replaced.value ?? reading.header.replaced;

/** The numbers that stand there now, "…" for one that is not known yet; undefined where none shall. */
export function underEach(store: Store, reading: Reading, palette: Palette): Numbered | undefined {
  const way = wayOf(store);
  if (!way) return undefined;
  const loaded = way === "replaced" ? undefined : store.data.from(way).value;
  const tested = loaded ? undefined : testedOf(store, reading);
  const values: ArrayLike<number | null> | undefined = loaded?.state === "ready" ? loaded.value.arrays["values"]?.at() : tested?.values;
  const most = largest(Array.from(values ?? [], (v) => v ?? 0));
  return (i) => {
    const v = values?.[i];
    // what comes later put nothing in, unless the model looks ahead
    if (i > reading.position && !v) return undefined;
    if (!values) return (loaded ? loaded.state !== "loading" : store.fixed.value) ? undefined : { number: "…", about: "" };
    const number = v == null ? undefined : signed(v, digitsFor(most));
    const about = tested ? `; ${withoutIt(tested, i).slice(2)}${number ? ", tested" : ""}` : `; at this position ${number} ${way === "carried" ? "carried by all heads" : "by all paths"}, observed`;
    return { number, about, ...(v && { style: shade(palette, sign(palette, v * 0.85, most)) }) };
  };
}

/** Opens and closes them. */
export function UnderSwitch() {
  const { store } = useView();
  const { under } = store.screen;
  const way = wayOf(store);
  return way === false ? null : (
    <button class="aw-edit" data-part="under" aria-label="Numbers under the words" title="Numbers under the words" aria-expanded={!!way} onClick={() => (under.value = way ? "" : "carried")}>
      ±
    </button>
  );
}

/** Which numbers stand under the words, what they sum to, and whether they were observed or tested. */
export function UnderWords({ reading }: { reading: Reading }) {
  const { store } = useView();
  const way = wayOf(store);
  if (!way) return null;
  const loaded = way === "replaced" ? undefined : store.data.from(way).value;
  return (
    <div class="aw-line aw-numbers">
      <Seg label="Numbers under the words" ways={WAYS} now={way} pick={(to) => (store.screen.under.value = to)} />
      <Help of="words" />
      <div class="aw-small aw-quiet" data-part="closing">
        {loaded ? loaded.state === "ready" ? loaded.value.header.told : <NotYet loaded={loaded} /> : <IfAnother reading={reading} />}
      </div>
    </div>
  );
}

function IfAnother({ reading }: { reading: Reading }) {
  const { store } = useView();
  const found = testedOf(store, reading);
  if (found) return <>{howReplaced(found)}</>;
  const { test } = reading.header;
  const off = store.fixed.value ? NEEDS_KERNEL : test?.never;
  return (
    <>
      {store.lab.running.value?.of !== WORDS && (
        <button class="aw-btn" data-part="test-words" aria-disabled={!!off} title={off || "Puts 8 other tokens in the place of each, one at a time"} onClick={() => off || store.lab.replace()}>
          Test every word · {store.fixed.value ? "needs the notebook" : `≤ ${forwards(test?.words ?? 0)}`}
        </button>
      )}
      {!store.fixed.value && off}
      <Under of={WORDS} />
    </>
  );
}
