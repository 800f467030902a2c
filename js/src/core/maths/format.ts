/** How numbers and tokens are printed. Tokens are untrusted text: they only ever become text nodes. */

const FORMATS = [0, 1, 2, 3, 4].map(
  // halves to the even digit, as Python prints them; browsers that do not know the mode leave it out
  (digits) => new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false, roundingMode: "halfEven" } as Intl.NumberFormatOptions),
);
const formatter = (digits: number) => FORMATS[digits] as Intl.NumberFormat;

export const MINUS = "\u2212";

/**
 * Digits after the point for a list whose largest number is this: small lists show more, so that none reads 0.00.
 * 5 stands for powers of ten.
 */
export function digitsFor(most: number): number {
  return most >= 0.2 || most === 0 ? 2 : most >= 0.02 ? 3 : most >= 0.002 ? 4 : 5;
}

/** 14.54, −0.48: no plus sign. */
export function plain(value: number, digits = 2): string {
  if (!Number.isFinite(value)) return "n/a";
  const text = digits > 4 ? tiny(Math.abs(value)) : formatter(digits).format(Math.abs(value));
  return value < 0 && /[1-9]/.test(text) ? MINUS + text : text;
}

/** Digits for round numbers that are a step apart: 0.05 takes two, 20 none. */
export const digitsOfStep = (step: number) => Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));

/** Whether a printed number reads 0.00: it has no sign, and no bar. */
export const readsZero = (text: string) => !/[1-9]/.test(text);

/** +0.74, −0.48. What reads 0.00 has no sign. */
export function signed(value: number, digits = 2): string {
  if (!Number.isFinite(value)) return "n/a";
  const text = digits > 4 ? tiny(Math.abs(value)) : formatter(digits).format(Math.abs(value));
  return readsZero(text) ? text : (value < 0 ? MINUS : "+") + text;
}

/** 85 %, 0.3 %, <0.1 %, with a space that does not break. */
export function percent(p: number): string {
  const v = 100 * p;
  if (!Number.isFinite(v)) return "n/a";
  if (v <= 0) return "0\u00a0%";
  if (v < 0.1) return "<0.1\u00a0%";
  if (v >= 99.95) return v >= 100 ? "100\u00a0%" : ">99.9\u00a0%";
  return `${formatter(v < 10 || v > 99 ? 1 : 0).format(v)}\u00a0%`;
}

/** 43 %, −12 %, 149 %: a share of the gap, which may lie below 0 or above 1. */
export const share = (v: number) => (Number.isFinite(v) ? `${plain(100 * v, 0)}\u00a0%` : "n/a");

/** A difference of two scores as a ratio of attention: 1,957 times, 1.2 times, 4 % of. */
export function times(apart: number): string {
  const ratio = Math.exp(apart);
  if (ratio >= 1e4) return "more than 10,000 times";
  if (ratio >= 10) return `${Math.round(ratio).toLocaleString("en-US")} times`;
  return ratio >= 1 ? `${plain(ratio, 1)} times` : `${percent(ratio)} of`;
}

/** 2e-6: for the gap between two sums. */
export function tiny(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 0.01) return plain(value, 2);
  return (value < 0 ? MINUS : "") + size.toExponential(0).replace("e-", `e${MINUS}`);
}

/** .85 inside a cell: short, no leading zero. */
export function cellNumber(p: number): string {
  if (p >= 0.995) return "1";
  return formatter(2).format(p).replace(/^0/, "");
}

/** A piece of a printed token: plain text, or a mark that stands for a character one could not see. */
export interface Piece {
  text: string;
  mark: boolean;
}

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;
const SPACE = /\p{Zs}/u;

function mark(char: string): string | null {
  if (char === " ") return "\u00b7";
  if (char === "\n") return "\u23ce";
  if (char === "\t") return "\u21e5";
  if (char === "\r") return "\u240d";
  if (INVISIBLE.test(char) || SPACE.test(char)) {
    const code = char.codePointAt(0) ?? 0;
    return `\\u${code > 0xffff ? `{${code.toString(16)}}` : code.toString(16).padStart(4, "0")}`;
  }
  return null;
}

/** Splits a token into what can be read and marks for what cannot: spaces, newlines, invisible characters. */
export function pieces(token: string): Piece[] {
  const out: Piece[] = [];
  const chars = [...token];
  chars.forEach((char, i) => {
    // A space between visible characters of one token reads as a space; at the edges it must be seen.
    const inner = char === " " && i > 0 && i < chars.length - 1 && chars[i - 1] !== " " && chars[i + 1] !== " ";
    const sign = inner ? null : mark(char);
    const last = out[out.length - 1];
    if (last && last.mark === (sign !== null)) last.text += sign ?? char;
    else out.push({ text: sign ?? char, mark: sign !== null });
  });
  return out.length ? out : [{ text: "\u2205", mark: true }];
}

/** A token as one line of text, for labels that only screen readers and titles see. */
export function tokenText(token: string): string {
  return pieces(token).map((p) => p.text).join("");
}
