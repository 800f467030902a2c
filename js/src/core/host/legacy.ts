/** What version 0.1 called otherwise: states that it saved are still drawn. */
import type { Corrupted, ExplorerHeader, Part } from "../types";

/** The header, with the comparison under its name of now. */
export function renamed(header: ExplorerHeader): ExplorerHeader {
  const { compare } = header as { compare?: Corrupted | null };
  return compare === undefined ? header : { ...header, corrupted: compare };
}

export const renamedPart = (part: string): Part => (part === "compare" ? "corrupted" : (part as Part));
