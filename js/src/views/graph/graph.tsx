/** A graph: its picture, one node opened, and what was observed apart from what was tested. */
import { useState } from "preact/hooks";
import { percent, plain } from "../../core/maths/format";
import type { Graph } from "../../core/state/graph";
import { useView } from "../parts/context";
import { Opened } from "./opened";
import { Picture } from "./picture";

export function GraphView({ of }: { of: Graph }) {
  const { store } = useView();
  const { header } = of;
  const [errors, setErrors] = useState(true);
  const [constants, setConstants] = useState(true);
  const [pinned, setPinned] = useState<number[]>([]);
  const [peek, setPeek] = useState(-1);
  const open = of.at(store.selected.value);
  const pick = (i: number) => store.select(i ? of.node(i).name : "");
  const pin = (i: number) => setPinned(pinned.includes(i) ? pinned.filter((p) => p !== i) : [...pinned, i]);
  const shown = header.nodes.map((_, i) => i).filter((i) => errors || of.node(i).kind !== "error");
  return (
    <div class="aw-card aw-graph" data-part="graph" data-open={of.node(open).name}>
      <div class="aw-pad">
        <h2 class="aw-headline">{header.title}</h2>
      </div>
      <div class="aw-pad aw-body">
        <div class="aw-gbar" role="group" aria-label="Shown">
          <Shown name="errors" on={errors} set={setErrors} title="What dictionaries miss: nodes that no graph opens" />
          <Shown name="constants" on={constants} set={setConstants} title="Biases and rounding, among the rows of an opened node" />
          {pinned.map((i) => (
            <button class="aw-chip" data-pinned={of.node(i).name} aria-current={i === open ? "true" : undefined} onClick={() => pick(i)}>
              {of.node(i).name}
            </button>
          ))}
        </div>
        <Picture of={of} shown={shown} open={open} pinned={pinned} peek={peek} setPeek={setPeek} pick={pick} />
        <p class="aw-readout aw-told" aria-live="polite" data-part="told">
          {told(of, peek >= 0 ? peek : open)}
        </p>
        <p class="aw-quiet aw-small" data-part="legend">
          Size: influence on the number. Width: influence along an edge; blue adds, orange takes away. Round: feature; diamond: error; square: word. Click one.
        </p>
      </div>
      <Opened key={open} of={of} node={open} constants={constants} errors={errors} pinned={pinned.includes(open)} pin={() => pin(open)} pick={pick} />
      <div class="aw-pad aw-body aw-gsaid">
        <p class="aw-small" data-part="observed">
          <b>Observed.</b> {header.held}
        </p>
        <p class="aw-small" data-part="tested">
          <b>Tested.</b> {header.tested || "No edge was: graph.live() tests them."}
        </p>
        {[...header.notes, ...header.checks].map((line) => (
          <p class="aw-quiet aw-small">{line}</p>
        ))}
      </div>
    </div>
  );
}

function Shown({ name, on, set, title }: { name: string; on: boolean; set(on: boolean): void; title: string }) {
  return (
    <button class="aw-chip" data-chip={name} title={title} aria-pressed={on} onClick={() => set(!on)}>
      {name}
    </button>
  );
}

/** A node in one line. */
export function told(of: Graph, i: number): string {
  const { kind, name, label, value, influence } = of.node(i);
  if (kind === "target") return `${name}: ${plain(value ?? 0)} ${of.header.unit}`;
  const fires = value === null ? "" : `, fires ${plain(value)}`;
  return `${name}${label && `, ${label}`}${fires}: ${percent(influence)} of the influence`;
}
