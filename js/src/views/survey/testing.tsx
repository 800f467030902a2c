/** Test on all: a part is replaced on every prompt, beside what it was observed to write. */
import { useLayoutEffect, useMemo, useState } from "preact/hooks";
import { Cancelled, Gone, inWords, type Progress } from "../../core/host/protocol";
import type { Survey, Tests } from "../../core/state/survey";
import { testsOf } from "../../core/state/survey";
import { useView } from "../parts/context";
import { Glyph } from "./glyph";

/** Why nothing is tested on an offline page. */
const FIXED = "Testing a part needs a running kernel.";

/** What was tested so far, from whichever side. */
export function useTests(): Tests {
  const { model } = useView();
  const [bytes, setBytes] = useState<unknown>(model.get("tests"));
  useLayoutEffect(() => {
    const read = () => setBytes(model.get("tests"));
    model.on("change:tests", read);
    read();
    return () => model.off("change:tests", read);
  }, []);
  return useMemo(() => testsOf(bytes), [bytes]);
}

export interface Asking {
  busy: Progress | null;
  problem: string;
  ask(ids: string[] | null, groups: string[]): void;
  cancel(): void;
}

/** One experiment at a time; of one that is cancelled, what is done stays. */
export function useAsking(): Asking {
  const { store } = useView();
  const [busy, setBusy] = useState<Progress | null>(null);
  const [running, setRunning] = useState<{ cancel(): void } | null>(null);
  const [problem, setProblem] = useState("");
  const ask = (ids: string[] | null, groups: string[]) => {
    setProblem("");
    setBusy({ done: 0, total: 0, note: "" });
    const asked = store.client.request("test", { ids, groups }, setBusy);
    setRunning(asked);
    asked.result
      .catch((error: Error) => {
        if (!(error instanceof Cancelled || error instanceof Gone)) setProblem(inWords(error));
      })
      .then(() => setBusy(null));
  };
  return { busy, problem, ask, cancel: () => running?.cancel() };
}

/** Progress, and a way to stop it. */
function Running({ of }: { of: Asking }) {
  const { busy } = of;
  if (!busy) return null;
  return (
    <p class="aw-sopen aw-small" role="status" data-part="testing">
      {busy.total > 0 ? <progress class="aw-progress" value={busy.done} max={busy.total} aria-label="progress" /> : <span class="aw-spin" aria-hidden="true" />}
      {busy.total > 0 ? `${busy.done} of ${busy.total} prompts` : "Running…"}
      <button class="aw-btn" data-part="cancel-test" onClick={of.cancel}>
        Cancel
      </button>
    </p>
  );
}

/** Groups that have a prompt to test, and how many there are. */
function able(of: Survey, only?: number): [string[], number] {
  const groups = of.header.groups.filter((g, i) => (only ?? i) === i && g.able);
  return [groups.map((g) => g.name), groups.reduce((n, g) => n + g.able, 0)];
}

interface TestProps {
  of: Survey;
  id: string;
  group: number;
  tests: Tests;
  asking: Asking;
}

export function Test({ of, id, group, tests, asking }: TestProps) {
  const { store } = useView();
  const { groups, prompts, closed } = of.header;
  const never = closed || (store.fixed.value ? FIXED : "");
  const [names, count] = able(of);
  const [one, few] = able(of, group);
  const found = tests.of(id);
  const off = !!never || !!asking.busy;
  return (
    <div data-part="test">
      <p class="aw-sopen">
        <button class="aw-btn" data-part="test-all" disabled={off || !count} onClick={() => asking.ask([id], names)}>
          Test {id} on {count === prompts.length ? `all ${count}` : `${count} of ${prompts.length}`}
        </button>
        {groups.length > 1 && few > 0 && (
          <button class="aw-link" data-part="test-group" disabled={off} onClick={() => asking.ask([id], one)}>
            only {one[0]} ({few})
          </button>
        )}
      </p>
      <Running of={asking} />
      {asking.problem && <p class="aw-error">{asking.problem}</p>}
      {never && !found.length && <p class="aw-quiet aw-small">{closed ? `No part can be tested. ${closed}` : FIXED}</p>}
      <Ways of={of} id={id} />
      {found.length > 0 && (
        <ul class="aw-plain aw-small" data-part="test-said" aria-label={`${id} replaced`}>
          {found.map((t) => (
            <li key={t.group}>
              <Glyph group={t.group} /> <b>{groups[t.group]?.name}</b>, {id} {t.how}: {t.said}.
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** What stands in for the part in every group, and where nothing can. */
function Ways({ of, id }: { of: Survey; id: string }) {
  const { groups } = of.header;
  const ways = [...new Set(groups.filter((g) => g.able).map((g) => g.how))];
  const named = (how: string) => groups.filter((g) => g.able && g.how === how).map((g) => g.name);
  const said = ways.map((how) => `${how}${ways.length > 1 ? ` (${named(how).join(", ")})` : ""}`);
  return (
    <p class="aw-quiet aw-small" data-part="ways">
      {said.length > 0 && `The test puts in the place of ${id}: ${said.join("; ")}. All behind it is computed again.`}
      {groups.filter((g) => g.unable).map((g) => ` Not tested in ${g.name}: ${g.prompts.length - g.able} of ${g.prompts.length} prompts (${g.unable}).`)}
    </p>
  );
}

/** Every part of a group, for the axis "effect". */
export function TestParts({ of, group, asking }: { of: Survey; group: number; asking: Asking }) {
  const { store } = useView();
  const [names, count] = able(of, group);
  const never = of.header.closed || (store.fixed.value ? FIXED : "");
  return (
    <>
      <button class="aw-btn" data-part="test-parts" disabled={!!never || !!asking.busy || !count} title={never} onClick={() => asking.ask(null, names)}>
        Test each of {of.header.parts.length} parts on {count} prompts
      </button>
      <Running of={asking} />
      {asking.problem && <p class="aw-error">{asking.problem}</p>}
    </>
  );
}
