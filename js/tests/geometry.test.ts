import { describe, expect, it } from "vitest";
import { bySize, diverging, largest, placeLabels, ticks, waterfall } from "../src/core/maths/geometry";

describe("the waterfall", () => {
  it("starts each bar where the one before ended and ends at the sum", () => {
    const { spans, place, total } = waterfall([4, -1, 2], 5);
    expect(spans[0]).toEqual({ left: place(0), width: place(4) - place(0), end: place(4) });
    expect(spans[1]?.left).toBeCloseTo(place(3));
    expect(spans[1]?.end).toBeCloseTo(place(3));
    expect(spans[2]?.left).toBeCloseTo(place(3));
    expect(total).toBeCloseTo(place(5));
    for (const s of spans) {
      expect(s.left).toBeGreaterThanOrEqual(0);
      expect(s.left + s.width).toBeLessThanOrEqual(1 + 1e-12);
    }
  });

  it("holds negative totals, the model's own number, and nothing at all", () => {
    const below = waterfall([-3, 1], -2);
    expect(below.place(below.low)).toBe(0);
    expect(below.spans[0]?.end).toBe(0);
    expect(waterfall([1], 9).high).toBe(9);
    expect(waterfall([], 0).spans).toEqual([]);
    expect(Number.isFinite(waterfall([0, 0], 0).place(0))).toBe(true);
  });
});

it("puts bars around zero", () => {
  const { zero, spans } = diverging([3, -1]);
  expect(zero).toBe(0.25);
  expect(spans[0]).toEqual({ left: 0.25, width: 0.75, end: 1 });
  expect(spans[1]).toEqual({ left: 0, width: 0.25, end: 0 });
  expect(diverging([]).zero).toBe(0);
});

it("ticks at round numbers", () => {
  expect(ticks(0, 17.8)).toEqual([0, 5, 10, 15]);
  expect(ticks(-0.3, 0.4)).toEqual([-0.2, 0, 0.2, 0.4].map((v) => expect.closeTo(v)));
  expect(ticks(2, 2)).toEqual([2]);
  expect(ticks(0, 1e-7).length).toBeLessThan(12);
});

it("places labels apart, the wanted ones first", () => {
  expect(placeLabels(5, 20, 13, [])).toEqual([0, 1, 2, 3, 4]);
  const places = placeLabels(60, 6, 13, [7, 59]);
  expect(places).toContain(7);
  expect(places).toContain(59);
  places.slice(1).forEach((p, i) => expect(p - (places[i] ?? 0)).toBeGreaterThanOrEqual(3));
  expect(placeLabels(3, 1, 50, [9])).toEqual([0]);
});

it("orders by magnitude and keeps negatives", () => {
  expect(bySize([1, -3, 2])).toEqual([1, 2, 0]);
  expect(largest([0.1, -2, 1])).toBe(2);
  expect(largest([])).toBe(0);
});
