/** From observation to experiment: the button that tests, the question for a second prompt, and the verdict with its numbers. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { digitsFor, plain, signed } from "../../core/maths/format";
import { NEEDS_KERNEL } from "../../core/state/answers";
import { TOP } from "../../core/state/lab";
import type { Finding, Row, Verdicts } from "../../core/types";
import { Bars } from "../parts/bars";
import { useView } from "../parts/context";

const forwards = (n: number) => `${n} forward${n === 1 ? "" : "s"}`;

/** "sole path, and mediates" is too long for a bar. */
export const short = (word: string) => word.replace(", and mediates", " +").replace("suppression, ", "");

export const sentence = (f: Finding) => `${f.word}: ${f.plain}${f.borderline.length ? ` (borderline: ${f.borderline.join(", ")})` : ""}`;

export function Chip({ of }: { of: Finding }) {
  return (
    <span class="aw-verdict" data-word={of.word} title={sentence(of)}>
      {short(of.word)}
      {of.borderline.length > 0 && "?"}
      <span class="aw-sr">: {of.plain}</span>
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
        {told && !store.hides("values") ? (
          <>
            <b>Tested:</b> {told.title} ({pairs(told)}). The other bars are observed, not tested.
          </>
        ) : (
          "Observed, not yet tested: a high bar is a suspect, not a cause."
        )}{" "}
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
  return (
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
      {name} · {cost}
    </button>
  );
}

/** The button in the detail's head. */
export function TestThis({ row }: { row: Row }) {
  const { store } = useView();
  const test = store.reading.value?.header.test;
  if (!test || store.hides("values") || (test.kinds.length > 0 && !test.kinds.includes(row.kind))) return null;
  if (store.lab.of(row.id)) return <Chip of={store.lab.of(row.id) as Finding} />;
  return <TestButton of={row.id} name="Test this" cost={forwards(test.one)} />;
}

/** Under the detail's first sentence: the test while it runs, and what it found. */
export function Tested({ row }: { row: Row }) {
  const { store } = useView();
  const found = store.lab.of(row.id);
  const told = store.lab.told.value;
  const value = store.reading.value?.value(row.id) ?? 0;
  const out = store.lab.ablated.value[row.id];
  return (
    <>
      <Under of={row.id} />
      {out && !store.hides("values") && (
        <p class="aw-found" data-part="ablated">
          <b>
            Without {row.id} (set to zero) it is {plain(out.base + out.change, digitsFor(out.base))} instead of {plain(out.base, digitsFor(out.base))}:{" "}
            {signed(out.change, digitsFor(out.base))} {out.unit}
          </b>
          <span class="aw-quiet aw-small"> The smaller experiment, n = 1: zero is further off than anything the model has seen. A verdict needs a second prompt.</span>
        </p>
      )}
      {found && told && !store.hides("values") && (
        <Evidence of={found} all={told}>
          {Math.abs(found.d) < told.tau && Math.abs(value) >= told.tau * Math.abs(told.gap) && (
            <p class="aw-small">
              Its direct {store.reading.value?.signed(value)} is much the same in both prompts
              {Math.max(Math.abs(found.damage), Math.abs(found.recovery)) < told.tau && ": what they differ in is not what it writes, and another comparison may say more"}.
            </p>
          )}
        </Evidence>
      )}
    </>
  );
}

/** The three numbers behind a verdict, its evidence, and the rule. */
export function Evidence({ of, all, children }: { of: Finding; all: Verdicts; children?: ComponentChildren }) {
  const rows = [
    { key: "d", label: "direct", title: "its direct contribution, as a share of the gap: observed", value: of.d },
    { key: "n", label: "damage", title: "the share of the gap that goes when the comparison's output takes its place", value: of.damage },
    { key: "s", label: "recovery", title: "the share of the gap that comes back when its output is put into the comparison", value: of.recovery },
  ];
  return (
    <div class="aw-found" data-part="verdict">
      <p>
        <b>{of.word}</b>: {of.plain}. <span class="aw-quiet">{pairs(all)}</span>
        {of.borderline.length > 0 && <span class="aw-quiet">, borderline: {of.borderline.join(", ")}</span>}
      </p>
      <Bars label={`The verdict on ${of.id}, in shares of the gap`} rows={rows} scale={[0, 1, of.d, of.damage, of.recovery]} />
      {children}
      {of.evidence && <p class="aw-small">{of.evidence}.</p>}
      <p class="aw-quiet aw-small">
        Shares of the gap of {plain(all.gap, digitsFor(all.gap))} {all.unit} between the two prompts: written directly; lost without it; back with it alone. Rule: {all.rule}. {all.cost}.
      </p>
      {all.notes.map((note) => (
        <p class="aw-quiet aw-small">{note}</p>
      ))}
    </div>
  );
}

const pairs = ({ n }: Verdicts) => `n = ${n} pair${n === 1 ? "" : "s"} of prompts`;

/** What belongs to a test that is on its way: progress, what went wrong, the question for a second prompt. */
function Under({ of }: { of: string }) {
  const { store } = useView();
  const { running, failed, asking } = store.lab;
  const now = running.value;
  const box = useRef<HTMLDivElement>(null);
  const asked = asking.value === of;
  // the button that opened the question stays where it is; the keyboard goes on in the answer
  useEffect(() => {
    if (asked) box.current?.querySelector("button")?.focus();
  }, [asked]);
  if (now?.of === of) {
    return (
      <p class="aw-testing" data-part="testing" role="status">
        {now.total > 0 ? <progress class="aw-progress" value={now.done} max={now.total} aria-label="progress of the test" /> : <span class="aw-spin" aria-hidden="true" />}
        <span>{store.live.value === "waiting" ? "Waiting for the kernel." : `Testing: ${now.note || "reading the comparison"}`}</span>
        <button class="aw-btn" data-part="cancel-test" onClick={() => store.lab.cancel()}>
          Cancel
        </button>
      </p>
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
