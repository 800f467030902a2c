/** Cumulative bars: every one starts where the one before ended. */
import type { ComponentChildren } from "preact";
import { digitsOfStep, plain, readsZero } from "../../core/maths/format";
import { ticks, type Waterfall } from "../../core/maths/geometry";

export const pct = (v: number) => `${100 * v}%`;

const linesOf = (chart: Waterfall) => ticks(chart.low, chart.high, 4);

/** The numbers above the bars; `children` head the columns behind them. */
export function Axis({ chart, children }: { chart: Waterfall; children: ComponentChildren }) {
  const lines = linesOf(chart);
  const digits = digitsOfStep((lines[1] ?? 0) - (lines[0] ?? 0));
  return (
    <div class="aw-axis aw-wrow" aria-hidden="true">
      <span />
      <span class="aw-track">
        {lines.map((v) => (
          <span class="aw-tick" style={{ left: pct(chart.place(v)) }}>
            {plain(v, v ? digits : 0)}
          </span>
        ))}
      </span>
      {children}
    </div>
  );
}

/** The lines behind the bars. */
export function Lines({ chart }: { chart: Waterfall }) {
  return (
    <div class="aw-lines aw-wrow" aria-hidden="true">
      <span />
      <span class="aw-track">
        {linesOf(chart).map((v) => (
          <i class={v === 0 ? "aw-zero" : "aw-gridline"} style={{ left: pct(chart.place(v)) }} />
        ))}
      </span>
      <span />
    </div>
  );
}

interface StepProps {
  chart: Waterfall;
  at: number;
  value: number;
  /** as numbers are printed beside it: what reads 0.00 is not drawn; other bars are seen however short they are */
  said: (value: number) => string;
  /** several in one */
  many?: boolean;
  /** drawn pale below it, from zero */
  ghost?: number | undefined;
}

export function Step({ chart, at, value, said, many, ghost }: StepProps) {
  const span = chart.spans[at];
  const tip = chart.place(ghost ?? 0);
  const sign = (v: number) => (v < 0 ? "aw-neg" : "aw-pos");
  const least = (v: number) => (readsZero(said(v)) ? { minWidth: 0 } : {});
  return (
    <span class="aw-track" aria-hidden="true">
      <i class={`aw-bar ${sign(value)} ${many ? "aw-many" : ""}`} style={{ left: pct(span?.left ?? 0), width: pct(span?.width ?? 0), ...least(value) }} />
      <i class="aw-joint" style={{ left: pct(span?.end ?? 0) }} />
      {ghost !== undefined && <i class={`aw-ghost ${sign(ghost)}`} style={{ left: pct(Math.min(chart.zero, tip)), width: pct(Math.abs(tip - chart.zero)), ...least(ghost) }} />}
    </span>
  );
}
