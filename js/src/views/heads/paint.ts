/** Draws all cells on one canvas: pictures, bars about one zero, outlines of effects. */
import { css, type Palette, sign } from "../../core/maths/colour";
import { readsZero } from "../../core/maths/format";
import { largest } from "../../core/maths/geometry";
import { type Layout, outline } from "../../core/maths/heads";
import { ramp } from "../../core/maths/thumbs";
import { type Grid, pictured, type Spot } from "../../core/state/heads";
import type { Reading } from "../../core/state/reading";
import type { Stored } from "../../core/host/wire";
import type { HeadsForm } from "../../core/state/screen";

/** Where the cell of column c stands from the left. */
export const leftOf = ({ side, cell, wide, gap }: Layout, heads: number, c: number) => side + Math.min(c, heads) * (cell + gap) + Math.max(0, c - heads) * (wide + gap);

export interface Painted {
  /** the value of the darkest colour; 0 where nothing is drawn */
  most: number;
  /** how many pictures did not travel */
  missing: number;
}

/** Returns what the legend says. `secret`: no pictures, which would tell what heads read. */
export function paint(canvas: HTMLCanvasElement, grid: Grid, at: Layout, scale: number, reading: Reading, form: HeadsForm, palette: Palette, secret: boolean, small?: Stored): Painted {
  const ratio = globalThis.devicePixelRatio || 1;
  const wanted = Math.ceil(at.picture * ratio);
  const all = grid.layers.flatMap(({ spots }, r) => spots.map((spot, c) => ({ spot, r, c, shown: undefined as Float32Array | undefined })));
  const heads = all.filter(({ spot }) => spot?.parts[0]?.kind === "head") as { spot: Spot; r: number; c: number; shown: Float32Array | undefined }[];
  const effect = form.weighting === "effect";
  if (!effect && !secret) for (const one of heads) one.shown = pictured(reading, one.spot, form, wanted, small);
  const strongest = largest(all.map(({ spot }) => spot?.effect?.[0] ?? 0));
  const drawn = heads.filter(({ shown }) => shown);
  const attention = form.weighting === "attention";
  const most = effect ? strongest : attention && form.first && drawn.length ? 1 : drawn.reduce((a, { shown }) => Math.max(a, largest(shown ?? [])), 0);
  const told = { most, missing: effect || secret ? 0 : heads.length - drawn.length };
  const m = form.strip ? (drawn[0]?.shown?.length ?? 0) : Math.sqrt(drawn[0]?.shown?.length ?? 0);
  const context = canvas.getContext("2d");
  if (!context) return told;
  const width = leftOf(at, grid.heads.length, grid.heads.length + grid.others.length);
  const height = grid.layers.length * (at.row + at.gap);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.imageSmoothingEnabled = false;
  const tall = at.under - at.pad - 2;
  if (drawn.length && m) {
    // one picture of all pictures, a pixel for every pair: they are stretched from there
    const lines = form.strip ? 1 : m;
    const atlas = document.createElement("canvas");
    const wide = grid.heads.length * m;
    [atlas.width, atlas.height] = [wide, grid.layers.length * lines];
    const inside = atlas.getContext("2d");
    const image = inside?.createImageData(wide, atlas.height);
    if (!inside || !image) return told;
    const pixels = new Uint32Array(image.data.buffer);
    const colour = ramp(palette, attention ? "magnitude" : "signed", most);
    for (const { shown, r, c } of drawn) {
      for (let y = 0; y < lines; y++) {
        const to = (r * lines + y) * wide + c * m;
        for (let x = 0; x < m; x++) {
          const v = shown?.[y * m + x] ?? 0;
          if (v || (!form.strip && x <= y)) pixels[to + x] = colour(v);
        }
      }
    }
    inside.putImageData(image, 0, 0);
    for (const { spot, r, c } of drawn) {
      context.globalAlpha = spot.pale ? 0.3 : 1;
      context.drawImage(atlas, c * m, r * lines, m, lines, leftOf(at, grid.heads.length, c) + at.pad, r * (at.row + at.gap) + at.pad, at.picture, tall);
    }
  }
  for (const { spot, r, c } of all) {
    if (!spot) continue;
    const [x, y, w] = [leftOf(at, grid.heads.length, c), r * (at.row + at.gap), c < grid.heads.length ? at.cell : at.wide];
    context.globalAlpha = spot.pale ? 0.3 : 1;
    if (effect && spot.effect && c < grid.heads.length) {
      context.fillStyle = css(sign(palette, spot.effect[0], strongest));
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
    const thick = outline(spot.effect?.[0], strongest, at);
    if (!thick) continue;
    context.strokeStyle = css((spot.effect?.[0] ?? 0) < 0 ? palette.minus : palette.plus);
    context.lineWidth = thick;
    context.setLineDash(spot.effect?.[1] ? [] : at.cell > 20 ? [5, 3] : [2.5, 2]);
    context.strokeRect(x + thick / 2, y + thick / 2, w - thick, at.row - thick);
  }
  return told;
}
