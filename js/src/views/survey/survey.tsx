/** Many prompts at once: a map of each group, one part on every prompt, and the way back to a prompt. */
import { useState } from "preact/hooks";
import { digitsFor, plain, signed } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import type { Survey } from "../../core/state/survey";
import { useView } from "../parts/context";
import { NotYet } from "../parts/awaiting";
import { Seg } from "../parts/seg";
import { Maps, type Spot } from "./maps";
import { Measures } from "./measures";
import { Opened } from "./opened";
import { Prompts } from "./prompts";
import { Strip } from "./strip";
import { Test, useAsking, useTests } from "./testing";
import { useValues } from "./values";

export function SurveyView({ of }: { of: Survey }) {
  const { store } = useView();
  const { header } = of;
  const [group, setGroup] = useState(0);
  const [peek, setPeek] = useState<Spot | null>(null);
  const [form, setForm] = useState<"maps" | "measures">("maps");
  const [asked, setAsked] = useState(-1);
  const found = of.at(store.selected.value);
  const part = found < 0 ? of.lead : found;
  const id = header.parts[part]?.id ?? "";
  const pick = (to: Spot) => {
    setGroup(to.group);
    store.select(header.parts[to.part]?.id ?? "");
  };
  const open = (prompt: number) => {
    store.select(id, prompt);
    setAsked(prompt);
  };
  const values = useValues(of, part);
  const tests = useTests();
  const asking = useAsking();
  const effects = tests.effects(id);
  const told = peek ?? { group, part };
  const parts = { of, tests, open: part, group, point: setPeek, pick };
  return (
    <div class="aw-card aw-survey" data-part="survey" data-open={id}>
      <div class="aw-pad">
        <h2 class="aw-headline">{header.title}</h2>
        {header.notes.map((line) => (
          <p class="aw-sub">{line}</p>
        ))}
      </div>
      <div class="aw-pad aw-body">
        <Seg
          label="Parts"
          ways={[
            ["maps", "maps"],
            ["measures", "two measures"],
          ]}
          now={form}
          pick={(way: "maps" | "measures") => setForm(way)}
        />
        {form === "maps" ? <Maps {...parts} /> : <Measures {...parts} asking={asking} />}
        <p class="aw-readout aw-told" aria-live="polite">
          {of.told(told.group, told.part, tests, store.called(of.header.parts[told.part]?.id))}.
        </p>
        {form === "maps" && <Legend of={of} />}
      </div>
      <div class="aw-cols aw-body">
        <div class="aw-pad">
          <h3 class="aw-title" title={store.described(id)} data-part="part-title">
            {values.state === "ready" ? titleOf(of, id, values.value) : id}
            {store.kindOf(id) && <small class="aw-quiet"> {store.kindOf(id)?.short}</small>}
          </h3>
          {values.state === "ready" ? <Strip of={of} values={values.value} effects={effects} name={id} chosen={store.source.value} pick={open} /> : <NotYet loaded={values} />}
          <Test of={of} id={id} group={group} tests={tests} asking={asking} />
        </div>
        <div class="aw-pad">{values.state === "ready" && <Prompts of={of} values={values.value} effects={effects} part={id} group={group} setGroup={setGroup} open={open} />}</div>
      </div>
      {asked >= 0 && <Opened key={asked} of={of} prompt={asked} close={() => setAsked(-1)} />}
      <div class="aw-pad aw-body">
        {header.checks.map((line) => (
          <p class="aw-quiet aw-small aw-line-under">{line}</p>
        ))}
      </div>
    </div>
  );
}

/** Its mean in every group: the title of `survey[part]`. */
function titleOf(of: Survey, id: string, values: Float32Array): string {
  const { groups, unit, prompts } = of.header;
  const means = groups.map((g) => of.meanOf(g, values));
  const digits = digitsFor(largest(means));
  if (groups.length === 1) return `${id} writes ${signed(means[0] ?? 0, digits)} ${unit} in the mean of ${prompts.length} prompts`;
  return `${id} writes, in the mean: ${groups.map((g, i) => `${signed(means[i] ?? 0, digits)} in ${g.name}`).join(", ")}`;
}

function Legend({ of }: { of: Survey }) {
  const { header, most, digits } = of;
  const ring = header.groups.some((g) => !g.why);
  return (
    <p class="aw-quiet aw-small" data-part="legend">
      The larger a square, the larger the mean; the largest is {plain(most, digits)} {header.unit}, one scale for all groups, heads and MLPs. Blue adds, orange takes away. The paler, the more its sign changes from prompt to prompt.
      {ring && ` A ring: specific, p \u2264 ${header.level}.`} Click a part.
    </p>
  );
}
