/** "Copy as Python": the lines that print the numbers on the screen. */

/** A Python string literal for any text: ASCII only, so that nothing in a token can escape or reorder the code. */
export function literal(text: string): string {
  let out = "";
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    if (char === "\\" || char === '"') out += `\\${char}`;
    else if (char === "\n") out += "\\n";
    else if (char === "\t") out += "\\t";
    else if (char === "\r") out += "\\r";
    else if (code >= 32 && code < 127) out += char;
    else if (code < 256) out += `\\x${code.toString(16).padStart(2, "0")}`;
    else if (code < 65536) out += `\\u${code.toString(16).padStart(4, "0")}`;
    else out += `\\U${code.toString(16).padStart(8, "0")}`;
  }
  return `"${out}"`;
}

export interface Place {
  id: string;
  kind: string;
  layer: number | null;
  tab: string;
  source: number;
  /** query and key of the score that "Why there" explains */
  query: number;
  key: number;
}

export function pythonFor(setup: string, place: Place): string {
  const id = literal(place.id);
  const lines = [setup.trimEnd(), ""];
  if (place.kind === "head") {
    if (place.tab === "why") {
      lines.push(
        `score = aw.score(${id}, query=${place.query}, key=${place.key}, side="query")  # or side="key"`,
        "why = aw.attribute(a.run, score)",
        "why.top(10)",
      );
    } else if (place.tab === "writes") lines.push(`a.writes(${id})`);
    else if (place.tab === "pattern") lines.push(`aw.attention(a.run, ${id}).patterns  # head, destination, source`);
    else if (place.source >= 0) lines.push(`a.through(${id}).at(${place.source}).top(10)`);
    else lines.push(`a[${id}]`, `a.sources(${id}).top(10)`);
  } else if (place.kind === "mlp" && place.tab !== "writes" && place.layer !== null) {
    lines.push(`a[${id}]`, `a.neurons(${place.layer}).top(10)`);
  } else if (place.id) {
    lines.push(`a[${id}]`);
    if (place.tab === "writes") lines.push(`a.writes(${id})`);
  } else lines.push("a.top(10)");
  return `${lines.join("\n")}\n`;
}
