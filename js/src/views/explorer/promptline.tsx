/** What is asked: the prompt, the prediction, what it is compared with. Everything here can be edited. */
import { percent, plain, tokenText } from "../../core/maths/format";
import { NEEDS_KERNEL } from "../../core/state/answers";
import type { Reading } from "../../core/state/reading";
import type { Field, Named, Unseen } from "../../core/types";
import { Hidden } from "../parts/awaiting";
import { useView } from "../parts/context";
import { Asking, Compared, TokenBlank } from "../parts/guess";
import { Names, namesText, TargetName, Token } from "../parts/names";
import { numbered, TokenList } from "../parts/tokens";
import { Edit } from "./edit";
import { GoOn, TextLine } from "./goon";
import { underEach, UnderSwitch, UnderWords } from "./under";

/** how many predictions are shown; the explained one always is */
const CHIPS = 3;

/** Scrolls the box of a long prompt, and nothing else, to the token that matters. */
const shown = (token: HTMLElement | null) => {
  const box = token?.parentElement;
  if (token && box) box.scrollTop = token.offsetTop - box.offsetTop - 50;
};

export function PromptLine() {
  const { store } = useView();
  const reading = store.reading.value;
  if (!reading) return null;
  const editable = reading.header.kind === "explorer";
  // A score and a neuron belong to no prediction.
  const { inner } = reading;
  const whole = !!reading.phrase && (store.screen.all.value || store.screen.glance.value >= 0);
  return (
    <div class="aw-top">
      <div class="aw-line">
        {store.screen.editing.value === "prompt" ? (
          <Edit field="prompt" label="Prompt" value={reading.header.passage?.prompt ?? reading.header.prompt.text} run={(prompt) => store.explain({ prompt })}>
            {(fill) => <Examples fill={fill} />}
          </Edit>
        ) : (
          <PromptTokens reading={reading} editable={editable} whole={whole} />
        )}
        {!inner && store.screen.editing.value !== "prompt" && <GoOn reading={reading} />}
        {!inner && !whole && (
          <div class={`aw-answer ${reading.header.prompt.unseen ? "aw-doubt" : ""}`}>
            <Candidates reading={reading} editable={editable} />
            <Target reading={reading} editable={editable} />
          </div>
        )}
      </div>
      {!whole && <UnderWords reading={reading} />}
      {!store.hides("candidates") && <Compared kind="token" />}
      <UnseenWords of={reading.header.prompt.unseen ?? reading.header.corrupted?.unseen} editable={editable} />
      {!inner && !whole && <CorruptedLine reading={reading} editable={editable} />}
      {editable && store.fixed.value && (
        <p class="aw-quiet aw-small" data-part="fixed">
          A page without Python: what is grey needs the notebook. Open it and run the cell to ask something else.
        </p>
      )}
    </div>
  );
}

/** Tasks to try. */
function Examples({ fill }: { fill?: (text: string) => void }) {
  const { store } = useView();
  const examples = store.reading.value?.header.examples ?? [];
  if (!examples.length) return null;
  return (
    <p class="aw-examples" data-part="examples">
      Try:{" "}
      {examples.map((e) => (
        <button
          type="button"
          class="aw-link"
          key={e.label}
          title={e.prompt}
          onClick={() => {
            fill?.(e.prompt);
            store.explain({ prompt: e.prompt, target: e.target || null, against: null, corrupted: e.corrupted ?? "" });
          }}
        >
          {e.label}
        </button>
      ))}
    </p>
  );
}

/** Words that the model never saw: what to try, and the line for a model that reads any text. */
function UnseenWords({ of, editable }: { of: Unseen | undefined; editable: boolean }) {
  const { store } = useView();
  if (!of) return null;
  return (
    <div class="aw-small" data-part="unseen">
      <p>
        {of.said}. A larger model reads any text: <code>{of.code}</code>
      </p>
      {editable && !store.fixed.value && store.screen.editing.value !== "prompt" && <Examples />}
    </div>
  );
}

