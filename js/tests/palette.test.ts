import { describe, expect, it } from "vitest";
import { contrast, inkOn, mix, oklab, type Palette, parse, type RGB, sequential, sign } from "../src/core/maths/colour";
import sheet from "../src/styles/palette.css?raw";

/** The variables of one theme, with color-mix() worked out. */
function variables(theme: "light" | "dark", ground?: RGB): Record<string, RGB> {
  const blocks = [...sheet.matchAll(/\.aw(\[data-aw-theme="dark"\])? \{([^}]*)\}/g)];
  const out: Record<string, RGB> = {};
  const mixes: [string, string][] = [];
  for (const [, dark, body] of blocks) {
    if (dark && theme === "light") continue;
    for (const [, name, value] of (body ?? "").matchAll(/--aw-([\w-]+):\s*([^;]+);/g)) {
      const colour = parse(value ?? "");
      if (colour) out[name ?? ""] = colour;
      else mixes.push([name ?? "", value ?? ""]);
    }
  }
  if (ground) out["ground"] = ground;
  for (const [name, value] of mixes) {
    const m = /color-mix\(in oklab, var\(--aw-(\w+)\) (\d+)%, var\(--aw-(\w+)\)\)/.exec(value);
    if (!m) throw new Error(`cannot read ${value}`);
    out[name] = mix(out[m[3] ?? ""] as RGB, out[m[1] ?? ""] as RGB, Number(m[2]) / 100);
  }
  return out;
}

const grounds: ["light" | "dark", string, RGB | undefined][] = [
  ["light", "its own", undefined],
  ["light", "the darkest ground that theme.ts accepts", [243, 243, 243]],
  ["dark", "its own", undefined],
  ["dark", "black", [0, 0, 0]],
  ["dark", "the lightest ground that theme.ts accepts", [48, 48, 48]],
];

describe.each(grounds)("%s on %s", (theme, _name, ground) => {
  const v = variables(theme, ground);
  const c = (name: string) => v[name] as RGB;

  it("has text at 4.5:1", () => {
    for (const text of ["ink", "muted", "plus", "minus", "focus"]) expect(contrast(c(text), c("ground")), text).toBeGreaterThanOrEqual(4.5);
    for (const surface of ["soft", "chip"]) {
      for (const text of ["ink", "muted"]) expect(contrast(c(text), c(surface)), `${text} on ${surface}`).toBeGreaterThanOrEqual(4.5);
    }
  });

  it("has bars, rings and edges at 3:1", () => {
    for (const mark of ["plus", "minus", "focus", "edge", "seq-3"]) expect(contrast(c(mark), c("ground")), mark).toBeGreaterThanOrEqual(3);
    for (const mark of ["plus", "minus", "focus"]) expect(contrast(c(mark), c("chip")), `${mark} on a chosen row`).toBeGreaterThanOrEqual(3);
  });

  it("prints readable text on every shade", () => {
    const palette: Palette = { dark: theme === "dark", ground: c("ground"), ink: c("ink"), plus: c("plus"), minus: c("minus"), sequence: [c("seq-1"), c("seq-2"), c("seq-3")] };
    for (let i = -40; i <= 40; i++) {
      for (const shade of [sign(palette, i, 40), sequential(palette, Math.abs(i) / 40)]) {
        expect(contrast(inkOn(palette, shade), shade)).toBeGreaterThanOrEqual(4.5);
      }
    }
    expect(sign(palette, 0, 1).map(Math.round)).toEqual(c("ground").map(Math.round));
    expect(sequential(palette, 0).map(Math.round)).toEqual(c("ground").map(Math.round));
  });

  it("rises without turning back, so that more always looks like more", () => {
    const palette: Palette = { dark: theme === "dark", ground: c("ground"), ink: c("ink"), plus: c("plus"), minus: c("minus"), sequence: [c("seq-1"), c("seq-2"), c("seq-3")] };
    const steps = Array.from({ length: 21 }, (_, i) => oklab(sequential(palette, i / 20))[0]);
    steps.slice(1).forEach((l, i) => expect(theme === "dark" ? l - (steps[i] ?? 0) : (steps[i] ?? 0) - l).toBeGreaterThan(0));
  });
});

/** Machado, Oliveira, Fernandes 2009, severity 1: how the colours look without one kind of cone. */
const VISION: Record<string, number[][]> = {
  normal: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protan: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deutan: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritan: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

function seen(colour: RGB, matrix: number[][]): RGB {
  const lin = colour.map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
  return matrix.map((row) => {
    const v = Math.min(1, Math.max(0, row.reduce((sum, m, i) => sum + m * (lin[i] ?? 0), 0)));
    return 255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);
  }) as unknown as RGB;
}

it.each(["light", "dark"] as const)("%s: the signs stay apart for every colour vision", (theme) => {
  const v = variables(theme);
  for (const [vision, matrix] of Object.entries(VISION)) {
    const [a, b] = [oklab(seen(v["plus"] as RGB, matrix)), oklab(seen(v["minus"] as RGB, matrix))];
    expect(Math.hypot(...a.map((x, i) => x - (b[i] ?? 0))), vision).toBeGreaterThanOrEqual(0.2);
  }
});
