/** The tokens of a continuation as a spine, and under it what contributed to the one in focus, or to all of them. */
import type { Container } from "../../core/host/wire";
import { digitsFor, percent, plain, tokenText } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import type { PhraseHeader } from "../../core/types";
import { Observed } from "../parts/awaiting";
import { Bars, Check, ranked } from "../parts/bars";
import { useView } from "../parts/context";
import { Token } from "../parts/names";
import { TokenList } from "../parts/tokens";

const TOP = 14;

export function PhraseView({ data }: { data: Container<PhraseHeader> }) {
  const { store } = useView();
  const { header, arrays } = data;
  const { tokens, labels, unit } = header;
  const at = store.source.value;
  const token = tokens[at];
  const values = (token ? arrays["values"]?.at(at) : arrays["sums"]?.at()) ?? new Float32Array();
  const { actual, gap } = token ?? header;
  const unsure = largest(tokens.map((t) => t.entropy)) || 1;
  const most = largest(values);
  const worth = plain(actual, digitsFor(most));
  const whole = () => store.select("");
  return (
    <div class="aw-card aw-pad" data-part="phrase">
      <h2 class="aw-headline">{header.title}</h2>
      <p class="aw-sub">{header.note}</p>
      <Observed />
      <TokenList
        look="aw-carried aw-flow aw-spine"
        part="spine"
        label="Tokens of the phrase"
        current={at}
        start={header.start}
        follow
        pick={(i) => store.select("", i)}
        escape={whole}
        items={tokens.map(({ text, prob, entropy }) => ({
          text,
          number: prob < 0.995 ? percent(prob) : undefined,
          about: `: probability ${percent(prob)}, entropy ${plain(entropy)} nats`,
          above: (
            <span class="aw-odds" aria-hidden="true">
              <i style={{ height: `${100 * prob}%` }} />
              <i class="aw-unsure" style={{ bottom: `${(96 * entropy) / unsure}%` }} />
            </span>
          ),
        }))}
      />
      <p class="aw-quiet aw-small">
        Bar: the token's probability. Line: the entropy before it, at most {plain(unsure)} nats.{" "}
        <span class="aw-do">Click a token to see what wrote it.</span>
      </p>
      <div class="aw-under" data-part="token">
        <h3 class="aw-title">
          {token ? (
            <>
              <Token text={token.text} />: {worth} {unit}
            </>
          ) : (
            `All ${tokens.length} tokens: ${worth} ${unit}`
          )}
        </h3>
        {token && (
          <p class="aw-sentence">
            Likeliest here:{" "}
            {token.likeliest.map(([text, p], i) => (
              <>
                {i > 0 && ", "}
                <Token text={text} /> {percent(p)}
              </>
            ))}
            .{" "}
            <button class="aw-link" onClick={whole}>
              All tokens
            </button>
          </p>
        )}
        <Bars
          label={`Contributions to ${token ? tokenText(token.text) : "all tokens"}, in ${unit}`}
          rows={ranked(values, TOP, (i) => ({ key: labels[i] ?? "", label: labels[i] }))}
        />
        <Check total={actual - gap} name="model" value={worth} gap={gap} unit={unit} most={most} />
      </div>
    </div>
  );
}
