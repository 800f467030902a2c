/** Draws all cells on one canvas: pictures, bars about one zero, outlines of effects. */
import { css, mix, type Palette, sign } from "../../core/maths/colour";
import { readsZero } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import { type Layout, outline } from "../../core/maths/heads";
import { ramp } from "../../core/maths/thumbs";
import { type Grid, pictured } from "../../core/state/heads";
import type { Reading } from "../../core/state/reading";
import type { Stored } from "../../core/host/wire";
import type { HeadsForm } from "../../core/state/screen";

/** Where the cell of column c stands from the first one. */
export const leftOf = ({ cell, wide, gap }: Layout, heads: number, c: number) => Math.min(c, heads) * (cell + gap) + Math.max(0, c - heads) * (wide + gap);

/** A canvas of so many pixels of the page, cleared; null where nothing can be drawn. */
export function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const context = canvas.getContext("2d");
  [canvas.width, canvas.height] = [width * devicePixelRatio, height * devicePixelRatio];
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  context?.scale(devicePixelRatio, devicePixelRatio);
  return context;
}

/** Returns the value of the darkest colour, 0 where there is none. */
export function paint(canvas: HTMLCanvasElement, grid: Grid, at: Layout, scale: number, reading: Reading, form: HeadsForm, palette: Palette, small?: Stored): number {
  const wanted = Math.ceil(at.picture * devicePixelRatio);
  const all = grid.layers.flatMap(({ spots }, r) =>
    spots.flatMap((spot, c) => (spot && spot !== spots[c - 1] ? [{ spot, r, c, x: leftOf(at, grid.heads.length, c), y: r * (at.row + at.gap), shown: undefined as Float32Array | undefined }] : [])),
  );
  const heads = all.filter(({ spot }) => spot.head);
  const effect = form.weighting === "effect";
  if (!effect) for (const one of heads) one.shown = pictured(reading, one.spot, form, wanted, small);
  const strongest = largest(all.map(({ spot }) => spot.effect?.[0] ?? 0));
  const among = largest(heads.map(({ spot }) => spot.effect?.[0] ?? 0));
  const drawn = heads.filter(({ shown }) => shown);
  const attention = form.weighting === "attention";
  const most = effect ? among : attention && form.first && drawn.length ? 1 : largest(drawn.map(({ shown }) => largest(shown as Float32Array)));
  const count = drawn[0]?.shown?.length ?? 0;
  const m = form.strip ? count : Math.sqrt(count);
  const width = leftOf(at, grid.heads.length, grid.heads.length + grid.others.length);
  const height = grid.layers.length * (at.row + at.gap);
  const context = sized(canvas, width, height);
  if (!context) return most;
  context.imageSmoothingEnabled = false;
  context.font = "11.5px system-ui";
  context.textAlign = "right";
  const tall = at.under - at.pad - 2;
  if (m) {
    // one picture of all pictures, a pixel for every pair: they are stretched from there
    const lines = form.strip ? 1 : m;
    const atlas = document.createElement("canvas");
    const wide = grid.heads.length * m;
    [atlas.width, atlas.height] = [wide, grid.layers.length * lines];
    const inside = atlas.getContext("2d");
    const image = inside?.createImageData(wide, atlas.height);
    if (!inside || !image) return most;
    const pixels = new Uint32Array(image.data.buffer);
    const colour = ramp(palette, attention ? "magnitude" : "signed", most);
    for (const { shown, r, c } of drawn) {
      for (let y = 0; y < lines; y++) {
        const to = (r * lines + y) * wide + c * m;
        for (let x = 0; x < m; x++) {
          const v = (shown as Float32Array)[y * m + x] as number;
          if (v || (!form.strip && x <= y)) pixels[to + x] = colour(v);
        }
      }
    }
    inside.putImageData(image, 0, 0);
    for (const { spot, r, c, x, y } of drawn) {
      context.globalAlpha = spot.pale ? 0.3 : 1;
      context.drawImage(atlas, c * m, r * lines, m, lines, x + at.pad, y + at.pad, at.picture, tall);
    }
  }
  for (const { spot, c, x, y } of all) {
    const h = grid.heads.length;
    const w = spot.head ? at.cell : c < h ? leftOf(at, h, h) - at.gap : at.wide;
    context.globalAlpha = spot.pale ? 0.3 : 1;
    if (effect && spot.effect && spot.head) {
      context.fillStyle = css(sign(palette, spot.effect[0], among));
      context.fillRect(x + at.pad, y + at.pad, at.picture, tall);
    }
    const middle = x + w / 2;
    context.fillStyle = css(spot.value < 0 ? palette.minus : palette.plus);
    const long = readsZero(reading.signed(spot.value)) ? 0 : Math.max(1, Math.abs(spot.value) * scale);
    context.fillRect(spot.value < 0 ? middle - long : middle, y + at.under + 1, long, at.bar - 2);
    context.globalAlpha = 0.55;
    context.fillStyle = css(palette.ink);
    context.fillRect(middle - 0.5, y + at.under, 1, at.bar);
    context.globalAlpha = 1;
    if (!spot.head && at.under > 18) context.fillText(reading.signed(spot.value), x + w - 9, y + 17);
    const [share = 0, measured] = spot.effect ?? [];
    const thick = outline(share, strongest, at);
    if (!thick && at.gap < 2) continue; // no room for frames
    context.strokeStyle = css(thick ? (share < 0 ? palette.minus : palette.plus) : mix(palette.ground, palette.ink, 0.13));
    context.setLineDash(measured || !thick ? [] : at.cell > 20 ? [5, 3] : [2.5, 2]);
    context.lineWidth = thick || 1;
    context.strokeRect(x + context.lineWidth / 2, y + context.lineWidth / 2, w - context.lineWidth, at.row - context.lineWidth);
  }
  return most;
}
