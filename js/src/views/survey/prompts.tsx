/** The prompts of a group by one part's contribution; a click leads back to the prompt. */
import { useLayoutEffect, useState } from "preact/hooks";
import { Gone, inWords } from "../../core/host/protocol";
import { digitsFor, percent, signed, tokenText } from "../../core/maths/format";
import { diverging, largest } from "../../core/maths/geometry";
import { examples, type Survey, type Which } from "../../core/state/survey";
import type { MostRead } from "../../core/types";
import { Track } from "../parts/bars";
import { useView } from "../parts/context";
import { Prose } from "../parts/names";
import { useRoving } from "../parts/roving";
import { Seg } from "../parts/seg";

interface PromptsProps {
  of: Survey;
  values: Float32Array;
  /** of the experiment; NaN where a prompt was not tested */
  effects: Float32Array | undefined;
  part: string;
  group: number;
  setGroup(group: number): void;
  open(prompt: number): void;
}

export function Prompts({ of, values, effects, part, group, setGroup, open }: PromptsProps) {
  const { store } = useView();
  const { groups, prompts, answers, closed } = of.header;
  const [which, setWhich] = useState<Which>("largest");
  const [mark, setMark] = useState(false);
  const own = groups[group];
  const shown = own ? examples(values, own.prompts, which) : [];
  const head = /^L\d+H\d+$/.test(part);
  const askable = head && !closed && !store.fixed.value;
  const [reads, problem] = useReads(part, shown, mark && askable);
  const rove = useRoving(Math.max(0, shown.indexOf(store.source.value)));
  const numbers = shown.map((p) => values[p] ?? 0);
  // one scale for all prompts, so that a bar is as long in every list
  const { spans, zero } = diverging(numbers, [...values]);
  const digits = digitsFor(largest(values));
  const tested = !!effects && !!own?.prompts.some((p) => !Number.isNaN(effects[p]));
  const untested = (p: number) => Number.isNaN(effects?.[p] ?? NaN);
  const fine = digitsFor(largest([...(effects ?? [])].filter((v) => !Number.isNaN(v))));
  return (
    <>
      <div class="aw-sbar">
        <h3 class="aw-title">Prompts, by {part}</h3>
        <Seg
          label="Which prompts"
          ways={[
            ["largest", "largest"],
            ["deciles", "by decile"],
            ["smallest", "smallest"],
          ]}
          now={which}
          pick={(way: Which) => setWhich(way)}
        />
      </div>
      {groups.length > 1 && (
        <div class="aw-chips" role="group" aria-label="Group">
          {groups.map((g, i) => (
            <button class="aw-chip" aria-pressed={i === group} data-chip={g.name} onClick={() => setGroup(i)}>
              {g.name}
            </button>
          ))}
        </div>
      )}
      {tested && (
        <p class="aw-pheads aw-quiet aw-small" aria-hidden="true">
          <span>contribution</span>
          <span>effect</span>
        </p>
      )}
      <ul class={`aw-bars aw-prompts ${tested ? "aw-withtest" : ""}`} aria-label={`Prompts of ${own?.name}, by ${part}`} data-part="prompts" {...rove.list}>
        {shown.map((p, i) => {
          const printed = signed(values[p] ?? 0, digits);
          const read = reads.get(p);
          return (
            <li key={p}>
              <button class="aw-brow" data-i={i} data-prompt={p} tabIndex={rove.tabIndex(i)} aria-current={p === store.source.value ? "true" : undefined} title={`${prompts[p]} → ${answers[p]}${read ? `; reads ${tokenText(read.word)} with ${percent(read.share)}` : ""}`} onClick={() => open(p)}>
                <span class="aw-pline">
                  <span class="aw-ptext">
                    {read ? <Marked read={read} /> : <Prose text={prompts[p] ?? ""} />}
                  </span>{" "}
                  <span class="aw-quiet aw-panswer">→ {answers[p]}</span>
                </span>
                <Track value={values[p] ?? 0} printed={printed} span={spans[i]} zero={zero} />
                <span class="aw-val">{printed}</span>
                {tested && (
                  <span class="aw-val aw-effect" title={untested(p) ? "not tested" : "effect: how much lower the answer is with the part replaced"}>
                    <span class="aw-sr"> effect </span>
                    {untested(p) ? "\u2013" : signed(effects[p] ?? 0, fine)}
                  </span>
                )}
              </button>
            </li>
          );
        })}
      </ul>
      {askable && (
        <button class="aw-btn" data-part="mark-read" aria-pressed={mark} onClick={() => setMark(!mark)}>
          {mark ? `Marked: the word that ${part} reads most` : `Mark the word that ${part} reads most`}
        </button>
      )}
      {problem && <p class="aw-error">{problem}</p>}
      <p class="aw-quiet aw-small" data-part="opens">{closed ? `No prompt can be opened. ${closed}` : store.fixed.value ? "Opening a prompt needs a running kernel." : "Click a prompt: the Explorer opens below."}</p>
    </>
  );
}

/** so many letters in front of a marked word: it stays in sight */
const BEFORE = 16;

/** A prompt as prose; the space in front of a word is no part of its mark. */
function Marked({ read: { before, word, after } }: { read: MostRead }) {
  const bare = word.trimStart() || word;
  return (
    <>
      {before.length > BEFORE && "…"}
      <Prose text={before.slice(-BEFORE) + word.slice(0, word.length - bare.length)} />
      <mark>
        <Prose text={bare} />
      </mark>
      <Prose text={after} />
    </>
  );
}

/** What a head reads most in the prompts that are shown; asked once for each. */
function useReads(part: string, shown: number[], on: boolean): [Map<number, MostRead>, string] {
  const { store } = useView();
  const [found, setFound] = useState<Record<string, Map<number, MostRead>>>({});
  const [problem, setProblem] = useState("");
  const known = found[part] ?? new Map<number, MostRead>();
  const missing = on ? shown.filter((p) => !known.has(p)) : [];
  useLayoutEffect(() => {
    if (!missing.length) return;
    setProblem("");
    const asked = store.client.request("reads", { id: part, prompts: missing });
    asked.result.then(
      ({ data }) => setFound((before) => ({ ...before, [part]: new Map([...(before[part] ?? []), ...data.reads.map((r) => [r.prompt, r] as const)]) })),
      (error: Error) => error instanceof Gone || setProblem(inWords(error)),
    );
    return () => asked.cancel();
  }, [part, missing.join(",")]);
  return [on ? known : new Map(), problem];
}
