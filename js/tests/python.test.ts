import { expect, it } from "vitest";
import { type Place, pythonFor } from "../src/core/state/python";

const place: Place = { id: "L3H5", kind: "head", layer: 3, mixture: false, feature: -1, tab: "tokens", source: -1, weighting: "probability", query: 5, key: 4, lens: 'aw.logit_lens(a.run, " Paris")', verify: "", many: false };

it("follows the selection", () => {
  const code = (more: Partial<Place>) => pythonFor("import attrib_widgets as aw\na = ...", { ...place, ...more });
  expect(code({})).toBe('import attrib_widgets as aw\na = ...\n\na["L3H5"]\na.sources("L3H5").top(10)\n');
  expect(code({ source: 4 })).toContain('a.through("L3H5").at(4)');
  expect(code({ tab: "pattern" })).toContain('aw.attention(a.run, "L3H5")');
  expect(code({ tab: "pattern" })).toContain('"L3H5").patterns');
  expect(code({ tab: "pattern", weighting: "value" })).toContain('.weighted("value").patterns');
  expect(code({ tab: "pattern", weighting: "contribution" })).toContain('.weighted("contribution", target=a.target).patterns');
  expect(code({ tab: "why" })).toContain('a.choice("L3H5", key=4)');
  expect(code({ tab: "why" })).toContain('aw.score("L3H5", query=5, key=4, side="query")');
  expect(code({ tab: "writes" })).toContain('a.writes("L3H5")');
  expect(code({ id: "L3.mlp", kind: "mlp", tab: "" })).toContain("a.neurons(3)");
  expect(code({ id: "embed", kind: "embed", layer: null, tab: "" })).toContain('a["embed"]');
  expect(code({ id: "L3.mlp", kind: "mlp", tab: "", mixture: true })).toContain("a.experts(3)");
  expect(code({ tab: "features" })).toContain('a.features("L3H5")');
  expect(code({ tab: "", feature: 12 })).toContain('a.features("L3H5").card(12)');
  expect(code({ tab: "lens" })).toContain('lens = aw.logit_lens(a.run, " Paris")\n');
  expect(code({ tab: "lens" })).toContain("a.buildup()");
  expect(code({ verify: 'aw.verify(a, "The capital of Germany is"' })).toContain('v = aw.verify(a, "The capital of Germany is", components=["L3H5"], top=0)\nv["L3H5"]\n');
    expect(code({ verify: 'aw.verify(a, "The capital of Germany is"', many: true })).toContain('v = aw.verify(a, "The capital of Germany is")\nv["L3H5"]\n');
  expect(code({ id: "", kind: "" })).toContain("a.top(10)");
});
