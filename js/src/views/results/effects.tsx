/** Which words of the prompt matter: its tokens, shaded by what happens to the answer when others take their place. */
import { shade, sign } from "../../core/maths/colour";
import { digitsFor, plain, signed } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import type { EffectsHeader } from "../../core/types";
import { useView } from "../parts/context";
import { Token } from "../parts/names";
import { TokenList } from "../parts/tokens";

const MANY = 24;

export function EffectsView({ header }: { header: EffectsHeader }) {
  const { store, palette } = useView();
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
      <TokenList
        look={`aw-carried ${tokens.length > MANY ? "aw-flow" : ""}`}
        label={`Tokens by their total effect, in ${unit}`}
        current={at}
        pick={(i) => store.select("", i === at ? -1 : i)}
        items={tokens.map((text, i) => {
          const value = values[i] ?? 0;
          return {
            text,
            number: values[i] == null || (tokens.length > MANY && Math.abs(value) < most / 10) ? undefined : signed(value, digits),
            about: about(i),
            style: shade(palette.value, sign(palette.value, value * 0.85, most)),
            quiet: special.includes(i),
          };
        })}
      />
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
