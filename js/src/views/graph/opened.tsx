/** One node opened: what was put into it, in rows that sum to what fires there, what it puts into others, and its card. */
import { useState } from "preact/hooks";
import { digitsFor, plain, signed } from "../../core/maths/format";
import { diverging, largest, sumOf } from "../../core/maths/geometry";
import type { Edge, Graph } from "../../core/state/graph";
import { Track } from "../parts/bars";
import { NodeCard } from "./card";
import { OpenedEdge } from "./edge";
import type { Ends } from "./graph";

interface OpenedProps {
  of: Graph;
  node: number;
  errors: boolean;
  constants: boolean;
  pinned: boolean;
  pin(): void;
  pick(i: number): void;
  /** the edge that is open */
  edge: Ends | null;
  setEdge(edge: Ends | null): void;
  /** of a group: whether its members are drawn, and how it is undone */
  spread?: boolean;
  setSpread?: () => void;
  undo?: () => void;
}

interface Row {
  /** the node that a click opens; -1 for none */
  node: number;
  name: string;
  label: string;
  value: number;
  live: number;
  /** what can be opened about it */
  ends?: Ends | undefined;
}

const TOP = 10;
const READS_ZERO = 5e-5;
const many = (name: string, values: number[]): Row[] => (values.length ? [{ node: -1, name, label: "", value: sumOf(values), live: NaN }] : []);

export function Opened({ of, node: at, errors, constants, pinned, pin, pick, edge, setEdge, spread, setSpread, undo }: OpenedProps) {
  const { name, label, kind, members } = of.node(at);
  const target = of.target(at);
  const row = (e: Edge, i: number): Row => ({ node: i, name: of.node(i).name, label: of.node(i).label, value: e.value, live: e.live, ends: of.opens(e) ? { source: of.key(e.source), into: of.key(e.target) } : undefined });
  const into = of.into(at);
  const covered = (e: Edge) => !errors && of.node(e.source).kind === "error";
  const fixed = (target?.constants ?? []).map((value, i): Row => ({ node: -1, name: of.header.constants[i] ?? "", label: "", value, live: NaN }));
  const inside = of.inside(at);
  const below: Row[] = target
    ? [
        ...(inside ? many("inside the group", [inside]) : []),
        ...many("errors, hidden", into.filter(covered).map((e) => e.value)),
        ...(Math.abs(target.left) > READS_ZERO ? many("left out", [target.left]) : []),
        ...(constants ? fixed.filter(({ value }) => Math.abs(value) > READS_ZERO) : many("constants, hidden", fixed.map(({ value }) => value))),
      ]
    : [];
  const out = of.outOf(at);
  const lists = { pick, edge, setEdge };
  return (
    <div class="aw-body" data-part="opened">
      <div class="aw-pad aw-ghead">
        <h3 class="aw-title">
          {name} {label && <small class="aw-quiet">{label}</small>}
        </h3>
        <span class="aw-gdo">
          {undo && (
            <>
              <button class="aw-btn" data-part="spread" aria-pressed={spread} title="Draw its members each for itself" onClick={setSpread}>
                {spread ? "Fold" : "Spread out"}
              </button>
              <button class="aw-btn" data-part="ungroup" onClick={undo}>
                Ungroup
              </button>
            </>
          )}
          <button class="aw-btn" data-part="pin" aria-pressed={pinned} title="Keep its edges lit" onClick={pin}>
            {pinned ? "Unpin" : "Pin"}
          </button>
        </span>
      </div>
      {members && (
        <p class="aw-pad aw-caption" data-part="members">
          {members.map((m, n) => (
            <>
              {n > 0 && ", "}
              <button class="aw-link" data-name={of.node(m).name} title={of.node(m).label} onClick={() => pick(m)}>
                {of.node(m).name}
              </button>
            </>
          ))}{" "}
          as one: every number is the signed sum of what its members have, and one may take away what another puts in.
        </p>
      )}
      <div class={`aw-pad aw-gsides ${at > 0 ? "aw-gtwo" : ""}`}>
        <div>
          <h4 class="aw-sidetitle">Put into {members ? "them" : "it"}{!at && `, in ${of.header.unit}`}</h4>
          {target ? (
            <>
              <Rows label={`Put into ${name}`} part="into" rows={into.filter((e) => !covered(e)).map((e) => row(e, e.source))} below={below} {...lists} />
              <p class="aw-total">
                <span class="aw-quiet">sum</span> {plain(sumOf(into.map((e) => e.value)) + inside + target.left + sumOf(target.constants))}{" "}
                <span class="aw-quiet">{members ? "fire together" : at ? "fires" : "model"}</span> {plain(target.total)}
              </p>
            </>
          ) : (
            <p class="aw-quiet aw-small">{kind === "feature" ? "Not opened: a larger limit= opens more." : "Nothing: a graph ends here."}</p>
          )}
        </div>
        {at > 0 && (
          <div>
            <h4 class="aw-sidetitle">{members ? "They put" : "Puts"} into others</h4>
            {out.length ? <Rows label={`${name} puts into`} part="out" rows={out.map((e) => row(e, e.target))} below={[]} {...lists} /> : <p class="aw-quiet aw-small">No edge from it is kept.</p>}
          </div>
        )}
      </div>
      {edge && <OpenedEdge key={`${edge.source} ${edge.into}`} of={of} edge={edge} close={() => setEdge(null)} />}
      {kind === "feature" && <NodeCard of={of} name={name} />}
    </div>
  );
}