function Pencil({ field, label }: { field: Field; label: string }) {
  const { store } = useView();
  const off = store.fixed.value;
  return (
    <button
      class="aw-edit"
      data-part={`edit-${field}`}
      aria-label={label}
      aria-disabled={off}
      title={off ? NEEDS_KERNEL : label}
      onClick={() => (off ? store.explain({}) : (store.screen.editing.value = field))}
    >
      <svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
        <path d="M11 2.5 13.5 5 5.5 13 2.5 13.5 3 10.5z" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" />
      </svg>
    </button>
  );
}

function PromptTokens({ reading, editable, whole }: { reading: Reading; editable: boolean; whole: boolean }) {
  const { store, palette } = useView();
  const under = whole ? undefined : underEach(store, reading, palette.value);
  // the words that follow are the answer, and so are their odds
  const secret = store.hides("candidates");
  const tokens = secret && reading.header.passage ? reading.tokens.slice(0, reading.position + 1) : reading.tokens;
  return (
    <div class="aw-prompt">
      {reading.phrase && !secret ? <TextLine reading={reading} under={under} /> : <TokenList
        look={under ? "aw-toks aw-numbered" : "aw-toks"}
        part="prompt-tokens"
        label="Prompt tokens: choose the position that is explained"
        current={reading.position}
        pick={editable ? (i, event) => (event.shiftKey && i ? store.askWord(i) : i !== reading.position && store.explain({ position: i, target: null })) : null}
        items={tokens.map((text, i) => {
          const strange = reading.header.prompt.unseen?.at.includes(i) ?? false;
          const act = i === reading.position ? (reading.inner ? ": read here" : ": what comes next is explained") : editable ? `: explain what comes after it${i ? "; with Shift, why it stands here" : ""}` : "";
          return numbered(under, i, { text, about: act + (strange ? "; never seen in training" : ""), quiet: reading.special(i), strange });
        })}
      />}
      {editable && <Pencil field="prompt" label="Edit the prompt" />}
      {!whole && <UnderSwitch />}
    </div>
  );
}

function Candidates({ reading, editable }: { reading: Reading; editable: boolean }) {
  const { store } = useView();
  if (store.hides("candidates")) {
    return (
      <Asking parts={["candidates"]} question="Which token comes next?">
        {reading.header.candidates.length > 1 && <TokenBlank />}
      </Asking>
    );
  }
  const { candidates, target, word } = reading.header;
  const own = { text: target.text, id: target.id ?? -1, prob: target.prob ?? 0, logit: reading.header.actual };
  const rare = target.prob !== undefined && !candidates.some((c) => c.id === target.id);
  const written = reading.tokens[reading.position + 1];
  const after = reading.position < reading.tokens.length - 1;
  return (
    <div class="aw-next">
      <span class="aw-quiet">{after ? "next here:" : "next:"}</span>
      <div class="aw-chips" role="group" aria-label="What the model predicts next">
        {[...candidates, ...(rare ? [own] : [])].filter((c, i) => i < CHIPS || c.id === target.id).map((c) => {
          const on = c.id === target.id;
          const off = store.fixed.value;
          const inside = (
            <>
              <Token text={c.text} /> <b>{percent(c.prob)}</b>
            </>
          );
          if (!editable) {
            return (
              <span class="aw-chip" key={c.id} data-part="candidate" data-on={on}>
                {inside}
              </span>
            );
          }
          return (
            <button
              class="aw-chip"
              key={c.id}
              data-part="candidate"
              aria-pressed={on}
              aria-disabled={off && !on}
              title={on ? `Explained now: logit ${plain(c.logit)}` : off ? NEEDS_KERNEL : `Explain ${tokenText(c.text)} instead: logit ${plain(c.logit)}`}
              onClick={() => {
                if (!on) store.explain({ target: c.id });
              }}
            >
              {inside}
            </button>
          );
        })}
      </div>
      {editable && written !== undefined && !word && (
        <button class="aw-link" data-part="as-written" aria-disabled={store.fixed.value} onClick={() => store.askWord(reading.position + 1)}>
          why <Token text={written} />, as it stands?
        </button>
      )}
    </div>
  );
}

