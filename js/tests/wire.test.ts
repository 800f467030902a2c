import { describe, expect, it } from "vitest";
import { bytesOf, decode, half, Triangle, WireError } from "../src/core/host/wire";
import { pack, toHalf } from "./pack";

const sample = () =>
  pack(
    { kind: "test", text: "\u00e9\u6771 </script>" },
    {
      f: { dtype: "f4", shape: [2, 3], values: [1, -2.5, 3, 4, 5, 6] },
      h: { dtype: "f2", shape: [3], values: [0.5, -1.25, 0.1] },
      i: { dtype: "i4", shape: [2], values: [-7, 2 ** 30] },
      u: { dtype: "u1", shape: [2, 2, 2], tril: true, values: [1, 0.25, 0.75, 1, 0.04, 0.96] },
    },
  );

describe("the container", () => {
  it("keeps the header and every kind of number", () => {
    const { header, arrays } = decode<{ kind: string; text: string }>(sample());
    expect(header.kind).toBe("test");
    expect(header.text).toBe("\u00e9\u6771 </script>");
    expect([...(arrays["f"]?.at() ?? [])]).toEqual([1, -2.5, 3, 4, 5, 6]);
    expect([...(arrays["f"]?.at(1) ?? [])]).toEqual([4, 5, 6]);
    expect(arrays["h"]?.at()[0]).toBe(0.5);
    expect(arrays["h"]?.at()[2]).toBeCloseTo(0.1, 3);
    expect([...(arrays["i"]?.at() ?? [])]).toEqual([-7, 2 ** 30]);
  });

  it("undoes the square root and reads triangles by their leading index", () => {
    const stored = decode(sample()).arrays["u"];
    const second = new Triangle(2, stored?.at(1) ?? new Float32Array());
    expect(second.get(0, 0)).toBe(1);
    expect(second.get(1, 0)).toBeCloseTo(0.04, 2);
    expect(second.get(0, 1)).toBe(0);
    expect([...second.row(1)].map((v) => v.toFixed(2))).toEqual(["0.04", "0.96"]);
    expect(() => stored?.at(1, 0)).toThrow(WireError);
  });

  it("reads squares where tokens look ahead", () => {
    const square = new Triangle(2, Float32Array.of(1, 2, 3, 4));
    expect(square.ahead).toBe(true);
    expect([square.get(0, 1), square.get(1, 0)]).toEqual([2, 3]);
    expect([...square.row(0)]).toEqual([1, 2]);
    expect(new Triangle(1, Float32Array.of(1)).ahead).toBe(false);
    expect(new Triangle(2, Float32Array.of(1, 2, 3)).ahead).toBe(false);
  });

  it("reads every host's kind of bytes, at any offset", () => {
    const bytes = sample();
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    for (const value of [bytes.buffer, new DataView(bytes.buffer), shifted.subarray(3), new DataView(shifted.buffer, 3)]) {
      expect([...(decode(value).arrays["f"]?.at() ?? [])]).toEqual([1, -2.5, 3, 4, 5, 6]);
    }
  });

  it("refuses what it cannot trust", () => {
    const good = sample();
    const magic = good.slice();
    magic[0] = 0;
    const long = good.slice();
    new DataView(long.buffer).setUint32(4, 1 << 30, true);
    const header = good.slice();
    header[9] = 0x7d;
    for (const bad of [magic, long, header, good.slice(0, 5), good.slice(0, good.length - 8), pack({ v: 2 }, {})]) {
      expect(() => decode(bad)).toThrow(WireError);
    }
    expect(() => decode("text")).toThrow("no bytes");
    expect(() => decode(good).arrays["f"]?.at(2)).toThrow(WireError);
    expect(() => new Triangle(3, new Float32Array(5))).toThrow(WireError);
  });

  it("reads half precision exactly", () => {
    for (const value of [0, 1, -2, 0.5, 65504, 2 ** -14, 2 ** -24, -0.333251953125]) expect(half(toHalf(value))).toBe(value);
    expect(half(0x7c00)).toBe(Infinity);
    expect(half(0x7e00)).toBeNaN();
    expect(bytesOf(new ArrayBuffer(3)).length).toBe(3);
  });
});
