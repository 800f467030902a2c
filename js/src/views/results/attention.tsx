/** Patterns of one or more heads: small pictures to choose from, one in focus. */
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { type Container, Triangle } from "../../core/host/wire";
import { percent, tokenText } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import { pooled, ramp } from "../../core/maths/thumbs";
import type { AttentionHeader } from "../../core/types";
import { useView } from "../parts/context";
import { Heat, type HeatProps, readOut } from "../parts/heat";
import { pressed, useRoving } from "../parts/roving";

const SCALE: Record<string, HeatProps["scale"]> = { probability: "probability", value: "magnitude", contribution: "signed", own: "signed" };

export function AttentionView({ data }: { data: Container<AttentionHeader> }) {
  const { store } = useView();
  const { header, arrays } = data;
  const n = header.tokens.length;
  const all = useMemo(() => header.heads.map((_, i) => new Triangle(n, arrays["patterns"]?.at(i) ?? new Float32Array((n * (n + 1)) / 2))), [data]);
  const chosen = Math.max(0, header.heads.indexOf(store.selected.value));
  const roving = useRoving(chosen, true);
  const pattern = all[chosen];
  const most = useMemo(() => largest(pattern?.data ?? []), [pattern]);
  const get = useMemo(() => (t: number, s: number) => pattern?.get(t, s) ?? 0, [pattern]);
  const scale = SCALE[header.weighting] ?? "probability";
  const sink = arrays["sink"]?.at(chosen)[n - 1];
  return (
    <div class="aw-card aw-pad">
      <h2 class="aw-headline">{header.title}</h2>
      {header.note && <p class="aw-sub">{header.note}</p>}
      {all.length > 1 && (
        <div class="aw-thumbs" role="listbox" aria-orientation="horizontal" aria-label="Heads" data-part="heads" {...roving.list}>
          {all.map((triangle, i) => (
            <Thumb key={header.heads[i] ?? i} id={header.heads[i] ?? ""} i={i} on={i === chosen} tabIndex={roving.tabIndex(i)} triangle={triangle} scale={scale} />
          ))}
        </div>
      )}
      {all.length > 1 && <h3 class="aw-title" title={store.described(header.heads[chosen] ?? "")}>
          {header.heads[chosen]}
        </h3>}
      {pattern && (
        <Heat
          tokens={header.tokens}
          get={get}
          ahead={pattern.ahead}
          scale={scale}
          most={scale === "probability" ? 1 : most}
          current={n - 1}
          label={`Attention pattern of ${header.heads[chosen]}`}
          tell={(t, s) => readOut(header.tokens, t, s, get(t, s), header.weighting, header.unit)}
        />
      )}
      {sink !== undefined && (
        <p class="aw-quiet aw-small">
          Sink: {percent(sink)} of what {tokenText(header.tokens[n - 1] ?? "")} could read goes to no token.
        </p>
      )}
    </div>
  );
}

interface ThumbProps {
  id: string;
  i: number;
  on: boolean;
  tabIndex: number;
  triangle: Triangle;
  scale: HeatProps["scale"];
}

function Thumb({ id, i, on, tabIndex, triangle, scale }: ThumbProps) {
  const { store, palette } = useView();
  const canvas = useRef<HTMLCanvasElement>(null);
  const colours = palette.value;
  useLayoutEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const size = Math.min(triangle.n, 64);
    const image = context.createImageData(size, size);
    const pixels = new Uint32Array(image.data.buffer);
    const colour = ramp(colours, scale, largest(triangle.data));
    pooled(triangle, size).forEach((v, i) => {
      if (triangle.ahead || i % size <= i / size) pixels[i] = colour(v);
    });
    context.putImageData(image, 0, 0);
  }, [triangle, colours, scale]);
  const size = Math.min(triangle.n, 64);
  const pick = () => store.select(id);
  return (
    <div
      role="option"
      class="aw-thumb"
      data-id={id}
      data-i={i}
      title={store.described(id)}
      aria-selected={on}
      tabIndex={tabIndex}
      onClick={pick}
      onKeyDown={pressed(pick)}
    >
      <canvas ref={canvas} width={size} height={size} aria-hidden="true" />
      <span class="aw-name">{id}</span>
    </div>
  );
}
