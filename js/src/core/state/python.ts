/** "Copy as Python": the lines that print the numbers on the screen. */

export interface Place {
  id: string;
  kind: string;
  layer: number | null;
  mixture: boolean;
  /** the number of the open feature; -1 for none */
  feature: number;
  tab: string;
  source: number;
  weighting: string;
  /** query and key of the score that "Why there" explains */
  query: number;
  key: number;
  /** the expression of the lens */
  lens: string;
  /** the beginning of the call that tested this component; "" where nothing did */
  verify: string;
  /** whether that call tested it with others */
  many: boolean;
}

export function pythonFor(setup: string, place: Place): string {
  const id = JSON.stringify(place.id);
  const lines = [setup.trimEnd(), ""];
  if (place.tab === "trace") lines.push('a.trace(depth=None)  # mlps="frozen" opens MLPs too');
  else if (place.tab === "concepts") {
    lines.push("c = a.concepts()", "c  # c.unsaid() opens what no feature says");
    if (place.feature >= 0) lines.push(`c.parts("${place.id}/${place.feature}")`, `c.card("${place.id}/${place.feature}")`);
  } else if (place.tab === "lens" && place.lens) {
    lines.push(`lens = ${place.lens}`, "lens  # lens.top(layer, position), lens.beside() is the other lens", "a.buildup()");
  } else if (place.feature >= 0) lines.push(`a.features(${id})`, `a.features(${id}).card(${place.feature})`);
  else if (place.tab === "features") lines.push(`a[${id}]`, `a.features(${id})`);
  else if (place.kind === "head") {
    if (place.tab === "why") {
      lines.push(
        `a.choice(${id}, key=${place.key})  # rather than the strongest other token; against= names another`,
        `score = aw.score(${id}, query=${place.query}, key=${place.key}, side="query")  # the score by itself; or side="key"`,
        "aw.attribute(a.run, score).top(10)",
      );
    } else if (place.tab === "writes") lines.push(`a.writes(${id})`);
    else if (place.tab === "pattern") {
      const target = place.weighting === "value" ? "" : ", target=a.target";
      const weighted = place.weighting === "probability" ? "" : `.weighted("${place.weighting}"${target})`;
      lines.push(`aw.attention(a.run, ${id})${weighted}.patterns  # head, destination, source`);
    } else if (place.source >= 0) lines.push(`a.through(${id}).at(${place.source}).top(10)`);
    else lines.push(`a[${id}]`, `a.sources(${id}).top(10)`);
  } else if (place.kind === "mlp" && place.tab !== "writes" && place.layer !== null) {
    lines.push(`a[${id}]`, `a.${place.mixture ? "experts" : "neurons"}(${place.layer}).top(10)`);
  } else if (place.id) {
    lines.push(`a[${id}]`);
    if (place.tab === "writes") lines.push(`a.writes(${id})`);
  } else lines.push("a.top(10)");
  if (place.verify) lines.push("", `v = ${place.verify}${place.many ? "" : `, components=[${id}], top=0`})`, `v[${id}]`);
  return `${lines.join("\n")}\n`;
}
