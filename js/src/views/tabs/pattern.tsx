/** The attention pattern of a head, weighted by probability, by what it writes, or by what it contributes. */
import { useMemo } from "preact/hooks";
import type { Triangle } from "../../core/host/wire";
import { percent, signed } from "../../core/maths/format";
import type { Reading } from "../../core/state/reading";
import type { Weighting } from "../../core/state/screen";
import type { Row } from "../../core/types";
import { Await, textHeight } from "../parts/awaiting";
import { useView } from "../parts/context";
import { Heat, heatHeight, readOut } from "../parts/heat";
import { Token } from "../parts/names";

const NAMES: [Weighting, string, string][] = [
  ["probability", "probability", "attention probability, every row sums to 1"],
  ["value", "value-weighted", "attention times the norm of what is written"],
  ["contribution", "contribution", "what each read carries"],
];

export function HeadPattern({ row, compact = false }: { row: Row; compact?: boolean }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const alone = !reading.carries(row);
  const weighting = compact || alone ? "probability" : store.screen.weighting.value;
  return (
    <div class={compact ? "aw-under" : ""}>
      {!compact && !alone && (
        <div class="aw-seg" role="group" aria-label="Weighting of the pattern">
          {NAMES.map(([name, text]) => (
            <button key={name} aria-pressed={name === weighting} onClick={() => (store.screen.weighting.value = name)}>
              {text}
            </button>
          ))}
        </div>
      )}
      <p class="aw-caption">
        {row.id}: {NAMES.find(([name]) => name === weighting)?.[2]}
        {weighting === "contribution" && reading.unit}
        {alone && ", as the model returns it"}.
      </p>
      <Await of={store.data.pattern(row.id)} hold={(width) => heatHeight(reading.tokens, width, compact) + (reading.sink(row.id) ? textHeight(90, width) : 0)}>
        {(pattern) => <Weighted row={row} reading={reading} pattern={pattern} weighting={weighting} compact={compact} />}
      </Await>
    </div>
  );
}

interface WeightedProps {
  row: Row;
  reading: Reading;
  pattern: Triangle;
  weighting: Weighting;
  compact: boolean;
}

function Weighted({ row, reading, pattern, weighting, compact }: WeightedProps) {
  const { store } = useView();
  const { tokens, position, header } = reading;
  const unit = header.target.unit;
  const get = useMemo(() => {
    if (weighting === "value") {
      const norm = reading.norm(row);
      return (t: number, s: number) => pattern.get(t, s) * norm(t, s);
    }
    if (weighting === "contribution") {
      const rows = tokens.map((_, t) => reading.contribution(row, pattern, t));
      return (t: number, s: number) => rows[t]?.[s] ?? 0;
    }
    return (t: number, s: number) => pattern.get(t, s);
  }, [reading, row, pattern, weighting]);
  const most = useMemo(() => {
    let max = 0;
    if (weighting === "probability") return 1;
    for (let t = 0; t < tokens.length; t++) for (let s = 0; s < (pattern.ahead ? tokens.length : t + 1); s++) max = Math.max(max, Math.abs(get(t, s)));
    return max;
  }, [get]);
  const sink = reading.sink(row.id)?.[position];
  return (
    <>
      <Heat
        tokens={tokens}
        get={get}
        ahead={pattern.ahead}
        most={most}
        scale={weighting === "probability" ? "probability" : weighting === "value" ? "magnitude" : "signed"}
        current={position}
        label={`Attention pattern of ${row.id}, ${weighting}`}
        tell={(t, s) => readOut(tokens, t, s, get(t, s), weighting, unit)}
        pick={
          reading.carries(row)
            ? (s) => {
                store.openTab("tokens");
                store.select(row.id, s);
              }
            : undefined
        }
        picked={store.source.value}
        compact={compact}
      />
      {sink !== undefined && (
        <p class="aw-quiet aw-small" data-part="sink">
          Sink: {percent(sink)} of what <Token text={tokens[position] ?? ""} /> could read goes to no token, and contributes {signed(0)}.
        </p>
      )}
    </>
  );
}
