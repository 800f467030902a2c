/** Tokens shaded by a number each: what happens to the answer when others take their place, or numbers of one's own. */
import type { ComponentChildren } from "preact";
import type { Container } from "../../core/host/wire";
import { shade, sign } from "../../core/maths/colour";
import { digitsFor, plain, signed } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import type { EffectsHeader, Replaced, TokensHeader } from "../../core/types";
import { useView } from "../parts/context";
import { Token } from "../parts/names";
import { TokenList } from "../parts/tokens";

const MANY = 24;

/** What replacing token i does. */
export function withoutIt({ values, spread, unit }: Replaced, i: number): string {
  const digits = digitsFor(largest(values.map((v) => v ?? 0)));
  return values[i] == null ? ": stays as it is" : `: ${signed(values[i], digits)} ${unit} without it, give or take ${plain(spread[i] ?? 0, digits)}`;
}

/** How it was tested, and how it is read. */
export const howReplaced = ({ told, cost }: Replaced) => `Total effect of every token, tested${told ? `: ${told}` : ""}. ${cost}.`;

export function EffectsView({ header }: { header: EffectsHeader }) {
  const { tokens, values, special, unit, title } = header;
  return (
    <Shaded title={title} label={`Tokens by their total effect, in ${unit}`} tokens={tokens} values={values} about={(i) => withoutIt(header, i)} special={special} hint="Click a token for its spread over the draws.">
      <p class="aw-sub">{howReplaced(header)}</p>
    </Shaded>
  );
}

/** Numbers of one's own. */
export function TokensView({ data: { header, arrays } }: { data: Container<TokensHeader> }) {
  const { tokens, unit, title } = header;
  const values = [...(arrays["values"]?.at() ?? [])];
  const digits = digitsFor(largest(values));
  return (
    <Shaded title={title} part="shown-tokens" tokens={tokens} values={values} about={(i) => `: ${signed(values[i] ?? 0, digits)} ${unit}`} special={[]} hint={`Blue is above zero, orange below${unit && `, in ${unit}`}. Click a token for its number.`} />
  );
}

interface ShadedProps {
  title: string;
  /** of the tokens, where it is not the title */
  label?: string;
  part?: string;
  tokens: string[];
  values: (number | null | undefined)[];
  about(i: number): string;
  special: number[];
  /** said while no token is chosen */
  hint: string;
  children?: ComponentChildren;
}

function Shaded({ title, label = title, part = "effects", tokens, values, about, special, hint, children }: ShadedProps) {
  const { store, palette } = useView();
  const most = largest(values.map((v) => v ?? 0));
  const digits = digitsFor(most);
  const at = store.source.value;
  const many = tokens.length > MANY;
  return (
    <div class="aw-card aw-pad" data-part={part}>
      <h2 class="aw-headline">{title}</h2>
      {children}
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
      <p class="aw-readout" aria-live="polite">
        {values[at] === undefined ? (
          <span class="aw-quiet">{hint}</span>
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
