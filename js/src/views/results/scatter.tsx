/** Attribution against patching: where every tested part stands, in the regions that give it its verdict. */
import { share } from "../../core/maths/format";
import { ticks } from "../../core/maths/geometry";
import { described } from "../../core/maths/names";
import type { VerdictsHeader } from "../../core/types";
import { Chip, Evidence, Together } from "../explorer/verdict";
import { useView } from "../parts/context";
import { pressed, useRoving } from "../parts/roving";

export function ScatterView({ header }: { header: VerdictsHeader }) {
  const { store } = useView();
  const { findings, window, lines, regions } = header;
  const [low, high] = window;
  const place = (v: number) => (100 * (v - low)) / (high - low);
  const pct = (v: number) => `${place(v)}%`;
  const chosen = findings.findIndex((f) => f.id === store.selected.value);
  const rove = useRoving(chosen, true);
  const found = findings[chosen] ?? findings[0];
  const pick = (id: string) => store.select(id);
  // a name is drawn where no larger point's name is in the way
  const named: { x: number; y: number }[] = [];
  const marks = ticks(low, high, 5);
  return (
    <div class="aw-card aw-pad" data-part="verdicts">
      <h2 class="aw-headline">{header.title}</h2>
      <p class="aw-sub">Across: direct damage, its write replaced for the logits alone. Up: damage, its write replaced for every part. Click a point.</p>
      <div class="aw-sides">
        <div>
          <div class="aw-plane" role="listbox" aria-label="Tested parts, the largest effects first" {...rove.list}>
            <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
              {lines.map(({ at: [[x, y], [u, v]] }) => (
                <line x1={place(x)} y1={100 - place(y)} x2={place(u)} y2={100 - place(v)} vector-effect="non-scaling-stroke" />
              ))}
            </svg>
            {regions.map((r) => (
              <span class={`aw-region ${r.up ? "aw-upwards" : ""}`} aria-hidden="true" style={{ left: pct(r.d), bottom: pct(r.n) }}>
                {r.word}
              </span>
            ))}
            {marks.map((v) => (
              <>
                <span class="aw-tick aw-across" aria-hidden="true" style={{ left: pct(v) }}>
                  {share(v)}
                </span>
                <span class="aw-tick aw-up" aria-hidden="true" style={{ bottom: pct(v) }}>
                  {share(v)}
                </span>
              </>
            ))}
            {findings.map((f, i) => {
              const spot = { x: place(f.d), y: place(f.damage) };
              const large = f.named;
              const free = large && named.every((o) => Math.abs(o.x - spot.x) > 16 || Math.abs(o.y - spot.y) > 5);
              if (free) named.push(spot);
              return (
                <div
                  key={f.id}
                  role="option"
                  class={`aw-dot ${large ? "" : "aw-faint"} ${spot.x > 80 ? "aw-toleft" : ""}`}
                  data-id={f.id}
                  data-i={i}
                  aria-selected={i === chosen}
                  title={`${described(f.id) ?? f.id}; ${f.told}`}
                  tabIndex={rove.tabIndex(i)}
                  style={{ left: `${spot.x}%`, bottom: `${spot.y}%` }}
                  onClick={() => pick(f.id)}
                  onKeyDown={pressed(() => pick(f.id))}
                >
                  <span class={free || i === chosen ? "aw-name" : "aw-sr"}>{f.id}</span>
                  <span class="aw-sr">
                    {" "}
                    {f.told}; direct damage {share(f.d)}, damage {share(f.damage)}, recovery {share(f.recovery)}
                  </span>
                </div>
              );
            })}
          </div>
        </div>
        <div>
          {found && (
            <>
              <h3 class="aw-title" title={described(found.id)}>
                {found.id}
              </h3>
              <Evidence of={found} all={header} />
            </>
          )}
          <ul class="aw-found" aria-label="Verdicts">
            {findings.map((f) => (
              <li key={f.id}>
                <button class="aw-brow aw-vrow" aria-current={f === found} onClick={() => pick(f.id)}>
                  <span class="aw-name" title={described(f.id)}>
                    {f.id}
                  </span> <span class="aw-small">{f.then}</span> <Chip of={f} />
                </button>
              </li>
            ))}
          </ul>
          <Together of={header} />
        </div>
      </div>
    </div>
  );
}
