/** The pattern of the head that is pointed at or locked, or the mean of a set; as squares, or as lines between words. */
import { useMemo } from "preact/hooks";
import type { Triangle } from "../../core/host/wire";
import { largest } from "../../core/maths/geometry";
import type { Reading } from "../../core/state/reading";
import type { HeadsForm } from "../../core/state/screen";
import type { Store } from "../../core/state/store";
import type { Row } from "../../core/types";
import { useView } from "../parts/context";
import { useWidth } from "../parts/grid";
import { Heat, heatHeight, readOut } from "../parts/heat";
import { Lines } from "./lines";

/** The heads whose pattern is drawn: the set, else the one that is locked, pointed at, or leads. */
export function pictured(store: Store, reading: Reading): Row[] {
  const head = (id: string) => {
    const row = reading.row(id);
    return row?.kind === "head" ? [row] : [];
  };
  const set = store.chosen.value.flatMap(head);
  if (set.length > 1) return set;
  const locked = head(store.selected.value.replace(/\/\d+$/, ""));
  if (locked.length) return locked;
  const seen = head(store.screen.peek.value);
  return seen[0] && reading.weights(seen[0]) ? seen : head(store.open.value).concat(head(reading.lead)).slice(0, 1);
}

export function HeadPicture() {
  const { store } = useView();
  const [box, width] = useWidth();
  const reading = store.reading.value;
  if (!reading || store.hides("values") || store.hides("heads")) return null;
  const heads = pictured(store, reading);
  if (!heads.length) return null;
  const { heads: form } = store.screen;
  const loaded = heads.map((row) => store.data.pattern(row.id).value);
  const ready = loaded.flatMap((l) => (l.state === "ready" ? [l.value] : []));
  const worth = form.value.weighting === "contribution" && heads.every((row) => reading.carries(row));
  const locked = heads[0]?.id === store.selected.value && heads.length === 1;
  return (
    <div class="aw-large" data-part="head-picture" data-of={heads.map(({ id }) => id).join(" ")} ref={box} style={{ minHeight: `${heatHeight(reading.tokens, width, true) + 30}px` }}>
      <p class="aw-hbar">
        <b>{heads.length > 1 ? `Mean of ${heads.length} heads` : heads[0]?.id}</b>
        <span class="aw-quiet aw-small">{worth ? "what each read carries" : "attention"}</span>
        {locked ? (
          <button class="aw-link" data-part="unlock" onClick={() => store.select("")}>
            locked × Esc
          </button>
        ) : (
          heads.length < 2 && <span class="aw-quiet aw-small">click a head to lock it</span>
        )}
        <span class="aw-seg" role="group" aria-label="Squares or lines">
          {[false, true].map((lines) => (
            <button key={String(lines)} aria-pressed={form.value.lines === lines} data-lines={lines} onClick={() => (form.value = { ...form.value, lines })}>
              {lines ? "lines" : "squares"}
            </button>
          ))}
        </span>
      </p>
      {ready.length === heads.length ? (
        <Mean reading={reading} heads={heads} patterns={ready} form={form.value} worth={worth} />
      ) : (
        <p class="aw-quiet" data-part="waiting">
          {loaded.some((l) => l.state === "loading") ? "Computing…" : loaded.map((l) => ("text" in l ? l.text : "")).find(Boolean)}
        </p>
      )}
    </div>
  );
}

interface MeanProps {
  reading: Reading;
  heads: Row[];
  patterns: Triangle[];
  form: HeadsForm;
  worth: boolean;
}

function Mean({ reading, heads, patterns, form, worth }: MeanProps) {
  const { store } = useView();
  const { tokens, position, header } = reading;
  const names = heads.map(({ id }) => id).join();
  const get = useMemo(() => {
    const worths = heads.map((row) => (worth ? reading.worth(row) : undefined));
    return (t: number, s: number) => {
      if (!form.first && s === 0) return 0;
      let sum = 0;
      patterns.forEach((p, i) => (sum += p.get(t, s) * (worth ? (worths[i]?.carry[s] ?? 0) * (worths[i]?.dest[t] ?? 1) : 1)));
      return sum / patterns.length;
    };
  }, [reading, names, worth, form.first, patterns.length]);
  const ahead = patterns.some((p) => p.ahead);
  const most = useMemo(() => {
    const rows = tokens.map((_, t) => Array.from({ length: ahead ? tokens.length : t + 1 }, (_, s) => get(t, s)));
    return worth || !form.first ? Math.max(...rows.map(largest)) : 1;
  }, [get, ahead]);
  const reader = form.reader >= 0 && form.reader < tokens.length ? form.reader : position;
  const tell = (t: number, s: number) => readOut(tokens, t, s, get(t, s), worth ? "contribution" : "probability", header.target.unit);
  if (form.lines) return <Lines tokens={tokens} get={get} ahead={ahead} most={most} signed={worth} current={reader} tell={tell} />;
  return (
    <Heat
      tokens={tokens}
      get={get}
      ahead={ahead}
      most={most}
      scale={worth ? "signed" : "magnitude"}
      current={reader}
      label={`${heads.length > 1 ? `Mean pattern of ${names}` : `Attention pattern of ${names}`}`}
      tell={tell}
      compact
      {...(heads[0] && heads.length === 1 && reader === position && reading.carries(heads[0]) && { pick: (s: number) => store.select(heads[0]?.id ?? "", s) })}
    />
  );
}

