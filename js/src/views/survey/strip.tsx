/** One part on every prompt: a dot a prompt, a row a group, one signed axis. */
import { digitsFor, digitsOfStep, plain, signed } from "../../core/maths/format";
import { largest, ticks } from "../../core/maths/geometry";
import type { Survey } from "../../core/state/survey";
import { useWidth } from "../parts/grid";
import { Glyph, outline } from "./glyph";

interface StripProps {
  of: Survey;
  values: Float32Array;
  name: string;
  /** the prompt that is open; -1 for none */
  chosen: number;
  pick(prompt: number): void;
}

const ROW = 46; // px
const RADIUS = 3.4;
const EDGE = 8; // px beside the outermost dots

export function Strip({ of, values, name, chosen, pick }: StripProps) {
  const { groups, prompts, answers } = of.header;
  const [box, width] = useWidth();
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values) || (low < 0 ? 0 : 1);
  const place = (v: number) => EDGE + ((width - 2 * EDGE) * (v - low)) / (high - low);
  const marks = ticks(low, high, width < 300 ? 3 : 6);
  const digits = digitsOfStep((marks[1] ?? 1) - (marks[0] ?? 0));
  const fine = digitsFor(largest(values));
  const height = ROW * groups.length;
  const dot = (event: Event) => {
    const at = (event.target as Element).closest<SVGElement>("[data-prompt]")?.dataset["prompt"];
    if (at !== undefined) pick(Number(at));
  };
  return (
    <div class="aw-strip" data-part="strip">
      <div style={{ gridAutoRows: `${ROW}px` }} class="aw-snames">
        {groups.map((g, i) => (
          <span class="aw-small" title={g.name}>
            <Glyph group={i} /> {g.name}
          </span>
        ))}
      </div>
      <div ref={box}>
        <svg class="aw-dots" width={width} height={height} role="img" aria-label={`${name} on every prompt; the stroke is the mean. The list of prompts has their numbers.`} onClick={dot}>
          <line class="aw-axisline" x1={place(0)} x2={place(0)} y1={0} y2={height} />
          {groups.map((g, row) => {
            const order = [...g.prompts].sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0));
            const mean = place(of.meanOf(g, values));
            const middle = ROW * (row + 0.5);
            return (
              <g key={row} data-group={g.name}>
                {order.map((p, i) => {
                  const v = values[p] ?? 0;
                  // spread evenly, and the same every time
                  const y = middle + 0.55 * ROW * (((i * 0.6180339887) % 1) - 0.5);
                  return (
                    <path key={p} data-prompt={p} class={`${v < 0 ? "aw-minus" : "aw-plus"} ${p === chosen ? "aw-thisdot" : ""}`} d={outline(row, place(v), y, RADIUS)}>
                      <title>
                        {prompts[p]} → {answers[p]}: {signed(v, fine)}
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
