/**
 * Reads the binary container: "AWC1" | uint32 header length | JSON header | 8-byte-aligned arrays.
 *
 * Hosts hand bytes over as DataView (JupyterLab), Uint8Array (Colab messages) or ArrayBuffer, at any offset, so
 * nothing here assumes alignment. Numbers are decoded when asked for: a pattern array may hold thousands of heads.
 */

export type Bytes = ArrayBuffer | ArrayBufferView;

export interface Entry {
  dtype: "f4" | "f2" | "u1" | "i4";
  shape: number[];
  offset: number;
  bytes: number;
  layout?: "tril";
  scale?: "sqrt";
}

export class WireError extends Error {}

/** Of bytes that are 255 times a square root. */
export const SQUARES = Float32Array.from({ length: 256 }, (_, b) => (b / 255) ** 2);

const SIZE = { f4: 4, f2: 2, u1: 1, i4: 4 } as const;

export function bytesOf(value: unknown): Uint8Array {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw new WireError("The state holds no bytes.");
}

/** IEEE half precision to a number. */
export function half(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 32768 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let halves: Float32Array | undefined;
/** All of them: a long pattern has half a million. */
const allHalves = () => (halves ??= Float32Array.from({ length: 65536 }, (_, bits) => half(bits)));

const product = (sizes: number[]) => sizes.reduce((a, b) => a * b, 1);
const triangle = (n: number) => (n * (n + 1)) / 2;

/** One stored array. `at(i, j)` decodes the block under the leading indices (i, j). */
export class Stored {
  readonly shape: number[];
  readonly tril: boolean;
  #entry: Entry;
  #bytes: Uint8Array;

  constructor(name: string, entry: Entry, body: Uint8Array) {
    const size = SIZE[entry.dtype];
    const tril = entry.layout === "tril";
    const n = entry.shape[entry.shape.length - 1] ?? 1;
    const count = tril ? product(entry.shape.slice(0, -2)) * triangle(n) : product(entry.shape);
    if (!size || entry.offset < 0 || entry.offset + entry.bytes > body.length || count * size !== entry.bytes) {
      throw new WireError(`The array "${name}" does not fit the container.`);
    }
    this.shape = entry.shape;
    this.tril = tril;
    this.#entry = entry;
    this.#bytes = body.subarray(entry.offset, entry.offset + entry.bytes);
  }

  /** the bytes as they travelled: a container inside the container */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  at(...lead: number[]): Float32Array {
    const { dtype, scale } = this.#entry;
    const [first, length] = this.#block(lead);
    const width = SIZE[dtype];
    // slice copies, which also aligns
    const raw = this.#bytes.slice(first * width, (first + length) * width);
    if (dtype === "f4") return new Float32Array(raw.buffer);
    if (dtype === "i4") return Float32Array.from(new Int32Array(raw.buffer));
    const out = new Float32Array(length);
    if (dtype === "f2") {
      const [bits, known] = [new Uint16Array(raw.buffer), length > 4096 ? allHalves() : undefined];
      for (let i = 0; i < length; i++) out[i] = known ? (known[bits[i] ?? 0] ?? 0) : half(bits[i] ?? 0);
    } else for (let i = 0; i < length; i++) out[i] = scale === "sqrt" ? (SQUARES[raw[i] ?? 0] ?? 0) : (raw[i] ?? 0);
    return out;
  }

  /** First number and length of the block under the leading indices. */
  #block(lead: number[]): [number, number] {
    const axes = this.shape.length;
    const inner = this.shape.slice(lead.length);
    if (this.tril && lead.length > axes - 2) throw new WireError("A triangle is read as a whole.");
    const length = this.tril ? product(inner.slice(0, -2)) * triangle(inner[inner.length - 1] ?? 0) : product(inner);
    let block = 0;
    lead.forEach((i, axis) => {
      const size = this.shape[axis] ?? 0;
      if (!(i >= 0 && i < size)) throw new WireError("Index outside the array.");
      block = block * size + i;
    });
    return [block * length, length];
  }

  /** The block as it travelled, not copied: square roots of probabilities in a byte each; undefined for other types. */
  roots(...lead: number[]): Uint8Array | undefined {
    if (this.#entry.dtype !== "u1" || this.#entry.scale !== "sqrt") return undefined;
    const [first, length] = this.#block(lead);
    return this.#bytes.subarray(first, first + length);
  }
}

export interface Container<H> {
  header: H;
  arrays: Record<string, Stored>;
}

export function decode<H = Record<string, unknown>>(value: unknown): Container<H> {
  const all = bytesOf(value);
  if (all.length < 8 || String.fromCharCode(...all.subarray(0, 4)) !== "AWC1") {
    throw new WireError("These bytes are not an attrib_widgets state.");
  }
  const length = new DataView(all.buffer, all.byteOffset).getUint32(4, true);
  if (8 + length > all.length) throw new WireError("The state is cut short.");
  let header: { v?: number; arrays?: Record<string, Entry> };
  try {
    header = JSON.parse(new TextDecoder().decode(all.subarray(8, 8 + length)));
  } catch {
    throw new WireError("The state has an unreadable header.");
  }
  if (header.v !== 1) throw new WireError(`The state has version ${header.v}; this page reads version 1.`);
  const body = all.subarray(8 + length);
  const arrays: Record<string, Stored> = {};
  for (const [name, entry] of Object.entries(header.arrays ?? {})) arrays[name] = new Stored(name, entry, body);
  return { header: header as H, arrays };
}

/** A pattern of n tokens, stored row by row: entries (t, s) with s <= t, or all of them where tokens look ahead. */
export class Triangle {
  readonly n: number;
  readonly data: Float32Array;
  readonly ahead: boolean;

  constructor(n: number, data: Float32Array) {
    this.ahead = n > 1 && data.length === n * n;
    if (!this.ahead && data.length !== triangle(n)) throw new WireError("A pattern has the wrong length.");
    this.n = n;
    this.data = data;
  }

  get(t: number, s: number): number {
    if (this.ahead) return this.data[t * this.n + s] ?? 0;
    return s > t ? 0 : (this.data[triangle(t) + s] ?? 0);
  }

  row(t: number): Float32Array {
    return this.ahead ? this.data.subarray(t * this.n, (t + 1) * this.n) : this.data.subarray(triangle(t), triangle(t + 1));
  }
}
