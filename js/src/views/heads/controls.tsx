/** How all heads are shown, whose row, and what the colours and lengths mean. */
import { digitsOfStep, percent, plain, share } from "../../core/maths/format";
import { NEEDS_KERNEL } from "../../core/state/answers";
import { readerOf } from "../../core/state/heads";
import type { Reading } from "../../core/state/reading";
import type { HeadsForm } from "../../core/state/screen";
import { useView } from "../parts/context";
import { Seg } from "../parts/seg";
import { Token } from "../parts/names";
import { TokenList } from "../parts/tokens";

export function Controls({ reading, form, effects }: { reading: Reading; form: HeadsForm; effects: boolean }) {
  const { store } = useView();
  const set = (more: Partial<HeadsForm>) => (store.screen.heads.value = { ...store.screen.heads.value, ...more });
  const reader = readerOf(reading, form);
  const whole = reading.whole;
  const weightings = (["attention", "contribution", "effect"] as const).filter((w) => (w === "contribution" ? reading.splits : effects || w === "attention"));
  return (
    <>
      <div class="aw-take">
        <Seg
          label="Pattern"
          ways={[
            ["whole", "pattern", !whole && store.fixed.value ? NEEDS_KERNEL : ""],
            [
              "row",
              <>
                what <Token text={reading.tokens[reader] ?? ""} /> reads
              </>,
            ],
          ]}
          now={form.strip ? "row" : "whole"}
          pick={(way) => set({ strip: way === "row" })}
        />
        <Seg label="Picture" ways={weightings.map((w) => [w, w])} now={form.weighting} pick={(weighting) => set({ weighting })} />
        <Seg
          label="First token"
          ways={[
            [
              "hide",
              <>
                hide <Token text={reading.tokens[0] ?? ""} />
              </>,
            ],
          ]}
          now={form.first ? "" : "hide"}
          pick={() => set({ first: !form.first })}
        />
        <Seg label="Letters" ways={[["roles", "roles", store.fixed.value ? NEEDS_KERNEL : ""]]} now={form.roles ? "roles" : ""} pick={() => set({ roles: !form.roles })} />
      </div>
      {form.strip && whole && (
        <TokenList
          look="aw-toks"
          part="reader"
          label="Reader"
          current={reader}
          pick={(i) => set({ reader: i })}
          follow
          items={reading.tokens.map((text) => ({ text, about: "" }))}
        />
      )}
    </>
  );
}

interface KeyProps {
  /** whether there are pictures or will be, and the value of their darkest colour: 0 until then, its place held */
  heads: boolean;
  most: number;
  form: HeadsForm;
  /** a round number, and how long its bar is */
  tick: number;
  long: number;
  unit: string;
  effects: boolean;
}

/** The legend. */
export function Key({ heads, most, form, tick, long, unit, effects }: KeyProps) {
  return (
    <p class="aw-quiet aw-small aw-take">
      {heads && (
        <span class={form.weighting === "attention" ? "aw-legend" : ""} style={{ visibility: most > 0 ? "visible" : "hidden" }}>
          {form.weighting === "attention" ? (
            <>
              0 <i /> <b>{percent(most || 1)}</b>
            </>
          ) : (
            `colours to ±${form.weighting === "effect" ? `${share(most)} of the gap` : plain(most)}`
          )}
        </span>
      )}{" "}
      {tick > 0 && (
        <span>
          {unit}: <i class="aw-length" style={{ width: `${long}px` }} /> {plain(tick, digitsOfStep(tick))}
        </span>
      )}{" "}
      {effects && <span>outline: effect, dashed: estimated</span>}
    </p>
  );
}
