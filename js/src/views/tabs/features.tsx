/** What a component wrote, as features of a dictionary; a click opens a feature: what it fires on, what it writes. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { plain } from "../../core/maths/format";
import { largest, sumOf } from "../../core/maths/geometry";
import type { FeatureCard, Finding, Row } from "../../core/types";
import { Await, textHeight } from "../parts/awaiting";
import { type BarRow, Bars, Check } from "../parts/bars";
import { useView } from "../parts/context";
import { TargetName } from "../parts/names";
import { WrittenBy } from "../explorer/concepts";
import { Chip, Tested, TestThis } from "../explorer/verdict";
import { Arithmetic, Card, cardHeight } from "./card";

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
      <Await of={card} hold={cardHeight}>{(card) => <Read row={row} name={name} card={card} wrote={wrote} />}</Await>
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
