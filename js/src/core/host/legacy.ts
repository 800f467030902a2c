/** What version 0.1 called otherwise: states that it saved are still drawn. */
import type { Corrupted, ExplorerHeader, Finding, Part, Verdicts } from "../types";

/** The header, with the comparison under its name of now. */
export function renamed(header: ExplorerHeader): ExplorerHeader {
  const { compare } = header as { compare?: Corrupted | null };
  return compare === undefined ? header : { ...header, corrupted: compare };
}

const RENAMED: Record<string, Part> = { compare: "corrupted", map: "heads" };
export const renamedPart = (part: string): Part => RENAMED[part] ?? (part as Part);
export const renamedMode = (mode: string) => (mode === "map" ? "heads" : mode);

interface OldFinding extends Omit<Finding, "borderline"> {
  plain?: string;
  evidence?: string;
  borderline: boolean | string[];
}

/** Verdicts of versions before 0.2, in their own words: a direct share, no direct recovery, and a sentence in two parts. */
export function retold<V extends Verdicts>(told: V): V {
  const { n, unit } = told as { n?: number; unit?: string };
  if (n === undefined) return told;
  const findings = (told.findings as unknown as OldFinding[]).map((f) => ({
    ...f,
    back: null,
    chip: f.word.replace(", and mediates", " +").replace("suppression, ", ""),
    told: `${f.word}: ${f.plain}`,
    remarks: f.evidence ? [f.evidence] : [],
    then: "",
    decided: "",
    borderline: Array.isArray(f.borderline) && f.borderline.length > 0,
    named: f.word !== "no effect",
  }));
  return { ...told, findings, pairs: `n = ${n} pair${n === 1 ? "" : "s"} of prompts`, rule: `${told.gap.toFixed(2)} ${unit}; ${told.rule}`, shared: "", together: [] };
}
