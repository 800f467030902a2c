/** From observation to experiment: the button that tests, the question for a second prompt, and the verdict with its numbers. */
import { useEffect, useRef } from "preact/hooks";
import { LIVE } from "../../core/host/protocol";
import { NEEDS_KERNEL } from "../../core/state/answers";
import { TOP } from "../../core/state/lab";
import type { Finding, Row, Verdicts } from "../../core/types";
import { Bars } from "../parts/bars";
import { useView } from "../parts/context";

export const forwards = (n: number) => `${n} forward${n === 1 ? "" : "s"}`;

export function Chip({ of }: { of: Finding }) {
  return (
    <span class="aw-verdict" data-word={of.word} data-named={of.named} title={of.told}>
      <span aria-hidden="true">
        {of.chip}
        {of.borderline && "?"}
      </span>
      <span class="aw-sr">{of.told}</span>
    </span>
  );
}

/** Whether what is shown was tested, and the button that tests the leading parts. */
export function Mark() {
  const { store } = useView();
  const { lab } = store;
  const reading = store.reading.value;
  const test = reading?.header.test;
  const told = lab.told.value;
  if (!reading) return null;
  return (
    <>
      <p class="aw-sub" data-part="mark">
        Direct contributions{reading.unit}; click one to open it.{" "}
        {told && !store.hides("values") ? `Tested: ${told.pairs}. Bars without a word are observed${told.together.length ? ", and tested only together" : ", not tested"}.` : "Observed, not yet tested: a high bar is a suspect, not a cause."}{" "}
        {test && !test.never && !store.hides("values") && !told?.findings.some((f) => f.lists.includes("direct")) && <TestButton of={TOP} name={`Test the top ${test.top === 10 ? "ten" : test.top}`} cost={`≤ ${forwards(test.all)}`} />}
      </p>
      <Under of={TOP} />
    </>
  );
}

interface ButtonProps {
  of: string;
  name: string;
  cost: string;
}

function TestButton({ of, name, cost }: ButtonProps) {
  const { store } = useView();
  const header = store.reading.value?.header;
  const test = header?.test;
  if (!test || store.lab.running.value?.of === of) return null;
  const off = store.fixed.value ? NEEDS_KERNEL : test.never || (header.corrupted && test.missing);
  const button = (
    <button
      class="aw-btn"
      data-part={of === TOP ? "test-top" : "test"}
      aria-disabled={!!off}
      aria-expanded={header.corrupted ? undefined : store.lab.asking.value === of}
      title={
        off ||
        (of === TOP
          ? "The largest bars, and the parts with the largest share in the difference to the other prompt: is each needed, and is it enough?"
          : "Patches it from the other prompt, and back into it: is it needed, and is it enough?")
      }
      onClick={() => (off && !store.fixed.value ? store.say(off) : store.test(of))}
    >
      {name} · {store.fixed.value ? "needs the notebook" : cost}
    </button>
  );
  if (!off || store.fixed.value) return button;
  return (
    <>
      {button}
      <span class="aw-quiet aw-small" data-part="why-not">
        {" "}
        {off}
      </span>
    </>
  );
}

/** The button in the detail's head. */
export function TestThis({ row }: { row: Row }) {
  const { store } = useView();
  const test = store.reading.value?.header.test;
  if (!test || store.hides("values") || (test.kinds.length > 0 && !test.kinds.includes(row.kind))) return null;
  if (store.lab.of(row.id)) return <Chip of={store.lab.of(row.id) as Finding} />;
  return <TestButton of={row.id} name={row.id.includes("/") ? "Test this feature" : "Test this"} cost={`≤ ${forwards(test.one)}`} />;
}

/** Under the detail's first sentence: the test while it runs, and what it found. */
export function Tested({ row }: { row: Row }) {
  const { store } = useView();
  const found = store.lab.of(row.id);
  const told = store.lab.told.value;
  const out = store.lab.ablated.value[row.id];
  const secret = store.hides("candidates"); // what the model then says names the answer
  return (
    <>
      <Under of={row.id} />
      {out && !store.hides("values") && !secret && (
        <p class="aw-found" data-part="ablated" tabIndex={-1}>
          <b>{out.told}.</b> <span class="aw-quiet aw-small">{out.note}</span>
        </p>
      )}
      {found && told && !store.hides("values") && !secret && <Evidence of={found} all={told} />}
    </>
  );
}

