/** Words with the odds that the model gave them, each a question; and what contributed to one of them, or to all. */
import type { Container } from "../../core/host/wire";
import { digitsFor, percent, plain, tokenText } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import type { GivenToken, PhraseHeader, PhraseToken } from "../../core/types";
import { Bars, Check, ranked } from "./bars";
import { useView } from "./context";
import { Called, Token } from "./names";
import { type Numbered, numbered, TokenList } from "./tokens";

const TOP = 14;

interface SpineProps {
  header: PhraseHeader;
  /** index of the word in focus among all that are drawn; -1 for none */
  current: number;
  pick(i: number): void;
  escape?: () => void;
  follow?: boolean;
  /** whether the model wrote what follows the prompt */
  wrote?: boolean;
  /** another number under each word */
  under?: Numbered | undefined;
}

/** A bar for the probability of every word, a line for the entropy before it; the prompt first, where it is known. */
export function Spine({ header, current, pick, escape, follow = false, wrote = false, under }: SpineProps) {
  const { given = [], tokens, start } = header;
  const words: (GivenToken | PhraseToken)[] = [...given, ...tokens];
  const unsure = largest(words.map((w) => w.entropy ?? 0)) || 1;
  return (
    <>
      <TokenList
        look="aw-carried aw-flow aw-spine"
        part="spine"
        label={given.length ? "Words of the text: choose one to ask why it" : "Tokens of the phrase"}
        current={current}
        start={start - given.length}
        follow={follow}
        pick={pick}
        {...(escape && { escape })}
        items={words.map(({ text, prob, entropy, rank, ...w }, i) => numbered(under, i, {
          text,
          quiet: "special" in w && w.special,
          off: prob === null && i === 0,
          new: i >= given.length && given.length > 0,
          said: i >= given.length && given.length > 0 ? (wrote ? ", written by the model" : ", follows the prompt") : "",
          number: prob !== null && prob < 0.995 ? percent(prob) : undefined,
          about: prob === null ? (i ? "" : ": nothing predicts the first token") : `: probability ${percent(prob)}, ${rank ? `rank ${rank}, ` : ""}entropy ${plain(entropy ?? 0)} nats`,
          above: (
            <span class={prob === null ? "" : "aw-odds"} aria-hidden="true">
              {prob !== null && (
                <>
                  <i style={{ height: `${100 * prob}%` }} />
                  <i class="aw-unsure" style={{ bottom: `${(96 * (entropy ?? 0)) / unsure}%` }} />
                </>
              )}
            </span>
          ),
        }))}
      />
      <p class="aw-quiet aw-small">
        Bar: the token's probability. Line: the entropy before it, at most {plain(unsure)} nats. <span class="aw-do">Click a token to see what wrote it.</span>
      </p>
    </>
  );
}

/** What contributed to the word at an index of the phrase, or to all of them. */
export function WordBars({ data, at, whole }: { data: Container<PhraseHeader>; at: number; whole: () => void }) {
  const { store } = useView();
  const { header, arrays } = data;
  const { tokens, labels, unit } = header;
  const token = tokens[at];
  const values = (token ? arrays["values"]?.at(at) : arrays["sums"]?.at()) ?? new Float32Array();
  const { actual, gap } = token ?? header;
  const most = largest(values);
  const worth = plain(actual, digitsFor(most));
  return (
    <div class="aw-under" data-part="token">
      <h3 class="aw-title">
        {token ? (
          <>
            <Token text={token.text} />: {worth} {unit}
          </>
        ) : (
          `${tokens.length > 1 ? `All ${tokens.length} tokens` : "1 token"}: ${worth} ${unit}`
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
        rows={ranked(values, TOP, (i) => ({ key: labels[i] ?? "", label: <Called of={labels[i] ?? ""} />, title: store.described(labels[i] ?? "") ?? "" }))}
      />
      <Check total={actual - gap} name="model" value={worth} gap={gap} unit={unit} most={most} />
    </div>
  );
}
