/** What a component wrote, as features of a dictionary; a click opens a feature: what it fires on, what it writes. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { sequential, shade } from "../../core/maths/colour";
import { MINUS, percent, plain } from "../../core/maths/format";
import { largest, sumOf } from "../../core/maths/geometry";
import type { CardHeader, Arithmetic as Factors, FeatureCard, Finding, Row } from "../../core/types";
import { Await, sidesHeight, textHeight } from "../parts/awaiting";
import { type BarRow, Bars, Check, Sides } from "../parts/bars";
import { useView } from "../parts/context";
import { Prose, TargetName, Token } from "../parts/names";
import { WrittenBy } from "../explorer/concepts";
import { Chip, Tested, TestThis } from "../explorer/verdict";
import { words } from "./writes";

/** A longer prompt is drawn as running text, without numbers. */
const MANY = 24;

export const COMPUTED = "Labels are computed: what the strongest firings in the dictionary's texts share. They say nothing of weaker ones.";

/** What a feature's dictionary calls it: that of a head's layer reads all its heads. */
export const featureName = (row: Row, feature: number) => `${row.kind === "head" ? `L${row.layer}.z` : row.id}/${feature}`;

/** A computed label, and in small what it labels. */
export function Concept({ text, below }: { text?: string | undefined; below: string }) {
  return (
    <>
      {text && <span class="aw-concept">{text} </span>}
      <span class={text ? "aw-below" : ""}>{below}</span>
    </>
  );
}

export function FeaturesTab({ row }: { row: Row }) {
  const feature = useView().store.feature.value;
  return feature < 0 ? <List row={row} /> : <Opened row={row} feature={feature} />;
}

/** The button that was clicked is gone once the panel is drawn anew: the focus stays inside. */
function refocus(event: MouseEvent, where: string): void {
  const panel = (event.currentTarget as HTMLElement).closest(".aw-panel");
  setTimeout(() => panel?.querySelector<HTMLElement>(where)?.focus({ preventScroll: true }));
}

function List({ row }: { row: Row }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  return (
    <Await of={store.data.features(row.id)} hold={(width) => 15 * 40 + 30 + textHeight(620, width)}>
      {(f) => {
        let off = "";
        const rows: BarRow[] = f.numbers.map((number, i) => {
          const name = featureName(row, number);
          const concept = f.concepts[i] ?? "";
          // Asking costs nothing where there is no kernel, and says why there is no card.
          const card = store.fixed.value && store.data.feature(row.id, number).value;
          if (card && card.state === "absent") off = card.text;
          return {
            key: name,
            label: (
              <>
                <Concept text={concept} below={`${name} · fires at ${plain(f.activations[i] ?? 0)}`} />
                {store.lab.of(name) && !store.hides("values") && <Chip of={store.lab.of(name) as Finding} />}
              </>
            ),
            value: f.values[i] ?? 0,
            title: `${concept || name}: ${card && card.state === "absent" ? card.text : `open ${name}`}`,
            ...(!(card && card.state === "absent") && {
              act: (event: MouseEvent) => {
                refocus(event, "button");
                store.select(`${row.id}/${number}`);
              },
            }),
          };
        });
        if (f.rest_count) rows.push({ key: "rest", label: `${f.rest_count} others`, value: f.rest, quiet: true });
        rows.push({ key: "bias", label: "decoder bias", value: f.bias, quiet: true, title: "the same for every prompt" });
        for (const [label, value] of f.more ?? []) rows.push({ key: label, label, value, quiet: true });
        rows.push({ key: "error", label: "reconstruction error", value: f.error, quiet: true, title: "what the dictionary misses: measured" });
        const values = rows.map((r) => r.value);
        return (
          <div data-part="features">
            <p class="aw-caption">
              What the features of {f.site} contributed through {row.id} to <TargetName />. {f.note}{" "}
              <span class="aw-do">Click a feature to see what it fires on.</span>
            </p>
            <div class="aw-concepts">
              <Bars label={`Features of ${row.id}`} rows={rows} />
            </div>
            <Check total={sumOf(values)} name={row.id} value={reading.plain(reading.value(row.id))} gap={f.gap} unit={reading.header.target.unit} most={largest(values)} />
            <p class="aw-quiet aw-small">
              {COMPUTED} {off && `What cannot be clicked has no card here. ${off}`}
            </p>
          </div>
        );
      }}
    </Await>
  );
}

function Opened({ row, feature }: { row: Row; feature: number }) {
  const { store } = useView();
  const name = featureName(row, feature);
  const card = store.data.feature(row.id, feature);
  const wrote = <WrittenBy row={row} feature={feature} />;
  return (
    <div data-part="feature">
      <button
        class="aw-link"
        onClick={(event) => {
          refocus(event, `[title$="${name}"]`);
          store.select(row.id);
        }}
      >
        All features of {row.id}
      </button>
      <Await of={card} hold={(width) => 260 + textHeight(120, width) + 5 * (5 + textHeight(200, width)) + sidesHeight(8, width)}>{(card) => <Read row={row} name={name} card={card} wrote={wrote} />}</Await>
      {card.value.state !== "ready" && wrote}
    </div>
  );
}

/** A card, as read at the place that the Explorer explains. */
function Read({ row, name, card, wrote }: { row: Row; name: string; card: FeatureCard; wrote: ComponentChildren }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const part = { ...row, id: name };
  return (
    <>
      <p class="aw-foot">
        <TestThis row={part} />{" "}
        {!store.fixed.value && (
          <button class="aw-link" data-part="explain" onClick={() => void store.explain({ neuron: name })}>
            Explain this feature
          </button>
        )}
        {!store.fixed.value && !reading.header.test.never && !store.hides("values") && <Dial key={name} of={name} />}
      </p>
      <Tested row={part} />
      <Card name={name} card={card} tokens={reading.tokens} wrote={wrote} go={(number) => store.select(`${row.id}/${number}`)}>
        {store.hides("values") ? null : card.arithmetic ? (
          <Arithmetic of={card.arithmetic}>
            <TargetName />
          </Arithmetic>
        ) : (
          !(card.here[reading.position] ?? 0) && `It does not fire here, and adds nothing through ${row.id}.`
        )}
      </Card>
    </>
  );
}

/** So many times as strong: each setting is an experiment, which the sentence under it tells. */
function Dial({ of }: { of: string }) {
  const { lab } = useView().store;
  const [times, turn] = useState(1);
  return (
    <label class="aw-dial aw-small" title="An experiment: the model runs with it so many times as strong, what its dictionary misses held">
      strength
      <input
        type="range"
        data-part="dial"
        min="0"
        max="4"
        step="0.5"
        value={times}
        onInput={(e) => turn(+e.currentTarget.value)}
        onChange={(e) => lab.ablate(of, +e.currentTarget.value)}
      />
      <output>× {times}</output>
    </label>
  );
}

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
function Arithmetic({ of, children }: { of: Factors; children: ComponentChildren }) {
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

function Card({ name, card, tokens: prompt, alone, wrote, go, children }: CardProps) {
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
      <Sides sides={[words("Promotes", card.up), words("Suppresses", card.down)]} />
      <p class="aw-quiet aw-small">
        What it adds to the logits directly{card.through && `, through ${card.through}`}, for one unit of activation, before the last norm scales it.
      </p>
    </>
  );
}
