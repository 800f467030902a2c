/** What one component did: the finding as a title, then tabs that answer "how do you know?". */
import { percent, signed, tokenText } from "../core/format";
import type { Reading } from "../core/reading";
import type { Row } from "../core/types";
import { Hidden, TargetName, Token, useView } from "./common";
import { HeadPattern } from "./pattern";
import { Tokens } from "./tokens";
import { WhyThere } from "./why";
import { Neurons, Written } from "./writes";

const TABS: Record<string, [string, string][]> = {
  head: [
    ["tokens", "Tokens"],
    ["pattern", "Pattern"],
    ["why", "Why there"],
    ["writes", "Writes"],
  ],
  mlp: [
    ["neurons", "Neurons"],
    ["writes", "Writes"],
  ],
};

/** Rows that are directions in the stream, so that one may ask which tokens they raise. */
const WRITES = new Set(["embed", "pos", "attn", "layer", "attn.bias", "mlp.bias"]);

export function Detail() {
  const { store } = useView();
  const reading = store.reading.value;
  const row = reading?.row(store.open.value);
  if (!reading || !row) return null;
  if (store.hides("detail")) {
    return (
      <section class="aw-detail" data-part="detail" aria-label="Detail">
        <Hidden part="detail" what="the detail" />
      </section>
    );
  }
  const coarse = row.kind === "head" && !reading.arrays["carry"];
  const tabs = coarse ? [["writes", "Writes"] as [string, string]] : (TABS[row.kind] ?? (WRITES.has(row.kind) ? [["writes", "Writes"] as [string, string]] : []));
  const tab = tabs.find(([name]) => name === store.tab.value)?.[0] ?? tabs[0]?.[0] ?? "";
  return (
    <section class="aw-detail" data-part="detail" data-open={row.id} aria-label={`Detail of ${row.id}`}>
      <h3 class="aw-title">
        <Title row={row} reading={reading} />
      </h3>
      <p class="aw-sentence">
        <Sentence row={row} reading={reading} />
      </p>
      {tabs.length > 1 && <TabList tabs={tabs} tab={tab} />}
      <div role={tabs.length > 1 ? "tabpanel" : undefined} class="aw-panel" data-tab={tab} aria-label={tabs.length > 1 ? tabs.find(([name]) => name === tab)?.[1] : undefined}>
        {tab === "tokens" && <Tokens row={row} />}
        {tab === "pattern" && <HeadPattern row={row} />}
        {tab === "why" && <WhyThere row={row} />}
        {tab === "neurons" && <Neurons row={row} />}
        {tab === "writes" && <Written row={row} />}
      </div>
    </section>
  );
}

function TabList({ tabs, tab }: { tabs: [string, string][]; tab: string }) {
  const { store } = useView();
  const walk = (event: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const list = event.currentTarget as HTMLElement;
    const at = (tabs.findIndex(([name]) => name === tab) + by + tabs.length) % tabs.length;
    store.openTab(tabs[at]?.[0] ?? "");
    list.querySelectorAll<HTMLElement>('[role="tab"]')[at]?.focus();
  };
  return (
    <div role="tablist" class="aw-tabs" data-part="tabs" aria-label="What to look at" onKeyDown={walk}>
      {tabs.map(([name, text]) => (
        <button role="tab" key={name} data-tab={name} aria-selected={name === tab} tabIndex={name === tab ? 0 : -1} onClick={() => store.openTab(name)}>
          {text}
        </button>
      ))}
    </div>
  );
}

function Title({ row, reading }: { row: Row; reading: Reading }) {
  const { store } = useView();
  const value = reading.value(row.id);
  if (store.hides("values")) return <>{row.id}</>;
  return (
    <>
      {row.id} {value < 0 ? "takes" : "adds"} <span class={value < 0 ? "aw-minus" : "aw-plus"}>{signed(value)}</span>{" "}
      {value < 0 ? "from" : "to"} <TargetName />
    </>
  );
}

function Sentence({ row, reading }: { row: Row; reading: Reading }) {
  const { model, target } = reading.header;
  const L = row.layer;
  switch (row.kind) {
    case "head":
      return <HeadSentence row={row} reading={reading} />;
    case "mlp":
      return <>The MLP of layer {L}: works on this position alone, with what earlier layers left there.</>;
    case "embed":
      return <>The embedding of the last token read: what the token itself says, before any layer.</>;
    case "pos":
      return <>The position embedding: what the place in the prompt says, whatever the token.</>;
    case "attn":
      return <>All attention of layer {L} together. {model.reason}</>;
    case "layer":
      return <>Everything layer {L} wrote, attention and MLP together. {model.reason}</>;
    case "attn.bias":
      return <>The output bias of the attention in layer {L}: the same for every prompt before the final norm scales it.</>;
    case "mlp.bias":
      return <>The output bias of the MLP in layer {L}: the same for every prompt before the final norm scales it.</>;
    case "norm.bias":
      return <>The bias of the final norm, read in the direction of the target: the same for every prompt.</>;
    case "unembed.bias":
      return <>The bias of the unembedding: what the model grants this token before it has read anything.</>;
    case "rounding":
      return <>Measured rounding of the model's {model.dtype} arithmetic: recorded, not what is left over.</>;
    case "softcap":
      return <>What the soft cap takes: the printed logit minus the logit before the cap.</>;
    case "entropy":
      return <>Minus the entropy of the prediction: it turns the sum of {target.unit} into the log-probability.</>;
    case "expert":
      return <>One expert of the mixture in layer {L}.</>;
    default:
      return <>A part of the sum that belongs to no single head or MLP.</>;
  }
}

function HeadSentence({ row, reading }: { row: Row; reading: Reading }) {
  const { store } = useView();
  if (!reading.arrays["carry"]) return <>Heads of this model are not split. {reading.header.model.reason}</>;
  const loaded = store.data.pattern(row.id).value;
  const pattern = loaded.state === "ready" ? loaded.value : undefined;
  const sources = reading.sources(row.id, pattern);
  if (!sources) return <>What it reads is being fetched.</>;
  const lead = reading.leadSource(sources, reading.value(row.id));
  const carried = sources.tokens[lead] ?? 0;
  const weights = pattern?.row(reading.position);
  if (!weights) {
    return (
      <>
        <Token text={reading.tokens[lead] ?? ""} /> carries most: {signed(carried)}.
      </>
    );
  }
  let most = 0;
  weights.forEach((p, s) => {
    if (p > (weights[most] ?? 0)) most = s;
  });
  return (
    <>
      It reads {percent(weights[lead] ?? 0)} from <Chip token={reading.tokens[lead] ?? ""} />, which carries {signed(carried)}.
      {most !== lead && (weights[most] ?? 0) > 2 * (weights[lead] ?? 0) && (
        <>
          {" "}
          Most attention, {percent(weights[most] ?? 0)}, goes to <Chip token={reading.tokens[most] ?? ""} />, which carries{" "}
          {signed(sources.tokens[most] ?? 0)}.
        </>
      )}
    </>
  );
}

export function Chip({ token }: { token: string }) {
  return (
    <span class="aw-inline" title={tokenText(token)}>
      <Token text={token} />
    </span>
  );
}

