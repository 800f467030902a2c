/** Why the head looked there: its score for one key, split over the parts that wrote the query and the key. */
import { shade, sequential } from "../core/colour";
import { percent, signed } from "../core/format";
import { sumOf } from "../core/geometry";
import type { Row } from "../core/types";
import { Await, Bars, opens, ranked, Token, TokenList, useView } from "./common";

const TOP = 7;
const MANY = 24;

export function WhyThere({ row }: { row: Row }) {
  const { store, palette } = useView();
  const reading = store.reading.value;
  const fallback = reading?.whyKey(row.id) ?? -1;
  const key = store.key.value >= 0 ? store.key.value : fallback >= 0 ? fallback : 0;
  if (!reading) return null;
  const loaded = store.data.pattern(row.id).value;
  const weights = loaded.state === "ready" ? loaded.value.row(reading.position) : null;
  const query = reading.tokens[reading.position] ?? "";
  return (
    <div data-part="why">
      <p class="aw-caption">
        Attention of <Token text={query} /> to each token. <span class="aw-do">Click a token to ask why it was looked at.</span>
      </p>
      <TokenList
        look={`aw-carried ${reading.position >= MANY ? "aw-flow" : ""}`}
        label="Key token whose score is explained"
        current={key}
        pick={(s) => (store.key.value = s)}
        items={reading.tokens.slice(0, reading.position + 1).map((text, s) => {
          const p = weights?.[s] ?? 0;
          return {
            text,
            number: reading.position < MANY || p >= 0.05 ? percent(p) : undefined,
            about: `: ${percent(p)}`,
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
            <div class="aw-sides">
              {(["query", "key"] as const).map((side, i) => (
                <Side
                  key={side}
                  title={side === "query" ? "Query side" : "Key side"}
                  at={side === "query" ? query : (reading.tokens[key] ?? "")}
                  values={why.values[i] ?? new Float32Array()}
                  bias={why.bias[i] ?? 0}
                />
              ))}
            </div>
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

function Side({ title, at, values, bias }: { title: string; at: string; values: Float32Array; bias: number }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  return (
    <div class="aw-side">
      <h4 class="aw-sidetitle">
        {title}<span class="aw-quiet">, written at</span> <Token text={at} />
      </h4>
      <Bars
        label={title}
        rows={[
          ...ranked(values, TOP, (i) => opens(store, reading.header.rows[i]?.id ?? "")),
          ...(bias ? [{ key: "bias", label: "constants", value: bias, quiet: true, title: "norm and projection biases" }] : []),
        ]}
      />
      <p class="aw-total">
        <span class="aw-quiet">sum</span> {signed(sumOf(values) + bias)}
      </p>
    </div>
  );
}
