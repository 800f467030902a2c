/** Any two measures as the axes of a scatter, a dot a part. */
import { useState } from "preact/hooks";
import { digitsOfStep, plain } from "../../core/maths/format";
import { ticks } from "../../core/maths/geometry";
import { useView } from "../parts/context";
import { Plane } from "../parts/plane";
import type { Parts } from "./maps";
import { type Asking, TestParts } from "./testing";

const ROOM = 0.06; // around the points, as a share of their span
/** so many names, of the parts with the largest means */
const NAMED = 8;

/** A window that holds all numbers. */
function windowOf(values: number[]): [number, number] {
  if (!values.length) return [0, 1];
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = ROOM * (high - low || 1);
  return [low - room, high + room];
}

/** the one axis that is an experiment */
const EFFECT = "effect";

export function Measures({ of, tests, open, group, point, pick, asking }: Parts & { asking: Asking }) {
  const { store } = useView();
  const { header } = of;
  const [axes, setAxes] = useState<[string, string]>(["mean", "same_sign"]);
  const mean = of.measure(group, "mean");
  const measured = (name: string) => (name === EFFECT ? header.parts.map(({ id }) => tests.mean(id, group)) : [...of.measure(group, name)]);
  const [across, up] = axes.map(measured) as [number[], number[]];
  const known = header.parts.map((_, i) => i).filter((i) => !Number.isNaN(across[i]) && !Number.isNaN(up[i]));
  const order = known.sort((a, b) => Math.abs(mean[b] ?? 0) - Math.abs(mean[a] ?? 0));
  const asked = (name: string) => measured(name).some((v) => !Number.isNaN(v));
  const choices = [...header.measures, { name: EFFECT, words: "effect (tested)" }];
  const axis = (which: 0 | 1, words: string) => (
    <label class="aw-small">
      {words}{" "}
      <select data-axis={words} value={axes[which]} onChange={(event) => setAxes(axes.map((name, i) => (i === which ? event.currentTarget.value : name)) as [string, string])}>
        {choices.map(({ name, words }) => (
          <option value={name} disabled={!asked(name)}>
            {words}
            {name === EFFECT && !asked(name) && ": test parts first"}
          </option>
        ))}
      </select>
    </label>
  );
  const said = (name: string) => choices.find((m) => m.name === name)?.words ?? name;
  const [x, y] = [windowOf(known.map((i) => across[i] ?? 0)), windowOf(known.map((i) => up[i] ?? 0))];
  const marked = ([low, high]: [number, number]) => {
    const found = ticks(low, high, 5);
    const digits = digitsOfStep((found[1] ?? 1) - (found[0] ?? 0));
    return found.map((v) => ({ at: v, text: plain(v, digits) }));
  };
  return (
    <div data-part="measures">
      <p class="aw-sopen">
        {axis(0, "Across")} {axis(1, "Up")} <span class="aw-quiet aw-small">of {header.groups[group]?.name}</span> <TestParts of={of} group={group} asking={asking} />
      </p>
      <Plane
        label={`Parts by ${said(axes[0])} and ${said(axes[1])}`}
        x={x}
        y={y}
        across={marked(x)}
        up={marked(y)}
        chosen={order.indexOf(open)}
        points={order.map((i, n) => {
          const id = header.parts[i]?.id ?? "";
          return { id, x: across[i] ?? 0, y: up[i] ?? 0, named: n < NAMED, below: (mean[i] ?? 0) < 0, title: store.described(id) ?? id, told: of.told(group, i, tests, store.called(id)), point: () => point({ group, part: i }), pick: () => pick({ group, part: i }) };
        })}
      />
    </div>
  );
}