function Target({ reading, editable }: { reading: Reading; editable: boolean }) {
  const { store } = useView();
  const { target, contrast } = reading.header;
  const editing = store.screen.editing.value;
  if (store.hides("candidates")) return null;
  const slot = (field: "target" | "against", named: Named | null) => {
    if (editing === field) {
      return (
        <Edit
          field={field}
          label={field === "target" ? "Token to explain" : "Token to compare it with, empty for none"}
          value={named ? (named.texts?.[0] ?? named.text) : ""}
          token
          run={(typed) => store.explain({ [field]: typed })}
        />
      );
    }
    const inside = named ? <Names of={named} /> : <span class="aw-quiet">nothing</span>;
    if (!editable) return <span class="aw-chip">{inside}</span>;
    const off = store.fixed.value;
    return (
      <button
        class="aw-chip aw-field"
        data-part={`edit-${field}`}
        aria-disabled={off}
        aria-label={`${field === "target" ? "Explain" : "Rather than"} ${named ? namesText(named) : "nothing"}: change`}
        title={off ? NEEDS_KERNEL : `${field === "against" && contrast?.taken ? `${contrast.told}. ` : ""}Click to type another token`}
        onClick={() => (off ? store.explain({}) : (store.screen.editing.value = field))}
      >
        {inside}
      </button>
    );
  };
  return (
    <div class="aw-ask">
      <span class="aw-quiet">why</span> {slot("target", target)} <span class="aw-quiet">rather than</span>{" "}
      {slot("against", target.against)}
      {editable && !store.fixed.value && target.against && editing !== "against" && (
        <button class="aw-edit" data-part="drop-against" aria-label="Rather than nothing" title="Rather than nothing: the answer by itself" onClick={() => store.explain({ against: "" })}>
          ×
        </button>
      )}
    </div>
  );
}

function CorruptedLine({ reading, editable }: { reading: Reading; editable: boolean }) {
  const { store } = useView();
  const { corrupted, target, prompt, passage } = reading.header;
  const value = passage?.compared || corrupted?.text || passage?.prompt || prompt.text;
  if (store.screen.editing.value === "corrupted") {
    return (
      <div class="aw-line">
        <Edit field="corrupted" label="Prompt to compare with" value={value} run={(text) => store.explain({ corrupted: text })} />
      </div>
    );
  }
  if (!corrupted) {
    if (!editable || store.fixed.value) return null;
    return (
      <div class="aw-line">
        <button class="aw-link" data-part="edit-corrupted" onClick={() => (store.screen.editing.value = "corrupted")}>
          + compare with another prompt
        </button>
      </div>
    );
  }
  if (store.hides("corrupted")) return <Hidden part="corrupted" what="the comparison" />;
  const after = passage && store.hides("candidates") ? reading.tokens.length - 1 - reading.position : 0; // the same words follow it
  const differs = new Set(corrupted.differs);
  const how = corrupted.aligned ? `${differs.size} ${differs.size === 1 ? "token differs" : "tokens differ"}` : "another length";
  return (
    <div class="aw-line aw-corrupted" data-part="corrupted-line">
      <div class="aw-prompt">
        <span class="aw-quiet aw-lead">compared with</span>
        <div class="aw-toks">
          {corrupted.tokens.slice(0, corrupted.tokens.length - after).map((token, i) => (
            <span key={i} ref={i === corrupted.differs[0] ? shown : null} class={`aw-tok ${differs.has(i) ? "aw-differs" : ""} ${corrupted.unseen?.at.includes(i) ? "aw-strange" : ""} ${corrupted.special.includes(i) ? "aw-special" : ""}`}>
              <Token text={token} />
            </span>
          ))}
        </div>
        {editable && <Pencil field="corrupted" label="Edit the prompt compared with" />}
        {editable && !store.fixed.value && (
          <button class="aw-edit" aria-label="Remove the comparison" title="Remove the comparison" data-part="remove-corrupted" onClick={() => store.explain({ corrupted: "" })}>
            ×
          </button>
        )}
      </div>
      <span class="aw-quiet">
        {how} · <TargetName /> is {reading.plain(Math.abs(corrupted.gap))} {target.unit} {corrupted.gap < 0 ? "higher" : "lower"} there
      </span>
    </div>
  );
}
