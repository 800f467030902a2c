/** The Explorer: prompt, waterfall, detail, one under the other; every line answers the line above it. */
import type { Order } from "../../core/state/screen";
import { useView } from "../parts/context";
import { TargetName, Token } from "../parts/names";
import { TracePanel } from "../tabs/trace";
import { Crumbs } from "./crumbs";
import { Detail } from "./detail";
import { ComponentMap } from "./map";
import { PromptLine } from "./promptline";
import { Status } from "./status";
import { Mark } from "./verdict";
import { Waterfall } from "./waterfall";

export function Explorer() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return <Status />;
  const busy = store.screen.busy.value !== null;
  return (
    <div class="aw-card">
      <PromptLine />
      <Status />
      <div class={`aw-body ${busy ? "aw-stale" : ""}`} aria-busy={busy}>
        <Finding />
        <div class={`aw-cols ${reading.rival && store.lab.told.value ? "aw-wide" : ""}`}>
          <section class="aw-main" aria-label="Contributions">
            {store.screen.order.value === "map" ? <ComponentMap /> : store.screen.order.value === "trace" ? <TracePanel /> : <Waterfall />}
          </section>
          <Detail />
        </div>
      </div>
      <Crumbs />
    </div>
  );
}

const ORDERS: [Order, string][] = [
  ["size", "by size"],
  ["order", "in order"],
  ["map", "map"],
  ["trace", "trace"],
];

function Finding() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const hidden = store.hides("values");
  const tested = store.lab.told.value;
  const { kind, model, notes, better, target, finding, contrast } = reading.header;
  const live = kind === "explorer" && !store.fixed.value;
  const observed = (
    <>
      {finding.names.join(" and ")} {finding.text} for {reading.inner ? `the ${target.phrase}` : <TargetName />}
    </>
  );
  return (
    <div class="aw-finding">
      <h2 class="aw-headline">
        {model.built && <span data-part="built">{model.built.called} · </span>}
        {hidden ? (
          <>
            Which parts wrote <TargetName />?
          </>
        ) : (
          tested?.title ?? observed
        )}
      </h2>
      <div class="aw-seg" role="group" aria-label="How to show the contributions">
        {ORDERS.map(([order, label]) => (
          <button key={order} data-order={order} aria-pressed={store.screen.order.value === order} onClick={() => (store.screen.order.value = order)}>
            {label}
          </button>
        ))}
      </div>
      {model.built && !hidden && <p class="aw-sub" data-part="story">{model.built.story}</p>}
      {tested && !hidden && (
        <p class="aw-sub" data-part="observed">
          Observed: {observed}.
        </p>
      )}
      <Mark />
      {contrast && !contrast.taken && contrast.told && !hidden && !store.hides("candidates") && (
        <p class="aw-sub" data-part="contrast">
          {contrast.told}{/[.!?]$/.test(contrast.told) ? " " : ". "}
          {live && contrast.rival && (
            <button class="aw-link" data-part="take-rival" onClick={() => store.explain({ against: contrast.rival?.id ?? null })}>
              Ask rather than <Token text={contrast.rival.text} />
            </button>
          )}
          {!live && contrast.matched && `Compare with “${contrast.matched}”.`}
          {live && contrast.matched && (
            <button class="aw-link" data-part="matched" onClick={() => store.explain({ corrupted: contrast.matched })}>
              Compare with “{contrast.matched}”
            </button>
          )}
        </p>
      )}
      {model.reason && (
        <p class="aw-sub" data-part="coarse">
          {model.words ? `Exact ${model.words}` : `Shown by ${model.granularity === "layers" ? "whole layers" : model.granularity}`}: {model.reason}
        </p>
      )}
      {!hidden &&
        (notes ?? []).map((note) => (
          <p class="aw-sub">
            {note}{" "}
            {live &&
              better?.map(
                (b) =>
                  b.note === note && (
                    <button class="aw-link" data-part="better" onClick={() => store.explain({ [b.field]: b.text })}>
                      use <Token text={b.text} />
                    </button>
                  ),
              )}
          </p>
        ))}
    </div>
  );
}
