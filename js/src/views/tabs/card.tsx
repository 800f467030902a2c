/** The card of a feature: what it fires on, what it writes, what is like it, and where it fires in the prompt. */
import type { ComponentChildren } from "preact";
import { sequential, shade } from "../../core/maths/colour";
import { MINUS, percent, plain } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import type { CardHeader, Arithmetic as Factors, FeatureCard } from "../../core/types";
import { sidesHeight, textHeight } from "../parts/awaiting";
import { Sides } from "../parts/bars";
import { useView } from "../parts/context";
import { Prose, Token } from "../parts/names";
import { words } from "./writes";

/** A longer prompt is drawn as running text, without numbers. */
const MANY = 24;

/** About how high a card is. */
export const cardHeight = (width: number) => 260 + textHeight(120, width) + 5 * (5 + textHeight(200, width)) + sidesHeight(8, width);

/** A card standing alone. */
export function CardView({ header }: { header: CardHeader }) {
  const { arithmetic } = header;
  return (
    <div class="aw-card aw-pad" data-part="feature">
      <Card name={header.name} card={header} tokens={header.tokens} alone>
        {arithmetic && <Arithmetic of={arithmetic}>{arithmetic.target}</Arithmetic>}
      </Card>
    </div>
  );
}

/** What it adds here, in one line that multiplies out as it is printed (`Arithmetic` in saes/arithmetic.py). */
export function Arithmetic({ of, children }: { of: Factors; children: ComponentChildren }) {
  return (
    <>
      fires at <b>{of.fires}</b>, {of.unit.startsWith(MINUS) ? "suppresses" : "promotes"} {children} by <b>{of.unit}</b> per unit
      {of.norm && ` (${of.before} before the norm divides by ${of.norm})`}: {of.fires} × {of.unit} = <b class={of.value.startsWith(MINUS) ? "aw-minus" : "aw-plus"}>{of.value}</b>
      {of.reads && <span class="aw-quiet">; {of.reads}</span>}
    </>
  );
}

interface CardProps {
  name: string;
  card: FeatureCard;
  /** those of the prompt */
  tokens: string[];
  alone?: boolean;
  /** which parts wrote it */
  wrote?: ComponentChildren;
  /** opens another feature */
  go?: (feature: number) => void;
  /** what it adds here */
  children?: ComponentChildren;
}

export function Card({ name, card, tokens: prompt, alone, wrote, go, children }: CardProps) {
  const { palette } = useView();
  // The first token is far from all others for most models: it would leave them pale.
  const most = largest([...card.here.slice(1), ...card.contexts.flatMap((c) => c.values)]);
  const colour = (v: number) => shade(palette.value, sequential(palette.value, Math.min(1, v / most)));
  const text = (tokens: string[], values: number[]) =>
    tokens.map((token, i) => {
      const v = values[i] ?? 0;
      const word = v > 0 ? token.replace(/^ +/, "") : token;
      return (
        <>
          {token.slice(0, token.length - word.length)}
          {v > 0 ? (
            <mark class="aw-shaded" style={colour(v)} title={`activation ${plain(v)}`}>
              <Prose text={word} />
              <span class="aw-sr"> ({plain(v)})</span>
            </mark>
          ) : (
            <Prose text={word} />
          )}
        </>
      );
    });
  const Part = alone ? "h3" : "h4";
  const title = (
    <>
      {card.label || name}
      {card.label && <span class="aw-below">{name}</span>}
    </>
  );
  return (
    <>
      {alone ? <h2 class="aw-headline">{title}</h2> : <h4 class="aw-subtitle">{title}</h4>}
      <p class="aw-caption">
        {card.label ? "Computed label" : card.density === null ? "No label was computed" : "It fires too rarely for a label"}
        {card.density !== null && `; fires on ${percent(card.density)} of tokens`}.
      </p>
      {children && (
        <p class="aw-sum-line" data-part="arithmetic">
          {children}
        </p>
      )}
      {wrote}
      <Part class="aw-sidetitle">Activation on this prompt</Part>
      {prompt.length > MANY ? (
        <p class="aw-context aw-scroll" tabIndex={0} role="group" aria-label="The prompt">
          {text(prompt, card.here)}
        </p>
      ) : (
        <div class="aw-carried">
          {prompt.map((token, i) => {
            const v = card.here[i] ?? 0;
            return (
              <span class="aw-pick" title={`activation ${plain(v)}`}>
                <span class={`aw-tok ${v > 0 ? "aw-shaded" : ""}`} style={v > 0 ? colour(v) : undefined}>
                  <Token text={token} />
                </span>
                <span class="aw-num">{v > 0 ? plain(v) : "\u2013"}</span>
              </span>
            );
          })}
        </div>
      )}
      {card.contexts.length > 0 && <Part class="aw-sidetitle">Fires most in these texts</Part>}
      <ul class="aw-contexts">
        {card.contexts.map(({ tokens, values, cut, drawn }) => (
          <li class="aw-context">
            {drawn && <span class="aw-quiet">{drawn}: </span>}
            {cut[0] && "…"}
            {text(tokens, values)}
            {cut[1] && "…"}
          </li>
        ))}
      </ul>
      {card.more?.map(([name, said]) => (
        <p class="aw-small">
          <span class="aw-quiet">{name}</span> {said}
        </p>
      ))}
      {!!card.related?.length && <Part class="aw-sidetitle">Related features</Part>}
      {card.related?.map(([number, said]) => {
        const other = name.replace(/\d+$/, `${number}`);
        return (
          <p class="aw-small">
            {go ? (
              <button class="aw-link" onClick={() => go(number)}>
                {other}
              </button>
            ) : (
              other
            )}{" "}
            {said}
          </p>
        );
      })}
      {card.missing && <p class="aw-quiet">{card.missing}</p>}
      {card.up.length > 0 && (
        <>
          <Sides sides={[words("Promotes", card.up), words("Suppresses", card.down)]} />
          <p class="aw-quiet aw-small">
            What it adds to the logits directly{card.through && `, through ${card.through}`}, for one unit of activation, before the last norm scales it.
          </p>
        </>
      )}
    </>
  );
}
