/** Cumulative bars: every part starts where the one before ended, and the last one ends at the model's number. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { share, tiny } from "../../core/maths/format";
import { bySize, sumOf, waterfall } from "../../core/maths/geometry";
import { TAU } from "../../core/maths/heads";
import { Await, Hidden } from "../parts/awaiting";
import { useView } from "../parts/context";
import { comparable, type Effect, effectsOf, totalsOf } from "../../core/state/effects";
import { Called, RivalName } from "../parts/names";
import { pressed, useRoving } from "../parts/roving";
import { Axis, Lines, pct, Step } from "../parts/steps";
import { ChosenSet } from "./chosen";
import { Chip, Together } from "./verdict";

const TOP = 13;
/** Total effects that keep a row in sight: so many, if they are at least this share of the gap. */
const TOTALS = 6;

export function Waterfall() {
  const { store } = useView();
  const reading = store.reading.value;
  const inOrder = store.screen.order.value === "order";
  const open = store.open.value;
  const { lab } = store;
  const told = lab.told.value;
  const chosen = store.chosen.value;
  const [at, setAt] = useState("");
  const gap = reading?.header.corrupted?.gap ?? 0;
  const loaded = totalsOf(store)?.value;
  const totals = loaded?.state === "ready" ? loaded.value : undefined;
  const large = new Set(totals ? bySize(totals).slice(0, TOTALS).filter((i) => Math.abs(totals[i] ?? 0) >= TAU * Math.abs(gap)) : []);
  // the column is there as soon as it is asked for, and once something was measured
  const effects = !!told || totals !== undefined || loaded?.state === "loading";
  const byEffect = !inOrder && store.screen.byEffect.value && (!!told || totals !== undefined);
  const back = effectsOf(store, totals, !!told);
  const sized = reading?.order ?? [];
  const indices = !reading
    ? []
    : inOrder
      ? Array.from(reading.values, (_, i) => i)
      : byEffect
        ? [...sized].sort((i, j) => Math.abs(back(j)?.[0] ?? 0) - Math.abs(back(i)?.[0] ?? 0))
        : sized;
  const expanded = inOrder || store.screen.expanded.value || indices.length <= TOP + 1;
  // The open component is never among the others, nor is one with a large total effect or of which something was found.
  const kept = (i: number, at: number) => {
    const id = reading?.header.rows[i]?.id ?? "";
    return expanded || at < TOP || id === open || large.has(i) || lab.of(id)?.named || chosen.includes(id);
  };
  const shown = indices.filter(kept);
  const rest = indices.filter((i, at) => !kept(i, at));
  const rove = useRoving(shown.findIndex((i) => reading?.header.rows[i]?.id === open));
  const chartBox = useRef<HTMLDivElement>(null);
  // A scroll bar narrows the rows; axis and sum must stay above and below the same bars.
  useLayoutEffect(() => {
    const scroll = chartBox.current?.querySelector<HTMLElement>(".aw-scroll");
    if (scroll) chartBox.current?.style.setProperty("--aw-gutter", `${scroll.offsetWidth - scroll.clientWidth}px`);
  });
  if (!reading) return null;
  if (store.hides("values")) return <Hidden part="values" what="the contributions" />;
  const { header, values, rival } = reading;
  const bars = shown.map((i) => values[i] ?? 0);
  const restSum = sumOf(rest.map((i) => values[i] ?? 0));
  const restRival = rival && sumOf(rest.map((i) => rival[i] ?? 0));
  const chart = waterfall(rest.length ? [...bars, restSum] : bars, header.actual, ...shown.map((i) => rival?.[i] ?? 0));
  const names = shown.map((i) => header.rows[i]?.id ?? "");
  /** of names, with so much for every letter of what they are */
  const wide = (letter: number) => {
    const most = Math.max(8, ...names.map((n) => n.length + letter * (store.kindOf(n)?.short.length ?? 0)), rest.length ? `${rest.length} others`.length + 2 : 0);
    return `${Math.ceil(7.6 * most + 2)}px`;
  };
  const unit = header.target.unit;
  const said = (value: number) => reading.signed(value);

  return (
    <div ref={chartBox} class={`aw-waterfall ${told ? "aw-tested" : ""} ${rival ? "aw-two" : ""} ${effects ? "aw-effects" : ""}`} data-part="waterfall" style={{ "--aw-plain": wide(0), "--aw-told": wide(0.9) }}>
      <Axis chart={chart}>
        <span class="aw-val">{unit.length < 9 && unit}</span>
        {rival && (
          <span class="aw-rival">
            <RivalName />
          </span>
        )}
        {effects && <span class="aw-back">{told ? "damage" : "recovery"}</span>}
      </Axis>
      <div class="aw-scroll" style={store.options.value.height ? { maxHeight: `${store.options.value.height}px` } : {}}>
        <div class="aw-rows">
          <Lines chart={chart} />
          <div role="listbox" aria-label={`Contributions${reading.unit}, ${inOrder ? "in model order" : "largest first"}`} {...rove.list}>
            {shown.map((i, at) => {
              const row = header.rows[i];
              const value = values[i] ?? 0;
              const id = row?.id ?? "";
              const pick = (event: MouseEvent | KeyboardEvent) => (event.shiftKey ? store.choose(id) : store.select(id));
              const out = chosen.includes(id);
              const found = lab.of(id);
              return (
                <div
                  key={id}
                  role="option"
                  class="aw-wrow aw-row"
                  data-id={id}
                  title={store.described(id)}
                  data-i={at}
                  data-chosen={out}
                  aria-selected={id === open}
                  tabIndex={rove.tabIndex(at)}
                  onClick={pick}
                  onMouseDown={(event) => {
                    if (!event.shiftKey) return;
                    event.preventDefault(); // no text is marked
                    event.currentTarget.focus();
                  }}
                  onKeyDown={pressed(pick)}
                  {...(told && { onPointerEnter: () => setAt(id), onFocusIn: () => setAt(id) })}
                >
                  <span class="aw-name">
                    <Called of={id} />
                  </span>{" "}
                  <Step chart={chart} at={at} value={value} said={said} ghost={rival?.[i]} />
                  <span class="aw-val">{reading.signed(value)}</span>
                  {rival && (
                    <span class="aw-rival">
                      <span class="aw-sr">
                        {" "}
                        for <RivalName />{" "}
                      </span>
                      {reading.signed(rival[i] ?? 0)}
                    </span>
                  )}
                  {effects && <Back of={back(i)} />}
                  {out && <span class="aw-sr">, taken out</span>}
                  {found && <Chip of={found} />}
                </div>
              );
            })}
          </div>
          {rest.length > 0 && (
            <button class="aw-wrow aw-row aw-others" aria-expanded="false" onClick={() => (store.screen.expanded.value = true)}>
              <span class="aw-name">{rest.length} others ▸</span> <Step chart={chart} at={shown.length} value={restSum} said={said} many />
              <span class="aw-val">{reading.signed(restSum)}</span>
              {restRival !== undefined && <span class="aw-rival">{reading.signed(restRival)}</span>}
              {effects && <span />}
            </button>
          )}
        </div>
      </div>
      {!inOrder && store.screen.expanded.value && indices.length > TOP + 1 && (
        <button class="aw-link aw-fewer" aria-expanded="true" onClick={() => (store.screen.expanded.value = false)}>
          Show the largest {TOP} only
        </button>
      )}
      <Sum bar={{ left: pct(Math.min(chart.zero, chart.total)), width: pct(Math.abs(chart.total - chart.zero)) }} />
      {!inOrder && <Alike />}
      <ChosenSet />
      {told && <ReadOut id={lab.of(at) ? at : open} />}
      {told && <Together of={told} />}
      <Legend />
    </div>
  );
}

