/** Why the head looked there rather than at its strongest rival: the difference of two scores, by who wrote the keys. */
import { sequential, shade } from "../../core/maths/colour";
import { percent, plain, signed, times, tokenText } from "../../core/maths/format";
import { largest, sumOf } from "../../core/maths/geometry";
import type { Choice, Why } from "../../core/state/answers";
import type { Store } from "../../core/state/store";
import type { Row } from "../../core/types";
import { Await, barsHeight, textHeight } from "../parts/awaiting";
import { type BarRow, Bars, Check, opens, ranked, Sides } from "../parts/bars";
import { useView } from "../parts/context";
import { Token } from "../parts/names";
import { TokenList } from "../parts/tokens";

const TOP = 7;
const MANY = 24;

export function WhyThere({ row }: { row: Row }) {
  const { store, palette } = useView();
  const reading = store.reading.value;
  const fallback = reading?.whyKey(row.id) ?? -1;
  const key = store.screen.key.value >= 0 ? store.screen.key.value : fallback >= 0 ? fallback : 0;
  if (!reading) return null;
  const loaded = store.data.pattern(row.id).value;
  const weights = loaded.state === "ready" ? loaded.value.row(reading.position) : null;
  const query = reading.tokens[reading.position] ?? "";
  return (
    <div data-part="why">
      <p class="aw-caption">
        Attention of <Token text={query} /> to each token.
        {!store.fixed.value && <span class="aw-do"> Click a token to ask why it was looked at.</span>}
      </p>
      <TokenList
        look={`aw-carried ${reading.position >= MANY ? "aw-flow" : ""}`}
        label="Key token whose score is explained"
        current={key}
        pick={(s) => (store.screen.key.value = s)}
        items={reading.tokens.slice(0, weights?.length ?? reading.position + 1).map((text, s) => {
          const p = weights?.[s] ?? 0;
          // Asking costs nothing where there is no kernel, and says why there is no answer.
          const answer = store.fixed.value && store.data.why(row.id, s).value;
          const off = answer && answer.state === "absent" ? answer.text : "";
          return {
            text,
            number: reading.position < MANY || p >= 0.05 ? percent(p) : undefined,
            about: `: ${percent(p)}${off && `. ${off}`}`,
            off: !!off,
            style: shade(palette.value, sequential(palette.value, p)),
          };
        })}
      />
      <Await of={store.data.why(row.id, key)} hold={(width) => barsHeight(TOP + 4) + 70 + 2 * textHeight(110, width)}>
        {(why) => (why.choice ? <Preferred why={why} choice={why.choice} /> : <Single why={why} heading />)}
      </Await>
    </div>
  );
}

/** One list: what was written at this key less what was written at the rival. The score by itself is folded away. */
function Preferred({ why, choice }: { why: Why; choice: Choice }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const token = (p: number) => <Token text={reading.tokens[p] ?? ""} />;
  const apart = why.score - choice.score;
  const rows = listed(store, choice.values, choice.bias, TOP + 2);
  const sum = sumOf(choice.values) + choice.bias;
  return (
    <>
      <h4 class="aw-subtitle" data-part="choice">
        {token(why.query)} scores {token(why.key)} {plain(Math.abs(apart))} {apart < 0 ? "below" : "above"} {token(choice.rival)}, the strongest
        other token: {times(apart)} its attention
      </h4>
      <p class="aw-quiet aw-small">
        What was written at {token(why.key)} minus what was written at {token(choice.rival)}, read by the same query.
      </p>
      <Bars label={`Why ${tokenText(reading.tokens[why.key] ?? "")} rather than ${tokenText(reading.tokens[choice.rival] ?? "")}`} rows={rows} />
      <Check total={sum} name="scores" value={`${signed(why.score)} minus ${signed(choice.score)}`} gap={apart - sum} unit="nats" most={largest(rows.map((r) => r.value))} />
      <details class="aw-fold" data-part="single">
        <summary>
          The score of {token(why.key)} by itself: {signed(why.score)} before the softmax
        </summary>
        <Single why={why} />
      </details>
    </>
  );
}

/** The largest parts, the others summed, and what no part wrote, where one could see it. */
function listed(store: Store, values: Float32Array, bias: number, top: number): BarRow[] {
  const rows = ranked(values, top, (r) => opens(store, store.reading.value?.header.rows[r]?.id ?? ""));
  return [...rows, ...(Math.abs(bias) > 1e-3 * largest(values) ? [{ key: "bias", label: "constants", value: bias, quiet: true, title: "norm and projection biases" }] : [])];
}

/** Both sides of one score. */
function Single({ why, heading }: { why: Why; heading?: boolean }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const token = (p: number) => <Token text={reading.tokens[p] ?? ""} />;
  return (
    <>
      {heading && (
        <h4 class="aw-subtitle">
          {token(why.query)} scores {token(why.key)} {signed(why.score)} before the softmax
        </h4>
      )}
      <Sides
        sides={["Query side", "Key side"].map((name, i) => {
          const values = why.values[i] ?? new Float32Array();
          const bias = why.bias[i] ?? 0;
          return {
            name,
            title: (
              <>
                {name}
                <span class="aw-quiet">, written at</span> {token(i ? why.key : why.query)}
              </>
            ),
            rows: listed(store, values, bias, TOP),
            sum: sumOf(values) + bias,
          };
        })}
      />
      <p class="aw-quiet aw-small">
        Each side splits the same score over the parts that wrote it, with the other side held as it was. Only differences
        between keys matter.
      </p>
    </>
  );
}
