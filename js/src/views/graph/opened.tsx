/** One node opened: what was put into it, in rows that sum to what fires there, and what it puts into others. */
import { useState } from "preact/hooks";
import { digitsFor, plain, signed } from "../../core/maths/format";
import { diverging, largest, sumOf } from "../../core/maths/geometry";
import type { Edge, Graph } from "../../core/state/graph";
import { Track } from "../parts/bars";

interface OpenedProps {
  of: Graph;
  node: number;
  errors: boolean;
  constants: boolean;
  pinned: boolean;
  pin(): void;
  pick(i: number): void;
}

interface Row {
  /** the node that a click opens; -1 for none */
  node: number;
  name: string;
  label: string;
  value: number;
  live: number;
}

const TOP = 10;
const READS_ZERO = 5e-5;
const many = (name: string, values: number[]): Row[] => (values.length ? [{ node: -1, name, label: "", value: sumOf(values), live: NaN }] : []);

export function Opened({ of, node: at, errors, constants, pinned, pin, pick }: OpenedProps) {
  const { name, label, kind } = of.node(at);
  const target = of.target(at);
  const row = (e: Edge, i: number): Row => ({ node: i, name: of.node(i).name, label: of.node(i).label, value: e.value, live: e.live });
  const into = of.into(at);
  const covered = (e: Edge) => !errors && of.node(e.source).kind === "error";
  const fixed = (target?.constants ?? []).map((value, i): Row => ({ node: -1, name: of.header.constants[i] ?? "", label: "", value, live: NaN }));
  const below: Row[] = target
    ? [
        ...many("errors, hidden", into.filter(covered).map((e) => e.value)),
        ...(Math.abs(target.left) > READS_ZERO ? many("left out", [target.left]) : []),
        ...(constants ? fixed.filter(({ value }) => Math.abs(value) > READS_ZERO) : many("constants, hidden", fixed.map(({ value }) => value))),
      ]
    : [];
  const out = of.outOf(at);
  return (
    <div class="aw-body" data-part="opened">
      <div class="aw-pad aw-ghead">
        <h3 class="aw-title">
          {name} {label && <small class="aw-quiet">{label}</small>}
        </h3>
        <button class="aw-btn" data-part="pin" aria-pressed={pinned} onClick={pin}>
          {pinned ? "Unpin" : "Pin"}
        </button>
      </div>
      <div class={`aw-pad aw-gsides ${at > 0 ? "aw-gtwo" : ""}`}>
        <div>
          <h4 class="aw-sidetitle">Put into it{!at && `, in ${of.header.unit}`}</h4>
          {target ? (
            <>
              <Rows label={`Put into ${name}`} part="into" rows={into.filter((e) => !covered(e)).map((e) => row(e, e.source))} below={below} pick={pick} />
              <p class="aw-total">
                <span class="aw-quiet">sum</span> {plain(sumOf(into.map((e) => e.value)) + target.left + sumOf(target.constants))} <span class="aw-quiet">{at ? "fires" : "model"}</span> {plain(target.total)}
              </p>
            </>
          ) : (
            <p class="aw-quiet aw-small">{kind === "feature" ? "Not opened: a larger limit= opens more." : "Nothing: a graph ends here."}</p>
          )}
        </div>
        {at > 0 && (
          <div>
            <h4 class="aw-sidetitle">Puts into others</h4>
            {out.length ? <Rows label={`${name} puts into`} part="out" rows={out.map((e) => row(e, e.target))} below={[]} pick={pick} /> : <p class="aw-quiet aw-small">No edge from it is kept.</p>}
          </div>
        )}
      </div>
    </div>
  );
}

/** Rows about one zero line, the smaller ones folded; a column of tests where there were any. */
function Rows({ label, part, rows, below, pick }: { label: string; part: string; rows: Row[]; below: Row[]; pick(i: number): void }) {
  const [all, setAll] = useState(false);
  const folded = all || rows.length <= TOP + 1 ? [] : rows.slice(TOP);
  const shown = [...rows.slice(0, rows.length - folded.length), ...many(`${folded.length} others`, folded.map((r) => r.value)), ...below];
  const values = shown.map((r) => r.value);
  const { spans, zero } = diverging(values);
  const digits = digitsFor(largest(values));
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
            </li>
          );
        })}
      </ul>
    </>
  );
}
