/** Tokens shaded by a number each: what happens to the answer when others take their place, or numbers of one's own. */
import type { Container } from "../../core/host/wire";
import { shade, sign } from "../../core/maths/colour";
import { digitsFor, plain, signed } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import type { EffectsHeader, TokensHeader } from "../../core/types";
import { useView } from "../parts/context";
import { Token } from "../parts/names";
import { TokenList } from "../parts/tokens";

const MANY = 24;

export function EffectsView({ header }: { header: EffectsHeader }) {
  const { store } = useView();
  const { tokens, values, spread, special, unit, base, draws, metric } = header;
  const most = largest(values.map((v) => v ?? 0));
  const digits = digitsFor(most);
  const at = store.source.value;
  const told = values[at];
  const about = (i: number) => (values[i] == null ? ": stays as it is" : `: ${signed(values[i], digits)} ${unit} without it, give or take ${plain(spread[i] ?? 0, digits)}`);
  return (
    <div class="aw-card aw-pad" data-part="effects">
      <h2 class="aw-headline">{header.title}</h2>
      <p class="aw-sub">
        Total effect of every token, tested: each replaced by {draws} others, the rest of the prompt as it is. The {metric} is {plain(base, digits)} as it stands; a minus
        (orange) means that the token holds it up.
      </p>
      <Shaded label={`Tokens by their total effect, in ${unit}`} tokens={tokens} values={values} about={about} special={special} />
      <p class="aw-readout" aria-live="polite">
        {told === undefined ? (
          <span class="aw-quiet">Click a token for its spread over the draws. {header.cost}.</span>
        ) : (
          <>
            <Token text={tokens[at] ?? ""} />, position {at}
            {about(at)}
          </>
        )}
      </p>
    </div>
  );
}

/** Numbers of one's own. */
export function TokensView({ data: { header, arrays } }: { data: Container<TokensHeader> }) {
  const { store } = useView();
  const { tokens, unit, title } = header;
  const values = [...(arrays["values"]?.at() ?? [])];
  const digits = digitsFor(largest(values));
  const at = store.source.value;
  const about = (i: number) => `: ${signed(values[i] ?? 0, digits)} ${unit}`;
  return (
    <div class="aw-card aw-pad" data-part="shown-tokens">
      <h2 class="aw-headline">{title}</h2>
      <Shaded label={title} tokens={tokens} values={values} about={about} special={[]} />
      <p class="aw-readout" aria-live="polite">
        {values[at] === undefined ? (
          <span class="aw-quiet">Blue is above zero, orange below{unit && `, in ${unit}`}. Click a token for its number.</span>
        ) : (
          <>
            <Token text={tokens[at] ?? ""} />, position {at}
            {about(at)}
          </>
        )}
      </p>
    </div>
  );
}

interface ShadedProps {
  label: string;
  tokens: string[];
  values: (number | null | undefined)[];
  about(i: number): string;
  special: number[];
}

function Shaded({ label, tokens, values, about, special }: ShadedProps) {
  const { store, palette } = useView();
  const most = largest(values.map((v) => v ?? 0));
  const digits = digitsFor(most);
  const at = store.source.value;
  const many = tokens.length > MANY;
  return (
    <TokenList
      look={`aw-carried ${many ? "aw-flow" : ""}`}
      label={label}
      current={at}
      pick={(i) => store.select("", i === at ? -1 : i)}
      items={tokens.map((text, i) => {
        const value = values[i] ?? 0;
        return {
          text,
          number: values[i] == null || (many && Math.abs(value) < most / 10) ? undefined : signed(value, digits),
          about: about(i),
          style: shade(palette.value, sign(palette.value, value * 0.85, most)),
          quiet: special.includes(i),
        };
      })}
    />
  );
}
