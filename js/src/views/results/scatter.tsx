/** Attribution against patching: where every tested part stands, in the regions that give it its verdict. */
import { share } from "../../core/maths/format";
import { ticks } from "../../core/maths/geometry";
import type { VerdictsHeader } from "../../core/types";
import { Chip, Evidence, Together } from "../explorer/verdict";
import { useView } from "../parts/context";
import { Plane } from "../parts/plane";

export function ScatterView({ header }: { header: VerdictsHeader }) {
  const { store } = useView();
  const { findings, window, lines, regions } = header;
  const [low, high] = window;
  const chosen = findings.findIndex((f) => f.id === store.selected.value);
  const found = findings[chosen] ?? findings[0];
  const pick = (id: string) => store.select(id);
  const marks = ticks(low, high, 5).map((at) => ({ at, text: share(at) }));
  return (
    <div class="aw-card aw-pad" data-part="verdicts">
      <h2 class="aw-headline">{header.title}</h2>
      <p class="aw-sub">Across: direct damage, its write replaced for the logits alone. Up: damage, its write replaced for every part. Click a point.</p>
      <div class="aw-sides">
        <div>
          <Plane
            label="Tested parts, the largest effects first"
            x={window}
            y={window}
            across={marks}
            up={marks}
            chosen={chosen}
            points={findings.map((f) => ({
              id: f.id,
              x: f.d,
              y: f.damage,
              named: f.named,
              faint: !f.named,
              title: `${store.described(f.id) ?? f.id}; ${f.told}`,
              told: `${f.told}; direct damage ${share(f.d)}, damage ${share(f.damage)}, recovery ${share(f.recovery)}`,
              pick: () => pick(f.id),
            }))}
            under={(place) => (
              <>
                <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
                  {lines.map(({ at: [[x, y], [u, v]] }) => (
                    <line x1={place(x)} y1={100 - place(y)} x2={place(u)} y2={100 - place(v)} vector-effect="non-scaling-stroke" />
                  ))}
                </svg>
                {regions.map((r) => (
                  <span class={`aw-region ${r.up ? "aw-upwards" : ""}`} aria-hidden="true" style={{ left: `${place(r.d)}%`, bottom: `${place(r.n)}%` }}>
                    {r.word}
                  </span>
                ))}
              </>
            )}
          />
        </div>
        <div>
          {found && (
            <>
              <h3 class="aw-title" title={store.described(found.id)}>
                {found.id}
              </h3>
              <Evidence of={found} all={header} />
            </>
          )}
          <ul class="aw-found" aria-label="Verdicts">
            {findings.map((f) => (
              <li key={f.id}>
                <button class="aw-brow aw-vrow" aria-current={f === found} onClick={() => pick(f.id)}>
                  <span class="aw-name" title={store.described(f.id)}>
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
