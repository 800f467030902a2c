/** The sentence at the top: what was found, with its number and unit. */
import { plain, signed } from "./format";
import type { Reading } from "./reading";

export interface Finding {
  names: string[];
  /** text between the names and the target */
  text: string;
}

/** "L3.mlp and L1.mlp lead: +10.45 of 14.54 logits for", followed by the target. */
export function finding(reading: Reading): Finding {
  const { rows, total, target } = reading.header;
  const [first, second] = reading.order;
  if (first === undefined) return { names: [], text: "No part contributes to" };
  const a = reading.values[first] ?? 0;
  const b = second === undefined ? 0 : (reading.values[second] ?? 0);
  const name = (i: number | undefined) => rows[i ?? -1]?.id ?? "";
  const of = `of ${plain(total)} ${target.unit} for`;
  // Parts that cancel, or a total that is small beside them, are told one by one: a share would mislead.
  if (Math.sign(a) !== Math.sign(total) || Math.abs(total) < 0.5 * Math.abs(a) || (Math.sign(b) !== Math.sign(a) && Math.abs(b) > Math.abs(a) / 3)) {
    return { names: [name(first), name(second)], text: `pull most: ${signed(a)} and ${signed(b)}, ${of}` };
  }
  if (Math.sign(b) !== Math.sign(a) || Math.abs(b) < Math.abs(a) / 5) {
    return { names: [name(first)], text: `leads: ${signed(a)} ${of}` };
  }
  return { names: [name(first), name(second)], text: `lead: ${signed(a + b)} ${of}` };
}
