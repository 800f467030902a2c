import { describe, expect, it } from "vitest";
import { cellNumber, digitsFor, digitsOfStep, percent, pieces, plain, signed, times, tiny, tokenText } from "../src/core/maths/format";

it("prints signs, U+2212 for minus", () => {
  expect(signed(0.744)).toBe("+0.74");
  expect(signed(-0.48)).toBe("\u22120.48");
  expect(signed(0)).toBe("0.00");
  expect(signed(-0.001)).toBe("0.00");
  expect(plain(-14.544)).toBe("\u221214.54");
  expect(plain(-0.001)).toBe("0.00");
  expect(plain(NaN)).toBe("n/a");
  expect(signed(Infinity)).toBe("n/a");
});

it("gives small lists more digits", () => {
  expect([7, 0.2, 0.13, 0.01, 0].map(digitsFor)).toEqual([2, 2, 3, 4, 2]);
  expect([5, 1, 0.5, 0.2, 0.1, 0.05, 0.002].map(digitsOfStep)).toEqual([0, 0, 1, 1, 1, 2, 3]);
});

it("prints shares and gaps", () => {
  expect(percent(0.9988)).toBe("99.9\u00a0%");
  expect(percent(0.99999)).toBe(">99.9\u00a0%");
  expect(percent(1)).toBe("100\u00a0%");
  expect(percent(0.75)).toBe("75\u00a0%");
  expect(percent(0.0148)).toBe("1.5\u00a0%");
  expect(percent(0.0002)).toBe("<0.1\u00a0%");
  expect(percent(0)).toBe("0\u00a0%");
  expect(tiny(2.3e-6)).toBe("2e\u22126");
  expect(tiny(0)).toBe("0");
  expect(tiny(-0.31)).toBe("\u22120.31");
  expect(cellNumber(0.854)).toBe(".85");
  expect(cellNumber(0.999)).toBe("1");
});

describe("tokens", () => {
  it("show what could not be seen", () => {
    expect(tokenText(" Paris")).toBe("\u00b7Paris");
    expect(tokenText("\n\n")).toBe("\u23ce\u23ce");
    expect(tokenText("\t")).toBe("\u21e5");
    expect(tokenText("")).toBe("\u2205");
    expect(tokenText("a b")).toBe("a b");
    expect(tokenText("  a ")).toBe("\u00b7\u00b7a\u00b7");
    expect(pieces(" Paris")).toEqual([
      { text: "\u00b7", mark: true },
      { text: "Paris", mark: false },
    ]);
  });

  it("cannot hide or turn around text", () => {
    expect(tokenText("\u202eabc")).toBe("\\u202eabc");
    expect(tokenText("a\u200bb")).toBe("a\\u200bb");
    expect(tokenText("\u0000")).toBe("\\u0000");
    expect(tokenText("\ud800")).toBe("\\ud800");
    expect(tokenText("\u00a0")).toBe("\\u00a0");
    expect(tokenText("\ufeff")).toBe("\\ufeff");
    expect(tokenText("\u{e0041}")).toBe("\\u{e0041}");
  });

  it("leave other scripts and emoji alone", () => {
    for (const text of ["\u00e9l\u00e8ve", "\u6771\u4eac", "\u05e9\u05dc\u05d5\u05dd", "\u{1f600}", "</script>"]) expect(tokenText(text)).toBe(text);
  });
});

it("says a difference of scores as a ratio of attention", () => {
  expect([7.579, 0.2, 0, -0.2, -20, 12].map(times)).toEqual([
    "1,957 times",
    "1.2 times",
    "1.0 times",
    "82\u00a0% of",
    "<0.1\u00a0% of",
    "more than 10,000 times",
  ]);
});
