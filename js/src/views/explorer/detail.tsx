/** What one component did: the finding as a title, then tabs that answer "how do you know?". */
import { percent, signed, tokenText } from "../../core/maths/format";
import { bySize } from "../../core/maths/geometry";
import type { Reading } from "../../core/state/reading";
import type { Row, Tab } from "../../core/types";
import { HeadPicture } from "../heads/picture";
import { Hidden } from "../parts/awaiting";
import { useView } from "../parts/context";
import { Asking, Compared } from "../parts/guess";
import { Help } from "../parts/help";
import { TargetName, Token } from "../parts/names";
import { TokenList } from "../parts/tokens";
import { FeaturesTab } from "../tabs/features";
import { LensTab } from "../tabs/lens";
import { HeadPattern } from "../tabs/pattern";
import { Tokens } from "../tabs/tokens";
import { WhyThere } from "../tabs/why";
import { WorkItOut } from "../tabs/worked";
import { Neurons, Written } from "../tabs/writes";
import { Mostly } from "./concepts";
import { Tested, TestThis } from "./verdict";

const FEATURES: [Tab, string] = ["features", "Features"];
const WRITTEN: [Tab, string] = ["writes", "Writes"];
/** The whole model's predictions through depth: the same whichever row is open. */
const LENS: [Tab, string] = ["lens", "Lens"];
const TABS: Record<string, [Tab, string][]> = {
  head: [
    ["tokens", "Tokens"],
    ["pattern", "Pattern"],
    ["why", "Why there"],
    FEATURES,
    WRITTEN,
  ],
  mlp: [
    ["neurons", "Neurons"],
    FEATURES,
    WRITTEN,
  ],
};

/** A head whose pattern is known, and not what it carried. */
const UNSPLIT: [Tab, string][] = [["pattern", "Pattern"], FEATURES, WRITTEN];

const MIXTURE: [Tab, string][] = [["neurons", "Experts"], ...(TABS["mlp"] ?? []).slice(1)];

/** Rows that are directions in the stream, so that one may ask which tokens they raise. */
const WRITES = new Set(["head", "embed", "pos", "attn", "laurel", "beside", "layer", "attn.bias", "mlp.bias"]);

export function Detail() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  if (store.hides("detail")) {
    const head = reading.row(store.open.value || (store.hides("values") ? "" : reading.lead));
    return (
      <section class="aw-detail" data-part="detail" aria-label="Detail">
        {head && head.kind === "head" && reading.carries(head) && reading.position > 0 ? <WordBlank row={head} reading={reading} /> : <Hidden part="detail" what="the detail" />}
      </section>
    );
  }
  const row = reading.row(store.open.value);
  if (!row) return null;
  // What is neither split nor a direction in the stream has no tabs.
  const split = row.kind !== "head" || reading.splits || reading.header.model.levels;
  const inside = row.mixture ? MIXTURE : row.kind === "head" && !reading.carries(row) ? UNSPLIT : TABS[row.kind];
  const own = (split && inside) || (WRITES.has(row.kind) ? [WRITTEN] : []);
  const tabs = own.length ? [...own, LENS] : own;
  const wanted = store.feature.value >= 0 ? "features" : store.screen.tab.value || (store.screen.order.value === "concepts" && store.source.value < 0 ? "features" : "");
  const [tab, name] = tabs.find(([name]) => name === wanted) ?? tabs[0] ?? ["", ""];
  const many = tabs.length > 1;
  const secret = store.hides("candidates");
  return (
    <section class="aw-detail" data-part="detail" data-open={row.id} aria-label={`Detail of ${row.id}`}>
      {store.screen.order.value === "heads" && <HeadPicture />}
      <div class="aw-dhead">
        <h3 class="aw-title" title={store.described(row.id)}>
          <Title row={row} reading={reading} />
        </h3>
        <TestThis row={row} />
        <Help of="detail" />
      </div>
      <p class="aw-sentence">
        {row.kind === "head" ? <HeadSentence row={row} reading={reading} /> : sentence(row, reading, store.kindOf(row.id)?.words)}
        {store.feature.value < 0 && <Mostly row={row} reading={reading} />}
      </p>
      <Compared kind="word" row={row} />
      <Tested row={row} />
      {many && (
        <div class="aw-tabrow">
          <TabList tabs={tabs} tab={tab} />
          <Help of={row.mixture && tab === "neurons" ? "experts" : store.feature.value >= 0 ? "feature" : tab || "detail"} />
        </div>
      )}
      <div role={many ? "tabpanel" : undefined} class="aw-panel" data-tab={tab} aria-label={many ? name : undefined}>
        {tab === "tokens" && <Tokens row={row} />}
        {tab === "pattern" && <HeadPattern row={row} />}
        {tab === "why" && <WhyThere row={row} />}
        {tab === "neurons" && <Neurons row={row} />}
        {tab === "features" && (secret ? <Hidden part="candidates" what="tokens and concepts" /> : <FeaturesTab row={row} />)}
        {tab === "writes" && (secret ? <Hidden part="candidates" what="tokens" /> : <Written row={row} />)}
        {tab === "lens" && <LensTab />}
      </div>
      <WorkItOut row={row} />
    </section>
  );
}

