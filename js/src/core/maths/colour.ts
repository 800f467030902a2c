/** Colours as numbers: OKLab mixing, contrast, and the scales of the views. */

export type RGB = readonly [number, number, number];

export interface Palette {
  dark: boolean;
  ground: RGB;
  ink: RGB;
  plus: RGB;
  minus: RGB;
  /** stops of the probability scale, from a little to one; zero is the ground */
  sequence: RGB[];
}

/** "#0067A5", "rgb(0 103 165)", "rgba(0, 103, 165, .5)"; null for anything else and for full transparency. */
export function parse(text: string): RGB | null {
  const hex = /^\s*#([0-9a-f]{3,8})\s*$/i.exec(text)?.[1];
  if (hex) {
    const wide = hex.length < 6 ? [...hex].map((c) => c + c).join("") : hex;
    return [0, 2, 4].map((i) => parseInt(wide.slice(i, i + 2), 16)) as unknown as RGB;
  }
  const parts = /rgba?\(([^)]*)\)/.exec(text)?.[1]?.split(/[\s,/]+/).filter(Boolean).map(Number);
  if (!parts || parts.length < 3 || parts.some(Number.isNaN) || parts[3] === 0) return null;
  return [parts[0] ?? 0, parts[1] ?? 0, parts[2] ?? 0];
}

const linear = (c: number) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const encoded = (c: number) => {
  const v = Math.min(1, Math.max(0, c));
  return 255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);
};

export function luminance([r, g, b]: RGB): number {
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

export function contrast(a: RGB, b: RGB): number {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

export function oklab([red, green, blue]: RGB): RGB {
  const [r, g, b] = [linear(red), linear(green), linear(blue)];
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

export function fromOklab([L, a, b]: RGB): RGB {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    encoded(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    encoded(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    encoded(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

export function mix(from: RGB, to: RGB, part: number): RGB {
  const [a, b] = [oklab(from), oklab(to)];
  return fromOklab([0, 1, 2].map((i) => (a[i] ?? 0) + part * ((b[i] ?? 0) - (a[i] ?? 0))) as unknown as RGB);
}

/** Probability 0 to 1; the square root spreads small weights, which is what patterns are full of. */
export function sequential(palette: Palette, p: number): RGB {
  const stops = [palette.ground, ...palette.sequence];
  const at = Math.sqrt(Math.min(1, Math.max(0, p))) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  return mix(stops[i] as RGB, stops[i + 1] as RGB, at - i);
}

/**
 * A signed value against the largest magnitude: zero is the ground, the ends are the sign colours. A smaller power
 * lifts small values, where one large value would leave the rest without colour.
 */
export function sign(palette: Palette, value: number, most: number, power = 0.75): RGB {
  const part = most > 0 ? Math.min(1, Math.abs(value) / most) : 0;
  return mix(palette.ground, value < 0 ? palette.minus : palette.plus, part ** power);
}

/** Whichever of ink and ground reads better on this colour; black and white when neither does. */
export function inkOn(palette: Palette, background: RGB): RGB {
  const order: RGB[] = [palette.ink, palette.ground];
  const best = contrast(palette.ink, background) >= contrast(palette.ground, background) ? order[0] : order[1];
  if (contrast(best as RGB, background) >= 4.6) return best as RGB; // 4.5, and what printing in whole numbers takes
  return contrast([0, 0, 0], background) >= contrast([255, 255, 255], background) ? [0, 0, 0] : [255, 255, 255];
}

export function css([r, g, b]: RGB): string {
  return `rgb(${Math.round(r)} ${Math.round(g)} ${Math.round(b)})`;
}

/** Background and text colour of a shaded cell or token. */
export function shade(palette: Palette, background: RGB): { backgroundColor: string; color: string } {
  return { backgroundColor: css(background), color: css(inkOn(palette, background)) };
}
