/** The Explorer: prompt, waterfall, detail, one under the other; every line answers the line above it. */
import type { Mode, PanelName } from "../../core/types";
import { useView } from "../parts/context";
import { Compared } from "../parts/guess";
import { Help } from "../parts/help";
import { Apart, Heads } from "../heads/heads";
import { TargetName, Token } from "../parts/names";
import { TracePanel } from "../tabs/trace";
import { Crumbs } from "./crumbs";
import { Detail } from "./detail";
import { Words } from "./goon";
import { PromptLine } from "./promptline";
import { SideBySide } from "./sides";
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
        {reading.phrase && (store.screen.all.value || store.screen.glance.value >= 0) ? <Words reading={reading} /> : <Answer />}
      </div>
      <Crumbs />
    </div>
  );
}

function Answer() {
  const { store } = useView();
  const order = store.screen.order.value;
  return (
    <>
      <Finding />
      <div class={`aw-cols ${(store.reading.value?.rival && store.lab.told.value) || order === "sides" || order === "heads" ? "aw-wide" : ""} ${order === "trace" || (store.screen.tab.value === "lens" && store.screen.full.value) ? "aw-full" : ""}`}>
        <section class="aw-main" aria-label="Contributions">
          {order === "trace" ? (
            <TracePanel />
          ) : order === "heads" || store.hides("values") ? (
            <Heads />
          ) : order === "sides" ? (
            <SideBySide />
          ) : (
            <Waterfall />
          )}
        </section>
        <Detail />
      </div>
    </>
  );
}

const ORDERS: [Mode, string][] = [
  ["size", "by size"],
  ["order", "in order"],
  ["heads", "heads"],
  ["trace", "trace"],
  ["sides", "side by side"],
];

/** The panels that explain the others; by size and in order show contributions. */
const HELP: Partial<Record<Mode, PanelName>> = { heads: "heads", trace: "trace", sides: "comparison" };

function Finding() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const hidden = store.hides("values");
  const shown = store.screen.order.value;
  const secret = store.hides("candidates");
  const tested = store.lab.told.value;
  const { kind, model, notes, better, target, finding, contrast, word } = reading.header;
  const live = kind === "explorer" && !store.fixed.value;
  const observed = (
    <>
      {finding.names.join(" and ")} {finding.text} for {reading.inner ? `the ${target.phrase}` : <TargetName />}
    </>
  );
  return (
    <div class="aw-finding">
      <h2 class="aw-headline" tabIndex={-1}>
        {model.built && <span data-part="built">{model.built.called} · </span>}
        {hidden ? (
          <>
            Which parts wrote <TargetName />?
          </>
        ) : (
          (!secret && tested?.title) || observed
        )}
      </h2>
      <div class="aw-seg" role="group" aria-label="How to show the contributions">
        {ORDERS.filter(([order]) => order !== "sides" || reading.header.besides).map(([order, label]) => (
          <button key={order} data-order={order} aria-pressed={shown === order} onClick={() => (store.screen.order.value = order)}>
            {label}
          </button>
        ))}
      </div>
      <Help of={HELP[shown] ?? "contributions"} />
      {!hidden && <Compared kind="part" />}
      {model.built && !hidden && !secret && <p class="aw-sub" data-part="story">{model.built.story}</p>}
      {tested && !hidden && (
        <p class="aw-sub" data-part="observed">
          Observed: {observed}.
        </p>
      )}
      {word && !hidden && !secret && (
        <p class="aw-sub" data-part="word">
          {word.told}
        </p>
      )}
      {shown === "heads" && <Apart />}
      <Mark />
      {contrast && !contrast.taken && contrast.told && !hidden && !secret && (
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
      {(model.mixers || model.reason) && (
        <p class="aw-sub" data-part="coarse">
          {model.mixers ?? `${model.words ? `Exact ${model.words}` : `Shown by ${model.granularity === "layers" ? "whole layers" : model.granularity}`}: ${model.reason}`}
        </p>
      )}
      {!hidden &&
        !secret &&
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