/** The sentence of a verdict, the four numbers behind it, and on demand the rule. */
export function Evidence({ of, all }: { of: Finding; all: Verdicts }) {
  const directly = { label: "· directly", title: "the same, if only the logits read that: all else is held as it was" };
  const rows = [
    { key: "n", label: "damage", title: "the share of the gap that goes when the comparison's output takes its place", value: of.damage },
    { key: "d", ...directly, value: of.d },
    { key: "s", label: "recovery", title: "the share of the gap that comes back when its output is put into the comparison", value: of.recovery },
    ...(of.back === null ? [] : [{ key: "b", ...directly, value: of.back }]),
  ];
  return (
    <div class="aw-found" data-part="verdict" tabIndex={-1}>
      <p>
        <b>{of.told}.</b>
      </p>
      {of.then && <p data-part="then">{of.then}.</p>}
      <Bars label={`The verdict on ${of.id}, in shares of the gap`} rows={rows} scale={[0, 1, ...rows.map((r) => r.value)]} />
      {of.remarks.length > 0 && (
        <ul class="aw-small aw-remarks">
          {of.remarks.map((remark) => (
            <li>{remark}</li>
          ))}
        </ul>
      )}
      <details class="aw-small" data-part="decided">
        <summary>How was this decided?</summary>
        <ul>
          {[of.decided, all.pairs, all.rule, all.shared, ...all.notes, all.cost].filter(Boolean).map((text) => (
            <li>{text}</li>
          ))}
        </ul>
      </details>
    </div>
  );
}

/** What was found of several parts at once. */
export function Together({ of }: { of: Verdicts }) {
  if (!of.together.length || useView().store.hides("candidates")) return null;
  return (
    <ul class="aw-small aw-together" data-part="together" aria-label="Parts that were out at once">
      {of.together.map(({ name, told, then }) => (
        <li>
          <b>{name}</b>: {told}.{then && ` ${then}.`}
        </li>
      ))}
    </ul>
  );
}

/** What belongs to a test that is on its way: progress, what went wrong, the question for a second prompt. */
export function Under({ of }: { of: string }) {
  const { store } = useView();
  const { running, failed, asking } = store.lab;
  const now = running.value;
  const box = useRef<HTMLDivElement>(null);
  const asked = asking.value === of;
  const home = useRef<Element | null>(null);
  const runs = now?.of === of;
  // the button that was pressed is gone while it runs: the focus waits on Cancel, and goes on at what was found
  useEffect(() => {
    const from = home.current;
    home.current = runs ? (box.current?.closest(".aw-detail, .aw-finding, .aw-numbers") ?? null) : null;
    if (document.activeElement !== document.body) return;
    const after = ['[data-part="verdict"], [data-part="ablated"]', 'button[data-part^="test"]', ".aw-headline", '[aria-pressed="true"]'].map((where) => from?.querySelector<HTMLElement>(where)).find(Boolean);
    (runs ? box.current?.querySelector("button") : after)?.focus({ preventScroll: true });
  }, [runs]);
  // the button that opened the question stays where it is; the keyboard goes on in the answer
  useEffect(() => {
    if (asked) box.current?.querySelector("button")?.focus();
  }, [asked]);
  if (now && runs) {
    return (
      <div class="aw-testing" data-part="testing" role="status" ref={box}>
        {now.total > 0 ? <progress class="aw-progress" value={now.done} max={now.total} aria-label="progress of the test" /> : <span class="aw-spin" aria-hidden="true" />}
        <span>{LIVE[store.live.value] || `Testing: ${now.note || "reading the prompt"}`}</span>
        <button class="aw-btn" data-part="cancel-test" onClick={() => store.lab.cancel()}>
          Cancel
        </button>
      </div>
    );
  }
  if (failed.value?.of === of) {
    return (
      <p class="aw-error" data-part="test-failed" role="alert">
        {failed.value.text}
      </p>
    );
  }
  return asked ? (
    <div class="aw-testing" data-part="ask-corrupted" ref={box} onKeyDown={(e) => e.key === "Escape" && (asking.value = "")}>
      <Ask of={of} />
    </div>
  ) : null;
}

function Ask({ of }: { of: string }) {
  const { store } = useView();
  const header = store.reading.value?.header;
  const test = header?.test;
  if (!header || !test) return null;
  return (
    <>
      <span>An experiment needs a second prompt: this one with one thing changed, in as many tokens.</span>
      {test.suggested && (
        <button class="aw-btn" onClick={() => void store.test(of, test.suggested)}>
          Use “{test.suggested}”
        </button>
      )}
      {header.kind === "explorer" ? (
        <button
          class="aw-btn"
          onClick={() => {
            store.lab.asking.value = "";
            store.screen.editing.value = "corrupted";
          }}
        >
          Type one
        </button>
      ) : (
        <span class="aw-quiet">In Python: aw.verify(a, corrupted="…")</span>
      )}
      {of !== TOP && (
        <button class="aw-btn" title="Set what it writes to zero; the smaller experiment" onClick={() => store.lab.ablate(of)}>
          Only take it out · {forwards(1)}
        </button>
      )}
      <button class="aw-link" onClick={() => (store.lab.asking.value = "")}>
        Not now
      </button>
    </>
  );
}
