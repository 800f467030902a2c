/** Who reads whom, as lines between two columns of words: wide lines are strong ones. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { css } from "../../core/maths/colour";
import { percent, plain } from "../../core/maths/format";
import { placeLabels } from "../../core/maths/geometry";
import { useView } from "../parts/context";
import { useWidth } from "../parts/grid";
import { Labels } from "../parts/heat";
import { Token } from "../parts/names";
import { sized } from "./paint";

interface LinesProps {
  tokens: string[];
  get(t: number, s: number): number;
  ahead: boolean;
  most: number;
  signed: boolean;
  current: number;
  tell(t: number, s: number): string;
}

/** Weaker lines than this share of the strongest are not drawn. */
const LEAST = 0.05;
const WIDEST = 6;
const GAP = 15;
const WORDS = 110;

export function Lines({ tokens, get, ahead, most, signed, current, tell }: LinesProps) {
  const { palette } = useView();
  const [box, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const n = tokens.length;
  const step = Math.min(20, 400 / n);
  const height = n * step;
  const words = Math.min(WORDS, width / 3);
  const across = width - 2 * words - 12;
  const colours = palette.value;
  useLayoutEffect(() => {
    const context = canvas.current && sized(canvas.current, across, height);
    if (!context) return;
    for (let t = 0; t < n; t++) {
      for (let s = 0; s < (ahead ? n : t + 1); s++) {
        const v = get(t, s);
        const part = Math.abs(v) / (most || 1);
        if (part < LEAST) continue;
        context.globalAlpha = t === current ? 1 : 0.25;
        context.strokeStyle = css(signed ? (v < 0 ? colours.minus : colours.plus) : colours.ink);
        context.lineWidth = Math.max(0.5, WIDEST * part);
        context.beginPath();
        const [from, to] = [(t + 0.5) * step, (s + 0.5) * step];
        context.moveTo(0, from);
        context.bezierCurveTo(across / 2, from, across / 2, to, across, to);
        context.stroke();
      }
    }
  }, [get, most, signed, current, colours, across, height, ahead]);
  const row = Array.from({ length: ahead ? n : current + 1 }, (_, s) => s).sort((a, b) => Math.abs(get(current, b)) - Math.abs(get(current, a)));
  const column = (wanted: number[], look: string) => (
    <Labels look={look} style={{ width: `${words}px` }} tokens={tokens} shown={placeLabels(n, step, GAP, wanted)} on={wanted[0]} place={(i) => ({ top: `${(i + 0.5) * step - 7}px` })} />
  );
  return (
    <div data-part="lines" ref={box}>
      <div class="aw-lined" style={{ height: `${height}px` }} role="img" aria-label={row.slice(0, 3).map((s) => tell(current, s)).join("; ")}>
        {column([current], "aw-reads")}
        <canvas ref={canvas} aria-hidden="true" />
        {column(row.slice(0, 4), "")}
      </div>
      <p class="aw-quiet aw-small">
        Left who reads, right what is read; solid from <Token text={tokens[current] ?? ""} />. Below {signed ? plain(LEAST * most, 3) : percent(LEAST * most)} none is shown.
      </p>
    </div>
  );
}
