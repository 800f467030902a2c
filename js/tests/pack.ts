/** The writer's half of the container, for tests: what Python's wire.pack does. */
export interface Given {
  dtype: "f4" | "f2" | "u1" | "i4";
  shape: number[];
  values: ArrayLike<number>;
  tril?: boolean;
}

export function toHalf(value: number): number {
  const f = new Float32Array([value]);
  const bits = new Uint32Array(f.buffer)[0] ?? 0;
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 112;
  const mantissa = bits & 0x7fffff;
  if (exponent >= 31) return sign | 0x7c00;
  if (exponent > 0) return sign | ((exponent << 10) + ((mantissa + 0x1000) >>> 13));
  if (exponent < -10) return sign;
  return sign | (((mantissa | 0x800000) >>> (1 - exponent + 13)) & 0x3ff);
}

export function pack(header: Record<string, unknown>, arrays: Record<string, Given>): Uint8Array {
  const table: Record<string, unknown> = {};
  const blocks: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { dtype, shape, values, tril }] of Object.entries(arrays)) {
    const list = Array.from(values);
    const typed =
      dtype === "f4"
        ? new Float32Array(list)
        : dtype === "i4"
          ? new Int32Array(list)
          : dtype === "f2"
            ? new Uint16Array(list.map(toHalf))
            : new Uint8Array(list.map((p) => Math.round(255 * Math.sqrt(p))));
    const bytes = new Uint8Array(typed.buffer);
    table[name] = { dtype, shape, offset, bytes: bytes.length, ...(tril && { layout: "tril" }), ...(dtype === "u1" && { scale: "sqrt" }) };
    const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
    padded.set(bytes);
    blocks.push(padded);
    offset += padded.length;
  }
  let head = new TextEncoder().encode(JSON.stringify({ ...header, v: header["v"] ?? 1, arrays: table }));
  const length = Math.ceil(head.length / 8) * 8;
  const out = new Uint8Array(8 + length + offset);
  out.set([0x41, 0x57, 0x43, 0x31]);
  new DataView(out.buffer).setUint32(4, length, true);
  out.fill(32, 8, 8 + length);
  out.set(head, 8);
  let at = 8 + length;
  for (const block of blocks) {
    out.set(block, at);
    at += block.length;
  }
  return out;
}