/** The share of the gap that goes without a part, measured; before a test what it brings back, estimated: pale, with a tilde. */
function Back({ of }: { of: Effect | undefined }) {
  if (!of || (!of[0] && !of[1])) return <span />;
  const [value, measured] = of;
  return (
    <span class={`aw-back ${measured ? "aw-measured" : ""}`}>
      <span class="aw-sr">, {measured ? "damage " : "recovery (estimated) "}</span>
      {!measured && <span style={{ marginRight: "2px" }}>~</span>}
      {share(value)}
    </span>
  );
}

/** The parts that write most for both answers: long pale bars. */
function Alike() {
  const { store } = useView();
  const shared = store.reading.value?.header.shared;
  if (!shared?.length) return null;
  return (
    <div class="aw-small" data-part="alike">
      <p class="aw-quiet">
        <i class="aw-swatch" /> pale: what a part writes for <RivalName />, from zero. For answer and rival alike:
      </p>
      <ul class="aw-alike">
        {shared.map(({ id, told }) => (
          <li key={id}>
            <button class="aw-link" onClick={() => store.select(id)}>
              {told}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The verdict under the pointer or the focus, in words. */
function ReadOut({ id }: { id: string }) {
  const { lab } = useView().store;
  const found = lab.of(id);
  return (
    <p class="aw-readout" data-part="told" aria-live="polite">
      {found ? (
        <>
          <b>{id}</b> {found.told}
        </>
      ) : (
        <span class="aw-quiet">Point at a verdict to read it in words.</span>
      )}
    </p>
  );
}

export function Legend() {
  const { store } = useView();
  const header = store.reading.value?.header;
  const totals = totalsOf(store);
  if (!header || !comparable(header) || store.hides("corrupted")) return null;
  // nothing that is estimated is shown then
  if (store.lab.told.value && store.screen.order.value !== "heads") {
    return (
      <div class="aw-legends">
        <Marks error={undefined} />
      </div>
    );
  }
  const waiting = totals?.value.state === "loading";
  if (!totals || waiting) {
    if (store.fixed.value) return null;
    return (
      <div class="aw-legends">
        <button class="aw-link" data-part="estimate" onClick={() => (store.lab.wanted.value = true)}>
          {waiting ? "Estimating total effects…" : "Estimate total effects · 18 forwards"}
        </button>
      </div>
    );
  }
  return (
    <div class="aw-legends">
      <Await of={totals}>{(found) => <Marks error={found[header.rows.length]} />}</Await>
    </div>
  );
}

/** What the column of total effects means, and the order by it. */
function Marks({ error }: { error: number | undefined }) {
  const { store } = useView();
  const measured = store.lab.told.value;
  const by = store.screen.byEffect.value;
  const heads = store.screen.order.value === "heads";
  return (
    <p class="aw-quiet aw-small" data-part="legend">
      {measured && !heads
        ? "Damage, which decides the word: the share of the gap that goes without the part, that is, with its write from the other prompt. Recovery, estimated before the test, stands in its verdict."
        : `${heads ? "Effect: recovery" : "Recovery"}, the share of the gap that the part brings back in the other prompt, ${measured ? "measured, or with ~ estimated" : "estimated"} by gradients. Much of it beside a short bar: perhaps through other parts; test it.`}{" "}
      {error !== undefined && error === error && `Completeness error ${share(error)}${Math.abs(error) > 0.1 ? ": the answer jumps between the prompts, test it." : "."} `}
      {store.screen.order.value === "size" && (
        <button class="aw-link" data-part="by-effect" aria-pressed={by} onClick={() => (store.screen.byEffect.value = !by)}>
          {by ? "Sort by the bars" : "Sort by it"}
        </button>
      )}
    </p>
  );
}

/** The line that says that it adds up, and what that means. */
export function Sum({ bar }: { bar?: { left: string; width: string } }) {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  if (store.hides("sum")) return <Hidden part="sum" what="the sum" />;
  const { total, actual, gap, exact, rounding, precap } = reading.header;
  const parts = [rounding.stream, rounding.heads, rounding.readout].map((v) => tiny(v ?? 0));
  return (
    <div class="aw-sum" data-part="sum" tabIndex={0} role="group" aria-label="Does it add up?">
      <span class="aw-wrow">
        <span class="aw-name">sum</span>
        <span class="aw-track">{bar && <i class="aw-bar aw-whole" style={bar} />}</span>
        <b class="aw-val">{reading.plain(total)}</b>
      </span>
      <span class="aw-check">
        <span>
          model <b>{reading.plain(actual)}</b>
        </span>
        <span class={exact ? "" : "aw-warn"}>
          mismatch {tiny(Math.abs(gap))} {exact ? "✓" : "✗"}
        </span>
      </span>
      <span class="aw-tip" role="note">
        <b>sum</b>: all rows added. <b>model</b>: the number the unmodified model printed. <b>mismatch</b>: their difference,{" "}
        {exact ? "as small as float32 allows" : "larger than float32 explains"}.
        {precap !== null && ` Before the soft cap the model has ${reading.plain(precap)}.`} Rounding is measured, never a remainder: stream{" "}
        {parts[0]}, heads {parts[1]}, read-out {parts[2]}.
      </span>
    </div>
  );
}
