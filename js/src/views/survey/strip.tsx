/** One part on every prompt: a dot a prompt, a row a group, one signed axis; what was tested in a row of its own. */
import { digitsFor, digitsOfStep, plain, signed } from "../../core/maths/format";
import { largest, sumOf, ticks } from "../../core/maths/geometry";
import type { Survey } from "../../core/state/survey";
import { useWidth } from "../parts/grid";
import { Glyph, outline } from "./glyph";

interface StripProps {
  of: Survey;
  values: Float32Array;
  /** of the experiment; NaN where a prompt was not tested */
  effects: Float32Array | undefined;
  name: string;
  /** the prompt that is open; -1 for none */
  chosen: number;
  pick(prompt: number): void;
}

const ROW = 46; // px
const RADIUS = 3.4;
const EDGE = 8; // px beside the outermost dots

/** A row of dots: what was observed of a group, or what was tested. */
interface Row {
  group: number;
  effect: boolean;
  values: Float32Array;
  prompts: number[];
}

export function Strip({ of, values, effects, name, chosen, pick }: StripProps) {
  const { groups, prompts, answers } = of.header;
  const [box, width] = useWidth();
  const rows = groups.flatMap((g, group): Row[] => {
    const tested = effects ? g.prompts.filter((p) => !Number.isNaN(effects[p])) : [];
    return [{ group, effect: false, values, prompts: g.prompts }, ...(effects && tested.length ? [{ group, effect: true, values: effects, prompts: tested }] : [])];
  });
  const drawn = rows.flatMap((row) => row.prompts.map((p) => row.values[p] ?? 0));
  const low = Math.min(0, ...drawn);
  const high = Math.max(0, ...drawn) || (low < 0 ? 0 : 1);
  const place = (v: number) => EDGE + ((width - 2 * EDGE) * (v - low)) / (high - low);
  const marks = ticks(low, high, width < 300 ? 3 : 6);
  const digits = digitsOfStep((marks[1] ?? 1) - (marks[0] ?? 0));
  const fine = digitsFor(largest(drawn));
  const height = ROW * rows.length;
  const dot = (event: Event) => {
    const at = (event.target as Element).closest<SVGElement>("[data-prompt]")?.dataset["prompt"];
    if (at !== undefined) pick(Number(at));
  };
  return (
    <div class="aw-strip" data-part="strip">
      <div style={{ gridAutoRows: `${ROW}px` }} class="aw-snames">
        {rows.map(({ group, effect }) => (
          <span class={`aw-small ${effect ? "aw-quiet" : ""}`} title={groups[group]?.name}>
            {effect ? (
              "effect (tested)"
            ) : (
              <>
                <Glyph group={group} /> {groups[group]?.name}
              </>
            )}
          </span>
        ))}
      </div>
      <div ref={box}>
        <svg class="aw-dots" width={width} height={height} role="img" aria-label={`${name} on every prompt; the stroke is the mean. ${effects ? "Filled: contribution, observed. Outlined: effect, tested. " : ""}The list of prompts has their numbers.`} onClick={dot}>
          <line class="aw-axisline" x1={place(0)} x2={place(0)} y1={0} y2={height} />
          {rows.map(({ group, effect, values, prompts: own }, row) => {
            const order = [...own].sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0));
            const mean = place(sumOf(own.map((p) => values[p] ?? 0)) / own.length);
            const middle = ROW * (row + 0.5);
            return (
              <g key={row} data-group={groups[group]?.name} class={effect ? "aw-tested" : ""}>
                {order.map((p, i) => {
                  const v = values[p] ?? 0;
                  // spread evenly, and the same every time
                  const y = middle + 0.55 * ROW * (((i * 0.6180339887) % 1) - 0.5);
                  return (
                    <path key={p} data-prompt={p} class={`${v < 0 ? "aw-minus" : "aw-plus"} ${p === chosen ? "aw-thisdot" : ""}`} d={outline(group, place(v), y, RADIUS)}>
                      <title>
                        {prompts[p]} → {answers[p]}: {effect && "effect "}
                        {signed(v, fine)}
                      </title>
                    </path>
                  );
                })}
                <line class="aw-meanline" x1={mean} x2={mean} y1={middle - 17} y2={middle + 17} />
              </g>
            );
          })}
        </svg>
        <div class="aw-saxis aw-quiet" aria-hidden="true">
          {marks.map((v) => (
            <span style={{ left: `${place(v)}px` }}>{plain(v, digits)}</span>
          ))}
        </div>
      </div>
    </div>
  );
}
