/** The attention pattern of a head, weighted by probability, by what it writes, or by what it contributes. */
import { useMemo } from "preact/hooks";
import type { Triangle } from "../../core/host/wire";
import { percent, signed } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import { meanOf } from "../../core/maths/thumbs";
import { readerOf } from "../../core/state/heads";
import type { Reading } from "../../core/state/reading";
import type { HeadsForm, Weighting } from "../../core/state/screen";
import type { Row } from "../../core/types";
import { Await, textHeight } from "../parts/awaiting";
import { useView } from "../parts/context";
import { Lines } from "../heads/lines";
import { Heat, heatHeight, readOut } from "../parts/heat";
import { Seg } from "../parts/seg";
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
        <Seg label="Weighting of the pattern" ways={NAMES.map(([name, text]) => [name, text])} now={weighting} pick={(name) => (store.screen.weighting.value = name)} />
      )}
      <p class="aw-caption">
        {row.id}: {NAMES.find(([name]) => name === weighting)?.[2]}
        {weighting === "contribution" && reading.unit}
        {alone && ", as the model returns it"}.
      </p>
      <Await of={store.data.pattern(row.id)} hold={(width) => heatHeight(reading.tokens, width, compact) + (reading.sink(row.id) ? textHeight(90, width) : 0)}>
        {(pattern) => <Weighted heads={[row]} reading={reading} patterns={[pattern]} weighting={weighting} compact={compact} />}
      </Await>
    </div>
  );
}

interface WeightedProps {
  reading: Reading;
  /** one, or several of which the mean is drawn */
  heads: Row[];
  patterns: Triangle[];
  weighting: Weighting;
  compact: boolean;
  /** of all heads at once */
  form?: HeadsForm;
}

export function Weighted({ reading, heads, patterns, weighting, compact, form }: WeightedProps) {
  const { store } = useView();
  const { tokens, position, header } = reading;
  const names = heads.map(({ id }) => id).join(", ");
  const first = form?.first ?? true;
  const mean = useMemo(() => meanOf(patterns, heads.map((row) => reading.worth(row, weighting)), first ? 0 : 1), [reading, names, patterns.length, patterns[0], weighting, first]);
  const plainly = weighting === "probability";
  const most = useMemo(() => (plainly && first ? 1 : largest(mean.data)), [mean, plainly]);
  const get = useMemo(() => (t: number, s: number) => mean.get(t, s), [mean]);
  const tell = (t: number, s: number) => readOut(tokens, t, s, get(t, s), weighting, header.target.unit);
  const current = form ? readerOf(reading, form) : position;
  const shared = { tokens, get, ahead: mean.ahead, most, current, tell };
  const [head] = heads.length > 1 ? [] : heads;
  const sink = head && !form ? reading.sink(head.id)?.[position] : undefined;
  if (form?.drawn === "lines") return <Lines {...shared} signed={weighting === "contribution"} />;
  return (
    <>
      <Heat
        {...shared}
        scale={weighting === "contribution" ? "signed" : plainly && first ? "probability" : "magnitude"}
        label={`${head ? "Attention" : "Mean attention"} pattern of ${names}, ${weighting}`}
        pick={
          head && current === position && reading.carries(head)
            ? (s) => {
                store.openTab("tokens");
                store.select(head.id, s);
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