interface RowsProps {
  label: string;
  part: string;
  rows: Row[];
  below: Row[];
  pick(i: number): void;
  edge: Ends | null;
  setEdge(edge: Ends | null): void;
}

/** Rows about one zero line, the smaller ones folded; a column of tests where there were any, and a way into every edge. */
function Rows({ label, part, rows, below, pick, edge, setEdge }: RowsProps) {
  const [all, setAll] = useState(false);
  const folded = all || rows.length <= TOP + 1 ? [] : rows.slice(TOP);
  const shown = [...rows.slice(0, rows.length - folded.length), ...many(`${folded.length} others`, folded.map((r) => r.value)), ...below];
  const values = shown.map((r) => r.value);
  const { spans, zero } = diverging(values);
  const digits = digitsFor(largest(values));
  const opens = shown.some((r) => r.ends);
  const tested = shown.some((r) => !Number.isNaN(r.live));
  return (
    <>
      {tested && (
        <p class="aw-gheads aw-quiet aw-small" aria-hidden="true">
          <span>edge</span>
          <span title="Tested: what the target had less without the source">live</span>
        </p>
      )}
      <ul class={`aw-bars aw-grows ${tested ? "aw-withlive" : ""}`} aria-label={label} data-part={part}>
        {shown.map((r, i) => {
          const printed = signed(r.value, digits);
          const inside = (
            <>
              <span class="aw-gname">
                <span class="aw-name">{r.name}</span>
                {r.label && <span class="aw-quiet aw-small"> {r.label}</span>}
              </span>{" "}
              <Track value={r.value} printed={printed} span={spans[i]} zero={zero} many={r.node < 0} />
              <span class="aw-val">{printed}</span>
              {tested && (
                <span class="aw-val aw-glive">
                  {Number.isNaN(r.live) ? "" : <><span class="aw-sr"> live </span>{signed(r.live, digits)}</>}
                </span>
              )}
            </>
          );
          const hint = r.label ? `${r.name}, ${r.label}` : r.name;
          const act = r.node >= 0 ? () => pick(r.node) : folded.length && r.name === `${folded.length} others` ? () => setAll(true) : undefined;
          const { ends } = r;
          const opened = ends !== undefined && edge?.source === ends.source && edge.into === ends.into;
          return (
            <li key={r.name}>
              {act ? (
                <button class="aw-brow" title={hint} data-name={r.name} onClick={act}>
                  {inside}
                </button>
              ) : (
                <div class="aw-brow" title={hint} data-name={r.name}>
                  {inside}
                </div>
              )}
              {ends ? (
                <button class="aw-link aw-small aw-gvia" data-edge={`${ends.source} ${ends.into}`} title={`Which heads carried it: ${r.name}`} aria-label={`heads, ${r.name}`} aria-expanded={opened} onClick={() => setEdge(opened ? null : ends)}>
                  heads
                </button>
              ) : (
                opens && <span class="aw-gvia" />
              )}
            </li>
          );
        })}
      </ul>
    </>
  );
}
