/** Why the head looked there: its score for one key, split over the parts that wrote the query and the key. */
import { sequential, shade } from "../../core/maths/colour";
import { percent, signed } from "../../core/maths/format";
import { sumOf } from "../../core/maths/geometry";
import type { Row } from "../../core/types";
import { Await } from "../parts/awaiting";
import { opens, ranked, Sides } from "../parts/bars";
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
        items={reading.tokens.slice(0, reading.position + 1).map((text, s) => {
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
      <Await of={store.data.why(row.id, key)}>
        {(why) => (
          <>
            <h4 class="aw-subtitle">
              <Token text={query} /> scores <Token text={reading.tokens[key] ?? ""} /> {signed(why.score)} before the softmax
            </h4>
            <Sides
              sides={["Query side", "Key side"].map((name, i) => {
                const values = why.values[i] ?? [];
                const bias = why.bias[i] ?? 0;
                return {
                  name,
                  title: (
                    <>
                      {name}
                      <span class="aw-quiet">, written at</span> <Token text={reading.tokens[i ? key : reading.position] ?? ""} />
                    </>
                  ),
                  rows: [
                    ...ranked(values, TOP, (r) => opens(store, reading.header.rows[r]?.id ?? "")),
                    ...(bias ? [{ key: "bias", label: "constants", value: bias, quiet: true, title: "norm and projection biases" }] : []),
                  ],
                  sum: sumOf(values) + bias,
                };
              })}
            />
            <p class="aw-quiet aw-small">
              Each side splits the same score over the parts that wrote it, with the other side held as it was. Only
              differences between keys matter.
            </p>
          </>
        )}
      </Await>
    </div>
  );
}