/** Which word does the head read? */
function WordBlank({ row, reading }: { row: Row; reading: Reading }) {
  const { store } = useView();
  const said = store.guessed.value.word;
  return (
    <Asking parts={["detail"]} question={`Which word does ${row.id} read?`} tall>
      <TokenList
        look="aw-carried"
        label={`Which word does ${row.id} read? Choose one`}
        current={said?.of === row.id ? said.at : -1}
        pick={(at) => store.guess({ word: { of: row.id, at } })}
        items={reading.tokens.slice(0, reading.position + 1).map((text) => ({ text, about: "" }))}
      />
    </Asking>
  );
}

function TabList({ tabs, tab }: { tabs: [Tab, string][]; tab: Tab }) {
  const { store } = useView();
  const without = store.reading.value?.header.absent?.["features"];
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
        <button
          role="tab"
          key={name}
          data-tab={name}
          aria-selected={name === tab}
          // Greyed, and still says why when it is opened.
          {...(name === "features" && without && { "aria-disabled": true, title: without })}
          tabIndex={name === tab ? 0 : -1}
          onClick={() => store.openTab(name)}
        >
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
      {row.id} {value < 0 ? "takes" : "adds"} <span class={value < 0 ? "aw-minus" : "aw-plus"}>{reading.signed(value)}</span>{" "}
      {value < 0 ? "from" : "to"} <TargetName />
    </>
  );
}

/** `words`: what it is where its kind alone would mislead. */
function sentence(row: Row, reading: Reading, words?: string): string {
  const { kind, layer } = row;
  const { model, target } = reading.header;
  const why = stop(reading.reason(row));
  const always = "the same for every prompt";
  if (words) return `${row.id} is ${words}. ${why}`;
  switch (kind) {
    case "mlp":
      return `The MLP of layer ${layer}: works on this position alone, with what earlier layers left there.`;
    case "embed":
      return "The embedding of the last token read: what the token itself says, before any layer.";
    case "pos":
      return "The position embedding: what the place in the prompt says, whatever the token.";
    case "attn":
      return `All attention of layer ${layer} together. ${why}`;
    case "layer":
      return `Everything layer ${layer} wrote, attention and MLP together. ${why}`;
    case "attn.bias":
    case "mlp.bias":
      return `The output bias of the ${kind === "mlp.bias" ? "MLP" : "attention"} in layer ${layer}: ${always} before the last norm scales it.`;
    case "norm.bias":
      return `The bias of the norm that is read through, in the direction of the target: ${always}.`;
    case "unembed.bias":
      return "The bias of the unembedding: what the model grants this token before it has read anything.";
    case "rounding":
      return `Measured rounding of the model's ${model.dtype} arithmetic: recorded, not what is left over.`;
    case "softcap":
      return "What the soft cap takes: the printed logit minus the logit before the cap.";
    case "entropy":
      return `Minus the entropy of the prediction: it turns the sum of ${target.unit} into the log-probability.`;
    case "expert":
      return `One expert of the mixture in layer ${layer}.`;
    default:
      return "A part of the sum that belongs to no single head or MLP.";
  }
}

/** A reason as a sentence of its own. */
const stop = (reason: string) => (reason ? `Not split further: ${reason.replace(/\.$/, "")}.` : "");

function HeadSentence({ row, reading }: { row: Row; reading: Reading }) {
  const { store } = useView();
  if (!reading.header.model.levels && !reading.splits) return <>This head was not split here. {reading.header.model.reason}</>;
  if (!reading.carries(row)) return <>What this head read is known, and not what it carried. {stop(reading.reason(row))}</>;
  const loaded = store.data.pattern(row.id).value;
  if (loaded.state === "loading") return <span>What it reads is being fetched.</span>;
  const pattern = loaded.state === "ready" ? loaded.value : undefined;
  const sources = reading.sources(row.id, pattern);
  if (!sources) return null;
  const lead = reading.leadSource(sources, reading.value(row.id));
  const weights = pattern?.row(reading.position);
  const weight = (at: number) => weights?.[at] ?? 0;
  const most = bySize(weights ?? [])[0] ?? lead;
  const what = (at: number) => (
    <>
      <Chip token={reading.tokens[at] ?? ""} />, which carries {signed(sources.tokens[at] ?? 0, sources.digits)}.
    </>
  );
  return (
    <>
      {row.id === reading.lead && !store.hides("values") && "The largest head. "}It reads {weights && percent(weight(lead))} from {what(lead)}
      {most !== lead && weight(most) > 2 * weight(lead) && (
        <>
          {" "}
          Most attention, {percent(weight(most))}, goes to {what(most)}
        </>
      )}
    </>
  );
}

function Chip({ token }: { token: string }) {
  return (
    <span class="aw-inline" title={tokenText(token)}>
      <Token text={token} />
    </span>
  );
}
