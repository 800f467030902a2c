/** A graph: its picture, one node opened, and what was observed apart from what was tested. */
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { percent, plain } from "../../core/maths/format";
import { type Graph, joined } from "../../core/state/graph";
import type { NodeGroup } from "../../core/types";
import { useView } from "../parts/context";
import { Chosen } from "./chosen";
import { Opened } from "./opened";
import { Picture } from "./picture";

/** An edge by the names of its ends. */
export interface Ends {
  source: string;
  into: string;
}

export function GraphView({ of }: { of: Graph }) {
  const { store } = useView();
  const { header } = of;
  const [groups, setGroups] = useGroups();
  const [errors, setErrors] = useState(true);
  const [constants, setConstants] = useState(true);
  const [pinned, setPinned] = useState<string[]>([]);
  const [chosen, setChosen] = useState<string[]>([]);
  const [spread, setSpread] = useState<string[]>([]);
  const [edge, setEdge] = useState<Ends | null>(null);
  const [peek, setPeek] = useState(-1);
  const box = useRef<HTMLDivElement>(null);
  // the button that was clicked is gone: the focus stays inside
  const refocus = (where: string) => setTimeout(() => [...(box.current?.querySelectorAll<HTMLElement>(where) ?? [])].at(-1)?.focus({ preventScroll: true }));
  const folded = groups.filter(({ name }) => !spread.includes(name));
  const all = useMemo(() => of.grouped(groups), [of, groups]);
  const drawn = useMemo(() => (folded.length < groups.length ? of.grouped(folded) : all), [all, spread]);
  const name = store.selected.value;
  const group = groups.find((g) => g.name === name);
  // a group that is spread out keeps its sums, and a member of one that is not its own edges
  const told = group ? all : folded.some(({ members }) => members.includes(name)) ? of : drawn;
  const open = Math.max(0, told.at(name));
  const pick = (to: string, along: Ends | null = null) => {
    setEdge(along);
    store.select(to);
  };
  const toggled = (names: string[], one: string) => (names.includes(one) ? names.filter((n) => n !== one) : [...names, one]);
  const hidden = new Set(drawn.nodes.flatMap(({ members }) => members ?? []));
  const shown = drawn.nodes.map((_, i) => i).filter((i) => !hidden.has(i) && (errors || drawn.node(i).kind !== "error"));
  const marked = group && spread.includes(name) ? group.members : [name];
  const lit = [...(peek >= 0 ? [peek] : marked.map((one) => drawn.at(one))), ...pinned.map((one) => drawn.at(one))];
  // other nodes are drawn: the number that was pointed at is another's
  const regroup = (to: NodeGroup[]) => {
    setPeek(-1);
    setGroups(to);
  };
  const shift = (i: number) => i && setChosen(toggled(chosen, drawn.key(i)));
  return (
    <div ref={box} class="aw-card aw-graph" data-part="graph" data-open={told.node(open).name}>
      <div class="aw-pad">
        <h2 class="aw-headline">{header.title}</h2>
      </div>
      <div class="aw-pad aw-body">
        <div class="aw-gbar" role="group" aria-label="Shown">
          <Shown name="errors" on={errors} set={setErrors} title="What dictionaries miss: nodes that no graph opens" />
          <Shown name="constants" on={constants} set={setConstants} title="Biases and rounding, among the rows of an opened node" />
          {groups.map((g) => (
            <button key={g.name} class="aw-chip aw-ggroup" data-group={g.name} title={`${g.members.join(", ")} as one`} aria-current={g === group ? "true" : undefined} onClick={() => pick(g.name)}>
              {g.name} <span class="aw-quiet">{g.members.length}</span>
            </button>
          ))}
          {pinned.map((one) => (
            <button key={one} class="aw-chip" data-pinned={one} aria-current={one === name ? "true" : undefined} onClick={() => pick(one)}>
              {one}
            </button>
          ))}
        </div>
        <Picture of={drawn} shown={shown} open={marked.map((one) => drawn.at(one))} lit={lit} pinned={pinned} chosen={chosen} peek={peek} setPeek={setPeek} pick={(i) => pick(drawn.key(i))} shift={shift} edge={(e) => pick(drawn.key(e.target), drawn.opens(e) ? { source: drawn.key(e.source), into: drawn.key(e.target) } : null)} />
        <p class="aw-readout aw-told" aria-live="polite" data-part="told">
          {peek >= 0 ? tell(drawn, peek) : tell(told, open)}
        </p>
        {chosen.length > 0 ? (
          <Chosen
            of={drawn}
            chosen={chosen}
            taken={(one) => of.at(one) >= 0 || groups.some((g) => g.name === one && !chosen.includes(one))}
            drop={(one) => setChosen(chosen.filter((n) => n !== one))}
            clear={() => setChosen([])}
            group={(called) => {
              regroup(joined(groups, called, chosen));
              setChosen([]);
              pick(called);
              refocus(".aw-ggroup");
            }}
          />
        ) : (
          <p class="aw-quiet aw-small" data-part="legend">
            Size: influence on the number. Width: influence along an edge; blue adds, orange takes away. Round: feature; diamond: error; square: word. Click one, or a lit edge; Shift+click (or Shift+Enter) takes several as one.
          </p>
        )}
      </div>
      <Opened
        key={`${name} ${group?.members}`}
        of={told}
        node={open}
        constants={constants}
        errors={errors}
        pinned={pinned.includes(name)}
        pin={() => setPinned(toggled(pinned, name))}
        pick={(i) => pick(told.key(i))}
        edge={edge}
        setEdge={setEdge}
        {...(group && {
          spread: spread.includes(name),
          setSpread: () => {
            setPeek(-1);
            setSpread(toggled(spread, name));
          },
          undo: () => {
            setPinned(pinned.filter((one) => one !== name));
            pick("");
            regroup(groups.filter((g) => g !== group));
            refocus('.aw-gnode[tabindex="0"]');
          },
        })}
      />
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

/** The groups, which Python has too. */
function useGroups(): [NodeGroup[], (to: NodeGroup[]) => void] {
  const { model } = useView();
  const read = () => (model.get("groups") as NodeGroup[] | undefined) ?? [];
  const [groups, set] = useState(read);
  useLayoutEffect(() => {
    const hear = () => set(read());
    model.on("change:groups", hear);
    return () => model.off("change:groups", hear);
  }, [model]);
  return [
    groups,
    (to) => {
      model.set("groups", to);
      model.save_changes();
      set(to);
    },
  ];
}

function Shown({ name, on, set, title }: { name: string; on: boolean; set(on: boolean): void; title: string }) {
  return (
    <button class="aw-chip" data-chip={name} title={title} aria-pressed={on} onClick={() => set(!on)}>
      {name}
    </button>
  );
}

/** A node in one line. */
export function tell(of: Graph, i: number): string {
  const { kind, name, label, value, influence, members } = of.node(i);
  if (kind === "target") return `${name}: ${plain(value ?? 0)} ${of.header.unit}`;
  if (members) return `${name}: ${members.map((m) => of.node(m).name).join(", ")} as one`;
  const fires = value === null ? "" : `, fires ${plain(value)}`;
  return `${name}${label && `, ${label}`}${fires}: ${percent(influence)} of the influence`;
}
