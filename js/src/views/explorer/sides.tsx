/** The explanation beside another: the comparison prompt, another answer, or a question that was pinned. */
import { batch } from "@preact/signals";
import type { ComparisonHeader } from "../../core/types";
import { Await, Hidden } from "../parts/awaiting";
import { useView } from "../parts/context";
import { ByPart, ByWord } from "../results/comparison";

export function SideBySide() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  // it names the comparison, sums its columns, and says what heads carried from which word
  const part = store.covered("values", "candidates", "corrupted", "sum", "detail");
  if (part) return <Hidden part={part} what="what stands side by side" />;
  const { besides = [], pin } = reading.header;
  const offered = [...besides, ...store.pinned.value.filter(({ line }) => line !== pin?.line)];
  const beside = store.screen.beside.value || besides[0]?.line || "";
  const swapped = store.screen.swapped.value;
  return (
    <div data-part="sides">
      <div class="aw-chips" role="group" aria-label="What stands beside it">
        <span class="aw-quiet">beside</span>
        {offered.map(({ line, name }) => (
          <button
            key={line}
            class="aw-chip"
            title={name}
            aria-pressed={line === beside}
            onClick={() =>
              batch(() => {
                store.screen.beside.value = line;
                if (!store.fixed.value) store.screen.swapped.value = false; // a page holds one way round
              })
            }
          >
            {name}
          </button>
        ))}
        {!offered.some(({ line }) => line === beside) && beside && <span class="aw-chip" data-on="true">{swapped ? "A" : "B"}</span>}
      </div>
      {beside ? (
        <Await of={store.data.sides(beside, swapped)}>
          {(data) => (
            <>
              <p class="aw-sub">{data.header.title}</p>
              <Switch of={data.header} />
              <ByPart data={data} open={store.open.value} pick={(id) => (reading.has(id) ? () => store.select(id) : undefined)} />
              <ByWord data={data} />
            </>
          )}
        </Await>
      ) : (
        <p class="aw-quiet">Nothing to set beside it: give a comparison prompt, or pin this and ask another question.</p>
      )}
    </div>
  );
}

/** Which of the two the detail is about: a click on the other asks it, and the columns stay as they are. */
function Switch({ of: { names = [], lines } }: { of: ComparisonHeader }) {
  const { store } = useView();
  const swapped = store.screen.swapped.value;
  const can = !store.fixed.value && store.reading.value?.header.kind === "explorer" && lines;
  const turn = async () => {
    const [mine, other] = swapped ? [lines?.[1], lines?.[0]] : [lines?.[0], lines?.[1]];
    if (mine === undefined || other === undefined || !(await store.explain({ line: other }))) return;
    batch(() => {
      store.screen.beside.value = mine;
      store.screen.swapped.value = !swapped;
    });
  };
  return (
    <div class="aw-seg aw-switch" role="group" aria-label="Whose detail is open">
      {names.map((name, i) => {
        const on = (i === 1) === swapped;
        return (
          <button key={i} data-side={"AB"[i]} aria-pressed={on} aria-disabled={!on && !can} title={`${name}: ${on ? "its detail is open" : can ? "open its parts" : "only the other can be opened here"}`} onClick={() => !on && can && void turn()}>
            <b>{"AB"[i]}</b> {name}
          </button>
        );
      })}
    </div>
  );
}
